"""Routes and rewrites, the two kinds of code that a patch may contain.

A route follows one module and may replace its answer. A rewrite changes the prompt's text before
the model reads it. Both can be saved: `kind` names the class in a patch file, and a class registers
itself when its module is imported. A class declares its content in a file: the tensors in `parts`,
and everything else in `Header`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from msgspec import convert
from msgspec.structs import asdict
from torch import Tensor

from .tensor_file import Schema, bytes_of, check_names, check_tensor


class Part(NamedTuple):
    """A tensor stored in a file.

    shape     its sizes by name or number, such as "d_in n"; sizes of one name are equal in all
              parts
    dtype     the type of its numbers
    optional  whether it may be missing
    """

    shape: str
    dtype: torch.dtype = torch.float32
    optional: bool = False


def check_parts(parts: Mapping[str, Part], tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming the tensor, unless the tensors match their declarations."""
    optional = {name for name, part in parts.items() if part.optional}
    check_names("it", tensors.keys() - optional, parts.keys() - optional)
    sizes: dict[str, int] = {}
    for name, part in parts.items():
        if name in tensors:
            letters = part.shape.split()
            wanted = [int(size) if size.isdigit() else sizes.get(size, -1) for size in letters]
            check_tensor(f"its {name}", tensors[name], tuple(wanted), part.dtype)
            sizes |= zip(letters, tensors[name].shape, strict=True)


class Savable(ABC):
    """An object that a file can store: tensors, and a header of JSON values.

    kind    name of the class in patch files
    kinds   all known classes by their kind
    parts   its tensors by name; each is an attribute, None if an optional tensor is missing
    Header  the schema of its header; unless `header` and `from_file` are overridden, every field is
            also an attribute and an argument of the class
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Savable]]]  # for routes, or for rewrites
    parts: ClassVar[Mapping[str, Part]] = {}
    Header: ClassVar[type[Schema]] = Schema

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "kind" in cls.__dict__:
            cls.kinds[cls.kind] = cls

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({bytes_of(self.tensors()) + len(str(self.header())):,} bytes)"
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to save, by name."""
        found = {name: getattr(self, name) for name in self.parts}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def header(self) -> dict:
        """Return the values to save in addition to the tensors; JSON only."""
        return {name: getattr(self, name) for name in self.Header.__struct_fields__}

    def sizes(self) -> dict[str, int]:
        """Return the sizes of its tensors by the names used in `parts`."""
        return {
            letter: size
            for name, tensor in self.tensors().items()
            if name in self.parts
            for letter, size in zip(self.parts[name].shape.split(), tensor.shape, strict=True)
        }

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Any:
        """Return the object described by `tensors()` and `header()`.

        Both may come from a hostile file: raises ValueError before building anything from numbers
        that do not match the tensors.
        """
        head = convert(header, cls.Header)
        check_parts(cls.file_tensors(head, tensors.keys()), tensors)
        return cls.from_file(tensors, head)

    @classmethod
    def file_tensors(cls, head: Any, names: Collection[str]) -> Mapping[str, Part]:
        """Return the parts of a file with this header, and with tensors of these names."""
        return cls.parts

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> Any:
        """Return the object for checked tensors and a checked header.

        Raises ValueError for errors that shapes and types cannot express.
        """
        return cls(**tensors, **asdict(head))


class Route(Savable):
    """Code following one module that may replace its answer, such as GRACE's codebook.

    kinds         all known classes by their kind.
    reads_states  whether the decision depends on the states computed by the layers below.
    module        name of the module that it follows; its notes are stored under this name.

    `decide` is called once per sequence, at the prompt. Its answer is kept for the generated
    tokens, so that generating with and without a cache gives the same result.
    """

    kinds: ClassVar[dict[str, type[Savable]]] = {}
    reads_states: ClassVar[bool] = True
    module: str = ""

    @abstractmethod
    def decide(self, inputs: Tensor, output: Tensor, seqs: Any) -> Tensor:
        """Return the entry answering each sequence, -1 for the base model, (rows,) int64.

        inputs and output (rows, length, width) are the module's; `seqs` contains the positions of
        the prompts.
        """

    @abstractmethod
    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Any) -> Tensor:
        """Return the module's output under `choice`: `output` itself if all choices are -1."""

    @property
    def reads_answer(self) -> bool:
        """True if a decision depends on a given answer and not only on the prompt.

        In that case, a prompt cannot be read once for several answers.
        """
        return False

    @property
    def widths(self) -> tuple[int, int] | None:
        """Widths of the module's inputs and outputs that the route is made for; None for any.

        These are the sizes d_in and d_out of its parts.
        """
        sizes = self.sizes()
        return (sizes["d_in"], sizes["d_out"]) if {"d_in", "d_out"} <= sizes.keys() else None

    @property
    def read_widths(self) -> tuple[int | None, int | None]:
        """Widths of the inputs and the model's input embeddings that it reads; None for any."""
        return None, None

    def explain(self, choice: Tensor) -> list[dict]:
        """Return one note per sequence, here the entry that answered, with the noted numbers."""
        return [{"entry": entry} for entry in choice.tolist()]

    def note(self, seqs: Any, *, score: Tensor, threshold: Tensor, **more: Tensor) -> None:
        """Store numbers (rows,) with a decision; `lm.answer(…, explain=True)` shows them."""
        for name, values in {"score": score, "threshold": threshold, **more}.items():
            seqs.memo[f"{self.module}/{name}"] = values

    def noted(self, seqs: Any, name: str) -> Tensor:
        """Return the numbers (rows,) that `note` stored under a name for these sequences."""
        return seqs.memo[f"{self.module}/{name}"]

    def on(self, device: torch.device) -> Any:
        """Return the result of `placed` for a device, copying it there only once."""
        if device not in self._copies:
            self._copies[device] = self.placed(device)
        return self._copies[device]

    def placed(self, device: torch.device) -> Any:
        """Return the tensors used by `decide` and `apply`, on the module's device."""
        return {name: tensor.to(device) for name, tensor in self.tensors().items()}

    @cached_property
    def _copies(self) -> dict[torch.device, Any]:
        return {}


class Rewrite(Savable):
    """A change of the prompt's text before the model reads it, such as prepending a retrieved fact.

    kinds  all known classes by their kind.

    Prompts given as token ids are left unchanged.
    """

    kinds: ClassVar[dict[str, type[Savable]]] = {}

    @abstractmethod
    def __call__(self, prompts: list[str]) -> list[str]:
        """Return the prompts for the model to read; without an entry, a prompt is unchanged."""

    def explain(self, prompt: str) -> list[dict]:
        """Return the entries found for one prompt: entry, score, threshold."""
        return []
