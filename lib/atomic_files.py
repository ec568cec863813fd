"""Files that are whole or absent, the cache folder, and nested state as tensors and JSON.

A process killed while writing leaves at most a temporary folder `.NAME.REST.tmp`, never half of a
patch, a network or a cache that a later run would read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Provide a temporary path for writing a file, which becomes `path` after the body.

    It is in a temporary folder next to `path`, because safetensors creates its own temporary file
    next to the file it is writing. If the body raises, nothing is left behind. Raises
    FileExistsError instead of replacing a link, a folder or a device.
    """
    with _beside(path) as work:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise FileExistsError(f"{path} could not be written: it is not a plain file.")
        yield work / path.name
        os.replace(work / path.name, path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Provide a temporary folder, which becomes `folder` after the body finishes filling it.

    `folder` must not exist yet, or be empty. If the body raises, nothing is left behind.
    """
    with _beside(folder) as work:
        inside = work / folder.name
        inside.mkdir()
        yield inside
        if folder.exists():
            folder.rmdir()
        os.replace(inside, folder)


def made_once(folder: Path, is_there: Callable[[], bool], fill: Callable[[Path], None]) -> Path:
    """Return the folder; if it is missing, `fill` first fills a temporary one.

    Two processes can safely call this at once, because one works while the other waits. If `fill`
    raises, nothing is left behind; anything next to the folder passed to it is also removed.
    """
    if is_there():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # the operating system frees the lock when the process dies
    with FileLock(folder.with_suffix(".lock")):
        if not is_there():  # else another process made it while this one waited
            for left in folder.parent.glob(f".{folder.name}.*.tmp"):  # from a killed process
                shutil.rmtree(left, ignore_errors=True)
            with whole_folder(folder) as into:
                fill(into)
                shutil.rmtree(folder, ignore_errors=True)  # a damaged folder
    return folder


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Provide a temporary folder next to `path`, only for the body."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        ".tmp", f".{path.name}.", path.parent, ignore_cleanup_errors=True
    ) as work:
        yield Path(work)


def cache_folder() -> Path:
    """Return the folder for reproducible files: `$XDG_CACHE_HOME/model-editing`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "model-editing"


def path_of(given: str | os.PathLike) -> Path:
    """Return the path given by a text or a path object, replacing ~ with the home folder.

    All paths given by users are handled here, giving them the same meaning everywhere.
    """
    return Path(os.path.expanduser(given))


def sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the hex sha256 of a text and of all tensors: name, type, shape and bytes, by name."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def pack(state: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return nested state as JSON, adding each tensor to `tensors` under its path in the state.

    `patch.tensor_file.unpack` takes it apart again without trusting any of it. Lists are stored as
    tuples. pack({"k": (t, 3)}, "m", {}) ->
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
