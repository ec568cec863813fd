"""One editor of the leaderboard, in a process of its own: facts go in, patches come out.

The process is limited in time and memory. It is not a sandbox: the file may do what its user may.
leaderboard_entrant.py is the program that runs in it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import lib

LOAD = 300.0  # seconds to load torch, model and file
SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL")
ROOT = Path(__file__).parents[2]  # the folder that holds `lib` and `lessons`
PROGRAM = "lessons.grading.leaderboard_entrant"


class Failed(Exception):
    """An edit that did not come; the text says why. `over`: nor will any other."""

    def __init__(self, why: str, over: bool = False) -> None:
        super().__init__(why)
        self.over = over


class Entry:
    """A running editor: `with Entry(…) as entry: seconds = entry.edit(facts)`.

    source   a file, or the name of one of the library's editors
    model    folder or hub id, None for the embedded model
    seconds  limit of one edit
    memory   bytes that its process may use, None for no limit
    """

    def __init__(
        self, source: str, model: str | None, seconds: float, memory: int | None = None
    ) -> None:
        self.seconds, self.over = seconds, ""
        self.folder = tempfile.TemporaryDirectory(prefix="leaderboard-")
        self.patch = Path(self.folder.name) / "edit.patch"
        self.log = Path(self.folder.name) / "printed.txt"
        self.socket, theirs = socket.socketpair()
        env = {k: v for k, v in os.environ.items() if not any(s in k.upper() for s in SECRET)}
        before = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
        command = [sys.executable, "-m", PROGRAM, str(theirs.fileno())]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=env | {"PYTHONPATH": ":".join(before)},
            )
        theirs.close()
        try:
            self._ask({"source": source, "model": model, "memory": memory}, LOAD)
        except Failed as error:
            self.over = str(error)

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process and all that it started, and removes its folder."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.process.wait()
        self.socket.close()
        self.folder.cleanup()

    def edit(self, facts: list[lib.Fact], on: str = "nothing") -> float:
        """Seconds of one edit, on "nothing" or on the "last" one. Raises Failed."""
        start = time.perf_counter()
        self._ask({"do": "edit", "facts": [asdict(f) for f in facts], "on": on}, self.seconds)
        return time.perf_counter() - start

    def made(self) -> lib.Patch:
        """The patch as it is now, read from a file: numbers, no code. Raises Failed."""
        self._ask({"do": "save", "to": str(self.patch)}, LOAD)
        try:
            return lib.Patch.load(self.patch)
        except (lib.PatchError, OSError) as error:
            raise Failed(f"its patch cannot be read: {error}") from None

    def _ask(self, message: dict, seconds: float) -> None:
        if self.over:
            raise Failed(self.over, over=True)
        try:
            self.socket.settimeout(seconds)
            self.socket.sendall(json.dumps(message).encode() + b"\n")
            answer = json.loads(self._line(time.monotonic() + seconds))
        except TimeoutError:
            self.over = f"no answer after {seconds:.0f} s"
        except (OSError, ValueError):
            self.over = f"the process ended ({self._ended()})"
        else:
            if "error" in answer:
                raise Failed(str(answer["error"]))
            return
        raise Failed(self.over, over=True)

    def _line(self, until: float) -> bytes:
        found = b""
        while not found.endswith(b"\n"):
            self.socket.settimeout(max(0.01, until - time.monotonic()))
            if not (piece := self.socket.recv(1 << 12)):
                raise OSError("closed")
            found += piece
        return found

    def _ended(self) -> str:
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "its channel is closed"
        what = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{what}: {lines[-1][:200]}" if lines else what
