"""Starts the parts in a process of their own, ends what takes too long, and keeps the file.

A part is asked to stop at its limit. Where it does not, because one step is long or the card hangs,
its process is killed some seconds later, and a new one goes on with the next part. The file is
replaced as a whole after every row, so it is valid at any moment, also after a `kill -9`.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file

ROOT = Path(__file__).parents[3]
# seconds of each part in the order in which they run; with the starts of processes nine minutes
LIMITS = {"a": 75.0, "e": 120.0, "b": 120.0, "c": 75.0, "d": 60.0, "f": 15.0, "g": 35.0}
TITLES = {
    "a": "placement and values", "b": "every editor at 8B", "c": "UltraEdit, long",
    "d": "many facts", "e": "C and null spaces, cold", "f": "several cards",
    "g": "pretrained weights",
}  # fmt: skip
WORKER = [sys.executable, "-m", "tests.benchmarks.gpu.worker"]
GRACE = 15.0  # seconds over its limit after which a part's process is killed
START = 60.0  # seconds that a process may take to begin


class Kept:
    """The file of a run: everything that is known so far."""

    def __init__(self, path: Path, scale: str, parts: str) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d"), "scale": scale, "device": None,
            "parts": {
                name: {"title": TITLES[name], "state": "not begun", "limit": limit, "rows": []}
                for name, limit in LIMITS.items() if name in parts
            },
        }  # fmt: skip
        self.write()

    def write(self) -> None:
        """Replace the file."""
        with whole_file(self.path) as part:
            part.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")

    def take(self, message: dict[str, Any]) -> None:
        """A message of the worker: its device, a part's state, or a row."""
        if "device" in message:
            self.content["device"] = message["device"]
        else:
            part = self.content["parts"][message.pop("part")]
            row = message.pop("row", None)
            if row is not None:
                part["rows"].append(row)
            part.update(message)
        self.write()

    def waiting(self) -> list[str]:
        """The parts that have not begun."""
        parts = self.content["parts"]
        return [name for name, part in parts.items() if part["state"] == "not begun"]

    def begun(self) -> str | None:
        """The part that runs."""
        parts = self.content["parts"]
        return next((name for name, part in parts.items() if part["state"] == "begun"), None)


def run(
    out: Path, device: str, scale: str, parts: str, editors: list[str], seconds: float
) -> dict[str, Any]:
    """Run the parts in the order of LIMITS; gives what the file holds.

    Raises ValueError for an unknown part or editor, before anything is written.
    """
    if not parts or set(parts) - LIMITS.keys():
        raise ValueError(f"the parts are {', '.join(LIMITS)}, not '{parts}'")
    unknown = [name for name in editors if name not in lib.EDITORS]
    if unknown:
        raise ValueError(f"there is no editor '{unknown[0]}'")
    if not seconds > 0:
        raise ValueError(f"the run needs more than {seconds:g} seconds")
    kept, end = Kept(out, scale, parts), time.monotonic() + seconds
    while kept.waiting() and time.monotonic() < end:
        order = {"device": device, "scale": scale, "editors": editors}
        one_worker(kept, order, end)
    return kept.content


def one_worker(kept: Kept, order: dict[str, Any], end: float) -> None:
    """Start a process for all parts that wait, and listen to it until it ends or must be ended."""
    reading, writing = os.pipe()
    child = subprocess.Popen(
        WORKER, cwd=ROOT, pass_fds=(writing,), stdin=subprocess.PIPE, text=True
    )  # fmt: skip
    os.close(writing)
    parts = {name: LIMITS[name] for name in kept.waiting()}
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    threads = int(os.environ.get("OMP_NUM_THREADS", threads))
    try:
        child.stdin.write(
            json.dumps({**order, "parts": parts, "pipe": writing, "threads": threads})
        )
        child.stdin.close()
    except BrokenPipeError:
        pass  # it has ended already; the pipe says so below
    why = listen(reading, kept, end)
    os.close(reading)
    if why:
        child.kill()
    code = child.wait()
    nothing = len(kept.waiting()) == len(parts)
    name = kept.begun() or (next(iter(parts)) if nothing else None)
    if name is not None:
        # what it was at is marked, so that the next process goes on behind it
        kept.take({"part": name, "state": why or f"failed: its process ended with {code}"})


def listen(pipe: int, kept: Kept, end: float) -> str:
    """Take what the worker sends until it closes the pipe; why it must be killed, else nothing."""
    rest, until = b"", time.monotonic() + START
    while True:
        left = min(until, end) - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            if kept.begun() is None:
                return "failed: its process did not begin in time"
            over = "the run" if time.monotonic() >= end else "its part"
            return f"killed: {over} was over its time"
        data = os.read(pipe, 1 << 16)
        if not data:
            return ""
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message.get("state") == "begun":
                until = time.monotonic() + LIMITS[message["part"]] + GRACE
            elif "state" in message:
                until = time.monotonic() + START
            kept.take(message)
