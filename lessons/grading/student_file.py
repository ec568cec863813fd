"""One student's file in its process: `ask` calls its functions, and a failure becomes a sentence.

The file itself runs in a worker that child.py forks. This side holds the pipes to it, limits its
time, and removes its folder.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from lessons.grading import wire
from lessons.marking import NotAttempted, Stopped, Wrong, clean, short

LIBRARY = Path(__file__).parents[2]  # the folder that holds `lib`
MEMORY = 1 << 30  # bytes beyond what torch holds
TOTAL = 60  # CPU seconds of one file: also ends a worker whose grader is gone
PRINTED = 2000  # characters of the student's own output that are shown
STUB = "not attempted"


class Server(Protocol):
    """The process that forks a worker for every file, as sandbox.py keeps it."""

    hidden: list[str]  # folders that the file may not read
    seconds: float  # CPU seconds of one call, where the exercise does not set its own
    wall: float  # seconds on the clock of one call
    socket: socket.socket | None  # tasks go out here

    def line(self, seconds: float) -> str | None:
        """Return the server's next line; None when it does not come."""

    def close(self) -> None:
        """End the process."""


class Student:
    """One loaded file. `ask` calls its functions; `printed` is what it wrote to the screen."""

    def __init__(
        self, sandbox: Server, source: str, name: str, seconds: float, library: bool
    ) -> None:
        self.sandbox, self.name, self.seconds, self.ended = sandbox, name, seconds, False
        self.folder = tempfile.TemporaryDirectory(prefix="graded-", ignore_cleanup_errors=True)
        self.token = secrets.token_bytes(wire.TOKEN)
        self.log = Path(self.folder.name) / "printed"
        read, self.requests = os.pipe()
        self.answers, write = os.pipe()
        os.set_blocking(self.requests, False)  # nobody has to read what we send
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        settings = {
            "token": self.token.hex(),
            "folder": self.folder.name,
            "name": name,
            "hidden": sandbox.hidden,
            "memory": MEMORY,
            "seconds": int(max(TOTAL, 12 * seconds)),
            "path": str(LIBRARY) if library else None,
        }
        pipes = [read, write, log]
        socket.send_fds(sandbox.socket, [json.dumps(settings).encode()], pipes)
        for pipe in pipes:
            os.close(pipe)
        if (pid := sandbox.line(10.0)) is None:
            raise OSError("the process for student code does not answer")
        self.pid = int(pid)
        try:
            self._talk({"source": source}, [])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Student:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, function: str, *args: Any) -> Any:
        """Return what the student's function returns for these arguments.

        Callables among them are called here, whenever the student calls them there. Raises
        NotAttempted for the stub and Stopped, with a message, when nothing comes back.
        """
        functions: list[Callable] = []
        found = self._talk(
            {"call": function, "args": [wire.pack(a, functions) for a in args]}, functions
        )
        if isinstance(found, str) and found.strip().lower() == STUB:
            raise NotAttempted
        return found

    @property
    def printed(self) -> str:
        """The beginning of what the file printed, without control characters."""
        try:
            with self.log.open(encoding="utf-8", errors="replace") as file:
                return clean(file.read(PRINTED)).strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Ends the process and removes its folder."""
        if not self.ended:
            self.ended = True
            os.close(self.requests)
            os.close(self.answers)
            self._end()
            self.folder.cleanup()

    def _talk(self, message: dict, functions: list[Callable]) -> Any:
        start, spent = time.monotonic(), self._cpu()
        wall = self.sandbox.wall * self.seconds / self.sandbox.seconds

        def wait() -> None:
            used, passed = self._cpu() - spent, time.monotonic() - start
            if used > self.seconds or passed > wall:
                said = f"{used:.0f} s of computing" if used > self.seconds else "waiting"
                raise Stopped(f"no answer after {said}: does a loop never end?")

        try:
            wire.send(self.requests, self.token, message, wait)
            while True:
                answer = wire.receive(self.answers, self.token, wait)
                if answer is None:
                    raise Stopped(self._why())
                if "query" not in answer:
                    break
                wire.send(self.requests, self.token, self._query(answer, functions), wait)
            if "error" in answer:
                raise Stopped(explain(answer["error"]))
            return wire.unpack(answer.get("value"))
        except BrokenPipeError:
            raise Stopped(self._why()) from None
        except (wire.Garbled, RecursionError) as error:
            why = clean(str(error))
            raise Stopped(f"something else wrote into the grader's channel ({why})") from None

    def _query(self, answer: dict, functions: list[Callable]) -> dict:
        try:
            args = [wire.unpack(arg) for arg in answer["args"]]
            return {"value": wire.pack(functions[answer["query"]](*args))}
        except Wrong:
            raise
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _cpu(self) -> float:
        """CPU seconds of the process so far; 0 where the system does not say."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return 0.0

    def _why(self) -> str:
        code = self.sandbox.line(2.0)
        self.pid = self.pid if code is None else -self.pid  # negative: known to have ended
        if code is None:
            return "the file closed the grader's channel: return the answer, and nothing else"
        if int(code) == -signal.SIGXCPU:
            return "the file used too many CPU seconds in all: does a loop never end?"
        if int(code) < 0:
            name = signal.Signals(-int(code)).name
            return f"the process was ended by {name}: too much memory, or endless recursion?"
        return (
            f"the file ended its process (exit code {code}) before it answered: no os._exit here, "
            "return the answer"
        )

    def _end(self) -> None:
        for kill in (os.killpg, os.kill) if self.pid > 0 else (os.killpg,):
            try:
                kill(abs(self.pid), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        if self.pid > 0 and self.sandbox.line(10.0) is None:
            self.sandbox.close()  # no word from the server: start afresh


def explain(error: Any) -> str:
    """An error of the student's code as a sentence."""
    if not isinstance(error, dict):
        return f"the file sent {short(error)} in place of an answer"
    kind, text = clean(error.get("type", "")), clean(error.get("text", "")).split("\n")[0]
    line, code = error.get("line"), clean(error.get("code", ""))
    where = f" in line {line}, `{code}`" if line else ""
    if error.get("foreign"):
        return f"the function returned {text}: return a tensor, a number, a list or None"
    if kind == "MemoryError" or "allocate memory" in text or "not enough memory" in text:
        return f"more memory than the {MEMORY >> 20} MB allowed was asked for{where}"
    if kind == "SystemExit":
        return f"the file ended itself{where}: no sys.exit here, return the answer"
    if kind == "ModuleNotFoundError":
        return f"{text}{where}: there is torch and what comes with Python; write the rest yourself"
    return f"stopped{where} with {kind}: {text}"
