"""Norm anchors (NAS), giving every searched value the norm it would have on the unedited model.

A value v* is searched within a ball whose radius is a multiple of the present state's norm. Once W
has grown, that state is longer, so v* is longer, and writing it makes W grow more, causing ‖W‖ to
rise exponentially over single edits. Rescaling v* to one fixed norm breaks the loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ...atomic_files import sha256
from ...computed_once import CachedTensors, Tensors
from ...data.readers import classroom
from ...data.texts import CLASSROOM
from ...keys_values import value_search
from ...keys_values.value_search import Search, Site, Target
from ...model.lm import LM
from ...patch.patch import EMPTY

TRIM = 0.05  # fraction of the largest norms excluded from the mean


def anchor_norm(lm: LM, layer: int, settings: Search, site: Site, count: int) -> CachedTensors:
    """Return the mean `norm` of v* over `count` classroom facts, searched on the base model.

    It uses bare prompts and excludes the largest 5%. The number is cached on disk per model, layer
    and settings, since 100 facts take a minute on the default model. Applying a patch has no effect
    on it.
    """

    def make(_: list[None]) -> Iterator[tuple[None, Tensors]]:
        facts = [case.fact for case in classroom()][:count]
        with lm.patched(EMPTY, only=True):
            found = value_search.search(lm, facts, layer, ("{}",), settings, site)
        norm = trimmed_mean([(t.mlp + t.delta).norm().item() for t in found])
        yield None, {"norm": torch.tensor(norm, dtype=torch.float64)}

    label = f"{lm.stored_identity} {layer} {settings} {site} {count} {sha256(CLASSROOM)}"
    return CachedTensors("anchors", label, make)


def trimmed_mean(norms: Sequence[float]) -> float:
    """Return the mean without the ⌊0.05 N⌋ largest numbers: 1 … 100 -> 48."""
    kept = sorted(norms)[: len(norms) - int(TRIM * len(norms))]
    return sum(kept) / len(kept)


def anchored(found: Sequence[Target], norm: float, skip: float | None) -> tuple[list[Target], int]:
    """Return the values at the anchor's norm, and the number of facts skipped.

    Only the MLP's part v* = mlp + δ is rescaled. A value over `skip` times the norm is an outlier:
    its δ is dropped, so the fact is not written. With skip None, every fact is written.
    """
    rescaled, skipped = [], 0
    for target in found:
        v_star = target.mlp + target.delta
        if skip is not None and v_star.norm() > skip * norm:
            v_star, skipped = target.mlp, skipped + 1
        else:
            v_star = v_star * (norm / v_star.norm())
        z = target.init - target.mlp + v_star
        rescaled.append(replace(target, v_star=z, delta=z - target.init))
    return rescaled, skipped
