"""Files that are whole or absent, the cache folder, and nested state as tensors and JSON.

Whoever is killed while writing leaves at most a temporary folder `.NAME.REST.tmp`, never half of a
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
    """A temporary path, whose file becomes `path` when the body has written it.

    It lies in a temporary folder beside `path`, because safetensors makes a temporary file of its
    own beside the one that it writes. Nothing is left when the body raises. Raises FileExistsError
    for a link, a folder or a device, which would be replaced.
    """
    with _beside(path) as work:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise FileExistsError(f"{path} could not be written: it is no plain file")
        yield work / path.name
        os.replace(work / path.name, path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder, which becomes `folder` when the body has filled it.

    `folder` must not exist yet, or be empty. Nothing is left when the body raises.
    """
    with _beside(folder) as work:
        inside = work / folder.name
        inside.mkdir()
        yield inside
        if folder.exists():
            folder.rmdir()
        os.replace(inside, folder)


def made_once(folder: Path, is_there: Callable[[], bool], fill: Callable[[Path], None]) -> Path:
    """The folder, which `fill` fills in a temporary one unless it is there.

    Two processes at once are safe, because one works and the other waits. Nothing is left where
    `fill` raises; what stands beside the folder that it gets goes, too.
    """
    if is_there():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # the operating system frees the lock when the process dies
    with FileLock(folder.with_suffix(".lock")):
        if not is_there():  # else another process made it while this one waited
            for left in folder.parent.glob(f".{folder.name}.*.tmp"):  # of one that was killed
                shutil.rmtree(left, ignore_errors=True)
            with whole_folder(folder) as into:
                fill(into)
                shutil.rmtree(folder, ignore_errors=True)  # a damaged one
    return folder


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, for the body alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        ".tmp", f".{path.name}.", path.parent, ignore_cleanup_errors=True
    ) as work:
        yield Path(work)


def cache_folder() -> Path:
    """The folder of files that can be made again: `$XDG_CACHE_HOME/model-editing`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "model-editing"


def path_of(given: str | os.PathLike) -> Path:
    """The path that a text or a path object names, with ~ as the home folder.

    Every path that a person gives goes through here, so that all of them mean the same.
    """
    return Path(os.path.expanduser(given))


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Hex sha256 of a text and of all tensors: name, type, shape and bytes, by name."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def pack(state: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Nested state as JSON; each tensor goes into `tensors` under its path in the state.

    `patch.tensor_file.unpack` takes it apart again and trusts none of it. Lists are stored as
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
