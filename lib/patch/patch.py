"""A patch: an edit as an object that contains all differences from the base model.

An editor creates a patch without ever changing the model. `lm.patched(patch)` applies it to the
model for the body of a `with`, and the empty patch is the model before any edit. A later edit
creates a new patch from an earlier patch, so going back is exact.

A patch identifies its model by one line of text, "NAME FINGERPRINT" or "NAME behind TOKEN
FINGERPRINT". The name comes from a folder or a hub; it appears in messages and has no other effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from ..atomic_files import path_of
from ..data.facts import Fact, quoted
from ..errors import ArgumentError, PatchError
from .route import Rewrite, Route
from .tensor_file import bytes_of

BEHIND = " behind "  # in a model's name, between its weights' and the prepended token
SHOWN = 3  # maximum number of facts, edits and changed modules listed in a `repr`


@dataclass(frozen=True)
class LowRank:
    """A change of a matrix as a sum of products, ΔW = Σ_i A_i @ B_i (d_out, d_in), in float32.

    chunks  the pairs A_i (d_out, r_i), B_i (r_i, d_in), one for each edit.

    Chunks are appended and never rewritten. Patches share the storage of earlier patches, so a
    stream of T edits stores T chunks and not T².
    """

    chunks: tuple[tuple[Tensor, Tensor], ...]

    def __repr__(self) -> str:
        return f"LowRank({self.shape[0]} x {self.shape[1]}, rank {self.rank})"

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d_out, d_in)."""
        return self.chunks[0][0].shape[0], self.chunks[0][1].shape[1]

    @property
    def rank(self) -> int:
        """Upper bound on the rank of ΔW: the sum of the chunks' inner sizes."""
        return sum(a.shape[1] for a, _ in self.chunks)

    def joined(self) -> tuple[Tensor, Tensor]:
        """Return all chunks as one pair A (d_out, rank), B (rank, d_in), ΔW = A @ B."""
        return torch.cat([a for a, _ in self.chunks], 1), torch.cat([b for _, b in self.chunks])

    def dense(self) -> Tensor:
        """Return ΔW (d_out, d_in), float32, as one product over the joined chunks."""
        A, B = self.joined()
        return A @ B

    def plus(self, a: Tensor, b: Tensor) -> LowRank:
        """Return a new LowRank with the chunk A @ B appended."""
        return LowRank((*self.chunks, (a.float(), b.float())))


@dataclass(frozen=True)
class Edit:
    """One line of a patch's log: an editor, its settings, and the facts that it wrote.

    editor    the editor's name in EDITORS.
    settings  its settings by name.
    facts     the facts.
    batch     number of facts per call of the editor; None if one call wrote all.

    A stream has one line for all its batches, and the batch size makes it possible to repeat the
    same calls of the editor.
    """

    editor: str
    settings: Mapping[str, Any]
    facts: tuple[Fact, ...] = ()
    batch: int | None = None

    def __len__(self) -> int:
        return len(self.facts)

    def __repr__(self) -> str:
        facts = [f"{quoted(fact.text)} -> {quoted(fact.target_new)}" for fact in self.facts[:SHOWN]]
        return f"Edit({'; '.join([f'{self.editor}, facts: {len(self)}', *facts])})"

    def __bool__(self) -> bool:
        """Return True, even for a line without facts."""
        return True

    def less(self, at: int) -> tuple[Edit, ...]:
        """Return the lines for all facts except number `at`, keeping the calls of the editor.

        A call losing a fact is no longer a whole batch, so it gets its own line.
        """
        together = self.batch or len(self)
        first = at // together * together
        end = min(first + together, len(self))
        lines = (
            replace(self, facts=self.facts[:first]),
            replace(self, facts=self.facts[first:at] + self.facts[at + 1 : end], batch=None),
            replace(self, facts=self.facts[end:]),
        )
        return tuple(line for line in lines if len(line))

    def then(self, other: Edit) -> tuple[Edit, ...]:
        """Return the log lines for both edits: one line if both are batches of the same stream."""
        # an incomplete batch can only be the last
        if self.batch and len(self) % self.batch == 0:
            joined = replace(other, facts=self.facts + other.facts)
            if joined == replace(self, facts=joined.facts):
                return (joined,)
        return self, other


def _frozen(value: Mapping | None = None) -> Mapping:
    """Return a copy of a mapping that cannot be changed."""
    return MappingProxyType(dict(value or {}))


@dataclass(frozen=True)
class Patch:
    """The differences from the base model; `p | q` joins patches on different modules.

    weights   module name -> a new matrix (d_out, d_in) in float32, or a LowRank change of the base.
    routes    module name -> a route, which may replace the module's answer.
    rewrites  changes of the prompt's text, applied before the model reads it.
    memory    editor name -> the state from which the editor continues: tensors, numbers, texts,
              tuples and mappings.
    log       one line for each call of an editor, or for each stream.
    base      name and fingerprint of the patch's model; set by the first edit.
    """

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
                f"{name} would have changed weights and a route at once. Edit another layer."
            )

    def __repr__(self) -> str:
        held = self.weights, self.memory, [route.tensors() for route in self.routes.values()]
        parts = [
            *(
                f"{name}: {one if isinstance(one, LowRank) else f'dense {tuple(one.shape)}'}"
                for name, one in self.weights.items()
            ),
            *(f"{name}: {route}" for name, route in self.routes.items()),
            *self.rewrites,
        ]
        counts = (
            f"edits: {len(self.log)}, facts: {sum(map(len, self.log))}, bytes: {bytes_of(held):,}"
        )
        return "\n".join([f"Patch({counts})", *_first(self.log), *_first(parts)])

    def __bool__(self) -> bool:
        return bool(self.weights or self.routes or self.rewrites or self.log)

    def __or__(self, other: Patch) -> Patch:
        both = (self.weights.keys() | self.routes) & (other.weights.keys() | other.routes)
        if both:
            raise PatchError(
                f"Both patches change {sorted(both)[0]}, which `|` does not add. Write the facts "
                "of one after the other patch (`after=`, or `--after FILE`)."
            )
        if self.base and other.base and not same_model(self.base, other.base):
            raise PatchError(
                f"One patch is for {self.base}, the other for {other.base}. Join patches of one "
                "model."
            )
        twice = self.memory.keys() & other.memory.keys()
        if twice:
            raise PatchError(
                f"Both patches have memory of {sorted(twice)[0]}. Write the facts of one after "
                "the other patch (`after=`, on a command line `--after FILE`)."
            )
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
        """All facts in the order of writing."""
        return tuple(fact for edit in self.log for fact in edit.facts)

    def with_weights(self, new: Mapping[str, Tensor | LowRank], **changes: Any) -> Patch:
        """Return the same patch with the weights of some modules, and other fields, replaced."""
        return replace(self, weights={**self.weights, **new}, **changes)

    def without(self, i: int | Fact, lm: Any) -> Patch:
        """Return the patch without the `i`-th line of its log, or without one fact.

        A line containing the batches of a stream is removed as a whole; a fact is removed from its
        line using `lib.without`. All other lines are written again, in order, by the editors listed
        in the log. Raises PatchError if there is no line `i`, or no such fact.
        """
        from . import undo

        if isinstance(i, Fact):
            return undo.without(lm, self, i)
        if not -len(self.log) <= i < len(self.log):
            count = f"{len(self.log)} edit{'s' * (len(self.log) != 1)}"
            raise PatchError(f"The patch has {count}; there is no edit {i}.")
        i %= len(self.log)
        return undo.written_again(lm, (*self.log[:i], *self.log[i + 1 :]))

    def save(self, path: str | Path) -> Path:
        """Write the patch to one safetensors file (whole or not at all) and return its path."""
        from . import patch_file

        return patch_file.save(self, path_of(path))

    @staticmethod
    def load(path: str | Path) -> Patch:
        """Return the patch in a file; PatchError if it is broken, hostile, or in a newer format."""
        from . import patch_file

        return patch_file.load(path_of(path))


def _first(things: Sequence[Any]) -> list[str]:
    """Return the first things, one per line, and the number of remaining ones."""
    return [
        *(f"  {thing}" for thing in things[:SHOWN]),
        *[f"  … and {len(things) - SHOWN} more"] * (len(things) > SHOWN),
    ]


EMPTY = Patch()


class Model(Protocol):
    """An object with a model's matrices, such as an LM, so that this file need not import it."""

    def check(self, patch: Patch) -> None: ...

    def weight(self, module: str, under: Patch = EMPTY) -> Tensor: ...


def scaled(lm: Model, patch: Patch, strength: float, before: Patch = EMPTY) -> Patch:
    """Return the patch with everything that it adds to `before` multiplied by a number.

    W(s) = W(before) + s · (W(patch) − W(before)) for every matrix; the log is still the patch's
    own. Strength 0 gives the weights of `before`, and 1 the patch's, up to rounding (1 returns the
    same patch object). Task arithmetic scales whole fine-tunings in the same way (Ilharco et al.,
    2023).

    before  an earlier patch that the patch was made from, e.g. `edit(facts, after=before)`

    Raises PatchError if routes or rewrites were added, since a memory either answers or does not
    and cannot be scaled; and ValueError if the strength is not a finite number.
    """
    if not math.isfinite(strength):
        raise ArgumentError(f"The strength should be a finite number, not {strength}.")
    if routed(patch, before):
        raise PatchError("A routed edit either answers or does not answer, so it cannot be scaled.")
    lost = before.weights.keys() - patch.weights
    if lost:
        raise PatchError(
            f"The patch was not made from the earlier one: {sorted(lost)[0]} is missing."
        )
    if strength == 1:
        return patch
    weights = {
        name: _between(lm, name, before.weights.get(name), new, strength)
        for name, new in patch.weights.items()
    }
    return patch.with_weights(weights)


def routed(patch: Patch, before: Patch = EMPTY) -> bool:
    """Return whether a patch adds routes or rewrites to an earlier one, so it cannot be scaled."""
    added = any(before.routes.get(name) is not one for name, one in patch.routes.items())
    return added or patch.rewrites != before.rewrites


def _between(
    lm: Any, name: str, old: Tensor | LowRank | None, new: Tensor | LowRank, strength: float
) -> Tensor | LowRank:
    """Return one matrix at this strength, as factors if the new factors extend the old ones."""
    if new is old:
        return new
    if isinstance(new, LowRank) and (old is None or isinstance(old, LowRank)):
        known = () if old is None else old.chunks
        kept, added = new.chunks[: len(known)], new.chunks[len(known) :]
        # chunks are shared and never rewritten, so the earlier chunks are the same tensors
        if [tuple(map(id, pair)) for pair in kept] == [tuple(map(id, pair)) for pair in known]:
            return LowRank((*kept, *((strength * a, b) for a, b in added)))
    # whole matrices (d_out, d_in) in float32, using the base's if unchanged
    before, after = ({} if one is None else {name: one} for one in (old, new))
    first, last = (lm.weight(name, Patch(weights=one)).float().cpu() for one in (before, after))
    return first + strength * (last - first)


def parted(name: str) -> tuple[str, str | None]:
    """Return a model's name without the prepended token, and this token, None without one.

    parted("gpt2 behind </s>") -> ("gpt2", "</s>")
    """
    plain, _, sink = name.partition(BEHIND)
    return plain, sink or None


def same_model(one: str, other: str) -> bool:
    """Return whether two identities have the same weights and the same prepended token.

    same_model("gpt2 0123", "/models/copy 0123") -> True
    """
    names, weights = zip(*(text.rpartition(" ")[::2] for text in (one, other)), strict=True)
    return weights[0] == weights[1] and parted(names[0])[1] == parted(names[1])[1]
