"""Removal of one edit from the middle of a stream of the MEMIT family, by its closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from torch import Tensor

from ...patch.patch import LowRank, Patch

if TYPE_CHECKING:
    from .layerwise import LayerwiseEditor


def without(editor: LayerwiseEditor, patch: Patch, i: int, *, exact: bool = True) -> Patch | None:
    """`patch` without line `i`, by one solve for each line after it, or None where none is known.

    All lines must be calls of this editor with the same settings, one call per line. The change
    must still be in factors, and every call's keys still apart. The result equals editing again
    without the line where no line reads what another one changes, which holds for one layer with
    values searched on the base model. With several layers it is only close to that, and given only
    with exact=False.
    """
    if not 0 <= i < len(patch.log) or not _known(editor, patch, exact):
        return None
    lm, state, n = editor.lm, patch.memory[editor.name], len(patch.log)
    left, weights = {}, {}
    for layer, keys in state["keys"].items():
        name = lm.mlp_out(int(layer))
        chunks = cast(LowRank, patch.weights[name]).chunks
        # the lines before line i stay as they are, and those after it are solved again
        keys_left, again = list(keys[:i]), list(chunks[:i])
        for t in range(i + 1, n):
            K = keys[t].double()
            # R' = U − ΔW'K with U = R + ΔW K: the line wants the same change U of the outputs at
            # its keys, and the lines before it now give ΔW'K of it
            R = chunks[t][0].double() + _product(chunks[:t], K) - _product(again, K)
            B = editor.solve(int(layer), K, {**state, "keys": {layer: tuple(keys_left)}})
            again.append((R.float(), B.float()))
            keys_left.append(keys[t])
        left[layer] = tuple(keys_left)
        if again:
            weights[name] = LowRank(tuple(again))
    log = patch.log[:i] + patch.log[i + 1 :]
    memory = {**patch.memory, editor.name: {**state, "keys": left}} if log else {}
    return replace(patch, weights=weights, memory=memory, log=log, base=patch.base if log else "")


def _known(editor: LayerwiseEditor, patch: Patch, exact: bool) -> bool:
    """Whether the closed form holds for this patch."""
    on_base = all(line.settings.get("values_on") == "base" for line in patch.log)
    if exact and not (len(patch.weights) == 1 and on_base):
        return False
    own = all(line.editor == editor.name and line.calls == 1 for line in patch.log)
    if patch.routes or patch.rewrites or not own:
        return False
    settings = [editor.current(line.settings) for line in patch.log]
    if any(other != settings[0] for other in settings):
        return False
    keys = patch.memory.get(editor.name, {}).get("keys", {})
    names = {editor.lm.mlp_out(int(layer)): parts for layer, parts in keys.items()}
    if not names or names.keys() != patch.weights.keys():
        return False
    chains = [(patch.weights[name], parts) for name, parts in names.items()]
    return all(
        isinstance(value, LowRank) and len(value.chunks) == len(parts) == len(patch.log)
        for value, parts in chains
    )


def _product(chunks: Sequence[tuple[Tensor, Tensor]], K: Tensor) -> Tensor | float:
    """ΔW K (d_out, n) of a chain of factors, float64, or 0.0 for an empty chain."""
    return sum((a.double() @ (b.double() @ K) for a, b in chunks), 0.0)
