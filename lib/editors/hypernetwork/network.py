"""The network shared by MEND, MALMEN and RLEdit.

The network maps a standardized pair (key k̂, output gradient ĝ) of one token to a better pair (k̃,
g̃). It starts as the identity, so an untrained editor takes a plain gradient descent step. Nothing
here depends on a language model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...keys_values.answer_gradients import KeyGradients

Order = Literal["mend", "malmen"]


class EditNet(nn.Module):
    """Residual layers on x = [k̂; ĝ] (s, n), shared by all modules of one shape (d_in, d_out).

    mend:    y' = y + clamp(scale ⊙ (B A y + b) + shift, min=0)
    malmen:  y' = y + scale ⊙ clamp(B A y + b, min=0) + shift

    Scale and shift, the step (α or η) and, if ridge is given, ℓ = log λ are separate for each
    module. Initially B is zero and A (rank, s) standard normal, so every clamp is at exactly 0.
    There, relu has no gradient, so it would never learn anything, but clamp has a gradient.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        modules: Sequence[str],
        rank: int,
        blocks: int = 2,
        order: Order = "malmen",
        step: float = 1e-6,
        seed: int = 0,
        ridge: float | None = 1.0,
    ) -> None:
        super().__init__()
        s, m = d_in + d_out, len(modules)
        self.d_in, self.order, self.modules_at = d_in, order, {n: i for i, n in enumerate(modules)}
        draw = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(blocks, rank, s, generator=draw))  # A
        self.second = nn.Parameter(torch.zeros(blocks, s, rank))  # B
        self.bias = nn.Parameter(torch.zeros(blocks, s))
        self.scale = nn.Parameter(torch.ones(blocks, m, s))
        self.shift = nn.Parameter(torch.zeros(blocks, m, s))
        self.step = nn.Parameter(torch.full((m,), step))
        if ridge is not None:
            self.log_ridge = nn.Parameter(torch.full((m,), math.log(ridge)))

    def forward(self, k_hat: Tensor, g_hat: Tensor, module: str) -> tuple[Tensor, Tensor]:
        """Return pseudo-key k̃ (d_in, n) and pseudo-gradient g̃ (d_out, n), in the net's dtype."""
        m, y = self.modules_at[module], torch.cat([k_hat, g_hat]).to(self.first)
        for i in range(len(self.first)):
            scale, shift = self.scale[i, m, :, None], self.shift[i, m, :, None]
            inner = self.second[i] @ (self.first[i] @ y) + self.bias[i, :, None]
            if self.order == "mend":
                y = y + (scale * inner + shift).clamp(min=0)
            else:
                y = y + scale * inner.clamp(min=0) + shift
        return y[: self.d_in], y[self.d_in :]


def build(
    modules: Mapping[str, str],
    rank: int | None,
    blocks: int,
    order: Order,
    step: float,
    seed: int,
    ridge: float | None = 1.0,
) -> dict[str, EditNet]:
    """Return {shape: its network} for {module: shape}, as "576x1536".

    A rank of None means min(1024, s/4).
    """
    nets = {}
    for shape in dict.fromkeys(modules.values()):
        d_out, d_in = map(int, shape.split("x"))
        names = [name for name in modules if modules[name] == shape]
        s = d_in + d_out
        size = min(s, min(1024, max(1, s // 4)) if rank is None else rank)
        nets[shape] = EditNet(d_in, d_out, names, size, blocks, order, step, seed, ridge)
    return nets


@dataclass(frozen=True)
class ModuleUpdate:
    """The update requested by one module: its keys and gradients, and the network that answers.

    net     the network of the module's shape
    module  its name
    pair    keys (d_in, n) and gradients (d_out, n)
    hat     the same pair standardized, k̂ (d_in, n) and ĝ (d_out, n)
    chunk   number of columns passing through the network at once
    scale   factor of the learned step
    """

    net: EditNet
    module: str
    pair: KeyGradients
    hat: tuple[Tensor, Tensor]
    chunk: int = 1024
    scale: float = 1.0

    def parts(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield (columns, k̃, g̃) for `chunk` columns at a time, limiting the network's memory."""
        for start in range(0, self.pair.K.shape[1], self.chunk):
            some = slice(start, start + self.chunk)
            yield some, *self.net(self.hat[0][:, some], self.hat[1][:, some], self.module)

    @torch.no_grad()
    def answers(self) -> tuple[Tensor, Tensor]:
        """Return all of k̃ (d_in, n) and g̃ (d_out, n), float64 on the CPU, without a graph."""
        _, keys, grads = zip(*self.parts(), strict=True)
        return torch.cat(keys, 1).cpu().double(), torch.cat(grads, 1).cpu().double()

    @property
    def step(self) -> Tensor:
        """Return α or η of this module, float64 on the CPU."""
        return self.scale * self.net.step[self.net.modules_at[self.module]].cpu().double()

    @property
    def ridge(self) -> Tensor:
        """Return λ = exp(ℓ) of this module, float64 on the CPU."""
        return self.net.log_ridge[self.net.modules_at[self.module]].cpu().double().exp()
