"""Reads the patches that visitors bring.

A file comes from a stranger. Its size is bounded, only the library's reader opens it, and a patch
that names other files is refused. The tensors of a patch are not packed, but for the bits that say
where a side memory or a fingerprint is, and its header is text that objects are made of. Both are
bounded apart, so that no upload takes a large multiple of its bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

import lib

from .worker import Trouble

PATCH = 64_000_000
HEADER = 8_000_000  # bytes of a patch's header, room for the facts of some 40,000 edits
BITS = 4_000_000  # bytes of a patch's packed bits, of each of which 8 float32 numbers are made


def read_patch(path: str | Path, name: str) -> lib.Patch:
    """An uploaded patch. Raises Trouble; refuses one that names files of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        kept = _copied(path, name, Path(folder))
        _small(kept, name)
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


def _small(path: Path, name: str) -> None:
    """Refuse a patch whose header or packed bits are large; what else is wrong `load` says."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")  # how every safetensors file begins
    if HEADER < size <= path.stat().st_size:
        raise Trouble(
            f"{name} has a header of {size / 1e6:.0f} MB; this page takes headers up to "
            f"{HEADER / 1e6:.0f} MB."
        )
    try:
        with safe_open(path, framework="pt") as file:
            parts = [file.get_slice(key) for key in file.keys()]
            bits = sum(prod(p.get_shape()) for p in parts if p.get_dtype() == "U8")
    except Exception:
        return
    if bits > BITS:
        raise Trouble(
            f"{name} holds {bits / 1e6:.0f} MB of packed bits; this page takes up to "
            f"{BITS / 1e6:.0f} MB."
        )


def _harmless(editor: Any, settings: Mapping[str, Any], name: str) -> None:
    """Settings decide what is done when a list of edits is made again: none may be a path."""
    if not isinstance(editor, str) or editor not in lib.EDITORS:
        raise Trouble(f"{name} was made by '{editor}', which this page does not know.")
    for key in ("text", "network"):
        if settings.get(key) is not None:
            raise Trouble(f"{name} names a file in its setting '{key}', which is not opened here.")
    inner = settings.get("inner")
    if inner is not None:
        if not (
            isinstance(inner, tuple | list) and len(inner) == 2 and isinstance(inner[1], Mapping)
        ):
            raise Trouble(f"{name} is damaged: its editor '{editor}' has no readable settings.")
        _harmless(inner[0], inner[1], name)


def _copied(path: str | Path, name: str, folder: Path) -> Path:
    """The upload under a name of ours: what the visitor called it decides nothing."""
    size = Path(path).stat().st_size
    if size > PATCH:
        raise Trouble(
            f"{name} has {size / 1e6:.1f} MB; this page takes files up to {PATCH / 1e6:.0f} MB."
        )
    kept = folder / "upload"
    shutil.copyfile(path, kept)
    return kept


def _named(error: Exception, path: Path, name: str) -> str:
    """The library's sentence with the visitor's name for the file, and a full stop."""
    text = str(error).replace(str(path), name).replace(f"{path.name} ", f"{name} ")
    if not text.startswith(name):
        text = f"{text[:1].upper()}{text[1:]}"
    return f"{text.rstrip('.')}."
