"""Searching for the values of one fact at several layers at once, for WilKE.

Each layer has its own copy of the fact's rows, joining the batch at the block above that layer.
Below it, the copy's states are identical to the unchanged model's. Above it, each weight is read
once for all copies. On a CPU, a few rows take about as long as reading the weights, so seven layers
cost little more than two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...data.facts import Fact
from ...keys_values.value_search import FactSearch, Search, Target, rows_of, search
from ...model.lm import LM
from ...model.partial_forward import Replay, add_first


def search_layers(
    lm: LM, fact: Fact, layers: Sequence[int], templates: Sequence[str], settings: Search
) -> list[Target]:
    """Return v* at the output of every layer's `mlp_out`, as results of `target_value.search`.

    layers must ascend.
    """
    if lm.arch.post_norm:  # a norm changes δ before it reaches the block above
        return [search(lm, [fact], layer, templates, settings)[0] for layer in layers]
    return SeveralLayers(lm, fact, layers, templates, settings).targets()


class SeveralLayers(FactSearch):
    """The search for one vector per layer, all for the same fact."""

    def __init__(
        self, lm: LM, fact: Fact, layers: Sequence[int], templates: Sequence[str], settings: Search
    ) -> None:
        n, t = len(layers), len(templates)
        self.layers = list(layers)
        names = [lm.mlp_out(layer) for layer in layers]
        rows, at, (self.subject,) = rows_of(lm, [fact], templates, settings.target_eos)
        replay = Replay.at_mlp(lm, rows.ids, layers[0], lookup=at, watch=names, behind=rows.behind)
        # the states entering the block above each layer in the unchanged model
        with torch.no_grad():
            self.bases = [
                replay.run(replay.hidden, upto=layer - layers[0]) for layer in self.layers
            ]
        # the rows of the first 1, 2, … n copies, each copy with all rows of the fact
        everything = list(range(len(rows)))
        self.parts = [replay.take(everything * (c + 1)) for c in range(n)]
        seen = [replay.seen[name] for name in names]
        mlp = torch.stack([values[0, 0] for _, values in seen]).float()
        labels = replay.labels(rows).repeat(1, n)
        # the rows of copy c follow the previous copies' rows
        labels[0] += t * torch.arange(n, device=labels.device).repeat_interleave(len(rows.share))
        super().__init__(
            lm=lm,
            where=f"layer {layers[0]}",
            settings=settings,
            init=mlp,
            mlp=mlp,
            keys=torch.stack([keys[:t, 0] for keys, _ in seen]).float(),
            labels=labels,
            share=rows.share.repeat(n) / t,
            owner=torch.arange(n).repeat_interleave(t),
        )

    def forward(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Return states with δ: copies join above their layers, then run together."""
        above = [self.layers[c] - self.layers[0] for c in self.alive]
        hidden = None
        for i, c in enumerate(self.alive):
            # copy c joins with its δ at the lookup, then all continue to the layer of the next copy
            base = self.bases[c]  # (rows, L, d), the lookup is column 0
            moved = add_first(base, delta[:1, i, None].to(base.dtype))
            hidden = moved if hidden is None else torch.cat([hidden, moved])
            upto = above[i + 1] if i + 1 < len(above) else None
            hidden = self.parts[i].run(hidden, upto=upto, since=above[i])
        states = hidden.unflatten(0, (len(above), -1))  # (copies, rows, L, d)
        return states[:, : self.keys.shape[1]].flatten(0, 1), states[:, self.subject, 0]
