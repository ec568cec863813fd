"""The same fact searched at several layers at once: every layer's rows climb the model together.

Copies of a fact's rows join the batch at the block above their own layer. Below it they are as in
the unchanged model, and above it each weight is read once for all copies: on a CPU, where few rows
are bound by reading the weights, seven layers cost little more than two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .facts import Fact
from .lm import LM
from .replay import Replay
from .target import Batch, Search, Target, answered, rows_of, search


def search_layers(
    lm: LM, fact: Fact, layers: Sequence[int], templates: Sequence[str], settings: Search
) -> list[Target]:
    """v* at the output of `mlp_out` of every layer (ascending), as `target.search` one by one."""
    if lm.arch.post_norm:  # δ does not reach the block above as it is
        return [search(lm, [fact], layer, templates, settings)[0] for layer in layers]
    return _Climb(lm, fact, layers, templates, settings).run()


class _Climb(Batch):
    """One copy of the fact per layer; the copies stand where `Batch` has its facts."""

    def __init__(
        self,
        lm: LM,
        fact: Fact,
        layers: Sequence[int],
        templates: Sequence[str],
        settings: Search,
    ) -> None:
        self.lm, self.settings, self.layers, self.layer = lm, settings, list(layers), layers[0]
        self.n, self.t = len(self.layers), len(templates)
        names = [lm.mlp_out(layer) for layer in self.layers]
        rows, at, labels = rows_of(lm, [fact], templates, settings.target_eos)
        behind = answered(rows, labels)
        self.replay = Replay(lm, rows, self.layers[0] + 1, lookup=at, watch=names, behind=behind)
        with torch.no_grad():  # what enters the block above each layer in the unchanged model
            self.bases = [
                self.replay.run(self.replay.hidden, upto=layer - self.layers[0])
                for layer in self.layers
            ]
        seen = [self.replay.seen[name] for name in names]
        self.keys = torch.stack([keys[: self.t, 0] for keys, _ in seen]).float()
        self.mlp = self.init = torch.stack([values[0, 0] for _, values in seen]).float()
        self.places = (None,)
        self.active = torch.arange(self.n, device=self.init.device)
        self.owner = self.active.repeat_interleave(self.t)
        at_row = [(i, self.replay.column(i, p), token) for i, p, token in labels]
        self._label([(c * self.t + i, p, token) for c in range(self.n) for i, p, token in at_row])
        everything = list(range(self.t + 1))
        self.parts = [self.replay.take(everything * (c + 1)) for c in range(self.n)]
        self.before = None

    def forward(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Each copy joins above its layer; all that have joined climb to the next together."""
        above = [self.layers[c] - self.layers[0] for c in self.active.tolist()]
        hidden = None
        for i, c in enumerate(self.active.tolist()):
            base = self.bases[c]  # (t + 1, L, d), the lookup is column 0
            moved = torch.cat([base[:, :1] + delta[0, i].to(base.dtype), base[:, 1:]], 1)
            hidden = moved if hidden is None else torch.cat([hidden, moved])
            upto = above[i + 1] if i + 1 < len(above) else None
            hidden = self.parts[i].run(hidden, upto=upto, since=above[i])
        states = hidden.unflatten(0, (-1, self.t + 1))
        return states[:, : self.t].flatten(0, 1), states[:, self.t, 0]

    def drop(self, rows: list[int], facts: list[int]) -> None:
        """Nothing to select: `forward` runs the active copies only."""
