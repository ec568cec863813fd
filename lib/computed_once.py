"""What is computed once: tensors kept in the cache folder for later runs.

Second moments, their eigenvectors, anchors and the like take seconds to minutes, and depend on the
unedited model, a layer and a text alone. Each is one safetensors file that holds the label of what
it belongs to and a checksum. A file that does not fit is removed and made again, with one warning,
so that damage never changes an edit. Deleting the folder is always safe, and a folder that cannot
be written costs time only. What is small and takes long comes with the library for the packaged
models, in the same form. What is only remembered as long as a model is there is in `LM.once`.
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
    """One computed thing: two are equal where kind, label and key are.

    kind   folder of the file in the cache folder
    label  all that the tensors depend on but the key: model, tokenizer, texts, settings
    make   computes the tensors of several keys of this kind and label at once, each with its key
    key    which of these it is, such as a layer; None where there is only one
    """

    kind: str
    label: str
    make: Callable[[list[Any]], Iterable[tuple[Any, Tensors]]] = field(compare=False)
    key: Hashable = None

    @property
    def path(self) -> Path:
        """The file that comes with the library or is in the cache folder, named by the label."""
        name = f"{self.kind}/{text_hash(self._text)[:24]}.safetensors"
        shipped = SHIPPED / name
        return shipped if shipped.is_file() else cache_folder() / name

    def tensors(self) -> Tensors:
        """The tensors, read or made."""
        found = _UNWRITTEN.get(self) or (self._read() if self.is_there() else None)
        if found is None:
            ((_, found),) = self.make([self.key])
            self.write(found)
        return found

    def is_there(self) -> bool:
        """Whether the tensors are there, in a file that is not opened yet."""
        return self in _UNWRITTEN or os.path.lexists(self.path)

    def write(self, tensors: Tensors) -> None:
        """Keep the tensors in the file, or in memory where that is impossible."""
        # one key, because safetensors writes several in any order
        metadata = {"stored": f"{digest(self._text, tensors)} {self._text}"}
        try:
            with whole_file(self.path) as part:
                save_file({name: t.contiguous() for name, t in tensors.items()}, part, metadata)
        except (OSError, SafetensorError) as error:
            _UNWRITTEN[self] = tensors
            why = f"what was computed is not kept for the next run: {sentence(error)}"
            warnings.warn(why, CacheWarning, 3)

    @property
    def _text(self) -> str:
        key = "" if self.key is None else f" {self.key}"
        return f"format {FORMAT}, {self.kind}: {self.label}{key}"

    def _read(self) -> Tensors | None:
        """The tensors of the file; None where it is gone, or damaged and removed."""
        path = self.path
        LOG.info("%s: read from %s", self.kind, path)
        try:
            with safe_open(path, framework="pt") as file:
                checksum, _, label = (file.metadata() or {}).get("stored", "").partition(" ")
                # copies: what is read stays on the disk, and could be damaged after the check
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
            if label != self._text or checksum != digest(label, tensors):
                raise ArgumentError("label or checksum do not agree with it")
            return tensors
        except FileNotFoundError:  # another process has just removed it
            return None
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            why = f"{path} was damaged and is made again: {sentence(error)}"
            warnings.warn(why, CacheWarning, 3)
            with suppress(OSError):  # `write` says what is wrong with the folder
                path.unlink(missing_ok=True)
            return None


def make_missing(wanted: Iterable[CachedTensors]) -> None:
    """Make all that are not there, those of one kind and label in one call of their `make`.

    The kinds are made in the order in which they come. None is loaded. What is finished stays when
    a later one is stopped.
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
    """A text as a short part of a label."""
    return hashlib.sha256(text.encode()).hexdigest()


_UNWRITTEN: dict[CachedTensors, Tensors] = {}  # what could not be kept in a file
