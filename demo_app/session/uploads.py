"""Reads the files that visitors bring: data files with facts, and patches.

A file comes from a stranger. Its size is bounded, also when unpacked, only the library's readers
open it, and a patch that names other files is refused.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import warnings
import zlib
from pathlib import Path

import lib

from .worker import Trouble

DATA = 5_000_000  # bytes of a data file, packed or not
UNPACKED = 40_000_000
PATCH = 64_000_000


def read_cases(path: str | Path, name: str, limit: int) -> list[lib.Case]:
    """The first cases of an uploaded data file. Raises Trouble in one sentence."""
    with tempfile.TemporaryDirectory() as folder:
        kept = _copied(path, name, Path(folder), DATA)
        _bounded(kept, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # rows without a new answer are left out
                return list(lib.read_cases(kept, limit=limit))
        except lib.FactError as error:
            raise Trouble(_named(error, kept, name)) from None


def read_patch(path: str | Path, name: str) -> lib.Patch:
    """An uploaded patch. Raises Trouble; refuses one that names files of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        kept = _copied(path, name, Path(folder), PATCH)
        try:
            patch = lib.Patch.load(kept)
        except lib.PatchError as error:
            raise Trouble(_named(error, kept, name)) from None
    if not patch:
        raise Trouble(f"{name} holds no edit.")
    for edit in patch.log:
        if edit.source is not None:
            raise Trouble(
                f"{name} names the data file that its facts stand in, and this page opens no file "
                "by its name: load it with lib.Patch.load on your own machine."
            )
        _harmless(edit.editor, edit.settings, name)
    return patch


def _harmless(editor: str, settings: dict, name: str) -> None:
    """Settings decide what is done when a list of edits is made again: none may be a path."""
    if editor not in lib.EDITORS:
        raise Trouble(f"{name} was made by '{editor}', which this page does not know.")
    for key in ("text", "network"):
        if settings.get(key) is not None:
            raise Trouble(f"{name} names a file in its setting '{key}', which is not opened here.")
    inner = settings.get("inner")
    if inner is not None:
        if not (isinstance(inner, tuple | list) and len(inner) == 2 and isinstance(inner[1], dict)):
            raise Trouble(f"{name} is damaged: its editor '{editor}' has no readable settings.")
        _harmless(inner[0], inner[1], name)


def _copied(path: str | Path, name: str, folder: Path, most: int) -> Path:
    """The upload under a name of ours: what the visitor called it decides nothing."""
    size = Path(path).stat().st_size
    if size > most:
        raise Trouble(
            f"{name} has {size / 1e6:.1f} MB; this page takes files up to {most / 1e6:.0f} MB."
        )
    kept = folder / "upload"
    shutil.copyfile(path, kept)
    return kept


def _bounded(path: Path, name: str) -> None:
    """Refuse a packed file that grows without bound."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return
    size = 0
    try:
        with gzip.open(path) as file:
            while block := file.read(1 << 20):
                size += len(block)
                if size > UNPACKED:
                    raise Trouble(f"{name} is larger than {UNPACKED / 1e6:.0f} MB when unpacked.")
    except (EOFError, OSError, zlib.error):
        raise Trouble(f"{name} is a damaged or incomplete gzip file.") from None


def _named(error: Exception, path: Path, name: str) -> str:
    """The library's sentence with the visitor's name for the file, and a full stop."""
    text = str(error).replace(str(path), name).replace(f"{path.name} ", f"{name} ")
    if not text.startswith(name):
        text = f"{text[:1].upper()}{text[1:]}"
    return f"{text.rstrip('.')}."
