"""Runs one answer in the reader's own process, giving a notebook the same verdict as the grader.

`Trial` replaces student_file.py's `Student`. Values pass in the wire's form, a call has the
sandbox's time limit, and output is limited, so that a check gives the same verdict in both. Nothing
is confined here: the code is the reader's own.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import linecache
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import torch

from lessons.grading import wire
from lessons.grading.exercise_source import OURS, Exercise
from lessons.grading.sandbox import SECONDS, WALL
from lessons.grading.student_file import (
    IN_ALL,
    MEMORY,
    PRINTED,
    STUB,
    TOTAL,
    endless,
    explained,
    garbled,
    in_place,
)
from lessons.marking import Limit, NotAttempted, Stopped, Wrong, clean

ENDING = 2.0  # seconds for ending a call that is out of time


class Trial:
    """One loaded text. `ask` calls its functions; `printed` is what it wrote to the screen.

    With `only`, the name of a function, that function is from the text, and the exercise's other
    functions are from the solution, even if the text calls them. Raises Stopped if the text does
    not load. `changed` and `broke` are as in `Student`; `stopped` means that a call had no result.
    """

    def __init__(self, exercise: Exercise, text: str, only: str | None = None) -> None:
        self.asked: list[tuple[str, tuple, Any]] = []  # function, its arguments, its result
        self.changed, self.broke, self.stopped, self.used = "", set[str](), False, 0.0
        self.seconds = exercise.option("SECONDS") or SECONDS
        self.largest = exercise.option("LARGEST") or wire.LARGEST
        self.name, self.text, self.log = exercise.path.name, text, Log()
        self.module = ModuleType("exercise")
        self.module.__file__ = self.name
        refused = OURS - ({"lib"} if exercise.option("LIB") else set())
        self.module.__dict__["__builtins__"] = {**vars(builtins), "__import__": without(refused)}
        self._limited(lambda: exec(compile(text, self.name, "exec"), self.module.__dict__))
        for other in {*exercise.blocks} - {only} if only else ():
            setattr(self.module, other, getattr(exercise.module, other))

    def ask(self, function: str, *args: Any) -> Any:
        """Return the result of the text's function for these arguments, as `Student.ask` does."""
        refusal: list[Wrong] = []

        def call() -> Any:
            torch.manual_seed(0)
            torch.set_num_threads(1)  # as in the sandbox; more threads would need more memory
            if not callable(called := getattr(self.module, function, None)):
                raise AttributeError(f"there is no function {function}")
            given = [wire.unpack(arg, lambda n: query(functions[n])) for arg in packed]
            with torch.enable_grad():
                value = wire.pack(called(*given))
            answer = wire.Answer(value=value, changed=wire.changed(called, given, packed))
            return wire.encoded(answer, self.largest)

        def query(function: Callable) -> Callable:
            def asked(*args: Any) -> Any:
                sent = [wire.pack(arg) for arg in args]
                wire.encoded(wire.Answer(query=0, args=sent), self.largest)
                try:
                    return wire.unpack(wire.pack(function(*map(wire.unpack, sent))))
                except Wrong as error:  # a verdict, even if the answer catches it
                    refusal.append(error)
                    raise
                except Exception as error:
                    raise ValueError(f"{type(error).__name__}: {error}") from None

            return asked

        functions: list[Callable] = []
        packed = [wire.pack(arg, functions) for arg in args]
        try:
            answer = self._limited(call, refusal)
            heard = msgspec.json.decode(answer, type=wire.Answer)
            found = wire.unpack(heard.value)
        except Stopped as error:
            self.stopped = True
            if isinstance(error, Limit):
                self.broke = {function, *error.functions}
            raise
        except (wire.Garbled, RecursionError) as error:
            raise garbled(error) from None
        if isinstance(found, str) and found.strip().lower() == STUB:
            raise NotAttempted
        if heard.changed:
            self.changed = self.changed or in_place(function, heard.changed)
        self.asked.append((function, args, found))
        return found

    def like(self, module: ModuleType) -> bool:
        """Return whether every call gave finite numbers in the form that `module` returns."""
        if self.stopped:
            return False
        try:
            return all(alike(found, getattr(module, one)(*args)) for one, args, found in self.asked)
        except Exception:
            return False

    @property
    def printed(self) -> str:
        """The beginning of what the text printed, without control characters."""
        return clean(self.log.getvalue()[:PRINTED]).strip()

    def _limited(self, call: Callable, refusal: list[Wrong] | None = None) -> Any:
        """Return the result of `call`; raise Stopped, with the grader's sentence, if it runs on.

        It runs in a separate thread, so that this thread can end it on every system.
        """
        found: list[Any] = []
        failed: list[wire.Failure] = []

        def run() -> None:
            try:
                found.append(call())
            except BaseException as error:
                failed.append(wire.failure(error, self.name))
            finally:
                done.set()

        lines = self.text.splitlines(keepends=True)
        # kept after the call: the notebook's editor file reads the source of functions from here
        linecache.cache[self.name] = (len(self.text), None, lines, self.name)
        before = sys.modules.get("exercise")
        sys.modules["exercise"] = self.module
        worker, done = threading.Thread(target=run, daemon=True), threading.Event()
        start, spent = time.monotonic(), time.process_time()
        wall, threads = WALL * self.seconds / SECONDS, torch.get_num_threads()
        try:
            with (
                torch.random.fork_rng(devices=[]),  # leaves the notebook's random numbers unchanged
                redirect_stdout(self.log),
                redirect_stderr(self.log),
                room(MEMORY),
            ):
                worker.start()
                while not done.wait(0.05):  # after an interrupt, `join` regards the thread as ended
                    used, passed = time.process_time() - spent, time.monotonic() - start
                    if used > self.seconds or passed > wall:
                        raise endless(used if used > self.seconds else None)
                    if self.used + used > max(TOTAL, 12 * self.seconds):
                        raise Limit(IN_ALL)
        finally:
            end(worker, done)
            torch.set_num_threads(threads)
            self.used += time.process_time() - spent
            sys.modules.pop("exercise")
            if before is not None:
                sys.modules["exercise"] = before
        if refusal:
            raise refusal[0]
        if failed:
            raise explained(failed[0])
        return found[0]


def alike(found: Any, wanted: Any) -> bool:
    """Return whether a result is finite and has the same shapes and parts as another."""
    if isinstance(wanted, torch.Tensor):
        same = isinstance(found, torch.Tensor) and found.shape == wanted.shape
        return same and bool(found.isfinite().all())
    if isinstance(wanted, Mapping):
        return (
            isinstance(found, Mapping)
            and found.keys() == wanted.keys()
            and all(alike(found[key], wanted[key]) for key in wanted)
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(wanted)
            and all(map(alike, found, wanted))
        )
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        return isinstance(found, int | float) and math.isfinite(found)
    return type(found) is type(wanted)


class Log(io.StringIO):
    """The beginning of a text's output, with the same limit as in the sandbox."""

    size = 0

    def write(self, text: str) -> int:
        self.size += len(text.encode(errors="replace"))  # bytes, as in a file
        if self.size > wire.FILE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        super().write(text[: max(PRINTED - self.tell(), 0)])
        return len(text)


@contextmanager
def room(memory: int) -> Iterator[None]:
    """On Linux, limit the process meanwhile to this many bytes more than it holds."""
    try:
        import resource  # only on Unix

        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = min([held + memory, *(one for one in before if one != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def without(refused: set[str]) -> Callable:
    """Python's `import` without these packages, which are missing in the sandbox, too."""

    def find(name: str, globals: Any = None, locals: Any = None, given: Any = (), level: int = 0):
        if not level and name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name.partition('.')[0]!r}")
        return __import__(name, globals, locals, given, level)

    return find


def end(worker: threading.Thread, done: threading.Event) -> None:
    """End a thread by raising SystemExit in it repeatedly, wherever it runs Python."""
    until = time.monotonic() + ENDING
    while not done.is_set() and time.monotonic() < until:
        name = ctypes.c_ulong(worker.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(name, ctypes.py_object(SystemExit))
        done.wait(0.05)
