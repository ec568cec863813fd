"""Results computed once: tensors kept in the cache folder for later runs.

Second moments, their eigenvectors, anchors and similar results take seconds to minutes, and depend
only on the unedited model, a layer and a text. Each is one safetensors file containing a label of
its inputs and a checksum. A file that does not match is removed and created again, with one
warning, so damage never changes an edit. Deleting the folder is always safe, and using a folder
that cannot be written only costs time. For the packaged models, small results with a long computing
time are shipped with the library, in the same form. For remembering results only during a model's
lifetime, see `LM.once`.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .atomic_files import cache_folder, digest, whole_file
from .cancellation import LOG
from .errors import ArgumentError, CacheWarning, sentence

FORMAT = 1  # of the files; part of every label
SHIPPED = Path(__file__).parent / "data/statistics"  # made by tests/benchmarks/ship_statistics.py
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class CachedTensors:
    """One computed result: two are equal if kind, label and key are.

    kind   folder of the file in the cache folder
    label  all inputs of the tensors except the key: model, tokenizer, texts, settings
    make   computes the tensors of several keys of this kind and label at once, each with its key
    key    which of these it is, such as a layer; None if there is only one
    """

    kind: str
    label: str
    make: Callable[[list[Any]], Iterable[tuple[Any, Tensors]]] = field(compare=False)
    key: Hashable = None

    @property
    def path(self) -> Path:
        """The file shipped with the library or in the cache folder, named by the label."""
        name = f"{self.kind}/{text_hash(self._text)[:24]}.safetensors"
        shipped = SHIPPED / name
        return shipped if shipped.is_file() else cache_folder() / name

    def tensors(self) -> Tensors:
        """Return the tensors, reading or computing them."""
        found = _UNWRITTEN.get(self) or (self._read() if self.is_there() else None)
        if found is None:
            ((_, found),) = self.make([self.key])
            self.write(found)
        return found

    def is_there(self) -> bool:
        """Return whether the tensors exist, in a file that has not been opened yet."""
        return self in _UNWRITTEN or os.path.lexists(self.path)

    def write(self, tensors: Tensors) -> None:
        """Store the tensors in the file, or in memory if that is impossible."""
        # a single key, because safetensors writes several in any order
        metadata = {"stored": f"{digest(self._text, tensors)} {self._text}"}
        try:
            with whole_file(self.path) as part:
                save_file({name: t.contiguous() for name, t in tensors.items()}, part, metadata)
        except (OSError, SafetensorError) as error:
            _UNWRITTEN[self] = tensors
            why = f"Computed results are not kept for the next run: {sentence(error)}"
            warnings.warn(why, CacheWarning, 3)

    @property
    def _text(self) -> str:
        key = "" if self.key is None else f" {self.key}"
        return f"format {FORMAT}, {self.kind}: {self.label}{key}"

    def _read(self) -> Tensors | None:
        """Return the tensors of the file; None if it is missing, or damaged and removed."""
        path = self.path
        LOG.info("%s: read from %s", self.kind, path)
        try:
            with safe_open(path, framework="pt") as file:
                checksum, _, label = (file.metadata() or {}).get("stored", "").partition(" ")
                # copies: data read from the disk stays there, and could be damaged after the check
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
            if label != self._text or checksum != digest(label, tensors):
                raise ArgumentError("its label or checksum does not match")
            return tensors
        except FileNotFoundError:  # another process has just removed it
            return None
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            why = f"{path} was damaged and will be created again: {sentence(error)}"
            warnings.warn(why, CacheWarning, 3)
            with suppress(OSError):  # `write` reports problems with the folder
                path.unlink(missing_ok=True)
            return None


def make_missing(wanted: Iterable[CachedTensors]) -> None:
    """Compute everything missing, using one call of `make` for each kind and label.

    The kinds are computed in the given order. Nothing is loaded. Stopping a later computation keeps
    the finished results.
    """
    missing: dict[tuple[str, str], dict[Any, CachedTensors]] = {}
    for one in wanted:
        if not one.is_there():
            missing.setdefault((one.kind, one.label), {})[one.key] = one
    for some in missing.values():
        first = next(iter(some.values()))
        for key, tensors in first.make(list(some)):
            some[key].write(tensors)


def text_hash(text: str) -> str:
    """Return a text as a short part of a label."""
    return hashlib.sha256(text.encode()).hexdigest()


_UNWRITTEN: dict[CachedTensors, Tensors] = {}  # results that could not be stored in a file
