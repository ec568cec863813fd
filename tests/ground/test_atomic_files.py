"""Files that are whole or absent: a full disk is a sentence, what the killed leave is removed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from lib import atomic_files
from lib.atomic_files import whole_file, whole_folder
from lib.errors import WriteError

ROOT = Path(__file__).parents[2]
SMALL = """
import resource, sys
from pathlib import Path
import torch
import lib
from lib.workbench.cli.main import main
from lib.lifelong.stream import stream
from tests.support import tiny
from tests.support.cases import small_cases
from tests.support.streams import Noise

lm, folder = tiny.model("llama"), Path(sys.argv[1])
patch = Noise(lm).edit([small_cases()[0].fact])
patch.save(folder / "old.safetensors")
lib.workbench.cli.options.load = lambda *_: lm
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
def said(what, call):
    try:
        call()
        print(what, "was written")
    except OSError as error:
        print(what, type(error).__name__, error.errno, str(error))
said("patch", lambda: patch.save(folder / "old.safetensors"))
said("adapter", lambda: lib.workbench.export_peft(lm, patch, folder / "adapter"))
said("model", lambda: lib.workbench.export_model(lm, patch, folder / "model"))
said("cache", lambda: lib.second_moment(lm, [1], tokens=300))
said("journal", lambda: stream(lm, Noise(lm), small_cases(), journal=folder / "run").finish())
words = ["--patch", str(folder / "old.safetensors"), "--to", str(folder / "x"), "--as", "model"]
print("code", main(["export", *words]))
words = ["--subject", "cat", "--prompt", "I saw a {}", "--target", "xy", "--editor", "ft_m"]
words += ["--set", "layer=1", "--set", "epochs=1", "--save", str(folder / "y.safetensors")]
print("code", main(["edit", *words]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs resource limits")
def test_without_room_everything_that_writes_says_so(tmp_path):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "ignore", "-c", SMALL, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    for what in ("patch", "adapter", "model", "journal"):
        (line,) = [line for line in lines if line.startswith(f"{what} ")]
        assert line.startswith(f"{what} WriteError {errno.EFBIG} {tmp_path}"), line
        assert line.endswith("could not be written: the file would be larger than allowed")
    assert "cache was written" in lines  # what is only computed once is computed again
    assert [line for line in lines if line.startswith("code")] == ["code 1", "code 1"]
    said = done.stderr.strip().splitlines()
    assert len(said) == 2 and all("could not be written" in line for line in said), said
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["cache", "old.safetensors", "run"]
    assert not [path for path in tmp_path.rglob("*.tmp")]
    import lib

    assert lib.Patch.load(tmp_path / "old.safetensors").log  # the old file is as it was


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only file system"),
        (
            SafetensorError(
                'I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }'
            ),
            "no space left on device",
        ),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            "no space left on device",
        ),
        # as tokenizers say it
        (Exception("No space left on device (os error 28)"), "no space left on device"),
    ],
)
def test_the_system_s_refusal_is_a_sentence_with_its_cause(tmp_path, error, words):
    (tmp_path / "f").write_text("before")
    for make, name in ((whole_file, "f"), (whole_folder, "d")):
        with pytest.raises(WriteError) as found, make(tmp_path / name):
            raise error
        assert str(found.value) == f"{tmp_path / name} could not be written: {words}"
        assert found.value.__cause__ is error and found.value.errno
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "before"


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), InterruptedError(), OSError("of whoever fills it"), ValueError("no")]
    + [Exception("no number"), RuntimeError("os error 28")],
)
def test_other_errors_leave_as_they_are(tmp_path, error):
    for make in (whole_file, whole_folder):
        with pytest.raises(type(error)) as found, make(tmp_path / "f"):
            raise error
        assert found.value is error and not list(tmp_path.iterdir())


MAKE = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to("/dev/full"),
    "link to a file": lambda path: path.symlink_to(__file__),
    "looping link": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("what", MAKE)
def test_only_plain_files_are_replaced(tmp_path, what):
    path = tmp_path / "f"
    MAKE[what](path)
    before = path.lstat()
    with pytest.raises(FileExistsError, match="f could not be written: it is no plain file"):
        with whole_file(path) as part:
            save_file({"a": torch.zeros(1)}, part)
    assert path.lstat() == before and list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match="could not be written: (file exists|not a directory)"):
        with whole_file(tmp_path / "file" / "f"):
            pass


# ---------------------------------------------------------------- what the killed leave


def ended() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def leftover(path: Path, process: int, folder: bool) -> Path:
    prefix = atomic_files._prefix(path).replace(f"-{os.getpid()}-", f"-{process}-")
    left = path.with_name(f"{prefix}7.tmp")
    if folder:
        left.mkdir()
        (left / "model.safetensors").write_text("half")
    else:
        left.write_text("half")
    return left


@pytest.mark.parametrize("make", [whole_file, whole_folder])
def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path, make):
    folder, path = make is whole_folder, tmp_path / "name.x"
    dead = leftover(path, ended(), folder)
    living = leftover(path, os.getppid(), folder)
    other = leftover(tmp_path / "name.x.y", ended(), folder)  # of another target
    foreign = living.with_name(f".name.x.{'0' * 8}-{ended()}-7.tmp")  # of another machine
    foreign.write_text("half")
    mine = tmp_path / ".name.x.txt"
    mine.write_text("mine")
    with make(path) as work:
        if not folder:
            work.write_text("whole")
    assert not dead.exists() and path.exists()
    assert living.exists() and other.exists() and foreign.exists() and mine.exists()
    # whoever has not written for a day is not writing any more, but for the living
    long_ago = time.time() - atomic_files.ABANDONED - 60
    earlier = tmp_path / ".name.x.ab_12xyz.tmp"  # as an earlier version named it
    earlier.mkdir()
    for left in (living, foreign, earlier):
        os.utime(left, (long_ago, long_ago))
    path.rmdir() if folder else None
    with make(path) as work:
        if not folder:
            work.write_text("whole")
    assert not foreign.exists() and not earlier.exists()
    assert living.exists() and other.exists() and mine.exists()


@pytest.mark.parametrize("make", [whole_file, whole_folder])
def test_a_clock_that_jumps_takes_nobody_s_work_away(tmp_path, monkeypatch, make):
    """Neither that of a long writer here, nor that of one on another machine."""
    path = tmp_path / "name.x"
    foreign = tmp_path / f".name.x.{'0' * 8}-{ended()}-7.tmp"
    foreign.write_text("half")
    with make(path) as work:
        if make is whole_file:
            work.write_text("the first")
        long_ago = time.time() - 10 * atomic_files.ABANDONED
        os.utime(work.parent, (long_ago, long_ago))  # nothing was made in it for days
        now = time.time
        monkeypatch.setattr("time.time", lambda: now() + 2 * atomic_files.ABANDONED)
        with whole_file(path) if make is whole_file else whole_folder(path) as second:
            if make is whole_file:
                second.write_text("the second")
        assert work.exists() and foreign.exists()


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(KeyError), whole_file(path) as part:
        part.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    with whole_file(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_writers_at_once_do_not_take_each_other_s_files(tmp_path):
    """Threads here, and two processes: each writes the same target many times."""
    path, failed = tmp_path / "f", []

    def write(name: str) -> None:
        try:
            for i in range(100):
                with whole_file(path) as part:
                    part.write_text(f"{name} {i}" * 99)
        except BaseException as error:
            failed.append(error)

    others = []
    for name in ("a", "b"):
        child = os.fork()
        if not child:
            write(name)
            os._exit(len(failed))
        others.append(child)
    threads = [threading.Thread(target=write, args=(name,)) for name in ("c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and [os.waitpid(other, 0)[1] for other in others] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    text = path.read_text()
    assert text == text[: len(text) // 99] * 99
