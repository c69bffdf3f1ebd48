# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium driven over its debugging pipe (DevTools protocol): real keys, real clicks, screenshots.

Messages are JSON ended by a zero byte on two inherited file descriptors, so that no port is opened and no package needed.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_KEYS = {
    "Enter": (13, "\r"), "Escape": (27, None), "Tab": (9, None), "ArrowUp": (38, None), "ArrowDown": (40, None),
    "ArrowLeft": (37, None), "ArrowRight": (39, None), " ": (32, " "),
}  # fmt: skip
_CTRL, _SHIFT = 2, 8


class Browser:
    """One page of a headless Chromium; a context manager that ends the process.

    Args:
        folder: for the profile.
        size: of the window, CSS pixels.
    """

    def __init__(self, folder: Path, size: tuple[int, int] = (1440, 900)) -> None:
        self.folder, self.size, self.number, self.read = folder, size, 0, b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]  # 3 and 4 may be in use here

        def inherit() -> None:
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe",
            f"--user-data-dir={self.folder / 'profile'}", "--force-device-scale-factor=1", "about:blank",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, preexec_fn=inherit, pass_fds=(3, 4), env={**os.environ, "HOME": str(self.folder)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        self.ours_in, self.ours_out, self.session = ours_in, ours_out, None
        try:
            target = self.send("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.send(f"{domain}.enable")
            self.resize(*self.size)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for end in (self.ours_in, self.ours_out):
            os.close(end)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; what happens meanwhile is kept in `events`."""
        number, end = self._write(method, **params), time.monotonic() + 60
        while time.monotonic() < end:
            told = self._next(end - time.monotonic())
            if told.get("id") == number:
                if "error" in told:
                    raise AssertionError(f"{method}: {told['error']}")
                return told["result"]
            self.events.append(told)
        raise AssertionError(f"{method}: no answer")

    def _write(self, method: str, **params: Any) -> int:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.ours_out, json.dumps(message).encode() + b"\0")
        return self.number

    def send_to_browser(self, method: str, **params: Any) -> dict[str, Any]:
        """As `send`, to the browser instead of the page."""
        session, self.session = self.session, None
        try:
            return self.send(method, **params)
        finally:
            self.session = session

    def _next(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self.read:
            ready, _, _ = select.select([self.ours_in], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(self.ours_in, 1 << 16) if ready else b""
            if not piece:
                raise AssertionError("the browser does not answer")
            self.read += piece
        line, self.read = self.read.split(b"\0", 1)
        told = json.loads(line)
        if told.get("method") == "Page.javascriptDialogOpening":  # "leave without saving?": yes
            self._write("Page.handleJavaScriptDialog", accept=True)
        return told

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded; `wait` for what its scripts do then."""
        self.events.clear()
        self.send("Page.navigate", url=address)
        self._loaded()

    def reload(self) -> None:
        """Load the page again."""
        self.events.clear()
        self.send("Page.reload")
        self._loaded()

    def _loaded(self) -> None:
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next(60))

    def resize(self, width: int, height: int) -> None:
        """Size of the page in CSS pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, promises awaited."""
        told = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in told:
            raise AssertionError(told["exceptionDetails"].get("exception", {}).get("description", str(told)))
        return told["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """The first true value of an expression; one that fails is not true yet."""
        end, failure = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            try:
                if value := self.run(f"((found) => (found instanceof Node ? true : found))({script})"):
                    return value
            except AssertionError as error:
                failure = f" ({error})"
            time.sleep(0.1)
        raise AssertionError(f"never true: {script}{failure}; the page says: {self.run('document.body.innerText')[:1500]}")

    def press(self, key: str, ctrl: bool = False, shift: bool = False) -> None:
        """Press a key as a person would."""
        number, text = _KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key))
        flags = {"key": key, "windowsVirtualKeyCode": number, "modifiers": _CTRL * ctrl + _SHIFT * shift}
        if key.isdigit():  # a digit is known by its place, and has another sign with Shift
            flags |= {"code": f"Digit{key}", "key": ")!@#$%^&*("[int(key)] if shift else key}
        down = {"type": "rawKeyDown"} if ctrl or text is None else {"type": "keyDown", "text": text}
        self.send("Input.dispatchKeyEvent", **down, **flags)
        self.send("Input.dispatchKeyEvent", type="keyUp", **flags)

    def type(self, text: str) -> None:
        """Put text where the focus is."""
        self.send("Input.insertText", text=text)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """Move the mouse with a button held."""
        held = {"left": 1, "right": 2}[button]
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            still = 0 if kind == "mouseReleased" else held
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=still, clickCount=1)

    def wheel(self, x: float, y: float, turn: float) -> None:
        """Turn the wheel over a point."""
        self.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=turn)

    def shot(self, path: Path) -> None:
        """A screenshot of the window, PNG."""
        Path(path).write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def said(self, *methods: str) -> list[dict[str, Any]]:
        """Parameters of the events of these methods so far."""
        self.run("0")  # what has happened before this answer is here then
        return [event["params"] for event in self.events if event.get("method") in methods]
