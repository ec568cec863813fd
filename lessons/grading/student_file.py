"""One student's file in its process: `ask` calls its functions, and a failure becomes a sentence.

The file itself runs in a worker that child.py forks. This side holds the pipes to it, limits its
time, and removes its folder.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lessons.grading import files, wire
from lessons.marking import Limit, NotAttempted, Stopped, Wrong, clean

LIBRARY = Path(__file__).parents[2] / "lib"
MEMORY = 1 << 30  # bytes beyond what torch holds
TOTAL = 60  # CPU seconds of one file: also ends a worker whose grader is gone
PRINTED = 2000  # characters of the student's own output that are shown
FILES, WRITTEN = 100, 64 << 20  # files in the own folder, and bytes in all of them
TEXT = 400  # characters of an error
FLOATS = " (the inputs are float64, so create your own tensors with dtype=torch.float64)"
ENDLESS = "does a loop never end?"  # how the messages about endless loops end
IN_ALL = f"the file used too many CPU seconds in total: {ENDLESS}"
STUB = "not attempted"


class Student(contextlib.AbstractContextManager["Student"]):
    """One loaded file. `ask` calls its functions; `printed` is its output.

    sandbox  the `Sandbox` that opened the file and forks its process
    changed  a sentence about an argument that a function has changed in place, or empty
    broke    functions that were running when a limit was exceeded
    """

    def __init__(
        self,
        sandbox: Any,
        source: str,
        name: str,
        seconds: float,
        library: bool,
        largest: int = wire.LARGEST,
    ) -> None:
        self.sandbox, self.name, self.seconds, self.ended = sandbox, name, seconds, False
        self.largest, self.changed, self.broke = largest, "", set[str]()
        self.folder = tempfile.TemporaryDirectory(prefix="graded-", ignore_cleanup_errors=True)
        self.token = secrets.token_bytes(wire.TOKEN)
        # without a name, so that the file can't put a link to another file in its place
        self.log = tempfile.TemporaryFile()
        read, self.requests = os.pipe()
        self.answers, write = os.pipe()
        os.set_blocking(self.requests, False)  # the file may never read our messages
        settings = {
            "token": self.token.hex(),
            "folder": self.folder.name,
            "name": name,
            "hidden": sandbox.hidden,
            "memory": MEMORY,
            "seconds": int(max(TOTAL, 12 * seconds)),
            "library": str(LIBRARY) if library else None,
            "layers": sandbox.layers,
            "largest": largest,
        }
        pipes = [read, write, self.log.fileno()]
        socket.send_fds(sandbox.socket, [json.dumps(settings).encode()], pipes)
        for pipe in pipes[:2]:
            os.close(pipe)
        if (pid := sandbox.line(10.0)) is None:
            raise OSError("the process for student code does not answer")
        self.pid = int(pid)
        try:
            self._talk(wire.Task(source=source), [])
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, function: str, *args: Any) -> Any:
        """Return the result of the student's function for these arguments.

        Callables among them are called here when the student calls them there. Raises NotAttempted
        for the stub, and Stopped with a message if there is no result.
        """
        functions: list[Callable] = []
        packed = [wire.pack(arg, functions) for arg in args]
        try:
            found = self._talk(wire.Task(call=function, args=packed), functions)
        except Limit as error:
            self.broke = {function, *error.functions}
            raise
        if isinstance(found, str) and found.strip().lower() == STUB:
            raise NotAttempted
        return found

    @property
    def printed(self) -> str:
        """The beginning of what the file printed, without control characters."""
        found = os.pread(self.log.fileno(), 4 * PRINTED, 0).decode(errors="replace")
        return clean(found[:PRINTED]).strip()

    def close(self) -> None:
        """End the process and remove its folder."""
        if not self.ended:
            self.ended = True
            os.close(self.requests)
            os.close(self.answers)
            self._end()
            self.log.close()
            with contextlib.suppress(RecursionError):  # too deeply nested: left to the system
                self.folder.cleanup()

    def _talk(self, message: wire.Task, functions: list[Callable]) -> Any:
        start, spent = time.monotonic(), self._cpu()
        wall = self.sandbox.wall * self.seconds / self.sandbox.seconds

        def wait() -> None:
            used, passed = self._cpu() - spent, time.monotonic() - start
            if used > self.seconds or passed > wall:
                raise endless(used if used > self.seconds else None)
            with contextlib.suppress(OSError):  # the folder may be removed meanwhile
                if files.fills(self.folder.name, FILES, WRITTEN):
                    written = f"more than {FILES} files or {WRITTEN >> 20} MB were written"
                    raise Limit(written)

        try:
            wire.send(self.requests, self.token, message, wait)
            while True:
                answer = wire.receive(self.answers, self.token, wire.Answer, wait, self.largest)
                if answer is None:
                    raise self._why()
                if answer.query is None:
                    break
                wire.send(self.requests, self.token, self._query(answer, functions), wait)
            if answer.error is not None:
                if answer.error.type == wire.NOT_CLOSED:
                    raise OSError(f"the sandbox could not be closed ({clean(answer.error.text)})")
                raise explained(answer.error)
            if answer.changed and isinstance(message.call, str):
                self.changed = self.changed or in_place(message.call, answer.changed)
            return wire.unpack(answer.value)
        except BrokenPipeError:
            raise self._why() from None
        except (wire.Garbled, RecursionError) as error:
            raise garbled(error) from None

    def _query(self, answer: wire.Answer, functions: list[Callable]) -> wire.Task:
        try:
            args = [wire.unpack(arg) for arg in answer.args]
            function = functions[answer.query if answer.query >= 0 else len(functions)]
            return wire.Task(value=wire.pack(function(*args)))
        except Wrong:
            raise
        except Exception as error:
            return wire.Task(error=f"{type(error).__name__}: {error}")

    def _cpu(self) -> float:
        """CPU seconds of the process so far; 0 if the system doesn't report them."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return 0.0

    def _why(self) -> Stopped:
        code = self.sandbox.line(2.0)
        self.pid = self.pid if code is None else -self.pid  # negative: has ended
        if code is None:
            return Stopped("the file closed the grader's channel. Let it only return the answer.")
        if int(code) == -signal.SIGXCPU:
            return Limit(IN_ALL)
        if int(code) < 0:
            name = signal.Signals(-int(code)).name
            return Limit(f"the process was ended by {name}: too much memory, or endless recursion?")
        return Stopped(
            f"the file ended its process (exit code {code}) before it answered. Let the function "
            "return its answer."
        )

    def _end(self) -> None:
        for kill in (os.killpg, os.kill) if self.pid > 0 else (os.killpg,):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(abs(self.pid), signal.SIGKILL)
        if self.pid > 0 and self.sandbox.line(10.0) is None:
            self.sandbox.close()  # the server doesn't answer: start a new one


def in_place(function: str, name: str) -> str:
    """The message about an argument that a function has changed in place."""
    said = f"{function} changes its argument {clean(name[:40])} in place, but its caller still"
    return f"{said} needs it. Work on a copy, or write x = x + … instead of x += …"


def endless(seconds: float | None) -> Limit:
    """The message about a call that used too many CPU seconds, or waited for too long (None)."""
    said = "waiting" if seconds is None else f"{seconds:.0f} s of computing"
    return Limit(f"no answer after {said}: {ENDLESS}")


def garbled(error: Exception) -> Stopped:
    """The message about bytes, or a value, that are not an answer."""
    return Stopped(f"something else wrote into the grader's channel ({clean(str(error))})")


def explained(error: wire.Failure) -> Stopped:
    """An error in the student's code, with a message; a Limit if the code exceeded one."""
    kind, text, code = (clean(x[:TEXT]) for x in (error.type, error.text, error.code))
    text = text.split("\n")[0]
    where = f" in line {error.line}, `{code}`" if error.line else ""
    if error.foreign:
        said = f"the function returned {text}. Return a tensor, a number, a list, or None."
    elif kind == "MemoryError" or "allocate memory" in text or "not enough memory" in text:
        said = f"more memory than the {MEMORY >> 20} MB allowed was requested{where}"
        return Limit(said, error.functions)
    elif kind == "OSError" and f"[Errno {errno.EFBIG}]" in text:
        said = f"more than {wire.FILE >> 20} MB were printed or written into a single file{where}"
        return Limit(said, error.functions)
    elif kind == "SystemExit":
        said = f"the file ended itself{where}. Let the function return its answer."
    elif kind == "ModuleNotFoundError":
        said = (
            f"{text}{where}. You can use torch and Python's standard library; write the rest "
            "yourself."
        )
    else:
        said = f"stopped{where} with {kind}: {text}{FLOATS if 'dtype' in text else ''}"
    return Stopped(said)
