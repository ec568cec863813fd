"""Files that are whole or absent, the cache folder, and nested state as tensors and JSON.

Whoever is killed while writing leaves at most a temporary file, never half of a patch, a network or
a cache that a later run would read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which becomes `path` when the body has written the file.

    Nothing is left when the body raises. The temporary name holds the process and the thread, so
    that two writers do not disturb each other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder, which becomes `folder` when the body has filled it.

    `folder` must not exist yet, or be empty. Nothing is left when the body raises.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        yield work
        work.chmod(0o777 & ~_umask())  # temporary folders are made for the owner alone
        if folder.exists():
            folder.rmdir()
        os.replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _umask() -> int:
    """The permissions that the system takes away from new files; it can only be read by setting."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """The folder of files that can be made again: `$XDG_CACHE_HOME/model-editing`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "model-editing"


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached(kind: str, label: str, suffix: str = ".safetensors", digits: int | None = 24) -> Path:
    """Path of the cache file for the content that `label` describes in full.

    The label must name everything that the content depends on, because its hash is the file's name.
    `kind` is the folder, `digits` cuts the hash.
    """
    name = hashlib.sha256(label.encode()).hexdigest()[:digits]
    return cache_folder() / kind / f"{name}{suffix}"


def pack(state: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Nested state as JSON; each tensor goes into `tensors` under its path in the state.

    Lists are stored as tuples. pack({"k": (t, 3)}, "m", {}) ->
    {"dict": {"k": {"tuple": [{"tensor": "m/k/0"}, {"value": 3}]}}}
    """
    if isinstance(state, Tensor):
        tensors[path] = state
        return {"tensor": path}
    if isinstance(state, tuple | list):
        return {"tuple": [pack(item, f"{path}/{i}", tensors) for i, item in enumerate(state)]}
    if hasattr(state, "items"):
        return {"dict": {key: pack(item, f"{path}/{key}", tensors) for key, item in state.items()}}
    return {"value": state}


def unpack(packed: dict, tensors: dict[str, Tensor]) -> Any:
    """The state that `pack` took apart; sequences are tuples."""
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(unpack(item, tensors) for item in content)
    if kind == "dict":
        return {key: unpack(item, tensors) for key, item in content.items()}
    return content
