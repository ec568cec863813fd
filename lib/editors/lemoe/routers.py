"""LEMoE's routers, for choosing the expert answering a prompt, and their training.

By anchors (`AnchorRouter`): a prompt is represented by the mean e of its input embeddings, centered
and scaled, which a small network projects to a unit vector v. An expert's anchor is a key k_i in
the same space. Expert i scores κ·cos(k_i, v), the null anchor a constant b, and the largest score
wins, so a prompt not near any anchor stays with the base model. Nothing here reads a hidden
state: no edit can change a decision by changing activations.

By hidden states (`HiddenStateRouter`): the router of MEMoE, the method preceding LEMoE, for
comparison. A softmax over W_g [hidden; embed(subject)] chooses among experts. As published, it is
evaluated at every token; here it is evaluated once, at the prompt, for the mean over the prompt's
tokens, like every route of this library. Its defect is preserved: one matrix serves all experts and
moves with every batch, so an input may no longer be routed as it was in training.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ...patch.route import Part, Savable
from ...patch.tensor_file import Count, Real, Schema, TokenId
from ..shared.answer_training import Descent

D_K = 64  # length of an anchor


class Router(Savable):
    """The scores of experts; all tensors are float32."""

    reads_hidden: ClassVar[bool]

    @abstractmethod
    def scores(self, e: Tensor) -> Tensor:
        """Return scores (n, 1 + t) of e (n, d), first the null anchor's (-inf without one)."""

    def choose(self, e: Tensor) -> Tensor:
        """Return the winning expert, (n,) int64, -1 for the null anchor; ties: smallest index."""
        return self.scores(e).argmax(1) - 1

    def misrouted(self, e: Tensor, owner: Tensor) -> int:
        """Return the number of prompts e (n, d) that do not choose their own expert, owner (n,)."""
        with torch.no_grad():
            return int((self.choose(e) != owner).sum())

    def to(self, device: torch.device) -> Self:
        """Return the same router on another device."""
        there = copy(self)
        vars(there).update(
            (n, t.to(device)) for n, t in vars(self).items() if isinstance(t, Tensor)
        )
        return there


@dataclass(frozen=True)
class AnchorRouter(Router):
    """The anchors of t experts, and the preceding projection, v = unit(W_up SiLU(W_down e)).

    mu     (d,): subtracted from a mean embedding
    sigma  (): divides the remainder
    down   (1, h, d): first half of the projection, one for all experts
    up     (1, d_k, h): its second half
    keys   (t, d_k): the anchors, unit rows
    bias   (): b, the score of the null anchor; None without one
    kappa  κ, the scale of the cosines
    """

    mu: Tensor
    sigma: Tensor
    down: Tensor
    up: Tensor
    keys: Tensor
    bias: Tensor | None = None
    kappa: float = 16.0

    reads_hidden = False
    parts = {
        "mu": Part("d"),
        "sigma": Part(""),
        "down": Part("1 h d"),
        "keys": Part("t d_k"),
        "up": Part("1 d_k h"),
        "bias": Part("", optional=True),
    }

    class Header(Schema):
        """The parts that are not tensors."""

        kappa: Real

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> AnchorRouter:
        """Return the router of a file."""
        if not tensors["sigma"] > 0:
            raise ValueError("The router's scale is not positive.")
        return super().from_file(tensors, head)

    def pooled(self, means: Tensor) -> Tensor:
        """Return vectors e (n, d) of prompts: mean embeddings (n, d), centered and scaled."""
        return (means.float() - self.mu) / self.sigma

    def values(self, e: Tensor) -> Tensor:
        """Return values v (n, d_k) of e (n, d), unit vectors."""
        inner = F.silu(torch.einsum("phd,nd->pnh", self.down, e))
        return F.normalize(torch.einsum("pkh,pnh->pnk", self.up, inner), dim=-1)[0]

    def scores(self, e: Tensor) -> Tensor:
        """Return scores (n, 1 + t): κ·cos(k_i, v) of the experts, following the null anchor's b."""
        cosines = self.values(e) @ F.normalize(self.keys, dim=-1).T  # cos(k_i, v)
        null = e.new_full((), -torch.inf) if self.bias is None else self.bias
        return torch.cat([null.expand(len(e), 1), self.kappa * cosines], 1)

    def trainable(self, which: Any) -> list[Tensor]:
        """Return the leaves moving with expert `which`: the common projection, and its key."""
        parts = self.down, self.up, self.keys[which : which + 1]
        return [part.detach().clone().requires_grad_() for part in parts]

    def assemble(self, which: Any, parts: Sequence[Tensor]) -> AnchorRouter:
        """Return the router with these parts of `trainable`; the key becomes a unit vector."""
        down, up, key = parts
        key, old = F.normalize(key, dim=-1), self.keys
        keys = torch.cat([old[:which], key, old[which + 1 :]])
        return replace(self, down=down, up=up, keys=keys)


@dataclass(frozen=True)
class AnchorFit:
    """Settings of `fit_anchors`, which uses Adam.

    steps    number of steps; up to five times as many while a stored prompt is misrouted
    lr       learning rate
    reserve  increase of the null anchor's score after the fit, since texts that must stay with the
             base model are more varied than those used for fitting
    """

    steps: int = 60
    lr: float = 1e-3
    reserve: float = 1.0


def start(
    mu: Tensor, sigma: Tensor, width: int, d_k: int, kappa: float, bias: float | None, seed: int
) -> AnchorRouter:
    """Return a router without experts; its projection is random and almost preserves distances."""
    draw, d = torch.Generator().manual_seed(seed), len(mu)
    down = torch.randn(1, width, d, generator=draw) / d**0.5
    up = torch.randn(1, d_k, width, generator=draw) / width**0.5
    null = None if bias is None else torch.tensor(float(bias))
    return AnchorRouter(mu, sigma, down, up, torch.zeros(0, d_k), null, kappa)


def grow(router: AnchorRouter, e: Tensor) -> AnchorRouter:
    """Return a router with one more anchor: the normalized mean of the values of e (n, d)."""
    key = F.normalize(router.values(e).mean(0), dim=0)
    return replace(router, keys=torch.cat([router.keys, key[None]]))


def fit_anchors(
    router: AnchorRouter,
    e: Tensor,
    owner: Tensor,
    irrelevant: Tensor,
    which: int,
    settings: AnchorFit,
) -> AnchorRouter:
    """Fit anchor `which`, its projection and the null anchor to all stored prompts.

    e (n, d) are stored prompts and owner (n,) their experts; irrelevant (m, d) are texts that must
    stay with the base model. The loss is a cross-entropy over the scores [b, s_1 … s_t]: stored
    prompts belong to their owners, irrelevant texts to the null anchor. The other keys are frozen.
    """
    # the moving parts: projection, key and b, which is fitted lower by the reserve
    parts = router.trainable(which)
    if router.bias is not None:
        parts.append((router.bias - settings.reserve).requires_grad_())
    nobody = torch.zeros(len(irrelevant), dtype=torch.long, device=irrelevant.device)

    def build(reserve: float) -> AnchorRouter:
        """Return the current router, with b raised by the reserve."""
        bias = parts[3] + reserve if len(parts) > 3 else None
        return replace(router.assemble(which, parts[:3]), bias=bias)

    def loss() -> Tensor:
        # CE(softmax[b, s_1 … s_t], owner) + CE(softmax[b, s_1 … s_t], null)
        made = build(0.0)
        own = F.cross_entropy(made.scores(e), owner + 1)
        if router.bias is None:
            return own
        return own + F.cross_entropy(made.scores(irrelevant), nobody)

    adam = torch.optim.Adam(parts, lr=settings.lr)
    descent = Descent(parts, adam.step, lambda _: False, "lemoe")
    for step in range(5 * settings.steps):
        # continue beyond the steps only while a stored prompt does not find its own expert
        if step >= settings.steps and not build(settings.reserve).misrouted(e, owner):
            break
        descent.step(loss)
    parts = [part.detach() for part in parts]
    return build(settings.reserve)


@dataclass(frozen=True)
class HiddenStateRouter(Router):
    """One linear map over [hidden; embed(subject)] for E experts.

    center  (w,): mean of hidden states over texts in general, which is subtracted
    spread  (): divides the remainder
    weight  (E, w + d): W_g, a row per expert
    embeds  (n, d): embeddings of the known subjects, centered and scaled already
    names   (number, token ids) of the known subjects; a subject may have several spellings
    """

    center: Tensor
    spread: Tensor
    weight: Tensor
    embeds: Tensor
    names: tuple[tuple[int, tuple[int, ...]], ...] = ()

    reads_hidden = True
    parts = {
        "center": Part("w"),
        "spread": Part(""),
        "weight": Part("t features"),
        "embeds": Part("n d"),
    }

    class Header(Schema):
        """The names."""

        names: list[tuple[Count, tuple[TokenId, ...]]]

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> HiddenStateRouter:
        """Return the router of a file."""
        w, d = len(tensors["center"]), tensors["embeds"].shape[1]
        if tensors["weight"].shape[1] != w + d:
            raise ValueError("The router's weight has the shape of other features.")
        if not tensors["spread"] > 0:
            raise ValueError("The router's scale is not positive.")
        if any(number >= len(tensors["embeds"]) for number, _ in head.names):
            raise ValueError("The router names a subject that it does not contain.")
        return cls(**tensors, names=tuple(head.names))

    def subjects(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the embedding of the longest known subject in each row of ids, or 0, (rows, d)."""
        found = self.embeds.new_zeros(len(rows), self.embeds.shape[1])
        for i, row in enumerate(rows):
            inside = [(len(ids), -n, n) for n, ids in self.names if holds(ids, row)]
            if inside:
                found[i] = self.embeds[max(inside)[2]]
        return found

    def features(self, means: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return [hidden; embed(subject)] (n, w + d).

        The arguments are mean hidden states (n, w) and prompts as ids.
        """
        hidden = (means.float() - self.center) / self.spread
        return torch.cat([hidden, self.subjects(rows).to(hidden)], 1)

    def scores(self, e: Tensor) -> Tensor:
        """Return scores (n, 1 + E) of features (n, w + d); there is no null anchor."""
        return F.pad(e @ self.weight.T, (1, 0), value=-torch.inf)

    def trainable(self, which: Any) -> list[Tensor]:
        """Return the leaf moving with any expert: the whole matrix."""
        return [self.weight.clone().requires_grad_()]

    def assemble(self, which: Any, parts: Sequence[Tensor]) -> HiddenStateRouter:
        """Return the router with this matrix."""
        return replace(self, weight=parts[0])

    def grow(self, count: int, seed: int) -> HiddenStateRouter:
        """Return the router with `count` additional experts, whose rows are small and random."""
        width = self.weight.shape[1]
        draw = torch.Generator().manual_seed(seed)
        fresh = torch.randn(count, width, generator=draw) / width**0.5
        return replace(self, weight=torch.cat([self.weight, fresh]))

    def know(self, ids: Sequence[tuple[int, ...]], embed: Tensor) -> HiddenStateRouter:
        """Return the router with one additional subject: its spellings and its embedding (d,)."""
        names = tuple((len(self.embeds), tuple(some)) for some in ids)
        return replace(
            self, embeds=torch.cat([self.embeds, embed[None]]), names=(*self.names, *names)
        )


def holds(part: Sequence[int], row: Sequence[int]) -> bool:
    """Return whether `part` occurs somewhere in `row`."""
    n = len(part)
    return any(tuple(row[i : i + n]) == tuple(part) for i in range(len(row) - n + 1))
