"""Nothing reaches a user of the command line as a traceback: errors of dependencies are sentences.

ERRORS lists what the dependencies raise where files are read and written.
"""

from __future__ import annotations

import ast
import builtins
import errno
import gzip
import io
import json
import re
import sys
import tomllib
import zipfile
import zlib
from pathlib import Path

import filelock
import msgspec
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError

import lib
from lib.errors import EXPECTED
from lib.workbench.cli.main import main

ERRORS: dict[str, BaseException] = {
    "safetensors": SafetensorError("Error while deserializing header: header too large"),
    "safetensors, disk full": SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    ),
    "json": json.JSONDecodeError("Expecting value", "[", 1),
    "decoding": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "encoding": UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    "recursion": RecursionError("maximum recursion depth exceeded"),
    "memory": MemoryError(),
    "overflow": OverflowError("int too large to convert to float"),
    "disk full": OSError(errno.ENOSPC, "No space left on device"),
    "too large": OSError(errno.EFBIG, "File too large", "a/file"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded", "a/file"),
    "read only": OSError(errno.EROFS, "Read-only file system", "a/file"),
    "not allowed": PermissionError(errno.EACCES, "Permission denied", "a/file"),
    "a folder": IsADirectoryError(errno.EISDIR, "Is a directory", "a/file"),
    "not there": FileNotFoundError(errno.ENOENT, "No such file or directory", "a/file"),
    "a broken disk": OSError(errno.EIO, "Input/output error", "a/file"),
    "a schema": msgspec.ValidationError("Expected `int`, got `str` - at `$.edits`"),
    "msgspec": msgspec.DecodeError("JSON is malformed: invalid character (byte 0)"),
    "toml": tomllib.TOMLDecodeError("Invalid statement (at line 1, column 1)"),
    "an empty table": pd.errors.EmptyDataError("No columns to parse from file"),
    "a table": pd.errors.ParserError("Error tokenizing data. C error: EOF inside string"),
    "gzip": gzip.BadGzipFile("Not a gzipped file (b'ab')"),
    "an early end": EOFError("Compressed file ended before the end-of-stream marker was reached"),
    "zlib": zlib.error("Error -3 while decompressing data: invalid distance too far back"),
    "zip": zipfile.BadZipFile("File is not a zip file"),
    "torch": RuntimeError("Error(s) in loading state_dict for X:\n\tsize mismatch for a.weight\n"),
    "the card's memory": torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "linear algebra": torch.linalg.LinAlgError("linalg.solve: The solver failed"),
    "a lock": filelock.Timeout("a.lock"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_of_a_dependency_ends_a_command_in_a_sentence(kind, monkeypatch, capsys):
    def fail(*_, **__):
        raise ERRORS[kind]

    monkeypatch.setattr("lib.workbench.cli.commands.packaged_model", fail)
    assert main(["fetch"]) in (1, 2)
    said = capsys.readouterr().err
    assert re.fullmatch(r"\S.* fetch: \S.{15,}[^:]\n", said) and "Errno" not in said


def test_a_mistake_is_no_expected_error():
    for error in (KeyError("x"), TypeError("x"), AttributeError("x"), AssertionError("x")):
        assert not isinstance(error, EXPECTED)  # mistakes in the library stay tracebacks


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "no space left on device"),
        (MemoryError(), 1, "There is not enough memory for this"),
        (
            FileNotFoundError(errno.ENOENT, "x", "a/file"),
            2,
            "'a/file' cannot be used: no such file",
        ),
        (OSError(errno.ENAMETOOLONG, "x", "1\n\ud800" * 5000), 2, "cannot be used: file name too"),
        (ValueError("the prompt is\nempty"), 2, "the prompt is empty"),
        (ValueError("half \ud800"), 2, "half \\ud800"),
        (ValueError(), 2, "Something went wrong, but only the kind of error is known: ValueError"),
    ],
)
def test_exit_codes_tell_the_machine_from_the_input(monkeypatch, capsys, error, code, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("lib.workbench.cli.commands.packaged_model", fail)
    assert main(["fetch"]) == code
    found = capsys.readouterr().err
    assert said in found and found.count("\n") == 1 and len(found) < 1200
    found.encode("utf-8")


def test_a_mistake_in_the_library_is_a_traceback(monkeypatch):
    def fail(*_, **__):
        raise KeyError("layer")

    monkeypatch.setattr("lib.workbench.cli.commands.packaged_model", fail)
    with pytest.raises(KeyError):
        main(["fetch"])


def test_a_letter_that_no_terminal_can_show_is_replaced(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding="ascii"))
    monkeypatch.setattr("lib.workbench.cli.commands.packaged_model", lambda *_, **__: "東")
    assert main(["fetch"]) == 0
    sys.stdout.flush()
    assert shown.getvalue() == b"?\n"


def test_errors_that_docstrings_name_can_be_caught_by_that_name():
    named = re.compile(r"\b[A-Z]\w*(?:Error|Warning)\b")
    for path in sorted(Path(lib.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for name in named.findall(ast.get_docstring(node) or ""):
                    assert hasattr(lib.errors, name) or hasattr(builtins, name), (path, name)
