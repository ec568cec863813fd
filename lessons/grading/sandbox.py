"""The sandbox: a separate process in which students' files run.

The file never meets the checks: student_file.py calls its functions with the grader's inputs, and
child.py, inside the process, returns their results. Printing a verdict, exiting early, or patching
torch therefore changes nothing here. Before running the file's first line, the process gives up all
other files, the network, and other processes: by the operating system on Linux with Landlock
(confinement.py), and by Python's audit hook everywhere (audit_hook.py). `protection` reports which.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from lessons.grading import confinement, wire
from lessons.grading.student_file import Student

LESSONS = Path(__file__).parents[1]  # hidden from students' files: it holds the solutions
SECONDS, WALL = 5.0, 40.0  # CPU and wall seconds per call
KEPT = ("PATH", "LD_LIBRARY_PATH")
SET = {**confinement.ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""}
LAYERS = ("system", "hook")


class Sandbox(AbstractContextManager["Sandbox"]):
    """A server process with torch loaded: `with sandbox.open(source, name) as student: …`.

    It runs one file at a time, so running several at once requires several sandboxes. Tests use
    `layers` to try the system's sandbox ("system") and the audit hook ("hook") separately.
    """

    def __init__(
        self,
        hidden: Sequence[Path] = (),
        seconds: float = SECONDS,
        wall: float = WALL,
        layers: Sequence[str] = LAYERS,
    ) -> None:
        if why := confinement.no_process():
            raise OSError(why)
        missing = "system" if confinement.obstacle() else None
        self.layers = [layer for layer in layers if layer != missing]
        self.hidden = [str(Path(place).resolve()) for place in (LESSONS, *hidden)]
        self.seconds, self.wall, self.server, self.socket = seconds, wall, None, None

    def __exit__(self, *_: object) -> None:
        self.close()

    def interrupt(self) -> None:
        """End the server from another thread. Threads waiting for an answer don't get one."""
        if (server := self.server) is not None:
            server.kill()

    def close(self) -> None:
        """End the server. The next `open` starts a new one."""
        if self.server is not None:
            self.socket.close()
            self.server.kill()
            self.server.wait()
            self.server = None

    def open(
        self,
        source: str,
        name: str,
        *,
        seconds: float | None = None,
        library: bool = False,
        largest: int | None = None,
    ) -> Student:
        """Return the file as a student, loaded and ready for `ask`; Stopped if it does not load.

        seconds   CPU seconds per call; by default the sandbox's limit
        library   whether the file may import `lib`
        largest   bytes of one encoded answer; by default the wire's limit
        """
        if self.server is None or self.server.poll() is not None:
            self.close()
            self.socket, theirs = socket.socketpair()
            child = str(Path(__file__).with_name("child.py"))
            command = [sys.executable, *"-I -B -X utf8".split(), child]
            # nothing else from the grader's environment, which may contain keys and tokens
            env = {key: os.environ[key] for key in KEPT if key in os.environ} | SET
            self.server = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C goes to the grader, which ends the server
            )
            theirs.close()
            if self.line(120.0) != "ready":
                raise OSError("the process for student code did not start. Is torch installed?")
        return Student(
            self, source, name, seconds or self.seconds, library, largest or wire.LARGEST
        )

    def line(self, seconds: float) -> str | None:
        """The server's next line, or None if there isn't one in time."""
        found = b""
        self.socket.settimeout(seconds)
        try:
            while not found.endswith(b"\n"):
                if not (piece := self.socket.recv(1)):
                    return None
                found += piece
        except OSError:
            return None
        return found.decode().strip()
