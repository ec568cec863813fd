"""WISE: a copy of one value matrix learns the edits, and a router decides which of the two answers.

The side memory W′ = W + τ starts as W. Facts are trained into random subspaces of it (shards), so
that they do not wear each other out, and the shards are merged; margins on the activation
difference Δ keep it large on edits and small elsewhere, which is what the router reads.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...data.facts import Fact, encode_prompt, fill
from ...errors import EditError
from ...keys_values import context_templates as contexts
from ...model.architectures import mlp_activation
from ...patch.patch import Patch
from ..shared import routed
from ..shared.base import Editor
from ..shared.config import Config
from . import shards
from .merging import RULES
from .side_memory import (
    ActivationDifference,
    Side,
    SideMemory,
    draw_mask,
    pack,
    unpack,
)
from .training import FactTraining, IrrelevantTexts

State = dict[str, Any]


@dataclass(frozen=True)
class WiseConfig(Config):
    """Settings of WISE.

    enough, n_iter: SGD steps per fact, ended early by a loss (answer and margins) up to `enough`.
    alpha, beta, gamma: margins, Δ < α on irrelevant texts, Δ > β on edits, γ between them.
    units: "output": the loss sees Δ in units of the mean ‖W a‖ on the irrelevant texts, measured at
    the first edit: raw margins would outweigh the answer a hundredfold; "absolute": as published.
    margin_weight: coefficient of the margins beside the answer's loss; published: 1.
    act_ratio: a memory answers from Δ = act_ratio·ε on. density: what TIES keeps.
    save_freq: facts per shard. merge_freq: facts per merge. retrieve: merged memories are appended
    and the best answers; otherwise there is one, merged again (0.6 and 0.4 / k).
    remeasure: Δ of merged facts is measured again after the merge. track: Δ of the open shard's
    facts too, after every edit, since later ones move all of them; published: False, ε is the least
    Δ that was ever recorded.
    calibrate: the threshold lies so far from the 95 % quantile of Δ on irrelevant texts kept apart
    (every fourth, never trained on) towards the least Δ of a fact: 0.5 midway. Published: None, the
    least Δ itself, which leaves the rewordings of a lone fact outside. Needs `track`.
    rehearse: at most so many earlier facts of the open shard are trained along; published: 0.
    replay: with `retrieve`, L_memo: one prompt of every merged memory, in turn, must not light up
    the open shard, and one drawn from the open shard must go on to.
    irrelevant: texts that must stay with W, `irrelevant_n` of them per fact in turn; None: those of
    irrelevant.txt. pool, activation: see `ActivationDifference`; "hidden" is the model's own.
    """

    layer: int = 25
    lr: float = 1.0
    n_iter: int = 70
    enough: float = 0.02
    alpha: float = 0.25
    beta: float = 1.0
    gamma: float = 0.5
    margin_weight: float = 1.0
    units: Literal["output", "absolute"] = "output"
    act_ratio: float = 0.88
    mask_ratio: float = 0.2
    density: float = 0.53
    merge: Literal["ties", "sign", "linear"] = "ties"
    save_freq: int = 500
    merge_freq: int = 1000
    retrieve: bool = False
    remeasure: bool = True
    track: bool = False
    calibrate: float | None = None
    rehearse: int = 0
    replay: bool = False
    norm_constraint: float | None = 1.0
    weight_decay: float = 0.0
    pool: Literal["mean", "row"] = "mean"
    activation: Literal["hidden"] | None = None
    target_eos: bool = False
    templates: tuple[str, ...] | None = None
    contexts: tuple[tuple[int, int], ...] = ((5, 5), (10, 5))
    context_start: int | str | None = "words"
    context_top_k: int = 5
    irrelevant: tuple[str, ...] | None = None
    irrelevant_n: int = 1


class Wise(Editor):
    """Side memory with margin losses, knowledge shards, merging, and a router by activations."""

    name = "wise"
    paper = "Wang et al., WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of LLMs, NeurIPS 2024 (arXiv:2405.14768)"  # noqa: E501
    Config = WiseConfig
    config: WiseConfig
    writes = "routes"
    scoped = True

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """One fact after another into the open shard; full shards are closed and merged."""
        c, lm = self.config, self.lm
        if c.merge not in RULES or c.save_freq < 1 or c.merge_freq % c.save_freq:
            raise EditError(
                f"wise merges by {', '.join(RULES)}, every merge_freq facts, a multiple of "
                f"save_freq; not by '{c.merge}', {c.merge_freq} of {c.save_freq}"
            )
        if c.replay and not c.retrieve:
            raise EditError("wise replays prompts of merged memories only with retrieve=True")
        if c.calibrate is not None and not (c.track and c.remeasure):
            raise EditError("wise calibrates thresholds only with track=True and remeasure=True")
        module = lm.mlp_out(c.layer)
        memories, state = self._begin(module, after)
        below = routed.without_mine(after, module)
        with lm.patched(below, only=True):
            texts = self._texts(below, module)
            calm = routed.irrelevant_texts(c)
            rows = [encode_prompt(lm.tokenizer, text) for text in calm]
            apart = [] if c.calibrate is None else rows[3::4]
            rows = [row for i, row in enumerate(rows) if not apart or i % 4 != 3]
            if not state["unit"]:
                state["unit"] = texts.output_norm(rows[:100]) if c.units == "output" else 1.0
            for fact in facts:
                memories = self._add(fact, memories, state, texts, rows, apart)
        route = Side(tuple(memories), c.act_ratio, texts.score, module)
        return routed.with_mine(after, module, route, self.name, state)

    def _begin(self, module: str, after: Patch) -> tuple[list[SideMemory], State]:
        """Memories and state under `after`: merged memories first, then closed shards, then open.

        state: module, templates, unit of the margins, cursor into the irrelevant texts, shards
        drawn so far, mask of the open one (bits, None when there is none), groups (the facts of
        each shard not merged yet), merges (facts, how many fell under the old ε, old and new ε),
        past (prompts of each merged memory, for replay).
        """
        held = after.memory.get(self.name)
        if routed.begun(after, module, self.name, held, "side memories"):
            route: Any = after.routes[module]
            return list(route.memories), dict(held)
        return [], {
            "module": module,
            "templates": contexts.of(self.lm, self.config),
            "unit": 0.0,
            "cursor": 0,
            "drawn": 0,
            "mask": None,
            "groups": (),
            "merges": (),
            "past": (),
        }

    def _texts(self, below: Patch, module: str) -> IrrelevantTexts:
        """Inputs of irrelevant texts, kept while nothing that they pass through has changed."""
        c, lm = self.config, self.lm
        parts = [*below.weights.items(), *below.routes.items()]
        kept = getattr(self, "_kept", None)
        if kept and len(kept[0]) == len(parts):
            if all(a[0] == b[0] and a[1] is b[1] for a, b in zip(kept[0], parts, strict=True)):
                return kept[1]
        act = mlp_activation(lm.model.config) if c.activation else None
        score = ActivationDifference(c.pool, act, lm.leading_bos)
        self._kept = parts, IrrelevantTexts(lm, module, score)
        return self._kept[1]

    def _add(
        self,
        fact: Fact,
        memories: list[SideMemory],
        state: State,
        texts: IrrelevantTexts,
        pool: list[list[int]],
        apart: list[list[int]],
    ) -> list[SideMemory]:
        """The memories with one fact more; `state` goes on with them."""
        c, lm = self.config, self.lm
        d_out, d_in = lm.weight(texts.module).shape
        shape = d_out, d_in
        if state["mask"] is None:
            mask = draw_mask(shape, c.mask_ratio, c.seed, state["drawn"])
            memories = [*memories, SideMemory(torch.zeros(shape), torch.inf, 0)]
            state["groups"] = (*state["groups"], ())
            state["mask"], state["drawn"] = pack(mask), state["drawn"] + 1
        mask, group = unpack(state["mask"], shape), state["groups"][-1]
        *others, last = memories
        some = [pool[(state["cursor"] + i) % len(pool)] for i in range(c.irrelevant_n)]
        state["cursor"] += c.irrelevant_n
        earlier = random.Random(f"{c.seed} {state['drawn']} {len(group)}").sample(
            group, min(c.rehearse, len(group))
        )
        pairs = [(fill(t, fact.text), fact.target_new) for t in state["templates"]]
        margins = c.alpha, c.beta, c.gamma
        past = [prompts[last.facts % len(prompts)] for prompts in state["past"]]
        held = [text for text, _ in earlier[:1] or group[-1:]] if past else []
        lesson = FactTraining(
            texts, c.layer, pairs, earlier, some, margins, state["unit"], c.target_eos,
            *([encode_prompt(lm.tokenizer, text) for text in kept] for kept in (past, held)),
        )  # fmt: skip
        tau, delta = self.train(lesson, last.tau, mask)
        group = (*group, (fact.text, fact.target_new))
        eps = min(last.eps, delta)
        if c.track:
            eps = self._threshold(tau, self._deltas(tau, group, texts), texts, apart)
        last = SideMemory(tau, eps, last.facts + 1)
        state["groups"] = (*state["groups"][:-1], group)
        if len(group) < c.save_freq:
            return [*others, last]
        state["mask"] = None
        if len(state["groups"]) < c.merge_freq // c.save_freq:
            return [*others, last]
        return self._merge([*others, last], state, texts, apart)

    def train(self, lesson: FactTraining, tau: Tensor, mask: Tensor) -> tuple[Tensor, float]:
        """τ (d_out, d_in) after one fact, and the mean Δ of its rows, measured after the last step.

        The gradient acts inside the mask only: τ stays exactly 0 elsewhere.
        """
        c, device = self.config, self.lm.device
        W = self.lm.weight(lesson.texts.module)
        tau, mask = tau.to(device).clone().requires_grad_(), mask.to(device)
        for _ in range(c.n_iter):
            with torch.enable_grad():
                step = lesson.step(tau)
                loss = step.answer + c.margin_weight * step.margin
            if not torch.isfinite(loss):
                raise EditError(f"{self.name}: the loss is not finite; try a smaller lr")
            if loss <= c.enough:
                break
            (grad,) = torch.autograd.grad(loss, tau)
            with torch.no_grad():
                if c.weight_decay:
                    grad = grad + c.weight_decay * (W + tau)
                # W′ ← W′ − η (M ⊙ ∇)
                tau -= c.lr * torch.where(mask, grad, 0.0)
                if c.norm_constraint is not None:
                    tau.clamp_(-c.norm_constraint, c.norm_constraint)
        with torch.no_grad():
            delta = lesson.delta(tau)[: lesson.own].mean().item()
        tau = tau.detach().cpu()
        if not torch.isfinite(tau).all():
            raise EditError(f"{self.name} produced NaN or infinite weights; try a smaller lr")
        return tau, delta

    def _merge(
        self,
        memories: list[SideMemory],
        state: State,
        texts: IrrelevantTexts,
        apart: list[list[int]],
    ) -> list[SideMemory]:
        """The unmerged shards become one memory: appended, or joined with the one before."""
        c, k = self.config, len(state["groups"])
        kept, tau, old = shards.join(memories, k, c.merge, c.density, c.retrieve)
        facts = [fact for group in state["groups"] for fact in group]
        delta, eps = self._deltas(tau, facts, texts), old
        if c.remeasure:
            eps = self._threshold(tau, delta, texts, apart)
            if len(memories) > k and not c.retrieve:  # facts of earlier merges are not at hand
                eps = min(eps, memories[0].eps)
        under = int((delta < old).sum())
        state["merges"] = (
            *state["merges"], {"facts": len(facts), "under": under, "old": old, "eps": eps},
        )  # fmt: skip
        state["groups"] = ()
        if c.replay:
            state["past"] = (*state["past"], tuple(text for text, _ in facts))
        joined = sum(memory.facts for memory in memories[len(kept) :])
        return [*kept, SideMemory(tau, eps, joined)]

    def _threshold(
        self, tau: Tensor, delta: Tensor, texts: IrrelevantTexts, apart: list[list[int]]
    ) -> float:
        """ε for facts with these Δ (n,): the least, or calibrated on irrelevant texts."""
        if not apart:
            return shards.least(delta)
        with torch.no_grad():
            calm = texts.delta(tau.to(self.lm.device), apart)
        return shards.between(delta, calm, self.config.calibrate)

    def _deltas(
        self, tau: Tensor, facts: Sequence[tuple[str, str]], texts: IrrelevantTexts
    ) -> Tensor:
        """Δ (n,) of the bare prompts of (prompt, target) pairs under τ."""
        rows = [encode_prompt(self.lm.tokenizer, text) for text, _ in facts]
        with torch.no_grad():
            return texts.delta(tau.to(self.lm.device), rows).cpu()
