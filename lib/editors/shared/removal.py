"""Removal of one edit or fact from the middle of a stream of the MEMIT family, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from torch import Tensor

from ...patch.patch import LowRank, Patch

if TYPE_CHECKING:
    from .layerwise import LayerwiseEditor


def without(
    editor: LayerwiseEditor, patch: Patch, i: int, at: int | None = None, *, exact: bool = True
) -> Patch | None:
    """`patch` without line `i`, by one solve for each call after it, or None where none is known.

    at  the number of a fact in the line: only its column leaves, and its call is solved again

    All lines must be calls of this editor with the same settings. The change must still be in
    factors, and every call's keys still apart. The result equals editing again without the line (or
    the fact) where no call reads what another one changes, which holds for one layer with values
    searched on the base model. With several layers it is only close to that, and given only with
    exact=False.
    """
    if not 0 <= i < len(patch.log) or not _known(editor, patch, exact):
        return None
    lm, state, kept = editor.lm, patch.memory[editor.name], _columns(patch, i, at)
    left, weights = {}, {}
    for layer, keys in state["keys"].items():
        name = lm.mlp_out(int(layer))
        chunks = cast(LowRank, patch.weights[name]).chunks
        # the calls before the first that loses a column stay, and the rest is solved again
        first = next(t for t, some in enumerate(kept) if len(some) < keys[t].shape[1])
        keys_left, again = list(keys[:first]), list(chunks[:first])
        for t in range(first, len(kept)):
            if not kept[t]:
                continue
            K = keys[t][:, kept[t]]
            # R' = U − ΔW'K with U = R + ΔW K: the call wants the same change U of the outputs at
            # its keys, and the calls before it now give ΔW'K of it
            R = chunks[t][0][:, kept[t]].double() + _product(chunks[:t], K) - _product(again, K)
            B = editor.solve(int(layer), K.double(), {**state, "keys": {layer: tuple(keys_left)}})
            again.append((R.float(), B.float()))
            keys_left.append(K)
        left[layer] = tuple(keys_left)
        if again:
            weights[name] = LowRank(tuple(again))
    log = patch.lines_without(i, at)
    memory = {**patch.memory, editor.name: {**state, "keys": left}} if log else {}
    return replace(patch, weights=weights, memory=memory, log=log, base=patch.base if log else "")


def _columns(patch: Patch, i: int, at: int | None) -> list[list[int]]:
    """For each call of the editor the columns of its keys that stay without fact `at` of line i."""
    kept = []
    for line, edit in enumerate(patch.log):
        size = edit.batch or len(edit)
        for first in range(0, len(edit), size or 1):
            facts = range(first, min(first + size, len(edit)))
            kept.append([n - first for n in facts if line != i or at not in (None, n)])
    return kept


def _known(editor: LayerwiseEditor, patch: Patch, exact: bool) -> bool:
    """Whether the closed form holds for this patch."""
    on_base = all(line.settings.get("values_on") == "base" for line in patch.log)
    if exact and not (len(patch.weights) == 1 and on_base):
        return False
    if patch.routes or patch.rewrites or any(line.editor != editor.name for line in patch.log):
        return False
    settings = [editor.current(line.settings) for line in patch.log]
    if any(other != settings[0] for other in settings):
        return False
    keys = patch.memory.get(editor.name, {}).get("keys", {})
    names = {editor.lm.mlp_out(int(layer)): parts for layer, parts in keys.items()}
    if not names or names.keys() != patch.weights.keys():
        return False
    sizes = [len(some) for some in _columns(patch, -1, None)]
    return all(
        isinstance(value := patch.weights[name], LowRank)
        and [a.shape[1] for a, _ in value.chunks] == [K.shape[1] for K in parts] == sizes
        for name, parts in names.items()
    )


def _product(chunks: Sequence[tuple[Tensor, Tensor]], K: Tensor) -> Tensor | float:
    """ΔW K (d_out, n) of a chain of factors, float64, or 0.0 for an empty chain."""
    return sum((a.double() @ (b.double() @ K.double()) for a, b in chunks), 0.0)
