"""MEMoE's router, here for comparison: hidden states and the subject's embedding choose an expert.

MEMoE is the method before LEMoE. A softmax over W_g [hidden; embed(subject)] chooses among experts.
As published it is asked at every token, for what the layer reads there; here it is asked once, at
the prompt, for the mean over the prompt's tokens, as every route of this library is. Its defect is
kept: one matrix serves all experts and moves with every batch, so that an input need not go where
it went when it was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...patch.tensor_file import Count, Schema, TokenId, check_names, check_tensor, convert


class HiddenStateHeader(Schema):
    """The header of a `HiddenStateRouter` in a patch file."""

    names: list[tuple[Count, tuple[TokenId, ...]]]


@dataclass(frozen=True)
class HiddenStateRouter:
    """One linear map over [hidden; embed(subject)] for E experts; all tensors are float32.

    center  (w,): mean of hidden states over texts in general, which is subtracted
    spread  (): by what the rest is divided
    weight  (E, w + d): W_g, a row per expert
    embeds  (n, d): embeddings of the known subjects, centered and scaled already
    names   (number, token ids) of the known subjects; a subject may have several spellings
    """

    center: Tensor
    spread: Tensor
    weight: Tensor
    embeds: Tensor
    names: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def subjects(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """(rows, d): the embedding of the longest known subject in each row of ids, else 0."""
        found = self.embeds.new_zeros(len(rows), self.embeds.shape[1])
        for i, row in enumerate(rows):
            inside = [(len(ids), -n, n) for n, ids in self.names if _within(ids, row)]
            if inside:
                found[i] = self.embeds[max(inside)[2]]
        return found

    def features(self, means: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
        """[hidden; embed(subject)] (n, w + d) of mean hidden states (n, w) and prompts as ids."""
        hidden = (means.float() - self.center) / self.spread
        return torch.cat([hidden, self.subjects(rows).to(hidden)], 1)

    def scores(self, features: Tensor) -> Tensor:
        """Scores (n, 1 + E) in the form of anchors; the null anchor's is -inf, as there is none."""
        return F.pad(features @ self.weight.T, (1, 0), value=-torch.inf)

    def choose(self, features: Tensor) -> Tensor:
        """(n,) int64: the expert with the largest score."""
        return self.scores(features).argmax(1) - 1

    def grow(self, count: int, seed: int) -> HiddenStateRouter:
        """The router with `count` experts more, whose rows are small and random."""
        width = self.weight.shape[1]
        draw = torch.Generator().manual_seed(seed)
        fresh = torch.randn(count, width, generator=draw) / width**0.5
        return replace(self, weight=torch.cat([self.weight, fresh]))

    def know(self, ids: Sequence[tuple[int, ...]], embed: Tensor) -> HiddenStateRouter:
        """The router with one subject more: its spellings and its embedding (d,)."""
        names = tuple((len(self.embeds), tuple(some)) for some in ids)
        return replace(
            self, embeds=torch.cat([self.embeds, embed[None]]), names=(*self.names, *names)
        )

    def to(self, device: torch.device) -> HiddenStateRouter:
        """The same router on another device."""
        there: dict[str, Any] = {name: t.to(device) for name, t in self.tensors().items()}
        return replace(self, **there)

    def tensors(self) -> dict[str, Tensor]:
        """All parts but the names."""
        return {name: getattr(self, name) for name in ("center", "spread", "weight", "embeds")}

    def header(self) -> dict:
        """The names."""
        return {"names": [[n, list(ids)] for n, ids in self.names]}

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict, experts: int) -> HiddenStateRouter:
        """The router of a file; ValueError where its parts do not belong together."""
        head = convert(header, HiddenStateHeader)
        check_names("the router", tensors, ("center", "spread", "weight", "embeds"))
        w, d = tensors["center"].numel(), tensors["embeds"].shape[-1:].numel()
        shapes = {"center": (w,), "spread": (), "weight": (experts, w + d), "embeds": (-1, d)}
        for name, tensor in tensors.items():
            check_tensor(f"the router's {name}", tensor, shapes[name], torch.float32)
        if not tensors["spread"] > 0:
            raise ValueError("the router's scale is not positive")
        if any(number >= len(tensors["embeds"]) for number, _ in head.names):
            raise ValueError("the router names a subject that it does not hold")
        return cls(**tensors, names=tuple(head.names))


def _within(part: Sequence[int], row: Sequence[int]) -> bool:
    """Whether `part` stands somewhere in `row`."""
    n = len(part)
    return any(tuple(row[i : i + n]) == tuple(part) for i in range(len(row) - n + 1))
