"""An edit is a value: `Patch` says what differs from the base model, and nothing is ever mutated.

`weights` replaces matrices, `routes` answers in a module's place, `rewrites` changes the prompt's
text, `memory` holds what the editor needs to go on, `log` says what was written. The empty patch is
the "before". Files are safetensors with a JSON header, never pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..data.facts import Fact
from ..data.readers import read_facts
from ..errors import PatchError
from ..registry import EDITORS
from .route import Rewrite, Route


@dataclass(frozen=True)
class LowRank:
    """ΔW = Σ_i A_i @ B_i, (d_out, d_in), float32; chunks are appended, never rewritten.

    Later patches share the storage of earlier ones, so a stream of T edits costs T chunks, not T².
    """

    chunks: tuple[tuple[Tensor, Tensor], ...]  # A_i (d_out, r_i), B_i (r_i, d_in)

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return self.chunks[0][0].shape[0], self.chunks[0][1].shape[1]

    @property
    def rank(self) -> int:
        """Upper bound on the rank of ΔW: the sum of the chunks' inner sizes."""
        return sum(a.shape[1] for a, _ in self.chunks)

    def dense(self) -> Tensor:
        """ΔW (d_out, d_in), float32: one product over the joined chunks."""
        return torch.cat([a for a, _ in self.chunks], 1) @ torch.cat([b for _, b in self.chunks])

    def plus(self, a: Tensor, b: Tensor) -> LowRank:
        """A new LowRank with A @ B added behind the present chunks."""
        return LowRank((*self.chunks, (a.float(), b.float())))


@dataclass(frozen=True)
class Edit:
    """One line of a patch's log: the editor, its settings, and the facts it wrote.

    A stream keeps its facts out of the patch and names their source and row range instead: those
    of many batches in one line, with the batch size, so that the fold can be made again.
    """

    editor: str
    settings: Mapping[str, Any]
    facts: tuple[Fact, ...] = ()
    source: str | None = None
    rows: tuple[int, int] | None = None
    reader: Mapping[str, Any] = field(default_factory=dict)  # how `read_cases` was asked
    batch: int | None = None  # facts per call of the editor; None: all in one call

    def __len__(self) -> int:
        """Number of facts, counted without reading the source."""
        return len(self.facts) or (self.rows[1] - self.rows[0] if self.rows else 0)

    def __bool__(self) -> bool:
        return True

    @property
    def calls(self) -> int:
        """How often the editor was called."""
        return -(-len(self) // self.batch) if self.batch else 1

    def read(self) -> tuple[Fact, ...]:
        """The facts; a stream's are read again from its source (FactError where it changed)."""
        if self.facts or self.source is None or self.rows is None:
            return self.facts
        return tuple(read_facts(self.source, *self.rows, **self.reader))

    def then(self, other: Edit) -> tuple[Edit, ...]:
        """One line, with the next batch of the same stream; otherwise both."""
        if self.rows and other.rows and self.batch and self.rows[1] == other.rows[0]:
            joined = replace(other, rows=(self.rows[0], other.rows[1]))
            # an incomplete batch can only be the last: the fold is cut from the first row on
            if joined == replace(self, rows=joined.rows) and len(self) % self.batch == 0:
                return (joined,)
        return self, other


def _frozen(value: Mapping | None = None) -> Mapping:
    return MappingProxyType(dict(value or {}))


@dataclass(frozen=True)
class Patch:
    """What differs from the base model. `p | q` joins patches on different modules."""

    weights: Mapping[str, Tensor | LowRank] = field(default_factory=_frozen)
    routes: Mapping[str, Route] = field(default_factory=_frozen)
    rewrites: tuple[Rewrite, ...] = ()
    memory: Mapping[str, Mapping[str, Any]] = field(default_factory=_frozen)
    log: tuple[Edit, ...] = ()
    base: str = ""

    def __post_init__(self) -> None:
        for name in ("weights", "routes", "memory"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        for name in self.weights.keys() & self.routes:
            raise PatchError(
                f"{name} would have changed weights and a route at once: edit another layer"
            )

    def __bool__(self) -> bool:
        return bool(self.weights or self.routes or self.rewrites or self.log)

    def __or__(self, other: Patch) -> Patch:
        both = (self.weights.keys() | self.routes) & (other.weights.keys() | other.routes)
        if both:
            raise PatchError(f"both patches change {sorted(both)[0]}: edit with after= instead")
        if self.base and other.base and self.base != other.base:
            raise PatchError(f"one patch is for {self.base}, the other for {other.base}")
        twice = self.memory.keys() & other.memory.keys()
        if twice:
            raise PatchError(f"both patches hold memory of {sorted(twice)[0]}: edit with after=")
        return Patch(
            {**self.weights, **other.weights},
            {**self.routes, **other.routes},
            self.rewrites + other.rewrites,
            {**self.memory, **other.memory},
            self.log + other.log,
            self.base or other.base,
        )

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All facts in the order of writing; a stream's rows are read from its source."""
        return tuple(fact for edit in self.log for fact in edit.read())

    @property
    def calls(self) -> int:
        """How often an editor was called for this patch."""
        return sum(edit.calls for edit in self.log)

    def with_weights(self, new: Mapping[str, Tensor | LowRank], **changes: Any) -> Patch:
        """The same patch with some modules replaced (and other fields, by name)."""
        return replace(self, weights={**self.weights, **new}, **changes)

    def without(self, i: int, lm: Any, *, fold: bool = False) -> Patch:
        """The fold of the log without its `i`-th line, made again by the editors that it names.

        A line that stands for a stream's batches is made again, or left out, as a whole. Where the
        editor keeps its keys, in one layer, with values of the base model, this is one solve per
        later line instead (`Editor.without`): equal to 1e-4. fold=True folds again even there.
        """
        if not -len(self.log) <= i < len(self.log):
            raise PatchError(f"the patch holds {len(self.log)} edits, there is no edit {i}")
        patch, skip, first = EMPTY, i % len(self.log), self.log[0]
        made = [(edit.editor, EDITORS[edit.editor].current(edit.settings)) for edit in self.log]
        if not fold and len(made) > 1 and all(one == made[0] for one in made):
            found = EDITORS[first.editor](lm, **first.settings).without(self, skip)
            if found is not None:
                return found
        for j, edit in enumerate(self.log):
            if j != skip:
                editor = EDITORS[edit.editor](lm, **edit.settings)
                facts = edit.read()
                size = edit.batch or max(1, len(facts))
                for start in range(0, len(facts), size):
                    patch = editor.edit(facts[start : start + size], after=patch)
        return patch

    def save(self, path: str | Path) -> Path:
        """Write the patch to one safetensors file (whole or not at all) and return its path."""
        from . import file

        return file.save(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> Patch:
        """Read a patch; PatchError when the file is broken, hostile, or of a newer format."""
        from . import file

        return file.load(Path(path))


EMPTY = Patch()
