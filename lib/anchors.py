"""LEMoE's router: one key per expert, one value per prompt, and a null anchor for all the rest.

A prompt is the mean e of its input embeddings, centered and scaled; v = unit(W_up SiLU(W_down e)).
Expert i scores κ·cos(k_i, v), the null anchor a constant b, and the largest wins, so that a prompt
near no anchor stays with the base model. Nothing here reads a hidden state: no edit can change a
decision by changing activations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Router:
    """Projection, keys and null anchor, float32.

    mu (d,), sigma: what is subtracted from a mean embedding, and by what the rest is divided
    down (1, h, d), up (1, d_k, h): the projection, one for all experts
    keys (t, d_k), unit rows; bias (): the score of the null anchor, None where there is none
    """

    mu: Tensor
    sigma: Tensor
    down: Tensor
    up: Tensor
    keys: Tensor
    bias: Tensor | None
    kappa: float = 16.0

    def pooled(self, means: Tensor) -> Tensor:
        """Pooled e (n, d) of mean embeddings (n, d)."""
        return (means.float() - self.mu) / self.sigma

    def values(self, e: Tensor) -> Tensor:
        """Values v (n, d_k) of e (n, d), unit vectors."""
        inner = F.silu(torch.einsum("phd,nd->pnh", self.down, e))
        return F.normalize(torch.einsum("pkh,pnh->pnk", self.up, inner), dim=-1)[0]

    def scores(self, e: Tensor) -> Tensor:
        """(n, 1 + t): the null anchor's first (-inf where there is none), then every expert's."""
        near = self.values(e) @ F.normalize(self.keys, dim=-1).T
        null = e.new_full((), -torch.inf) if self.bias is None else self.bias
        return torch.cat([null.expand(len(e), 1), self.kappa * near], 1)

    def choose(self, e: Tensor) -> Tensor:
        """(n,) int64: the winning expert, -1 for the null anchor; ties: the smallest index."""
        return self.scores(e).argmax(1) - 1

    def to(self, device: torch.device) -> Router:
        """The same router on another device."""
        return replace(self, **{name: t.to(device) for name, t in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """All parts by name; `bias` only where there is one."""
        names = ("mu", "sigma", "down", "up", "keys", "bias")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def header(self) -> dict:
        """What is no tensor."""
        return {"kappa": self.kappa}

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict, experts: int) -> Router:
        """The router of a file; ValueError where its parts do not belong together."""
        if tensors.keys() | {"bias"} != {"mu", "sigma", "down", "up", "keys", "bias"}:
            raise ValueError("the router of lemoe is not whole")
        made = cls(**{"bias": None, **tensors}, kappa=float(header["kappa"]))
        (p, h, d), (q, d_k, g) = made.down.shape, made.up.shape
        if p == q == experts > 1:
            raise ValueError("the router of lemoe has a projection for each expert")
        fits = len(made.mu) == d and made.keys.shape == (experts, d_k)
        if not fits or (p, q) != (1, 1) or h != g:
            raise ValueError("the router of lemoe has parts of different sizes")
        return made


@dataclass(frozen=True)
class Fit:
    """Settings of `fit`: Adam with rate lr for `steps` steps, up to five times as many while a
    stored prompt is misrouted. reserve: by how much the null anchor's score is raised behind the
    fit, since texts that must stay are more varied than those it was fitted on.
    """

    steps: int = 60
    lr: float = 1e-3
    reserve: float = 1.0


def start(
    mu: Tensor, sigma: Tensor, width: int, d_k: int, kappa: float, bias: float | None, seed: int
) -> Router:
    """A router without experts; its one projection is random and nearly keeps distances."""
    down, up = _projection(len(mu), width, d_k, seed)
    null = None if bias is None else torch.tensor(float(bias))
    return Router(mu, sigma, down, up, torch.zeros(0, d_k), null, kappa)


def grow(router: Router, e: Tensor) -> Router:
    """One more anchor, the normalized mean of v over e (n, d)."""
    key = F.normalize(router.values(e).mean(0), dim=0)
    return replace(router, keys=torch.cat([router.keys, key[None]]))


def fit(
    router: Router, e: Tensor, owner: Tensor, calm: Tensor, which: int, settings: Fit
) -> Router:
    """The router whose anchor `which`, projection and null anchor fit what is stored.

    e (n, d) of stored prompts and owner (n,), their experts; calm (m, d) of texts that must stay
    with the base model. Loss: mean CE(softmax[b, s_1 … s_t], owner) + mean CE(·, null). The other
    keys are frozen.
    """
    parts = trainable(router, which)
    if router.bias is not None:
        parts.append((router.bias - settings.reserve).requires_grad_())
    optimizer = torch.optim.Adam(parts, lr=settings.lr)
    nobody = torch.zeros(len(calm), dtype=torch.long, device=calm.device)

    def build(parts: list[Tensor], reserve: float = 0.0) -> Router:
        made = assemble(router, which, parts[:3])
        return replace(made, bias=parts[3] + reserve if len(parts) > 3 else None)

    for step in range(5 * settings.steps):
        if step >= settings.steps and not misrouted(build(parts, settings.reserve), e, owner):
            break
        with torch.enable_grad():
            made = build(parts)
            loss = F.cross_entropy(made.scores(e), owner + 1)
            if router.bias is not None:
                loss = loss + F.cross_entropy(made.scores(calm), nobody)
            grads = torch.autograd.grad(loss, parts)
        for part, grad in zip(parts, grads, strict=True):
            part.grad = grad
        optimizer.step()
    return build([part.detach() for part in parts], settings.reserve)


def trainable(router: Router, which: int) -> list[Tensor]:
    """What moves with expert `which`: the projection of all and its key, as leaves."""
    parts = router.down, router.up, router.keys[which : which + 1]
    return [part.detach().clone().requires_grad_() for part in parts]


def assemble(router: Router, which: int, parts: list[Tensor]) -> Router:
    """The router with the parts of `trainable` in their places; keys are unit vectors."""
    down, up, key = parts
    key, old = F.normalize(key, dim=-1), router.keys
    return replace(router, down=down, up=up, keys=torch.cat([old[:which], key, old[which + 1 :]]))


def misrouted(router: Router, e: Tensor, owner: Tensor) -> int:
    """How many of the prompts e (n, d) another anchor than their owner's wins."""
    with torch.no_grad():
        return int((router.choose(e) != owner).sum())


def _projection(d: int, width: int, d_k: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    down = torch.randn(1, width, d, generator=draw) / d**0.5
    return down, torch.randn(1, d_k, width, generator=draw) / width**0.5
