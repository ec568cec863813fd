"""The attention states of texts that were read, row by row, so that any of them can be read on.

A run with a key-value cache leaves keys and values for each token. Rows of several such runs can
go on together: the tokens that count are copied side by side into a new cache, with padding on
the left. Tokens that were read and then rejected do not count, and so leave no gap behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .sequences import Sequences

if TYPE_CHECKING:
    from .lm import LM


@dataclass
class States:
    """What one run left behind for its rows.

    cache   the key-value cache of transformers, with one layer for each block.
    counts  (rows, columns) bool: tokens that later tokens attend to; padding and rejected ones do
            not count.
    memo    what routes decided at the prompts, as in `Sequences.memo`.
    """

    cache: Any
    counts: Tensor
    memo: dict[str, Tensor]


def gathered(lm: LM, picks: Sequence[tuple[States, int]]) -> States:
    """The states of some rows in one new cache, with padding on the left; the old ones stay.

    picks  (states, row) for each row of the result. A row may be picked several times.
    """
    from transformers import DynamicCache

    # rows of one origin are copied together
    origins: dict[int, tuple[States, list[int], list[int]]] = {}
    for place, (states, row) in enumerate(picks):
        _, rows, places = origins.setdefault(id(states), (states, [], []))
        rows.append(row)
        places.append(place)
    parts, columns = [], []
    for states, rows, places in origins.values():
        counts = states.counts[rows]
        # counted columns come last, in their order: the sort is stable
        order = counts.to(torch.uint8).argsort(dim=1, stable=True)
        parts.append((states, torch.tensor(rows), torch.tensor(places), order))
        columns.append(counts.sum(1))
    lengths = torch.cat(columns).cpu()
    longest = int(lengths.max())
    counts = torch.zeros(len(picks), longest, dtype=torch.bool)
    everywhere = torch.cat([places for _, _, places, _ in parts])
    counts[everywhere] = torch.arange(longest) >= longest - lengths[:, None]
    cache = DynamicCache(config=lm.model.config)
    for layer in range(len(parts[0][0].cache.layers)):
        sides = []
        for side in ("keys", "values"):
            first = getattr(parts[0][0].cache.layers[layer], side)
            wide = first.new_zeros(len(picks), first.shape[1], longest, first.shape[3])
            for states, which, where, order in parts:
                old, device = getattr(states.cache.layers[layer], side), first.device
                last = order[:, -longest:].to(device)
                chosen = old.transpose(1, 2)[which.to(device)[:, None], last]  # (rows, L, heads, d)
                wide[where.to(device), :, longest - last.shape[1] :] = chosen.transpose(1, 2)
            sides.append(wide)
        cache.update(*sides, layer)
    memo = {
        name: torch.stack([states.memo[name][row] for states, row in picks])
        for name in parts[0][0].memo
    }
    return States(cache, counts.to(lm.device), memo)


def behind(states: States, ids: Tensor, real: Tensor) -> Sequences:
    """The `Sequences` of a run that reads ids (rows, length) behind these states.

    No token of it is prompt, so routes answer as they decided before.
    """
    nowhere = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
    return Sequences(ids, real, torch.zeros_like(real), nowhere, memo=dict(states.memo))
