"""Training LEMoE's experts and routers on a batch of facts.

`Anchored` has an anchor per expert, which is fitted to all stored prompts before the expert is
trained; in the published form, the projection and the expert's key are instead trained together
with the expert. `ByHidden` is MEMoE's router, whose matrix is trained together with its experts.
Both store a vector e for every fact and its expert, owner, in the editor's state, making it
possible to count the prompts that no longer find their own expert.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...data.facts import Fact, encode_prompt, encode_target
from ...model.lm import LM
from ..shared.answer_training import Descent
from . import routers
from .clusters import text_means
from .experts import Expert, ExpertRows
from .routers import AnchorFit, HiddenStateRouter

Learning = tuple[list[Tensor], Callable[[], Tensor]]  # leaves; () -> scores (rows, 1 + E)


@dataclass(eq=False)
class Routing(ABC):
    """A router, and the data for training it.

    lm      the model, as patched without the experts
    state   the editor's state, parts of which are replaced
    router  the current router
    """

    lm: LM
    state: dict[str, Any]
    router: Any

    @abstractmethod
    def add(self, facts: Sequence[Fact], means: Tensor, which: int, new: int) -> None:
        """Learn facts of expert `which` by their mean embeddings (n, d); `new` experts are new."""

    @abstractmethod
    def learning(self, rows: ExpertRows, which: int | None) -> Learning:
        """Return the leaves that learn with the expert, and a function giving the rows' scores."""

    @abstractmethod
    def lost(self) -> int:
        """Return the number of stored prompts going to an expert other than their own."""

    def learned(self, parts: list[Tensor], which: int | None) -> None:
        """Update the router using the leaves of `learning` after training."""
        if parts:
            self.router = self.router.assemble(which, parts)

    def store(self, **parts: Tensor) -> None:
        """Store new entries, `parts` (n, …) including e, replacing those with equal e."""
        state = self.state
        stays = torch.ones(len(state["e"]), dtype=torch.bool)
        if len(stays):
            equal = (state["e"][:, None] - parts["e"][None]).abs().amax(2) < 1e-6
            stays = ~equal.any(1)
        for name, new in parts.items():
            state[name] = torch.cat([state[name][stays], new])

    def scaled(self, means: Tensor) -> Tensor:
        """Return vectors e (n, d) of prompts: mean embeddings (n, d), centered and scaled."""
        return (means - self.state["mu"]) / self.state["sigma"]


@dataclass(eq=False)
class Anchored(Routing):
    """A router by anchors.

    irrelevant  (m, d): mean embeddings of texts that must stay with the base model
    fit         how anchors are fitted before their expert is trained; None, as published: they only
                move with the expert, by its loss
    """

    irrelevant: Tensor
    fit: AnchorFit | None

    def add(self, facts: Sequence[Fact], means: Tensor, which: int, new: int) -> None:
        """Store prompts and subjects, place an anchor at their mean, and fit it."""
        state, subjects = self.state, list(dict.fromkeys(f.subject for f in facts if f.subject))
        each = torch.cat([means, text_means(self.lm, subjects)]) if subjects else means
        e, prompt = self.scaled(each), torch.arange(len(each)) < len(means)
        self.store(e=e, owner=torch.full((len(e),), which), prompt=prompt)
        if new:
            own = state["e"][(state["owner"] == which) & state["prompt"]]
            self.router = routers.grow(self.router, own)
        if self.fit is not None:
            others = self.router.pooled(self.irrelevant)
            self.router = routers.fit_anchors(
                self.router, state["e"], state["owner"], others, which, self.fit
            )

    def learning(self, rows: ExpertRows, which: int | None) -> Learning:
        """Return no leaves if anchors are fitted; otherwise the projection and the expert's key."""
        router = self.router.to(rows.means.device)
        e = router.pooled(rows.means)
        parts = router.trainable(which) if self.fit is None else []

        def scores() -> Tensor:
            return (router.assemble(which, parts) if parts else router).scores(e)

        return parts, scores

    def lost(self) -> int:
        """Return the number of stored prompts that choose an anchor other than their own."""
        here = self.state["prompt"]
        return self.router.misrouted(self.state["e"][here], self.state["owner"][here])


class ByHidden(Routing):
    """MEMoE's router: one matrix over hidden states and known subjects, moved by every batch."""

    def __init__(
        self,
        lm: LM,
        state: dict[str, Any],
        router: HiddenStateRouter | None,
        layer: int,
        irrelevant: Sequence[str],
        seed: int,
    ) -> None:
        super().__init__(lm, state, router)
        self.layer, self.seed, self.count = layer, seed, 0
        if router is None:
            hidden, d = self.read(irrelevant), len(state["mu"])
            center = hidden.mean(0)
            spread = (hidden - center).square().mean().sqrt()
            weight, nobody = torch.zeros(0, len(center) + d), torch.zeros(0, dtype=torch.long)
            self.router = HiddenStateRouter(center, spread, weight, torch.zeros(0, d))
            state |= {"hidden": torch.zeros(0, len(center)), "row": nobody, "rows": ()}

    def read(self, texts: Sequence[str]) -> Tensor:
        """Return mean inputs of the module at prompts, (n, w)."""
        pairs = [(text, "a") for text in texts]  # one token: answers are not read
        module, bos = self.state["module"], self.lm.leading_bos
        return ExpertRows(self.lm, module, self.layer, pairs, bos).hidden.cpu()

    def add(self, facts: Sequence[Fact], means: Tensor, which: int, new: int) -> None:
        """Store prompts, make rows for new experts, and add the subjects to the router."""
        state, tokenizer, e = self.state, self.lm.tokenizer, self.scaled(means)
        texts, self.count = [fact.text for fact in facts], len(facts)
        owner, prompt = torch.full((len(e),), which), torch.ones(len(e), dtype=torch.bool)
        row = torch.arange(len(e)) + len(state["rows"])
        state["rows"] += tuple(tuple(encode_prompt(tokenizer, text)) for text in texts)
        self.store(e=e, owner=owner, prompt=prompt, hidden=self.read(texts), row=row)
        router = self.router.grow(new, self.seed + which)
        for subject in dict.fromkeys(f.subject for f in facts if f.subject):
            # a subject follows a space within a prompt, but not at its beginning
            within = encode_target(tokenizer, subject)
            first = tokenizer(subject, add_special_tokens=False).input_ids
            mean = self.scaled(text_means(self.lm, [subject])[0])
            router = router.know([tuple(within), tuple(first)], mean)
        self.router = router

    def learning(self, rows: ExpertRows, which: int | None) -> Learning:
        """Return the whole matrix."""
        router = self.router.to(rows.hidden.device)
        features = router.features(rows.hidden, rows.prompts)
        parts = router.trainable(which)
        return parts, lambda: router.assemble(which, parts).scores(features)

    def learned(self, parts: list[Tensor], which: int | None) -> None:
        """Update the matrix; if all experts learned, a fact now belongs to its chosen expert."""
        super().learned(parts, which)
        if which is None:
            owner = self.state["owner"].clone()
            owner[-self.count :] = self.router.choose(self._features())[-self.count :]
            self.state["owner"] = owner

    def lost(self) -> int:
        """Return the number of stored prompts whose routing has changed since learning."""
        return self.router.misrouted(self._features(), self.state["owner"])

    def _features(self) -> Tensor:
        rows = [self.state["rows"][i] for i in self.state["row"].tolist()]
        return self.router.features(self.state["hidden"], rows)


def train(
    rows: ExpertRows,
    experts: Sequence[Expert],
    routing: Routing,
    which: int | None,
    act: str,
    config: Any,
) -> list[Expert]:
    """Return all experts, after expert `which` has learned to answer the rows.

    With None, every expert learns the rows routed to it. The parts of `routing` that learn
    by the experts' loss are trained together with them, in place. config belongs to the editor.
    Raises EditError if the loss or weights are not finite.
    """
    device = rows.owner.device
    moving = range(len(experts)) if which is None else (which,)
    made = {
        m: {n: t.to(device, copy=True).requires_grad_() for n, t in experts[m].items()}
        for m in moving
    }
    routed, scores = routing.learning(rows, which)
    leaves = [t for expert in made.values() for t in expert.values()] + routed
    optimizer = torch.optim.AdamW(leaves, lr=config.lr, weight_decay=0.0)

    def loss() -> Tensor:
        # the expert of each row, and its fraction of the router's scores
        logits = scores()
        if which is None:
            choice = logits.argmax(1) - 1
        else:
            choice = torch.full((len(logits),), which, device=device)
        share = logits.softmax(1).gather(1, choice[:, None] + 1)[:, 0]
        # the hard gate has weight 1 and the fraction's gradient
        weight = share if config.gate == "softmax" else 1 + share - share.detach()
        return rows.loss(made, choice, config.scale * weight, act)

    descent = Descent(leaves, optimizer.step, lambda now: now <= config.enough, "lemoe")
    descent.run(loss, config.steps)
    done = {m: {n: t.detach().cpu() for n, t in e.items()} for m, e in made.items()}
    routing.learned([part.detach().cpu() for part in routed], which)
    return [done.get(m, expert) for m, expert in enumerate(experts)]
