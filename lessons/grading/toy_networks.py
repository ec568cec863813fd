"""Two small networks that the exercises of session 4 let students trace.

They map numbers to a probability. Both run in the grader's process: a student's file can call them,
but cannot look inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lessons.marking import Wrong, normal

Cells = Sequence[Sequence[int]]  # (token, layer)


class Residual:
    """A residual stream over tokens and layers; `run(noisy, cells)` is the answer's probability.

    Layer l adds the output of attention to earlier tokens, and the output of an MLP for the sum.
    The noise on the tokens of the subject, 0 to 2, is drawn once.
    """

    def __init__(self, draw: torch.Generator, tokens: int = 5, layers: int = 4) -> None:
        self.tokens, self.layers, d = tokens, layers, 6
        self.x = normal(draw, tokens, d)
        mask = torch.full((tokens, tokens), -torch.inf).triu(1)
        self.attention = [(normal(draw, tokens, tokens) + mask).softmax(-1) for _ in range(layers)]
        self.fetch = [normal(draw, d, d) / d**0.5 for _ in range(layers)]
        self.mlp = [normal(draw, d, d) / d**0.5 for _ in range(layers)]
        self.answer = normal(draw, d)
        self.states = self.forward(self.x)
        self.noise = 3 * normal(draw, tokens, d)
        self.noise[3:] = 0
        # the answer's logit is 2.2 in the clean run (p = 0.9), and 4 lower with noise (p = 0.14)
        gap = self.answer @ (self.states[-1] - self.forward(self.x + self.noise)[-1])[-1]
        self.answer *= 4 / gap
        self.shift = (self.answer @ self.states[-1][-1]).item() - 2.2

    def forward(self, x: Tensor, cells: Cells = ()) -> list[Tensor]:
        """Return the states (tokens, d) after every layer, the cells as in the clean run."""
        found = []
        for layer in range(self.layers):
            x = x + self.attention[layer] @ x @ self.fetch[layer].T
            x = x + (x @ self.mlp[layer].T).tanh()
            for token, at in cells:
                if at == layer:
                    x[token] = self.states[layer][token]
            found.append(x)
        return found

    def run(self, noisy: bool, cells: Cells = ()) -> float:
        """p of the answer in the clean or the noisy run, with some clean states restored."""
        for cell in cells:
            if not isinstance(cell, list | tuple) or len(cell) != 2:
                raise Wrong("Cells are pairs (token, layer): run(noisy, [(token, layer)]).")
            if not (0 <= cell[0] < self.tokens and 0 <= cell[1] < self.layers):
                raise Wrong(
                    f"There is no token {cell[0]}, layer {cell[1]}: the network has {self.tokens} "
                    f"tokens and {self.layers} layers, and the token comes first."
                )
        last = self.forward(self.x + self.noise * bool(noisy), cells)[-1][-1]
        return torch.sigmoid(self.answer @ last - self.shift).item()


class Together:
    """Six states of one layer; the answer needs a pair of them, and two others help a little.

    logit = 7 relu(x_a + x_b − 1) + 0.4 (x_a + x_b) + 1.2 (x_c + x_d) − 4, where x is 1 for a clean
    state and 0 for a lost one.
    """

    def __init__(self, draw: torch.Generator) -> None:
        self.roles, self.calls = torch.randperm(6, generator=draw).tolist(), 0

    def run(self, restored: Sequence[int]) -> float:
        """p of the answer with these states as in the clean run and the other states lost."""
        self.calls += 1
        if self.calls > 100:
            raise Wrong("You have used 100 runs: there are only 64 sets of six tokens.")
        if any(not isinstance(t, int) or not 0 <= t < 6 for t in restored):
            raise Wrong("run takes a list of tokens, numbers from 0 to 5.")
        a, b, c, d = (float(role in restored) for role in self.roles[:4])
        logit = 7 * max(0.0, a + b - 1) + 0.4 * (a + b) + 1.2 * (c + d) - 4
        return torch.sigmoid(torch.tensor(logit)).item()
