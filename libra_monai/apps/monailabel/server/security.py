# SPDX-License-Identifier: Apache-2.0
"""Who may ask, how much may be sent, and a line in the audit file for every request.

Without authentication only this machine is answered, and only under its own name: a page of a stranger, open in the same browser,
gets nothing. Bodies are counted and refused before they are kept. Audit lines name studies by a keyed hash, never a patient.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

from libra_monai.apps.monailabel.server.audit import AuditFile
from libra_monai.errors import ConfigError

logger = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

READ_ONLY = "The studies are not changed by this app. Put files into the studies folder, or POST /libra/uploads."
LONGEST_TEXT = 1 << 20  # bytes of a body that is no upload
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
# what MONAI Label offers and an app of reports must not: method (None is any) and beginning of the path
_CLOSED = (
    ("POST", "/reload", "It would load a second model. Start the server again instead."),
    (None, "/proxy", "Ask the archive itself."),
    ("PUT", "/model", "New weights come by training and approval."),
    ("DELETE", "/model", "Roll back with libra-monai label rollback --studies DIR."),
    ("POST", "/infer/wsi", "It would hold up the server. Use POST /infer/chest_xray_report."),
    ("POST", "/infer/wsi_v2", "It would hold up the server. Use POST /infer/chest_xray_report."),
)
_ADDS = ("/datastore", "/datastore/image")  # by PUT; what it is sent would stay in the folder for temporary files
_LONG = ("/train", "/scoring", "/batch")  # run in processes of their own, unless asked for run_sync
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"cache-control", b"no-store")]
_POLICY = b"content-security-policy"
_FRAMES = b"frame-ancestors 'none'"
_OURS = b"default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; " + _FRAMES


class BadId(ConfigError):
    """What was given as an id cannot be one."""


def checked_id(image_id: str) -> str:
    """An id that names no path and no command.

    Args:
        image_id: as it came.

    Raises:
        BadId: it has other letters than ids have.
    """
    if not _ID.fullmatch(image_id):
        remedy = "Ids are letters, digits, '.', '_' and '-', as GET /libra/worklist lists them."
        raise BadId(f"{json.dumps(image_id[:80])} is no id", remedy)
    return image_id


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine's own."""
    if host.strip("[]").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def unexpected(error: Exception) -> str:
    """The sentence of an error nobody foresaw; not its text, which may quote what was sent."""
    return f"unexpected error {type(error).__name__}. Look at the server's log, and report it."


@dataclass(frozen=True)
class Limits:
    """What is let in.

    Args:
        authenticated: every request brings a token, so others than this machine may ask.
        upload: bytes of a body with files.
        audit: takes a line for every request; None writes none.
    """

    authenticated: bool = False
    upload: int = 256 << 20
    audit: AuditFile | None = None


class Guard:
    """ASGI application around the server's.

    Args:
        app: the server.
        limits: what is let in.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # MONAI Label has none
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        passage = _Passage(scope, receive, send, self._limit(scope))
        try:
            refused = self._refusal(scope) or passage.announced()
            if refused:
                await passage.refuse(*refused)
            else:
                await self.app(scope, passage.receive, passage.send)
        except Exception as error:  # its text may quote what was sent, so it is in no log
            logger.error("a request failed (%s)", type(error).__name__)
            logger.debug("", exc_info=True)
            if not passage.started:
                await passage.refuse(500, unexpected(error))
        finally:
            self._note(scope, passage)

    def _limit(self, scope: Scope) -> int:
        return self.limits.upload if _header(scope, b"content-type").startswith("multipart/") else LONGEST_TEXT

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence of what is not answered, before anything is read."""
        client = (scope.get("client") or ("",))[0]
        host = _header(scope, b"host")
        if not self.limits.authenticated:
            if not is_loopback(client):
                return 403, "Authentication is off, so only this machine is answered. Start with authentication, see docs/label.md."
            if not is_loopback(_part(f"//{host}", "hostname")):
                return 403, "Authentication is off, so only the names of this machine are answered. Use http://127.0.0.1 and the port."
        origin, site = _header(scope, b"origin"), _header(scope, b"sec-fetch-site")
        foreign = bool(origin) and _part(origin, "netloc") != host
        strange = site in ("cross-site", "same-site")  # the second is a page of another port
        if foreign or (strange and _header(scope, b"sec-fetch-mode") != "navigate"):
            return 403, "Pages of another origin are not answered. Open the page of this server."
        return self._closed(scope["method"], scope["path"], parse_qs(scope.get("query_string", b"").decode("latin-1")))

    @staticmethod
    def _closed(verb: str, path: str, asked: dict[str, list[str]]) -> tuple[int, str] | None:
        """Status and sentence of what this app does not offer."""
        for method, beginning, remedy in _CLOSED:
            if method in (None, verb) and (path == beginning or path.startswith(f"{beginning}/")):
                return 403, f"{verb} {beginning} is closed in this app. {remedy}"
        if verb == "PUT" and path.rstrip("/") in _ADDS:
            return 403, READ_ONLY
        if path.startswith("/session") and "uncompress" in asked:
            return 422, "Archives are not unpacked. Send the one or two picture files themselves."
        if path.startswith(_LONG) and asked.get("run_sync", ["false"])[-1].lower() not in ("false", "0", "no", "off"):
            return 422, "run_sync would hold up the server. Leave it out, and ask how far it is by GET of the same address."
        return None

    def _note(self, scope: Scope, passage: _Passage) -> None:
        audit = self.limits.audit
        if audit is None:
            return
        route = getattr(scope.get("route"), "path", None)
        asked, state = parse_qs(scope.get("query_string", b"").decode("latin-1")), scope.get("state") or {}
        named = (scope.get("path_params") or {}).get("image_id") or state.get("study")
        named = named or next(iter(asked.get("image") or asked.get("label") or ()), None)
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "client": (scope.get("client") or (None,))[0],
            "user": state.get("user"),
            "method": scope["method"],
            "route": route,  # with the names of its parts, not what stood there
            "study": audit.name_of(str(named)) if named else None,
            "status": passage.status,
            "bytes": passage.received,
            "seconds": round(time.monotonic() - passage.began, 3),
        }
        try:
            audit.add(line)
        except OSError as error:
            logger.error("the audit line cannot be written (%s)", error.strerror)


class _Passage:
    """One request and its answer on their way through the guard."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self.scope, self.limit = scope, limit
        self._receive, self._send = receive, send
        self.received, self.status, self.began = 0, None, time.monotonic()
        self._over = self.started = False

    def announced(self) -> tuple[int, str] | None:
        """The refusal of a body that is said to be too large; nothing of it is read."""
        length = _header(self.scope, b"content-length")
        return self._too_large() if length.isdigit() and int(length) > self.limit else None

    async def receive(self) -> MutableMapping[str, Any]:
        """A message of the client; of a body that grows too large nothing more."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            if self.received > self.limit:
                self._over = True
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """A message of the server, with our headers where it answers for the app."""
        if self._over:
            if not self.started:
                await self.refuse(*self._too_large())
            return
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            given = {name.lower() for name, _ in message.get("headers", ())}
            policy = (_POLICY, _OURS if self.scope["path"].startswith("/libra") else _FRAMES)
            headers = [*message.get("headers", ()), *(one for one in (*_HEADERS, policy) if one[0] not in given)]
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, status: int, detail: str) -> None:
        """Answer with a sentence and close."""
        self.started, self.status = True, status
        body = json.dumps({"detail": detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def _too_large(self) -> tuple[int, str]:
        size = f"{self.limit >> 20} MB" if self.limit >= 1 << 20 else f"{self.limit} bytes"
        return 413, f"The request is larger than the {size} that are taken. Send one or two radiographs, or raise --max-upload."


def _part(address: str, name: str) -> str:
    """A part of an address; empty where it is none."""
    try:
        return getattr(urlsplit(address), name) or ""
    except ValueError:
        return ""


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")
