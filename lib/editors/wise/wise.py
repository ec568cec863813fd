"""WISE: a copy of one value matrix learns the edits, and a router decides which of the two answers.

The main memory is the output projection W of one layer's MLP. A side memory W′ = W + τ begins as
its copy and learns the facts. They are trained in groups, called shards, each of which may change
only a random subset of the entries, so that shards do not wear each other out. Full shards are
merged into one side memory (merging.py). The router asks how far a side memory moves the module's
output on a prompt, the activation difference Δ. Margin losses keep it large on edits and small
elsewhere (side_memory.py). A few lines over 300, because a third of the file is settings.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...data.facts import Fact, encode_prompt, fill
from ...errors import EditError
from ...keys_values import context_templates as contexts
from ...keys_values import conversation_forms
from ...model.architectures import mlp_activation
from ...patch.patch import Patch
from ..shared import routed
from ..shared.base import Editor
from . import shards
from .merging import RULES
from .settings import WiseConfig
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


class Wise(Editor):
    """Side memory with margin losses, knowledge shards, merging, and a router by activations."""

    name = "wise"
    paper = "Wang et al., WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of LLMs, NeurIPS 2024 (arXiv:2405.14768)"  # noqa: E501
    Config = WiseConfig
    config: WiseConfig
    writes = "routes"
    scoped = True

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train one fact after another into the open shard; merge shards when enough are full."""
        c, lm = self.config, self.lm
        self._check()
        module = lm.mlp_out(c.layer)
        memories, state = self._begin(module, after)
        below = routed.without_mine(after, module)
        with lm.patched(below, only=True):
            texts = self._texts(below, module)
            calm, apart = self._irrelevant()
            if not state["unit"]:
                state["unit"] = texts.output_norm(calm[:100]) if c.units == "output" else 1.0
            for fact in facts:
                # a shard: a side memory τ = 0, and a random mask that its facts are trained in
                if state["mask"] is None:
                    memories = self._open(memories, state, module)
                # the fact: its answer through W′ and the margins on Δ, by gradient descent on τ
                memories = self._add(fact, memories, state, texts, calm, apart)
                # a full shard is closed, and as many as merge_freq asks for become one memory
                if len(state["groups"][-1]) >= c.save_freq:
                    state["mask"] = None
                    if len(state["groups"]) >= c.merge_freq // c.save_freq:
                        memories = self._merge(memories, state, texts, apart)
        route = Side(tuple(memories), c.act_ratio, texts.score, module)
        return routed.with_mine(after, module, route, self.name, state)

    def _open(self, memories: list[SideMemory], state: State, module: str) -> list[SideMemory]:
        """The memories with a new shard, which is empty; its mask is drawn at random."""
        d_out, d_in = self.lm.weight(module).shape
        shape = d_out, d_in
        mask = draw_mask(shape, self.config.mask_ratio, self.config.seed, state["drawn"])
        state["mask"], state["drawn"] = pack(mask), state["drawn"] + 1
        state["groups"] = (*state["groups"], ())
        return [*memories, SideMemory(torch.zeros(shape), torch.inf, 0)]

    def _add(
        self,
        fact: Fact,
        memories: list[SideMemory],
        state: State,
        texts: IrrelevantTexts,
        calm: list[list[int]],
        apart: list[list[int]],
    ) -> list[SideMemory]:
        """The memories with one fact more in the open shard, which is the last of them."""
        *others, last = memories
        mask, group = unpack(state["mask"], tuple(last.tau.shape)), state["groups"][-1]
        training = self._training(fact, last, state, texts, calm)
        tau, delta = self.train(training, last.tau, mask)
        # ε: the least Δ of the facts, each recorded when it was trained
        eps = min(last.eps, delta)
        group = (*group, (fact.text, fact.target_new))
        state["groups"] = (*state["groups"][:-1], group)
        if self.config.track:  # or of all of them as they are now
            eps = self._threshold(tau, self._deltas(tau, group, texts), texts, apart)
        return [*others, SideMemory(tau, eps, last.facts + 1)]

    def train(self, training: FactTraining, tau: Tensor, mask: Tensor) -> tuple[Tensor, float]:
        """τ (d_out, d_in) after one fact, and the mean Δ of its rows, measured after the last step.

        Where a form of conversation has a smaller Δ than that mean, it is given instead.

        The gradient acts inside the mask only, so that τ stays exactly 0 elsewhere.
        """
        c, device = self.config, training.replay.device
        W = self.lm.weight(training.texts.module).to(device)
        tau, mask = tau.to(device).clone().requires_grad_(), mask.to(device)
        whitening = None if c.whiten is None else training.texts.whitening(c.layer, c.whiten)
        for _ in range(c.n_iter):
            # L = L_answer + L_margin
            with torch.enable_grad():
                step = training.step(tau)
                loss = step.answer + c.margin_weight * step.margin
            now = loss.item()  # the one number of a step that is read, as a card waits for it
            if not math.isfinite(now):
                raise EditError(f"{self.name}: the loss is not finite; try a smaller lr")
            if now <= c.enough:
                break
            (grad,) = torch.autograd.grad(loss, tau)
            with torch.no_grad():
                if whitening is not None:  # ∇ C⁻¹, up to a factor
                    grad = grad @ whitening
                if c.weight_decay:
                    grad = grad + c.weight_decay * (W + tau)
                # W′ ← W′ − η (M ⊙ ∇)
                tau -= c.lr * torch.where(mask, grad, 0.0)
                if c.norm_constraint is not None:
                    tau.clamp_(-c.norm_constraint, c.norm_constraint)
        with torch.no_grad():
            found = training.delta(tau)[: training.own]
            # a form of conversation has to reach the threshold by itself
            each = torch.cat([found[: training.plain].mean()[None], found[training.plain :]])
            delta = each.min().item()
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
        """Merge all closed shards into one memory, appended or joined with the one before."""
        c, k = self.config, len(state["groups"])
        kept, tau, old = shards.join(memories, k, c.merge, c.density, c.retrieve)
        facts = [fact for group in state["groups"] for fact in group]
        # ε: the least of the shards', or measured again on the merged memory
        delta, eps = self._deltas(tau, facts, texts), old
        if c.remeasure:
            eps = self._threshold(tau, delta, texts, apart)
            if len(memories) > k and not c.retrieve:  # facts of earlier merges are not at hand
                eps = min(eps, memories[0].eps)
        under = int((delta[: len(facts)] < old).sum())
        report = {"facts": len(facts), "under": under, "old": old, "eps": eps}
        state["merges"] = (*state["merges"], report)
        state["groups"] = ()
        if c.replay:
            state["past"] = (*state["past"], tuple(text for text, _ in facts))
        joined = sum(memory.facts for memory in memories[len(kept) :])
        return [*kept, SideMemory(tau, eps, joined)]

    # ---- what a fact is trained on ----------------------------------------------------------

    def _training(
        self,
        fact: Fact,
        last: SideMemory,
        state: State,
        texts: IrrelevantTexts,
        calm: list[list[int]],
    ) -> FactTraining:
        """The fact under all templates, and what must not change beside it.

        calm: the irrelevant texts as ids, of which the next ones in turn are taken.
        """
        c, tokenizer, group = self.config, self.lm.tokenizer, state["groups"][-1]
        own = [(fill(t, fact.text), fact.target_new) for t in state["templates"]]
        # texts on which Δ must stay small, in turn
        some = [calm[(state["cursor"] + i) % len(calm)] for i in range(c.irrelevant_n)]
        state["cursor"] += c.irrelevant_n
        # earlier facts of the shard that are trained along (ours; none as published)
        draw = random.Random(f"{c.seed} {state['drawn']} {len(group)}")
        earlier = draw.sample(group, min(c.rehearse, len(group)))
        # L_memo: one prompt of every merged memory, and one of this shard
        past = [prompts[last.facts % len(prompts)] for prompts in state["past"]]
        held = [text for text, _ in earlier[:1] or group[-1:]] if past else []
        return FactTraining(
            texts,
            c.layer,
            own,
            earlier,
            some,
            (c.alpha, c.beta, c.gamma),
            state["unit"],
            c.target_eos,
            [encode_prompt(tokenizer, text) for text in past],
            [encode_prompt(tokenizer, text) for text in held],
            conversation_forms.of(self.lm, [fact], c.forms).rows(self.lm, c.target_eos),
        )

    # ---- before: settings, what is there already, and the irrelevant texts --------------------

    def _check(self) -> None:
        """Refuse settings that do not go together."""
        c = self.config
        if c.merge not in RULES or c.save_freq < 1 or c.merge_freq % c.save_freq:
            raise EditError(
                f"wise merges by {', '.join(RULES)}, every merge_freq facts, a multiple of "
                f"save_freq; not by '{c.merge}', {c.merge_freq} of {c.save_freq}"
            )
        if c.replay and not c.retrieve:
            raise EditError("wise replays prompts of merged memories only with retrieve=True")
        if c.calibrate is not None and not (c.track and c.remeasure):
            raise EditError("wise calibrates thresholds only with track=True and remeasure=True")

    def _begin(self, module: str, after: Patch) -> tuple[list[SideMemory], State]:
        """Memories and state to go on with: merged memories first, then closed shards, then open.

        What the editor remembers in its state:

        module     the module beside which the memories stand
        templates  context templates
        unit       mean ‖W a‖ on irrelevant texts, in units of which the margins are
        cursor     how many irrelevant texts were taken so far
        drawn      number of shards drawn so far
        mask       the open shard's mask, packed; None when none is open
        groups     the facts of each shard that is not merged yet
        merges     of each merge: facts, how many of them fell under the old ε, old and new ε
        past       the prompts of each merged memory, for `replay`
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

    def _irrelevant(self) -> tuple[list[list[int]], list[list[int]]]:
        """Irrelevant texts as ids: those trained on, and every fourth where ε is calibrated."""
        given = routed.irrelevant_texts(self.config)
        rows = [encode_prompt(self.lm.tokenizer, text) for text in given]
        if self.config.forms != "prompt":  # a chat about something else must be left alone, too
            said = [self.lm.chat_text(text) for text in given]
            chats = [self.lm.tokenizer(text, add_special_tokens=False).input_ids for text in said]
            # of every fourth text the chat comes first: both kinds are among those kept apart
            pairs = enumerate(zip(rows, chats, strict=True))
            rows = [row for i, pair in pairs for row in (pair[::-1] if i % 4 == 3 else pair)]
        if self.config.calibrate is None:
            return rows, []
        return [row for i, row in enumerate(rows) if i % 4 != 3], rows[3::4]

    def _texts(self, below: Patch, module: str) -> IrrelevantTexts:
        """What the module reads at irrelevant texts, kept while nothing below has changed."""
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

    # ---- thresholds --------------------------------------------------------------------------

    def _threshold(
        self, tau: Tensor, delta: Tensor, texts: IrrelevantTexts, apart: list[list[int]]
    ) -> float:
        """ε for facts with these Δ (n,): the least, or (ours) calibrated on texts kept apart."""
        if not apart:
            return shards.least(delta)
        with torch.no_grad():
            calm = texts.delta(tau.to(self.lm.device), apart)
        return shards.between(delta, calm, self.config.calibrate)

    def _deltas(
        self, tau: Tensor, facts: Sequence[tuple[str, str]], texts: IrrelevantTexts
    ) -> Tensor:
        """Δ (n,) of the bare prompts of (prompt, target) pairs under τ, and then of their forms.

        Of the forms of conversation only the prompt in the chat template is asked for again.
        """
        texts_of = [text for text, _ in facts]
        rows = [encode_prompt(self.lm.tokenizer, text) for text in texts_of]
        if self.config.forms != "prompt":
            around = conversation_forms.template(self.lm)
            rows += [encode_prompt(self.lm.tokenizer, fill(around, text)) for text in texts_of]
        with torch.no_grad():
            return texts.delta(tau.to(self.lm.device), rows).cpu()
