"""WISE's shards: how they become one side memory, and where its threshold lies.

A shard is a side memory in the making: a group of facts that is trained into a random subset of the
entries of W (its mask), so that shards disturb each other little. Full shards are merged into one
side memory (merging.py), whose facts' activation differences Δ then give its threshold ε.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .merging import RULES
from .side_memory import SideMemory


def join(
    memories: Sequence[SideMemory], k: int, rule: str, density: float, retrieve: bool
) -> tuple[list[SideMemory], Tensor, float]:
    """Merge the last k memories: those that stay, the merged τ (d_out, d_in), and the least ε.

    rule is one of merging.RULES. Without `retrieve` there is one merged memory only: the one from
    earlier merges is merged along and keeps the published share of 0.6.
    """
    merged, parts, weights = list(memories[:-k]), list(memories[-k:]), [1 / k] * k
    if merged and not retrieve:
        parts, merged, weights = [*merged, *parts], [], [0.6] + [0.4 / k] * k
    tau = RULES[rule]([part.tau for part in parts], weights, density)
    return merged, tau, min(part.eps for part in parts)


def least(delta: Tensor) -> float:
    """ε for facts with Δ (n,): the least, or the 5 % quantile where one outlier would halve it."""
    lowest, low = delta.min().item(), delta.quantile(0.05).item()
    return low if lowest < low / 2 else lowest


def between(delta: Tensor, calm: Tensor, share: float) -> float:
    """ε between what irrelevant texts reach and what facts reach, never above the latter.

    delta (n,): Δ of the facts, of which the least counts; calm (m,): Δ of irrelevant texts kept
    apart, of which the 95 % quantile counts. share 0 gives the quantile, 1 the facts' least Δ.
    """
    lowest, quiet = least(delta), calm.quantile(0.95).item()
    return min(lowest, quiet + share * (lowest - quiet))
