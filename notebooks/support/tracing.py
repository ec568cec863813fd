"""The runs of causal tracing on one fact, by the functions of notebook 03: block by block, or by hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

import lib
from lib.workbench.interpret import corrupted_runs

Cells = Sequence[tuple[int, int]]  # (token, layer) of each state that is put back


class Runs:
    """p of the answer of a fact, clean or with noise on its subject, with some states put back.

    probability  of a text, an answer and [(name of a module, change of its output)]
    noise_for    the subject's first and last token, seed= -> the noise

    corrupt, put_back and restored are those of exercises 4.1 and 4.2.
    """

    def __init__(
        self,
        lm: lib.LM,
        fact: lib.Fact,
        probability: Callable,
        noise_for: Callable,
        corrupt: Callable,
        put_back: Callable,
        restored: Callable,
    ) -> None:
        self.lm, self.text, self.probability = lm, fact.text, probability
        self.noise_for, self.corrupt, self.put_back = noise_for, corrupt, put_back
        _, self.first, self.last = corrupted_runs.span(lm, fact)
        layers = range(lm.n_layers)
        self.names = {
            "states": [f"{lm.arch.blocks}.{n}" for n in layers],
            "MLPs": [*map(lm.mlp_out, layers)],
        }
        seen = lm.run(fact.text, watch=[*self.names["states"], *self.names["MLPs"]]).seen
        self.clean = {  # {kind: the outputs (tokens, d) of each layer}
            kind: [seen[name][1][0] for name in names] for kind, names in self.names.items()
        }
        self.answer = int(lm.next_token(fact.text).argmax())
        self.blocks = [lm.model.get_submodule(name) for name in self.names["states"]]
        self.more: dict[int, tuple] = {}  # the other arguments of each block: masks, positions
        self.restored, self._known = restored, dict[tuple, float]()
        self._starts: dict[tuple, Tensor] = {}

    def run(self, noisy: bool, cells: Cells, *, seed: int = 1, by: Callable | None = None) -> float:
        """With block outputs put back, by `restored` or another function of its form."""
        by, cells, lm = by or self.restored, list(cells), self.lm
        key = noisy, tuple(cells), seed, by
        if key not in self._known:
            x = by(self._block, lm.n_layers, self._start(noisy, seed), self.clean["states"], cells)
            with torch.no_grad():
                ends = lm.head(lm.model.get_submodule(lm.arch.final_norm)(x[:, -1]))
            self._known[key] = ends.softmax(-1)[:, self.answer].mean().item()
        return self._known[key]

    def by_hooks(self, noisy: bool, cells: Cells, kind: str = "states") -> float:
        """With outputs of blocks ("states") or of MLPs ("MLPs") put back by hooks."""
        key = noisy, tuple(cells), kind
        if key not in self._known:
            changes = self._noise(noisy, seed=1)
            for token, n in cells:
                change = partial(self.put_back, clean=self.clean[kind][n], token=token)
                changes.append((self.names[kind][n], change))
            self._known[key] = self.probability(self.text, self.answer, changes)
        return self._known[key]

    def _noise(self, noisy: bool, seed: int) -> list[tuple[str, Callable]]:
        noise = self.noise_for(self.first, self.last, seed=seed)
        change = partial(self.corrupt, noise=noise, first=self.first)
        return [(self.lm.arch.embed, change)] if noisy else []

    def _start(self, noisy: bool, seed: int) -> Tensor:
        """The states in front of block 0; `more` then has the blocks' other arguments."""
        if (noisy, seed) not in self._starts:

            def remember(n: int, module: nn.Module, args: tuple, given: dict) -> None:
                self.more[n] = args, given

            handles = [
                block.register_forward_pre_hook(partial(remember, n), with_kwargs=True)
                for n, block in enumerate(self.blocks)
            ]
            self.probability(self.text, self.answer, self._noise(noisy, seed))
            for handle in handles:
                handle.remove()
            args, given = self.more[0]
            self._starts[noisy, seed] = args[0] if args else given["hidden_states"]
        return self._starts[noisy, seed]

    def _block(self, n: int, x: Tensor) -> Tensor:
        """The output of block n for the states x."""
        args, given = self.more[n]
        given = given | ({} if args else {"hidden_states": x})
        with torch.no_grad():
            out = self.blocks[n](*((x, *args[1:]) if args else ()), **given)
        return out[0] if isinstance(out, tuple) else out
