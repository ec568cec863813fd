"""Norm anchors (NAS): every searched value gets the norm it would have on the unedited model.

A value v* is searched within a ball whose radius is a multiple of the present state's norm. When W
has grown, that state is longer, so v* is longer, and writing it makes W grow more. So ‖W‖ rises
exponentially over single edits. Rescaling v* to one fixed norm breaks the loop.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor

from ...atomic_files import cached, whole_file
from ...data.readers import classroom
from ...keys_values import target_value
from ...model.lm import LM
from ...patch.patch import EMPTY

TRIM = 0.05  # share of the largest norms left out of the mean


def anchor_norm(
    lm: LM, layer: int, settings: target_value.Search, place: target_value.Place, count: int
) -> float:
    """Mean norm of v* over `count` classroom facts with bare prompts, searched on the base model.

    The largest 5 % are left out. The number is cached on disk per model, layer and settings, since
    100 facts take a minute on the default model. A patch that is entered has no effect.
    """
    label = f"{lm.fingerprint} {lm.dtype} {layer} {settings} {place} {count}"
    path = cached("anchors", label, ".json", digits=None)
    if path.exists():
        return float(json.loads(path.read_text(encoding="utf-8")))
    facts = [case.fact for case in classroom()][:count]
    with lm.patched(EMPTY, only=True):
        found = target_value.search(lm, facts, layer, ("{}",), settings, place)
    norm = trimmed_mean([(t.mlp + t.delta).norm().item() for t in found])
    with whole_file(path) as part:
        part.write_text(json.dumps(norm), encoding="utf-8")
    return norm


def trimmed_mean(norms: Sequence[float]) -> float:
    """Mean without the ⌊0.05 N⌋ largest numbers: 1 … 100 -> 48."""
    kept = sorted(norms)[: len(norms) - int(TRIM * len(norms))]
    return sum(kept) / len(kept)


def anchored(
    found: Sequence[target_value.Target], norm: float, skip: float | None
) -> tuple[Tensor, int]:
    """The states z (d_out, n) with values at the anchor's norm, and the number of facts skipped.

    Only the MLP's share v* = mlp + δ is rescaled. A value over `skip` times the norm is an outlier,
    and its δ is dropped, so that the fact is not written. With skip None every fact is written.
    """
    columns, skipped = [], 0
    for t in found:
        v_star = t.mlp + t.delta
        if skip is not None and v_star.norm() > skip * norm:
            v_star, skipped = t.mlp, skipped + 1
        else:
            v_star = v_star * (norm / v_star.norm())
        columns.append(t.init - t.mlp + v_star)
    return torch.stack(columns, 1), skipped
