"""The file of a patch: safetensors for its tensors, and one JSON header for the rest.

Tensors have these names inside the file.

w/MODULE        a dense weight.
w/MODULE/0/a    factor A of the first low-rank chunk; `b` is the other factor.
r/MODULE/NAME   a tensor of the module's route.
t/0/NAME        a tensor of the first rewrite.
m/EDITOR/PATH   a tensor of an editor's memory.

A file may come from anywhere. Nothing in it is executed, and everything in it is checked when it is
read.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..atomic_files import pack, unpack, whole_file
from ..data.facts import Fact
from ..errors import PatchError
from .patch import Edit, LowRank, Patch
from .route import Rewrite, Route

FORMAT = 2  # grows when an older library would misread the file; 2 has log lines of many batches
VERSION = "0.1"


def save(patch: Patch, path: Path) -> Path:
    """Write `patch` to `path`, whole or not at all, and return the path."""
    tensors: dict[str, Tensor] = {}
    # a file that an older library reads correctly keeps the number that it knows
    number = FORMAT if any(edit.batch for edit in patch.log) else 1
    header: dict[str, Any] = {"format": number, "library": VERSION, "base": patch.base}
    header["editors"] = sorted({edit.editor for edit in patch.log})
    header["log"] = [_line(edit) for edit in patch.log]
    # weights: the header says how many low-rank chunks a module has, 0 for a dense matrix
    header["weights"] = {}
    for module, value in patch.weights.items():
        if isinstance(value, LowRank):
            header["weights"][module] = len(value.chunks)
            for i, (a, b) in enumerate(value.chunks):
                tensors[f"w/{module}/{i}/a"], tensors[f"w/{module}/{i}/b"] = a, b
        else:
            header["weights"][module] = 0
            tensors[f"w/{module}"] = value
    # routes and rewrites: their kind finds the class again, which reads its own header
    header["routes"] = {}
    for module, route in patch.routes.items():
        header["routes"][module] = {"kind": route.kind, "header": route.header()}
        tensors |= {f"r/{module}/{name}": tensor for name, tensor in route.tensors().items()}
    header["rewrites"] = []
    for i, rewrite in enumerate(patch.rewrites):
        header["rewrites"].append({"kind": rewrite.kind, "header": rewrite.header()})
        tensors |= {f"t/{i}/{name}": tensor for name, tensor in rewrite.tensors().items()}
    header["memory"] = {
        editor: pack(state, f"m/{editor}", tensors) for editor, state in patch.memory.items()
    }
    # safetensors refuses tensors that share storage, and later patches do share it
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    tensors["format"] = torch.tensor([number])  # an empty patch needs a tensor to be a file
    with whole_file(path) as part:
        save_file(tensors, part, metadata={"patch": json.dumps(header, ensure_ascii=False)})
    return path


def load(path: Path) -> Patch:
    """The patch in the file at `path`. Raises PatchError for everything that is wrong with it."""
    if not path.is_file():
        raise PatchError(f"there is no patch file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["patch"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:
        raise PatchError(
            f"{path.name} is no patch file, or is damaged ({type(error).__name__})"
        ) from None
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise PatchError(f"{path.name} has no readable header: it is no patch file")
    if header["format"] > FORMAT:
        raise PatchError(
            f"{path.name} has format {header['format']}, this library reads up to {FORMAT}: "
            "update the library"
        )
    try:
        patch = _patch(header, tensors)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError) as error:
        raise PatchError(f"{path.name} is damaged: {type(error).__name__} {error}") from None
    # a NaN would show only in some later forward, far from the file that brought it
    for module, value in patch.weights.items():
        parts = [value] if isinstance(value, Tensor) else [t for pair in value.chunks for t in pair]
        if not all(torch.isfinite(part).all() for part in parts):
            raise PatchError(f"{path.name} holds NaN or infinite weights for {module}")
    return patch


def _patch(header: dict, tensors: dict[str, Tensor]) -> Patch:
    """The patch of a header and its tensors; any of several errors where they do not fit."""
    weights: dict[str, Tensor | LowRank] = {}
    for module, chunks in header["weights"].items():
        if chunks:
            pairs = [
                (tensors[f"w/{module}/{i}/a"], tensors[f"w/{module}/{i}/b"]) for i in range(chunks)
            ]
            if any(a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0] for a, b in pairs):
                raise ValueError(f"chunks of {module} do not multiply")
            if len({(a.shape[0], b.shape[1]) for a, b in pairs}) > 1:
                raise ValueError(f"chunks of {module} have different shapes")
            weights[module] = LowRank(tuple(pairs))
        else:
            weights[module] = tensors[f"w/{module}"]
        parts = [t for pair in pairs for t in pair] if chunks else [tensors[f"w/{module}"]]
        if any(part.ndim != 2 or part.dtype != torch.float32 for part in parts):
            raise ValueError(f"weights of {module} are not float32 matrices")
    log = []
    for edit in header["log"]:
        facts = tuple(Fact(**fact) for fact in edit.pop("facts"))
        log.append(Edit(facts=facts, **{key: _tuples(value) for key, value in edit.items()}))
    routes = {
        module: _known(Route, entry["kind"]).load(_under(f"r/{module}/", tensors), entry["header"])
        for module, entry in header["routes"].items()
    }
    rewrites = tuple(
        _known(Rewrite, entry["kind"]).load(_under(f"t/{i}/", tensors), entry["header"])
        for i, entry in enumerate(header["rewrites"])
    )
    memory = {editor: unpack(state, tensors) for editor, state in header["memory"].items()}
    return Patch(weights, routes, rewrites, memory, tuple(log), header["base"])


def _line(edit: Edit) -> dict[str, Any]:
    """A line of the log as JSON."""
    line = asdict(edit)
    if edit.batch is None:
        del line["batch"]  # unknown to older libraries
    return line


def _tuples(value: Any) -> Any:
    """A JSON value with tuples for its lists, since settings and rows are tuples in a log."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _known(parent: type[Any], kind: str) -> Any:
    """The class of a kind; a file can only name classes that have registered themselves."""
    if kind not in parent.kinds:
        raise ValueError(f"unknown {parent.__name__.lower()} kind '{kind}'")
    return parent.kinds[kind]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with the prefix, under the rest of their name."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
