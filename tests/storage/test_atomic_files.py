"""Files that are whole or absent, and a full disk is a sentence."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

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


def test_two_writers_at_once_do_not_take_each_other_s_files(tmp_path):
    path, failed = tmp_path / "f", []

    def write(name: str) -> None:
        try:
            for i in range(100):
                with whole_file(path) as part:
                    part.write_text(f"{name} {i}" * 99)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and [path.name for path in tmp_path.iterdir()] == ["f"]
    text = path.read_text()
    assert text == text[: len(text) // 99] * 99
