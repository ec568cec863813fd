"""WISE's shards: how they become one memory, and where its threshold lies."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .merging import RULES
from .side import SideMemory


def join(
    memories: Sequence[SideMemory], k: int, rule: str, density: float, retrieve: bool
) -> tuple[list[SideMemory], Tensor, float]:
    """(memories that stay, τ of the last k and ε, the least of theirs), by one of merging.RULES.

    Without `retrieve` the memories before them are merged along, with the share .6 that earlier
    merges keep, as published.
    """
    merged, parts, weights = list(memories[:-k]), list(memories[-k:]), [1 / k] * k
    if merged and not retrieve:
        parts, merged, weights = [*merged, *parts], [], [0.6] + [0.4 / k] * k
    tau = RULES[rule]([part.tau for part in parts], weights, density)
    return merged, tau, min(part.eps for part in parts)


def least(delta: Tensor) -> float:
    """ε: the least Δ, or the 5 % quantile where one outlier would halve it."""
    lowest, low = delta.min().item(), delta.quantile(0.05).item()
    return low if lowest < low / 2 else lowest


def between(delta: Tensor, calm: Tensor, share: float) -> float:
    """ε between the 95 % quantile of Δ on texts kept apart, `calm`, and the least of the facts'.

    Never above the latter; share 0 is the one end, 1 the other.
    """
    lowest, quiet = least(delta), calm.quantile(0.95).item()
    return min(lowest, quiet + share * (lowest - quiet))
