"""One edit taken out of a patch in closed form, where the editor keeps its keys.

A patch of such an editor holds each call's key K and Δ = R B; with them the value that the call
wrote, relative to the base weights, is U = R + ΔW_before K. The fold without one call is made again
from these pairs, solve by solve: no search, no run of the model. Keys and values stay as they were
read; where lower layers are edited too a model would read slightly others by now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .patch import LowRank, Patch

if TYPE_CHECKING:
    from .editor import Editor
    from .lm import LM


def exact(patch: Patch) -> bool:
    """Whether no line reads what another changes: one layer, values of the base model."""
    return len(patch.weights) == 1 and all(e.settings.get("values_on") == "base" for e in patch.log)


def without(patch: Patch, i: int, lm: LM) -> Patch | None:
    """The patch without line `i` of its log, or None where it does not hold what is needed.

    It must be one editor's fold with settings that never changed, one call per line, its change
    still in factors, and every call's keys still apart.
    """
    from .editors import EDITORS  # here, not above: editors are built on patches

    if not 0 <= i < len(patch.log) or patch.routes or patch.rewrites:
        return None
    name = patch.log[0].editor
    settings = EDITORS[name].current(patch.log[0].settings)
    for edit in patch.log:
        if edit.editor != name or edit.calls != 1:
            return None
        if EDITORS[name].current(edit.settings) != settings:
            return None
    editor: Editor = EDITORS[name](lm, **settings)
    state = patch.memory.get(editor.name, {})
    keys = {lm.mlp_out(int(layer)): (int(layer), k) for layer, k in state.get("keys", {}).items()}
    if not keys or keys.keys() != patch.weights.keys() or not hasattr(editor, "solve"):
        return None
    n = len(patch.log)
    for name, (_, parts) in keys.items():
        value = patch.weights[name]
        if not isinstance(value, LowRank) or not len(value.chunks) == len(parts) == n:
            return None
    left, weights = {}, {}
    for name, (layer, parts) in keys.items():
        chunks = patch.weights[name].chunks
        kept = list(parts[:i])  # calls before line i stand as they are, in the same storage
        again = list(chunks[:i])
        for t in range(i + 1, n):
            K = parts[t].double()
            # R' = U − ΔW'K with U = R + ΔW K: only what the deletion moved at K is new
            R = chunks[t][0].double() + _at(chunks[:t], K) - _at(again, K)
            B = editor.solve(layer, K, {**state, "keys": {str(layer): tuple(kept)}})
            again.append((R.float(), B.float()))
            kept.append(parts[t])
        left[str(layer)] = tuple(kept)
        if again:
            weights[name] = LowRank(tuple(again))
    log = patch.log[:i] + patch.log[i + 1 :]
    memory = {**patch.memory, editor.name: {**state, "keys": left}} if log else {}
    return replace(patch, weights=weights, memory=memory, log=log, base=patch.base if log else "")


def _at(chunks: list | tuple, K):
    """ΔW K of a chain, (d_out, n), float64; 0.0 of an empty one."""
    return sum((a.double() @ (b.double() @ K) for a, b in chunks), 0.0)
