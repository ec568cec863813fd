"""LEMoE's router: an anchor per expert, and a null anchor for everything else.

The router says which expert answers a prompt. A prompt stands for itself by the mean e of its input
embeddings, centered and scaled, which a small network projects to a value v, a unit vector:
v = unit(W_up SiLU(W_down e)). An expert's anchor is a key k_i in the same space. Expert i scores
κ·cos(k_i, v), the null anchor a constant b, and the largest score wins, so that a prompt near no
anchor stays with the base model. Nothing here reads a hidden state: no edit can change a decision
by changing activations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...patch.tensor_file import Real, Schema, check_names, check_tensor, convert


class AnchorHeader(Schema):
    """The header of an `AnchorRouter` in a patch file."""

    kappa: Real


@dataclass(frozen=True)
class AnchorRouter:
    """The anchors of t experts and the projection before them; all tensors are float32.

    mu     (d,): what is subtracted from a mean embedding
    sigma  (): by what the rest is divided
    down   (1, h, d): first half of the projection, one for all experts
    up     (1, d_k, h): its second half
    keys   (t, d_k): the anchors, unit rows
    bias   (): b, the score of the null anchor; None where there is none
    kappa  κ, the scale of the cosines
    """

    mu: Tensor
    sigma: Tensor
    down: Tensor
    up: Tensor
    keys: Tensor
    bias: Tensor | None
    kappa: float = 16.0

    def pooled(self, means: Tensor) -> Tensor:
        """What stands for prompts, e (n, d): their mean embeddings (n, d), centered and scaled."""
        return (means.float() - self.mu) / self.sigma

    def values(self, e: Tensor) -> Tensor:
        """Values v (n, d_k) of e (n, d), unit vectors."""
        inner = F.silu(torch.einsum("phd,nd->pnh", self.down, e))
        return F.normalize(torch.einsum("pkh,pnh->pnk", self.up, inner), dim=-1)[0]

    def scores(self, e: Tensor) -> Tensor:
        """Scores (n, 1 + t) of e (n, d): the null anchor's, -inf without one, then the experts'."""
        near = self.values(e) @ F.normalize(self.keys, dim=-1).T  # cos(k_i, v)
        null = e.new_full((), -torch.inf) if self.bias is None else self.bias
        return torch.cat([null.expand(len(e), 1), self.kappa * near], 1)

    def choose(self, e: Tensor) -> Tensor:
        """(n,) int64: the winning expert, -1 for the null anchor; ties: the smallest index."""
        return self.scores(e).argmax(1) - 1

    def to(self, device: torch.device) -> AnchorRouter:
        """The same router on another device."""
        there: dict[str, Any] = {name: t.to(device) for name, t in self.tensors().items()}
        return replace(self, **there)

    def tensors(self) -> dict[str, Tensor]:
        """All parts by name; `bias` only where there is one."""
        names = ("mu", "sigma", "down", "up", "keys", "bias")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def header(self) -> dict:
        """What is no tensor."""
        return {"kappa": self.kappa}

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict, experts: int) -> AnchorRouter:
        """The router of a file; ValueError where its parts do not belong together."""
        head = convert(header, AnchorHeader)
        names = {"mu", "sigma", "down", "up", "keys"}
        check_names("the router", tensors.keys() - {"bias"}, names)
        d, h = tensors["mu"].numel(), tensors["down"].shape[1] if tensors["down"].ndim == 3 else -1
        d_k = tensors["keys"].shape[1] if tensors["keys"].ndim == 2 else -1
        if tensors["down"].ndim == 3 and len(tensors["down"]) == experts > 1:
            raise ValueError("the router has a projection for each expert")
        shapes = {"mu": (d,), "sigma": (), "down": (1, h, d), "up": (1, d_k, h)}
        shapes |= {"keys": (experts, d_k), "bias": ()}
        for name, tensor in tensors.items():
            check_tensor(f"the router's {name}", tensor, shapes[name], torch.float32)
        if not tensors["sigma"] > 0:
            raise ValueError("the router's scale is not positive")
        return cls(**{"bias": None, **tensors}, kappa=head.kappa)


@dataclass(frozen=True)
class AnchorFit:
    """Settings of `fit_anchors`, which takes Adam.

    steps    number of steps; up to five times as many while a stored prompt is misrouted
    lr       learning rate
    reserve  by how much the null anchor's score is raised after the fit, since texts that must stay
             with the base model are more varied than those it was fitted on
    """

    steps: int = 60
    lr: float = 1e-3
    reserve: float = 1.0


def start(
    mu: Tensor, sigma: Tensor, width: int, d_k: int, kappa: float, bias: float | None, seed: int
) -> AnchorRouter:
    """A router without experts; its one projection is random and nearly keeps distances."""
    down, up = _projection(len(mu), width, d_k, seed)
    null = None if bias is None else torch.tensor(float(bias))
    return AnchorRouter(mu, sigma, down, up, torch.zeros(0, d_k), null, kappa)


def grow(router: AnchorRouter, e: Tensor) -> AnchorRouter:
    """A router with one anchor more: the normalized mean of the values of e (n, d)."""
    key = F.normalize(router.values(e).mean(0), dim=0)
    return replace(router, keys=torch.cat([router.keys, key[None]]))


def fit_anchors(
    router: AnchorRouter, e: Tensor, owner: Tensor, calm: Tensor, which: int, settings: AnchorFit
) -> AnchorRouter:
    """Fit anchor `which`, its projection and the null anchor to all that is stored.

    e (n, d) are stored prompts and owner (n,) their experts; calm (m, d) are texts that must stay
    with the base model. The loss is a cross-entropy over the scores [b, s_1 … s_t]: stored prompts
    belong to their owners, calm texts to the null anchor. The other keys are frozen.
    """
    # what moves: projection, key and b, which is fitted lower by the reserve
    parts = trainable(router, which)
    if router.bias is not None:
        parts.append((router.bias - settings.reserve).requires_grad_())
    optimizer = torch.optim.Adam(parts, lr=settings.lr)
    nobody = torch.zeros(len(calm), dtype=torch.long, device=calm.device)

    def build(parts: list[Tensor], reserve: float = 0.0) -> AnchorRouter:
        """The router with these parts, b raised by the reserve."""
        made = assemble(router, which, parts[:3])
        return replace(made, bias=parts[3] + reserve if len(parts) > 3 else None)

    for step in range(5 * settings.steps):
        # go on beyond the steps only while a stored prompt does not find its own expert
        if step >= settings.steps and not misrouted(build(parts, settings.reserve), e, owner):
            break
        with torch.enable_grad():
            made = build(parts)
            # CE(softmax[b, s_1 … s_t], owner) + CE(softmax[b, s_1 … s_t], null)
            loss = F.cross_entropy(made.scores(e), owner + 1)
            if router.bias is not None:
                loss = loss + F.cross_entropy(made.scores(calm), nobody)
            grads = torch.autograd.grad(loss, parts)
        for part, grad in zip(parts, grads, strict=True):
            part.grad = grad
        optimizer.step()
    return build([part.detach() for part in parts], settings.reserve)


def trainable(router: AnchorRouter, which: int) -> list[Tensor]:
    """What moves with expert `which`, as leaves: the projection of all, and its key."""
    parts = router.down, router.up, router.keys[which : which + 1]
    return [part.detach().clone().requires_grad_() for part in parts]


def assemble(router: AnchorRouter, which: int, parts: list[Tensor]) -> AnchorRouter:
    """The router with the parts of `trainable` put back in their places, the key as unit vector."""
    down, up, key = parts
    key, old = F.normalize(key, dim=-1), router.keys
    return replace(router, down=down, up=up, keys=torch.cat([old[:which], key, old[which + 1 :]]))


def misrouted(router: AnchorRouter, e: Tensor, owner: Tensor) -> int:
    """The number of prompts e (n, d) that do not choose their own expert, owner (n,)."""
    with torch.no_grad():
        return int((router.choose(e) != owner).sum())


def _projection(d: int, width: int, d_k: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random `down` (1, width, d) and `up` (1, d_k, width), which nearly keep distances."""
    draw = torch.Generator().manual_seed(seed)
    down = torch.randn(1, width, d, generator=draw) / d**0.5
    return down, torch.randn(1, d_k, width, generator=draw) / width**0.5
