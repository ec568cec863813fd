"""The network that MEND, MALMEN and RLEdit share, and its gradient without the language model.

The network reads a standardized pair (key k̂, output gradient ĝ) of one token and gives a better
pair (k̃, g̃). It starts as the identity, so an untrained editor is a plain descent step. The language
model contributes one matrix per edited weight to the network's gradient, G = ∂L/∂W. All the rest is
algebra on keys and gradients, chunk by chunk (Tan, Zhang, Fu, MALMEN, 2024, section 4).

`outer` is MEND's update and `ridge` is MALMEN's. `regress` is ours: MALMEN's regression on the keys
that the network gives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ... import memory
from ...keys_values.answer_gradients import KeyGradients


class EditNet(nn.Module):
    """Residual layers on x = [k̂; ĝ] (s, n), shared by all modules of one shape (d_in, d_out).

    mend:    y' = y + clamp(scale ⊙ (B A y + b) + shift, min=0)
    malmen:  y' = y + scale ⊙ clamp(B A y + b, min=0) + shift

    Scale and shift, the step (α or η) and, where ridge is given, ℓ = log λ exist once per module.
    At first B is zero and A (rank, s) standard normal, so that every clamp stands at exactly 0.
    There relu has no gradient and nothing would ever be learned, but clamp has one.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        modules: Sequence[str],
        rank: int,
        blocks: int = 2,
        order: Literal["mend", "malmen"] = "malmen",
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
        """Pseudo-key k̃ (d_in, n) and pseudo-gradient g̃ (d_out, n), in the network's own dtype."""
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
    order: Literal["mend", "malmen"],
    step: float,
    seed: int,
    ridge: float | None = 1.0,
) -> dict[str, EditNet]:
    """{shape: its network} for {module: shape}, as "576x1536"; rank None takes min(1024, s/4)."""
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
    """The update that one module asks for: its keys and gradients, and the network that answers.

    net     the network of the module's shape
    module  its name
    pair    keys (d_in, n) and gradients (d_out, n)
    hat     the same pair standardized, k̂ (d_in, n) and ĝ (d_out, n)
    chunk   number of columns that pass through the network at once
    metric  the matrix R of the ridge λR; None for the identity, as published
    scale   factor of the learned step
    """

    net: EditNet
    module: str
    pair: KeyGradients
    hat: tuple[Tensor, Tensor]
    chunk: int = 1024
    metric: memory.Moment | None = None
    scale: float = 1.0

    def parts(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """(columns, k̃, g̃) of `chunk` columns at a time, which bounds the network's memory."""
        for start in range(0, self.pair.K.shape[1], self.chunk):
            some = slice(start, start + self.chunk)
            yield some, *self.net(self.hat[0][:, some], self.hat[1][:, some], self.module)

    @property
    def step(self) -> Tensor:
        """α or η of this module."""
        return self.scale * self.net.step[self.net.modules_at[self.module]]

    @property
    def log_ridge(self) -> Tensor:
        """ℓ of this module: λ = exp(ℓ)."""
        return self.net.log_ridge[self.net.modules_at[self.module]]


# ---- MEND: outer products are summed -------------------------------------------------------------


@torch.no_grad()
def outer(wanted: ModuleUpdate) -> tuple[Tensor, Tensor]:
    """ΔW = −α Σ g̃ k̃ᵀ as factors (d_out, n), (n, d_in), float64."""
    pairs = [(-wanted.step * g, k) for _, k, g in wanted.parts()]
    A, B = (torch.cat(side, 1).cpu().double() for side in zip(*pairs, strict=True))
    return A, B.T


def outer_backward(wanted: ModuleUpdate, G: Tensor) -> None:
    """Add ∂L/∂(network), the gradient of ⟨G, ΔW⟩ with G = ∂L/∂W (d_out, d_in) held fixed."""
    for _, k, g in wanted.parts():
        # ⟨G, −α Σ g̃ k̃ᵀ⟩ = −α Σ g̃ᵀ G k̃
        (-wanted.step * (g * (G.to(k) @ k)).sum()).backward()


# ---- MALMEN: a ridge regression writes the wanted shifts -----------------------------------------


def shifts(wanted: ModuleUpdate, some: slice, k: Tensor, g: Tensor) -> Tensor:
    """V (d_out, n): the shift wanted at each raw key, v = −η ⟨k, k̃⟩ g̃."""
    return -wanted.step * (wanted.pair.K[:, some].to(k) * k).sum(0) * g


@torch.no_grad()
def ridge(wanted: ModuleUpdate) -> tuple[Tensor, Tensor]:
    """ΔW = V Kᵀ (K Kᵀ + λR)⁻¹ as factors V (d_out, n) and reach B (n, d_in), float64."""
    V = torch.cat([shifts(wanted, *part).cpu().double() for part in wanted.parts()], 1)
    return V, memory.reach(wanted.pair.K.double(), wanted.metric, wanted.log_ridge.exp().item())


def ridge_backward(wanted: ModuleUpdate, factors: tuple[Tensor, Tensor], G: Tensor) -> None:
    """Add ∂L/∂(network) and ∂L/∂ℓ for G = ∂L/∂W (d_out, d_in), held fixed.

    With M = K Kᵀ + λR the reach is B = Kᵀ M⁻¹, in whichever of its two forms it was solved, so
    neither rule below needs M: ∂L/∂V = G M⁻¹ K = G Bᵀ, and ∂L/∂ℓ = −λ⟨G M⁻¹R, ΔW⟩ is minus the
    product of ∂L/∂V with the residual of the regression, because λR M⁻¹ K = K − K (B K).
    """
    (V, B), K = factors, wanted.pair.K.double()
    D = G.cpu().double() @ B.T  # ∂L/∂V (d_out, n)
    left = -(D * (V - V @ (B @ K))).sum()
    (wanted.log_ridge * left.to(wanted.log_ridge)).backward()
    for some, k, g in wanted.parts():
        (D[:, some].to(g) * shifts(wanted, some, k, g)).sum().backward()


# ---- the same regression on the network's keys (ours) --------------------------------------------


def regress(wanted: ModuleUpdate) -> tuple[Tensor, Tensor]:
    """ΔW = V K̃ᵀ (K̃ K̃ᵀ + λm I)⁻¹ with v = −η ‖k̃‖² g̃, factors (d_out, n), (n, d_in), float64.

    m is the mean ‖k̃‖² of the columns, since the network's keys have no unit of their own. On the
    embedded model rewordings follow an edit further on these keys than on raw ones, and so do
    neighbors, which training has to win back (tests/benchmarks/sweeps.json). A lone column with
    λ = 0 is MEND's outer product.
    """
    with torch.no_grad():
        return _solved(wanted, *_answers(wanted))


def regress_backward(wanted: ModuleUpdate, G: Tensor) -> None:
    """Add ∂L/∂(network), ∂L/∂η and ∂L/∂ℓ for G = ∂L/∂W (d_out, d_in), held fixed.

    The gradient goes through the regression first, ∂⟨G, ΔW⟩/∂K̃ and ∂⟨G, ΔW⟩/∂g̃, and then through
    the network, chunk by chunk.
    """
    with torch.no_grad():
        K, g = _answers(wanted)
    K.requires_grad_()
    g.requires_grad_()
    V, B = _solved(wanted, K, g)
    # ⟨G, ΔW⟩ = ⟨V, G Bᵀ⟩
    (V * (G.cpu().double() @ B.T)).sum().backward()
    # the gradients with respect to k̃ and g̃, held fixed, go on into the network
    for some, *pair in wanted.parts():
        grads = K.grad[:, some], g.grad[:, some]
        products = [(grad.to(one) * one).sum() for grad, one in zip(grads, pair, strict=True)]
        cast(Tensor, sum(products)).backward()


def _answers(wanted: ModuleUpdate) -> tuple[Tensor, Tensor]:
    """All of k̃ (d_in, n) and g̃ (d_out, n), float64 on the CPU."""
    _, keys, grads = zip(*wanted.parts(), strict=True)
    return torch.cat(keys, 1).cpu().double(), torch.cat(grads, 1).cpu().double()


def _solved(wanted: ModuleUpdate, K: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """V (d_out, n) and the reach of the keys K (n, d_in), with λ in units of their mean square."""
    V = -wanted.step.cpu().double() * K.square().sum(0) * g
    return V, memory.reach(K, ridge=wanted.log_ridge.cpu().double().exp())
