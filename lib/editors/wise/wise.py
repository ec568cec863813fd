"""WISE: a copy of one value matrix learns the edits, and a router decides which of the two answers.

The main memory is the output projection W of one layer's MLP. A side memory W′ = W + τ starts as
its copy and learns the facts. They are trained in groups, called shards, each of which may change
only a random subset of the entries, protecting shards from each other. Full shards are merged into
one side memory (merging.py). The router uses the distance by which a side memory moves the module's
output on a prompt, the activation difference Δ. Margin losses keep it large on edits and small
elsewhere (route.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...cancellation import steps
from ...computed_once import CachedTensors
from ...data.facts import Fact, encode_prompt, fill
from ...keys_values import chat_wordings
from ...keys_values import context_templates as contexts
from ...keys_values.second_moment import stored_moments
from ...model.answer_rows import AnswerRows
from ...model.architectures import mlp_activation
from ...patch.patch import EMPTY, Patch
from ..shared import routed
from ..shared.answer_training import Descent
from ..shared.base import Editor
from .merging import RULES
from .route import ActivationDifference, Side, SideMemory, draw_mask, pack, unpack
from .settings import WiseConfig
from .training import FactTraining, Margins, Rows, TextReader


@dataclass
class State:
    """The state kept between calls, in addition to the side memories in the route.

    module     the module that the memories extend
    templates  context templates
    unit       mean ‖W a‖ on irrelevant texts, the unit of the margins; 0: not read yet
    cursor     number of irrelevant texts used so far
    drawn      number of shards drawn so far
    mask       the open shard's mask, packed; None when none is open
    groups     (prompt, answer) of the facts of each shard that is not merged yet
    merges     for each merge: facts, how many of them fell under the old ε, old and new ε
    past       the prompts of each merged memory, for `replay`
    """

    module: str
    templates: tuple[str, ...]
    unit: float = 0.0
    cursor: int = 0
    drawn: int = 0
    mask: Tensor | None = None
    groups: tuple[tuple[tuple[str, str], ...], ...] = ()
    merges: tuple[Mapping[str, float], ...] = ()
    past: tuple[tuple[str, ...], ...] = ()


class Wise(Editor[WiseConfig]):
    """Side memory with margin losses, knowledge shards, merging, and a router by activations."""

    name = "wise"
    paper = "Wang et al., WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of LLMs, NeurIPS 2024 (arXiv:2405.14768)"  # noqa: E501
    writes = "routes"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train the facts one by one into the open shard; merge shards when enough are full."""
        c, lm = self.config, self.lm
        module = lm.mlp_out(c.layer)
        memories, state = self._begin(module, after)
        below = routed.without_route(after, module)
        with lm.patched(below, only=True):
            irrelevant, held_out = self._irrelevant()
            # the module's inputs on these texts; on the base model, all editors share them
            act = mlp_activation(lm.model.config) if c.activation else None
            texts = TextReader(
                lm,
                module,
                ActivationDifference(c.pool, act, lm.leading_bos),
                frozenset(map(tuple, [*irrelevant, *held_out])),
                None if below.weights or below.routes else lm.stored_identity,
            )
            if not state.unit:
                calm = texts.read(irrelevant[:100]) if c.units == "output" else []
                norms = [output.norm(dim=1).mean() for _, output in calm]
                state.unit = torch.stack(norms).mean().item() if norms else 1.0
            for fact in steps(facts, f"{self.name}: facts"):
                # a shard: a side memory τ = 0, and a random mask for training its facts
                if state.mask is None:
                    d_out, d_in = lm.weight(module).shape
                    state.mask = pack(draw_mask((d_out, d_in), c.mask_ratio, c.seed, state.drawn))
                    state.drawn, state.groups = state.drawn + 1, (*state.groups, ())
                    memories = [*memories, SideMemory(torch.zeros(d_out, d_in), torch.inf, 0)]
                # the fact, and the threshold that its prompts have to reach
                memories[-1] = self._learn(fact, memories[-1], state, texts, irrelevant, held_out)
                # close a full shard, merging as many as merge_freq requires into one memory
                if len(state.groups[-1]) >= c.save_freq:
                    state.mask = None
                    if len(state.groups) >= c.merge_freq // c.save_freq:
                        memories = self._merge(memories, state, texts, held_out)
        route = Side(tuple(memories), c.act_ratio, texts.score, module)
        return routed.with_route(after, module, route, self.name, vars(state))

    def _learn(
        self,
        fact: Fact,
        memory: SideMemory,
        state: State,
        texts: TextReader,
        irrelevant: Rows,
        held_out: Rows,
    ) -> SideMemory:
        """Return the open shard's memory with one more fact, trained under all templates.

        Texts that must not change are also used in training, taking the irrelevant texts in turn.
        """
        c, tokenizer, group = self.config, self.lm.tokenizer, state.groups[-1]
        own = [(fill(t, fact.text), fact.target_new) for t in state.templates]
        # texts on which Δ must stay small, in turn
        some = [irrelevant[(state.cursor + i) % len(irrelevant)] for i in range(c.irrelevant_n)]
        state.cursor += c.irrelevant_n
        # earlier facts of the shard trained together with it (ours; none as published)
        draw = random.Random(f"{c.seed} {state.drawn} {len(group)}")
        earlier = draw.sample(group, min(c.rehearse, len(group)))
        # L_memo: one prompt of every merged memory, and one of this shard
        past = [prompts[memory.facts % len(prompts)] for prompts in state.past]
        present = [text for text, _ in earlier[:1] or group[-1:]] if past else []
        around = [[encode_prompt(tokenizer, text) for text in group] for group in (past, present)]
        training = FactTraining(
            texts,
            c.layer,
            Margins(c, state.unit, some, *around),
            # the last answer token predicts nothing, but the published Δ includes it
            AnswerRows.of(tokenizer, own, c.target_eos, read_whole=c.pool == "row"),
            chat_wordings.of(self.lm, [fact], c.forms).rows(self.lm, c.target_eos),
            AnswerRows.of(tokenizer, earlier, c.target_eos),
        )
        # its answer through W′ and the margins on Δ, by gradient descent on τ
        tau = self.train(training, memory.tau, unpack(state.mask, tuple(memory.tau.shape)))
        # ε: the least Δ of the facts, each recorded when it was trained, as the mean of its rows; a
        # chat form has to reach it by itself
        with torch.no_grad():
            delta = training.delta(tau)[: training.own]
        means = [delta[: training.plain].mean().item(), *delta[training.plain :].tolist()]
        eps, tau = min(memory.eps, *means), tau.cpu()
        group = (*group, (fact.text, fact.target_new))
        state.groups = (*state.groups[:-1], group)
        if c.track:  # or of all of them as they are now
            eps = self._threshold(tau, self._deltas(tau, group, texts), texts, held_out)
        return SideMemory(tau, eps, memory.facts + 1)

    def statistics(self, after: Patch = EMPTY) -> Iterable[CachedTensors]:
        """Return C of the layer's keys, if a step is whitened."""
        c = self.config
        return () if c.whiten is None else stored_moments(self.lm, [c.layer], None, None).values()

    def train(self, training: FactTraining, tau: Tensor, mask: Tensor) -> Tensor:
        """Return τ (d_out, d_in) after one fact, on its training device.

        The gradient acts only inside the mask, leaving τ exactly 0 elsewhere.
        """
        c, texts = self.config, training.texts
        W = self.lm.weight(texts.module).to(training.captured.replay.device)
        tau, mask = tau.to(W.device).clone().requires_grad_(), mask.to(W.device)
        whitening = None if c.whiten is None else texts.whitening(c.layer, c.whiten)

        def loss() -> Tensor:
            # L = L_answer + L_margin
            answer, margin = training.losses(tau)
            return answer + c.margin_weight * margin

        @torch.no_grad()
        def move() -> None:
            grad: Any = tau.grad
            if whitening is not None:  # ∇ C⁻¹, up to a factor
                grad = grad @ whitening
            if c.weight_decay:
                grad = grad + c.weight_decay * (W + tau)
            # W′ ← W′ − η (M ⊙ ∇)
            tau.sub_(c.lr * torch.where(mask, grad, 0.0))
            if c.norm_constraint is not None:
                tau.clamp_(-c.norm_constraint, c.norm_constraint)

        Descent([tau], move, lambda now: now <= c.enough, self.name).run(loss, c.n_iter)
        return tau.detach()

    def _merge(
        self, memories: list[SideMemory], state: State, texts: TextReader, held_out: Rows
    ) -> list[SideMemory]:
        """Merge all closed shards into one memory, appended or joined with the previous one.

        Without `retrieve`, there is only one merged memory: the memory from earlier merges is
        merged again, keeping the published weight of 0.6.
        """
        c, k = self.config, len(state.groups)
        merged, parts, weights = memories[:-k], memories[-k:], [1 / k] * k
        joined = bool(merged) and not c.retrieve
        if joined:
            merged, parts, weights = [], memories, [0.6] + [0.4 / k] * k
        tau = RULES[c.merge]([part.tau for part in parts], weights, c.density)
        facts = [fact for group in state.groups for fact in group]
        # ε: the least of the shards', or measured again on the merged memory
        delta, old = self._deltas(tau, facts, texts), min(part.eps for part in parts)
        eps = self._threshold(tau, delta, texts, held_out) if c.remeasure else old
        if c.remeasure and joined:  # facts of earlier merges are unavailable
            eps = min(eps, memories[0].eps)
        under = int((delta[: len(facts)] < old).sum())
        report = {"facts": len(facts), "under": under, "old": old, "eps": eps}
        state.merges, state.groups = (*state.merges, report), ()
        if c.replay:
            state.past = (*state.past, tuple(text for text, _ in facts))
        return [*merged, SideMemory(tau, eps, sum(part.facts for part in parts))]

    # ---- existing state, and the irrelevant texts ---------------------------------------------

    def _begin(self, module: str, after: Patch) -> tuple[list[SideMemory], State]:
        """Return memories (merged, then closed shards, then the open one), and the state."""
        state: Any = after.memory.get(self.name)
        if routed.begun(after, module, self.name, state, "side memories"):
            route: Any = after.routes[module]
            return list(route.memories), State(**state)
        return [], State(module, contexts.of(self.lm, self.config))

    def _irrelevant(self) -> tuple[Rows, Rows]:
        """Return irrelevant texts as ids: for training, and every fourth if ε is calibrated."""
        given = routed.irrelevant_texts(self.config)
        rows = [encode_prompt(self.lm.tokenizer, text) for text in given]
        if self.config.forms != "prompt":  # an unrelated chat must not change either
            messages = [self.lm.chat_text(text) for text in given]
            chats = self.lm.tokenizer(messages, add_special_tokens=False).input_ids
            # put the chat first for every fourth text, so that both kinds are held out
            pairs = enumerate(zip(rows, chats, strict=True))
            rows = [row for i, pair in pairs for row in (pair[::-1] if i % 4 == 3 else pair)]
        if self.config.calibrate is None:
            return rows, []
        return [row for i, row in enumerate(rows) if i % 4 != 3], rows[3::4]

    # ---- thresholds --------------------------------------------------------------------------

    def _threshold(self, tau: Tensor, delta: Tensor, texts: TextReader, held_out: Rows) -> float:
        """Return ε for facts with these Δ (n,): the least, or the 5% quantile below an outlier.

        If texts are held out (ours), ε is at the fraction `calibrate` between the 95% quantile of
        their Δ and the facts' value, and never above the latter.
        """
        lowest, low = delta.min().item(), delta.quantile(0.05).item()
        lowest = low if lowest < low / 2 else lowest  # one outlier would halve it
        if not held_out:
            return lowest
        with torch.no_grad():
            quiet = texts.delta(tau.to(self.lm.device), held_out).quantile(0.95).item()
        return min(lowest, quiet + self.config.calibrate * (lowest - quiet))

    def _deltas(self, tau: Tensor, facts: Sequence[tuple[str, str]], texts: TextReader) -> Tensor:
        """Return Δ (n,) of the bare prompts of (prompt, target) pairs under τ, then of their forms.

        Of the chat forms, only the prompt in the chat template is evaluated again.
        """
        prompts = [text for text, _ in facts]
        if self.config.forms != "prompt":
            around = chat_wordings.template(self.lm)
            prompts += [fill(around, text) for text in prompts]
        rows = [encode_prompt(self.lm.tokenizer, text) for text in prompts]
        with torch.no_grad():
            return texts.delta(tau.to(self.lm.device), rows).cpu()
