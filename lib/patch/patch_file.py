"""The file of a patch: safetensors for its tensors, and one JSON header for the rest.

Tensors have these names inside the file.

w/MODULE        a dense weight.
w/MODULE/0/a    factor A of the first low-rank chunk; `b` is the other factor.
r/MODULE/NAME   a tensor of the module's route.
t/0/NAME        a tensor of the first rewrite.
m/EDITOR/PATH   a tensor of an editor's memory.

A file can come from anywhere. None of its content is executed, and nothing is built from it before
its header has been checked against a schema and the tensors actually present. Everything that can
be read can be saved again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import UNSET, Meta, UnsetType
from torch import Tensor

from ..atomic_files import pack
from ..data.facts import Fact
from ..errors import ArgumentError, PatchError
from . import tensor_file
from .patch import Edit, LowRank, Patch
from .route import Part, Rewrite, Route, Savable, check_parts
from .tensor_file import Count, Line, Name, Packed, Schema, Size

FORMAT = 4  # increased when an older library would misread the file
VERSION = "2.0.0"  # of the library, also used by the package and `lib.__version__`


class _Fact(Schema):
    """A fact of the log; `Fact` checks its texts."""

    subject: str | None
    prompt: str
    target_new: str
    target_true: str | None = None


class _Line(Schema):
    """A line of the log (`patch.Edit`)."""

    editor: Line
    settings: dict[str, Any]
    facts: list[_Fact]
    batch: Size | None = None

    def __post_init__(self) -> None:
        self.settings = tensor_file.setting(self.settings, "settings")
        if no := {"self", "lm", "config"} & self.settings.keys():  # an editor's other arguments
            raise ValueError(f"there is no setting {no.pop()}")


class _Code(Schema):
    """A route or rewrite: the class of this kind reads the header."""

    kind: str
    header: dict[str, Any]


class _Header(Schema):
    """The header of a patch file."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    log: list[_Line]
    weights: dict[Name, Count]  # number of low-rank chunks, 0 for a dense matrix
    routes: dict[Name, _Code]
    rewrites: list[_Code]
    memory: dict[Name, Packed]
    base: Line
    library: str = ""
    editors: list[str] = []
    sha256: str | UnsetType = UNSET


def save(patch: Patch, path: Path) -> Path:
    """Write `patch` to `path`, whole or not at all, and return the path.

    Raises PatchError if the patch contains something that a file cannot store.
    """
    tensors: dict[str, Tensor] = {}
    for module, value in patch.weights.items():
        if isinstance(value, LowRank):
            for i, (a, b) in enumerate(value.chunks):
                tensors[f"w/{module}/{i}/a"], tensors[f"w/{module}/{i}/b"] = a, b
        else:
            tensors[f"w/{module}"] = value
    parts: dict[str, Savable] = {f"r/{module}": route for module, route in patch.routes.items()}
    parts |= {f"t/{i}": rewrite for i, rewrite in enumerate(patch.rewrites)}
    tensors |= {
        f"{place}/{name}": tensor
        for place, part in parts.items()
        for name, tensor in part.tensors().items()
    }
    header = {
        "format": FORMAT,
        "library": VERSION,
        "base": patch.base,
        "editors": sorted({edit.editor for edit in patch.log}),
        "log": [asdict(edit) for edit in patch.log],
        "weights": {
            module: len(value.chunks) if isinstance(value, LowRank) else 0
            for module, value in patch.weights.items()
        },
        # routes and rewrites: their kind identifies the class for reading the header
        "routes": {m: {"kind": r.kind, "header": r.header()} for m, r in patch.routes.items()},
        "rewrites": [{"kind": r.kind, "header": r.header()} for r in patch.rewrites],
        "memory": {
            editor: pack(state, f"m/{editor}", tensors) for editor, state in patch.memory.items()
        },
    }
    tensors["format"] = torch.tensor([FORMAT])  # an empty patch needs a tensor to be a file
    return tensor_file.write(path, "patch", header, tensors, _Header, PatchError)


def load(path: Path) -> Patch:
    """Return the patch in the file at `path`. Raises PatchError for all problems with it."""
    if not path.is_file():
        raise PatchError(f"There is no patch file at {path}. Check the path.")
    try:
        text, tensors, number = tensor_file.read(path, "patch")
    except Exception as error:
        raise PatchError(
            f"{path.name} is not a patch file, or is damaged ({type(error).__name__})."
        ) from None
    if number != FORMAT:
        newer = "a newer version. Update the library."
        which = newer if number > FORMAT else "1.0. Install modeledit==1.0 to read it."
        raise PatchError(f"{path.name} was written by {which}")
    try:
        return _patch(tensor_file.checked(text, tensors, _Header), tensors)
    except Exception as error:  # any error caused by a hostile file becomes one sentence
        raise PatchError(f"{path.name} is damaged: {tensor_file.sentence(error)}") from None


def _patch(header: _Header, tensors: dict[str, Tensor]) -> Patch:
    """Return the patch of a header and its tensors; ValueError if they do not belong together."""
    used = {"format"}
    weights = {
        module: _weight(module, chunks, tensors, used) for module, chunks in header.weights.items()
    }
    routes = {}
    for module, code in header.routes.items():
        routes[module] = _code(Route, code, f"r/{module}/", tensors, used)
        if routes[module].module not in ("", module):  # routes without notes need no name
            raise ArgumentError(f"the route of {module} belongs to another module")
    rewrites = tuple(
        _code(Rewrite, code, f"t/{i}/", tensors, used) for i, code in enumerate(header.rewrites)
    )
    memory: dict[str, Any] = {}
    for editor, packed in header.memory.items():
        memory[editor] = tensor_file.unpack(packed, f"m/{editor}", tensors, used)
        if not isinstance(memory[editor], Mapping):
            raise ArgumentError(f"the memory of {editor} is not a mapping")
    if over := sorted(tensors.keys() - used):
        raise ArgumentError(f"nothing in it refers to the tensor '{over[0]}'")
    log = tuple(_edit(line) for line in header.log)
    return Patch(weights, routes, rewrites, memory, log, header.base)


def _weight(
    module: str, chunks: int, tensors: Mapping[str, Tensor], used: set[str]
) -> Tensor | LowRank:
    """Return a module's weight, dense or in chunks, adding its tensors' names to `used`."""
    if chunks > len(tensors):  # before creating a list of that length
        raise ArgumentError(f"the weights of {module} announce {chunks} chunks")
    parts = {f"w/{module}": Part("d_out d_in")}
    if chunks:
        pairs = [(f"w/{module}/{i}", f"r{i}") for i in range(chunks)]
        parts = {f"{name}/a": Part(f"d_out {rank}") for name, rank in pairs}
        parts |= {f"{name}/b": Part(f"{rank} d_in") for name, rank in pairs}
    # a NaN would only show in a later forward pass, far from the file that caused it
    check_parts(parts, {name: tensors[name] for name in parts if name in tensors})
    used.update(parts)
    if not chunks:
        return tensors[f"w/{module}"]
    return LowRank(tuple((tensors[f"{name}/a"], tensors[f"{name}/b"]) for name, _ in pairs))


def _code(
    parent: type[Any], code: _Code, prefix: str, tensors: Mapping[str, Tensor], used: set[str]
) -> Any:
    """Return the route or rewrite of a kind; a file can name only registered classes."""
    if code.kind not in parent.kinds:
        raise ArgumentError(f"the {parent.__name__.lower()} kind '{code.kind}' is unknown")
    names = [name for name in tensors if name.startswith(prefix)]
    used.update(names)
    mine = {name.removeprefix(prefix): tensors[name] for name in names}
    try:
        return parent.kinds[code.kind].load(mine, code.header)
    except ValueError as error:
        place = f"the {code.kind} {parent.__name__.lower()} at {prefix[2:-1]}"
        raise ArgumentError(f"{place}: {tensor_file.sentence(error)}") from None


def _edit(line: _Line) -> Edit:
    facts = tuple(Fact(f.subject, f.prompt, f.target_new, f.target_true) for f in line.facts)
    return Edit(line.editor, line.settings, facts, line.batch)
