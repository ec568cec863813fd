"""Keeps large matrices that were read or factored once, as far as this machine has room for them.

Per layer, C with its Cholesky factor takes 38 MB in the embedded model and 3.3 GB in one of 8
billion weights. A cache that counts its entries holds either far too little of the one or far too
much of the other, so this one counts bytes, too. What is dropped is computed again, to the same
bits.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from torch import Tensor

ENTRIES = 8  # of one function, at most
SHARE = 4  # what one function keeps is at most this part of the machine's memory, a quarter
T = TypeVar("T")


def room() -> int:
    """Bytes that one function may keep."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE
    except (AttributeError, ValueError, OSError):  # Windows does not say
        return 4 << 30


def kept(function: Callable[..., T]) -> Any:
    """A function of hashable arguments that remembers its latest results.

    At least the newest result is kept, and no more than ENTRIES, or than fit into `room`. The
    function that comes back has `cache_clear`.
    """
    found: OrderedDict[tuple, tuple[T, int]] = OrderedDict()
    lock = threading.Lock()

    @wraps(function)
    def call(*given: Any) -> T:
        with lock:
            if given in found:
                found.move_to_end(given)
                return found[given][0]
        made = function(*given)
        with lock:
            found[given] = made, size(made)
            found.move_to_end(given)
            while len(found) > 1 and (len(found) > ENTRIES or _held(found) > room()):
                found.popitem(last=False)
        return made

    def clear() -> None:
        with lock:
            found.clear()

    call.cache_clear = clear  # type: ignore[attr-defined]
    return call


def _held(found: OrderedDict) -> int:
    return sum(bytes_ for _, bytes_ in found.values())


def size(value: Any) -> int:
    """Bytes of the tensors in a tuple, or among an object's attributes."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, tuple | list):
        return sum(map(size, value))
    return sum(size(part) for part in vars(value).values()) if hasattr(value, "__dict__") else 0
