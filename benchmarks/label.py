# SPDX-License-Identifier: Apache-2.0
"""The label server under load: start to first report, `/info/` while a report is written, many clients at once, and its memory.

The server is the command as a user starts it, in a process of its own; studies are phantoms, the model is the small one. Each draft is
compared with what `libra-monai report` writes of the same studies. Prints a JSON line for each part, the last with all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil

from libra_monai.apps.main import main as command
from libra_monai.data.phantom.generate import generate

MODEL = "/infer/chest_xray_report"
OPTIONS = ["--device", "cpu", "--seconds", "600", "--undated"]


def server(studies: Path, log: Path) -> tuple[subprocess.Popen, str]:
    """The process of a server, and its address; it need not answer yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "libra_monai", "label", "--studies", str(studies), "--port", str(port), *OPTIONS]
    with log.open("wb") as file:
        return subprocess.Popen(words, stdout=file, stderr=file), f"http://127.0.0.1:{port}"


def first_report(client: httpx.Client, process: subprocess.Popen, began: float) -> dict[str, float]:
    """Seconds until the worklist answers, and until the first report is there; and what the server computed until then."""
    while True:
        try:
            studies = client.get("/libra/worklist").json()["studies"]
            break
        except httpx.TransportError:
            time.sleep(0.1)
    listed = time.perf_counter() - began
    client.post(f"{MODEL}?image={studies[0]['id']}").raise_for_status()
    spent = psutil.Process(process.pid).cpu_times()
    seconds = {"worklist_s": listed, "first_report_s": time.perf_counter() - began, "cpu_s": spent.user + spent.system}
    return {name: round(value, 1) for name, value in seconds.items()}


def info_meanwhile(client: httpx.Client, images: list[str], most: int) -> dict[str, Any]:
    """How long `/info/` takes while reports are written by beam search."""
    jobs = [client.post("/libra/drafts", json={"image": image, "decoding": "published"}).json()["job"] for image in images]
    took: list[float] = []
    while len(took) < most and client.get(f"/libra/drafts/{jobs[-1]}").json()["state"] in ("queued", "running"):
        began = time.perf_counter()
        client.get("/info/").raise_for_status()
        took.append(time.perf_counter() - began)
    for job in jobs:
        client.delete(f"/libra/drafts/{job}")
    return {"requests": len(took), "median_s": round(statistics.median(took), 3), "longest_s": round(max(took), 3)}


def of_the_command(studies: Path, place: Path) -> dict[str, dict[str, Any]]:
    """Study -> draft as `libra-monai report` writes it, of every study with the earlier ones of its patient."""
    found = {}
    for patient in sorted((studies / "images").iterdir()):
        folders = sorted(patient.iterdir())
        for number in range(1, len(folders) + 1):
            out = place / f"{patient.name}-{number}"
            words = ["report", *map(str, folders[:number]), "--evidence", "--format", "json", "--device", "cpu", "--out", str(out)]
            with contextlib.redirect_stdout(io.StringIO()):
                assert command(words) == 0
            (path,) = out.glob("*.json")
            draft = json.loads(path.read_text())
            found[draft["study_id"]] = draft
    return found


def many_clients(address: str, images: list[str], expected: dict[str, dict[str, Any]], clients: int, requests: int) -> dict[str, Any]:
    """Requests of several clients at once: how many were lost, answered for another study, or unlike the command's draft."""
    counts: Counter[str] = Counter()
    guard = threading.Lock()

    def one(number: int) -> None:
        image = images[number % len(images)]
        with httpx.Client(base_url=address, timeout=600) as client:
            answer = client.post(f"{MODEL}?image={image}")
        draft = answer.json() if answer.status_code == 200 else {}
        with guard:
            counts["lost"] += answer.status_code != 200
            counts["mixed_up"] += bool(draft) and draft["study_id"] != image
            counts["unlike_the_command"] += bool(draft) and any(draft[name] != value for name, value in expected[image].items())

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(requests)))
    seconds = time.perf_counter() - began
    told = {name: counts[name] for name in ("lost", "mixed_up", "unlike_the_command")}
    return {"clients": clients, "requests": requests, **told, "drafts_per_second": round(requests / seconds, 2)}


def memory(client: httpx.Client, process: psutil.Process, images: list[str], reports: int) -> dict[str, Any]:
    """Resident memory of the server at the beginning, and after so many more reports."""
    sizes = {}
    for number in range(reports + 1):
        if number % max(reports // 10, 1) == 0:
            sizes[number] = round(process.memory_info().rss / 2**20, 1)
        if number < reports:
            client.post(f"{MODEL}?image={images[number % len(images)]}").raise_for_status()
    first, last = sizes[0], sizes[max(sizes)]
    return {"reports": reports, "mb": sizes, "growth": round(last / first - 1, 4)}


def main() -> None:
    """Start a server, and measure one thing after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=6)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--reports", type=int, default=500, help="of the measurement of memory (500)")
    args = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "label", "cores": os.cpu_count()}

    def note(name: str, value: dict[str, Any]) -> None:
        result[name] = {**value, "load": round(os.getloadavg()[0], 1)}
        print(json.dumps({name: result[name]}), flush=True)

    with tempfile.TemporaryDirectory() as place:
        studies = Path(place) / "studies"
        generate(studies, args.patients, 5)
        expected = of_the_command(studies, Path(place) / "drafts")
        began = time.perf_counter()
        process, address = server(studies, Path(place) / "log")
        try:
            with httpx.Client(base_url=address, timeout=600) as client:
                note("start", first_report(client, process, began))
                images = [one["id"] for one in client.get("/libra/worklist").json()["studies"]]
                note("info", info_meanwhile(client, images, 200))
                note("load", many_clients(address, images, expected, args.clients, args.requests))
                note("memory", memory(client, psutil.Process(process.pid), images, args.reports))
        finally:
            process.terminate()
            process.wait(60)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
