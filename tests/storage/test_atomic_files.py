"""Files that are whole or absent."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lib.atomic_files import whole_file

ROOT = Path(__file__).parents[2]

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
    with pytest.raises(FileExistsError, match="f could not be written: it is not a plain file"):
        with whole_file(path) as part:
            save_file({"a": torch.zeros(1)}, part)
    assert path.lstat() == before and list(tmp_path.iterdir()) == [path]


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
