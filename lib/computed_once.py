"""What is computed once: tensors kept in the cache folder for later runs, and values in memory.

Second moments, their eigenvectors, anchors and the like take seconds to minutes, and depend on the
unedited model, a layer and a text alone. Each is one safetensors file that holds the label of what
it belongs to and a checksum. A file that does not fit is removed and made again, with one warning,
so that damage never changes an edit. Deleting the folder is always safe, and a folder that cannot
be written costs time only. What is small and takes long comes with the library for the packaged
models, in the same form.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .atomic_files import cache_folder, digest, whole_file
from .cancellation import LOG
from .errors import ArgumentError, CacheWarning, sentence

FORMAT = 1  # of the files; part of every label
SHIPPED = Path(__file__).parent / "data/statistics"  # made by tests/benchmarks/ship_statistics.py
SHARE = 4  # what is remembered takes at most this part of the machine's memory, a quarter
Tensors = dict[str, Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
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
        found = _recall(self) or (self._read() if self.is_there() else None)
        if found is None:
            ((_, found),) = self.make([self.key])
            self.write(found)
        return found

    def is_there(self) -> bool:
        """Whether the tensors are in memory or in a file, which is not opened yet."""
        try:
            return _recall(self) is not None or os.path.lexists(self.path)
        except RuntimeError:  # nobody knows a home folder
            return False

    def write(self, tensors: Tensors) -> None:
        """Keep the tensors in the file, or in memory where that is impossible."""
        # one key, because safetensors writes several in any order
        metadata = {"stored": f"{digest(self._text, tensors)} {self._text}"}
        try:
            with whole_file(self.path) as part:
                save_file({name: t.contiguous() for name, t in tensors.items()}, part, metadata)
        except (OSError, RuntimeError) as error:
            _remember(self, tensors)
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
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for ever
                raise ArgumentError("it is no file")
            with safe_open(path, framework="pt") as file:
                checksum, _, label = (file.metadata() or {}).get("stored", "").partition(" ")
                if label != self._text:
                    raise ArgumentError("it belongs to something else")
                # copies: what is read stays on the disk, and could be damaged after the check
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
            if checksum != digest(self._text, tensors):
                raise ArgumentError("its content does not agree with its checksum")
            return tensors
        except FileNotFoundError:  # another process has just removed it
            return None
        except MemoryError:
            raise
        except Exception as error:  # whatever a damaged file makes of the reader
            why = f"{path} was damaged and is made again: {sentence(error)}"
            warnings.warn(why, CacheWarning, 3)
            with suppress(OSError):  # `write` says what is wrong with the folder
                path.unlink(missing_ok=True)
            return None


def make_missing(wanted: Iterable[Stored]) -> None:
    """Make all that are not there, those of one kind and label in one call of their `make`.

    The kinds are made in the order in which they come. None is loaded. What is finished stays when
    a later one is stopped.
    """
    missing: dict[tuple[str, str], dict[Any, Stored]] = {}
    for one in wanted:
        if not one.is_there():
            missing.setdefault((one.kind, one.label), {})[one.key] = one
    for some in missing.values():
        first = next(iter(some.values()))
        for key, tensors in first.make(list(some)):
            some[key].write(tensors)


def remembered(key: Hashable, make: Callable[[], T]) -> T:
    """The value that `make` computes, kept in memory of this process while there is room for it.

    What was used longest ago is dropped first, and computed again, to the same bits.
    """
    found = _recall(key)
    if found is None:
        found = make()
        _remember(key, found)
    return found


def text_hash(text: str) -> str:
    """A text as a short part of a label."""
    return hashlib.sha256(text.encode()).hexdigest()


def forget() -> None:
    """Drop everything that is remembered in memory."""
    with _LOCK:
        _MEMORY.clear()


def room() -> int:
    """Bytes that may be remembered.

    Bytes are counted, because per layer C with its Cholesky factor takes 38 MB in the embedded
    model and 3.3 GB in one of 8 billion weights.
    """
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE
    except (AttributeError, ValueError, OSError):  # Windows does not say
        return 4 << 30


def size(value: Any) -> int:
    """Bytes of the tensors in a tuple, a mapping, or among an object's attributes."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(size, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(size, value))
    return sum(map(size, vars(value).values())) if hasattr(value, "__dict__") else 0


_MEMORY: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()  # {key: (value, bytes)}
_LOCK = threading.Lock()


def _recall(key: Hashable) -> Any:
    """The value that is remembered, None where there is none."""
    with _LOCK:
        if key not in _MEMORY:
            return None
        _MEMORY.move_to_end(key)
        return _MEMORY[key][0]


def _remember(key: Hashable, value: Any) -> None:
    """Keep a value, and drop old ones where there is no room; the newest stays in any case."""
    with _LOCK:
        _MEMORY[key] = value, size(value)
        _MEMORY.move_to_end(key)
        while len(_MEMORY) > 1 and sum(b for _, b in _MEMORY.values()) > room():
            _MEMORY.popitem(last=False)
