"""The strength of an edit: a patch with its last change of weights made larger or smaller."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ..errors import PatchError
from .patch import EMPTY, LowRank, Patch


def scaled(lm: Any, patch: Patch, strength: float, before: Patch = EMPTY) -> Patch:
    """The patch with all that it adds to `before` multiplied by a number.

    W(s) = W(before) + s · (W(patch) − W(before)) for every matrix; the log stays the patch's own.
    Strength 0 has the weights of `before`, and 1 those of the patch to rounding (1 returns the very
    patch). Task arithmetic scales whole fine-tunings in the same way (Ilharco et al., 2023).

    before  an earlier patch that the patch was made from, e.g. `edit(facts, after=before)`

    Raises PatchError where routes or rewrites were added: a memory answers or does not, and has no
    strength; and ValueError for a strength that is no finite number.
    """
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise ValueError(f"the strength should be a number, not {strength!r:.40}")
    if not math.isfinite(strength):
        raise ValueError(f"the strength should be a finite number, not {strength}")
    if routed(patch, before):
        raise PatchError("a routed edit answers or does not answer: it has no strength")
    lost = before.weights.keys() - patch.weights
    if lost:
        raise PatchError(f"the patch was not made from the earlier one: {sorted(lost)[0]} is gone")
    if strength == 1:
        return patch
    weights = {
        name: _between(lm, name, before.weights.get(name), new, strength)
        for name, new in patch.weights.items()
    }
    return patch.with_weights(weights)


def routed(patch: Patch, before: Patch = EMPTY) -> bool:
    """Whether a patch adds routes or rewrites to an earlier one, and so has no strength."""
    added = any(before.routes.get(name) is not one for name, one in patch.routes.items())
    return added or patch.rewrites != before.rewrites


def _between(
    lm: Any, name: str, old: Tensor | LowRank | None, new: Tensor | LowRank, strength: float
) -> Tensor | LowRank:
    """One matrix at this strength; factors stay factors where the new ones follow the old ones."""
    if new is old:
        return new
    if isinstance(new, LowRank) and (old is None or isinstance(old, LowRank)):
        known = () if old is None else old.chunks
        kept = new.chunks[: len(known)]
        if len(kept) == len(known) and all(
            a is c and b is d for (a, b), (c, d) in zip(kept, known, strict=True)
        ):
            return LowRank((*kept, *((strength * a, b) for a, b in new.chunks[len(known) :])))
    first, last = (_matrix(lm, name, one) for one in (old, new))
    return first + strength * (last - first)


def _matrix(lm: Any, name: str, change: Tensor | LowRank | None) -> Tensor:
    """A whole matrix (d_out, d_in) in float32: the base's where nothing changes it."""
    return lm.weight(name, Patch(weights={} if change is None else {name: change})).float().cpu()
