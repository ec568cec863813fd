"""One editor of the leaderboard: facts go in, patches come out.

A student's editor runs in a separate process with limited time and memory, in the sandbox of the
exercises (confinement.py): this side determines what it may read and gives it a folder of limited
size to write in. The process runs only while it has a request to answer, and leaderboard_entrant.py
is the program that runs in it. An editor of the library is one of the scorer's own objects, since a
separate process would load torch and the model again.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
import torch
from huggingface_hub.constants import HF_HUB_CACHE

import lib
from lessons.grading import confinement, files
from lessons.marking import clean
from lib.atomic_files import cache_folder

LOAD = 300.0  # seconds to load torch, model and file
ROOT = Path(__file__).parents[2]  # the folder that holds `lib` and `lessons`
PROGRAM = "lessons.grading.leaderboard_entrant"
KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
ANSWER, TEXT = 1 << 16, 300  # bytes of an answer, characters of an error
PATCH, HEADER = 256 << 20, 1 << 20  # bytes of a student's patch, and of its texts
WRITTEN, FILES = 4 << 30, 10_000  # bytes and files of what a student's editor writes and prints
DEEPEST = 50  # nested folders
LOOK = 0.2  # seconds between two checks of its folder


class Failed(Exception):
    """An edit that failed; the text gives the reason. `over`: all later edits will fail as well."""

    def __init__(self, why: str, over: bool = False) -> None:
        super().__init__(why)
        self.over = over


class Reply(msgspec.Struct, forbid_unknown_fields=True):
    """An answer of the process: the request is done, or an error in a sentence."""

    error: str | None = None


class Ours:
    """An editor of the library, which the scorer trusts; it is used as an `Entry` is."""

    def __init__(self, editor: lib.Editor) -> None:
        self.editor, self.last = editor, lib.EMPTY

    def edit(self, facts: list[lib.Fact], on: str = "nothing") -> float:
        """Seconds of one edit, on "nothing" or on the "last" one."""
        start, after = time.perf_counter(), self.last if on == "last" else lib.EMPTY
        with warnings.catch_warnings(action="ignore"):
            self.last = self.editor.edit(facts, after=after, check=False)
        return time.perf_counter() - start

    def made(self) -> lib.Patch:
        """The patch as it is now."""
        return self.last


class Entry(contextlib.AbstractContextManager["Entry"]):
    """A student's running editor: `with Entry(…) as entry: seconds = entry.edit(facts)`.

    source    the name of its file
    model     folder or hub id, None for the embedded model
    seconds   limit of one edit
    memory    bytes that its process may use, None for no limit
    text      the file's text
    hidden    hand-ins, which no file may read
    graphics  whether the process may use NVIDIA's cards
    """

    def __init__(
        self,
        source: str,
        model: str | None,
        seconds: float,
        memory: int | None = None,
        *,
        text: str,
        hidden: Sequence[Path] = (),
        graphics: bool = False,
    ) -> None:
        if why := confinement.no_process():
            raise OSError(why)
        self.seconds, self.over = seconds, ""
        self.folder = tempfile.TemporaryDirectory(prefix="leaderboard-", ignore_cleanup_errors=True)
        self.patch = Path(self.folder.name) / "edit.patch"
        # without a name, so that the file can't put a link to another file in its place
        self.log = tempfile.TemporaryFile()
        model = str(Path(model).resolve()) if model and Path(model).is_dir() else model
        asked = {
            "source": source,
            "model": model,
            "memory": memory,
            "text": text,
            "folder": self.folder.name,
            "graphics": graphics,
            "hidden": [str(Path(place).resolve()) for place in hidden],
            "threads": torch.get_num_threads(),
            "read": [str(cache_folder()), *([] if model is None else [place_of(model)])],
        }
        # The sandbox requires a single thread, but libraries start threads when they are imported.
        # Once it is closed, the process uses as many threads as this one.
        env = {k: v for k, v in os.environ.items() if k in KEPT}
        env |= self._home() | confinement.ONE_THREAD
        before = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.socket, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            cwd=self.folder.name,
            env=env | {"PYTHONPATH": os.pathsep.join(before)},
        )
        theirs.close()
        try:
            self._ask(asked, LOAD)
        except Failed as error:
            self.over = str(error)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and everything that it started, and remove its folder."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.socket.close()
        self.log.close()
        with contextlib.suppress(RecursionError):  # too deeply nested: left to the system
            self.folder.cleanup()

    def _home(self) -> dict[str, str]:
        """Variables that make the folder the entrant's home, with a link to what is cached.

        The entrant reads the user's cache; new results stay in its memory.
        """
        own = Path(self.folder.name) / "cache"
        own.mkdir()
        (own / cache_folder().name).symlink_to(cache_folder().resolve())
        places = dict.fromkeys(("HOME", "TMPDIR", "HF_HOME"), self.folder.name)
        names = {"USER": "student", "LOGNAME": "student", "HF_HUB_OFFLINE": "1"}
        return places | names | {"XDG_CACHE_HOME": str(own), "HF_HUB_CACHE": HF_HUB_CACHE}

    def edit(self, facts: list[lib.Fact], on: str = "nothing") -> float:
        """Seconds of one edit, on "nothing" or on the "last" one. Raises Failed."""
        start = time.perf_counter()
        self._ask({"do": "edit", "facts": [asdict(f) for f in facts], "on": on}, self.seconds)
        return time.perf_counter() - start

    def made(self) -> lib.Patch:
        """The patch as it is now, read from a file: numbers, no code. Raises Failed."""
        self._ask({"do": "save", "to": str(self.patch)}, LOAD)
        try:
            told = self.patch.lstat()
            if not stat.S_ISREG(told.st_mode):
                raise lib.errors.PatchError("it is not a plain file")
            with self.patch.open("rb") as file:
                header = int.from_bytes(file.read(8), "little")
            if told.st_size > PATCH or header > HEADER:
                raise lib.errors.PatchError(
                    f"it can have {PATCH >> 20} MB, {HEADER >> 20} of them texts and settings"
                )
            return lib.Patch.load(self.patch)
        except (lib.errors.PatchError, OSError) as error:
            raise Failed(f"its patch cannot be read: {error}") from None

    def _ask(self, message: dict, seconds: float) -> None:
        if self.over:
            raise Failed(self.over, over=True)
        self._signal(signal.SIGCONT)
        try:
            self.socket.settimeout(seconds)
            self.socket.sendall(json.dumps(message).encode() + b"\n")
            found = self._line(time.monotonic() + seconds)
            answer = msgspec.json.decode(found, type=Reply)
            self._signal(signal.SIGSTOP)  # nothing is written between two checks
            self._look()
        except TimeoutError:
            self.over = f"no answer after {seconds:.0f} s"
        except Failed as error:
            self.over = str(error)
        except (OSError, ValueError):
            self.over = f"the process ended ({self._ended()})"
        else:
            if answer.error is not None:
                raise Failed(clean(answer.error))
            return
        self._signal(signal.SIGKILL)
        raise Failed(self.over, over=True)

    def _line(self, until: float) -> bytes:
        found = b""
        while not found.endswith(b"\n"):
            left = until - time.monotonic()
            if not select.select([self.socket], [], [], max(0.0, min(LOOK, left)))[0]:
                if left <= 0:
                    raise TimeoutError
                self._look()
                continue
            if not (piece := self.socket.recv(1 << 12)):
                raise OSError("closed")
            found += piece
            if len(found) > ANSWER:
                raise OSError("no answer")
        return found

    def _look(self) -> None:
        """Raise Failed if the editor has written or printed more than allowed.

        Raises OSError if a folder cannot be listed, which would hide its contents.
        """
        logged = os.fstat(self.log.fileno()).st_size
        place, left = self.folder.name, WRITTEN - logged
        if left < 0 or files.fills(place, FILES, left, DEEPEST):
            raise Failed(
                f"more than {WRITTEN >> 30} GB, {FILES:,} files, or {DEEPEST} nested folders were "
                "written",
                over=True,
            )

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def _ended(self) -> str:
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "its channel is closed"
        what = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        end = max(0, os.fstat(self.log.fileno()).st_size - 4000)
        text = os.pread(self.log.fileno(), 4000, end).decode(errors="replace")
        lines = clean(text).strip().splitlines()
        return f"{what}: {lines[-1][:200]}" if lines else what


def sentence(error: BaseException) -> str:
    """An error on one line, without control characters, since it may quote a patch."""
    text = clean(error).strip().split("\n")[0][:TEXT]
    kind = "" if isinstance(error, Failed) else type(error).__name__
    return ": ".join(filter(None, (kind, text)))


def place_of(model: str) -> str:
    """The folder containing a model: the given folder, or the hub cache's folder for a hub id."""
    if Path(model).is_dir():
        return model
    return str(Path(HF_HUB_CACHE) / f"models--{model.replace('/', '--')}")
