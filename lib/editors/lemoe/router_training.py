"""How LEMoE's routers learn while experts are added.

A router says which expert answers a prompt. `Anchored` has an anchor per expert
(anchor_router.py), which is fitted to all that is stored before the expert is trained. `ByHidden`
is MEMoE's router (memoe_router.py), which is trained together with its experts.

Both store in the editor's state what stands for every fact, e, and its expert, owner. So it can be
said which prompts no longer find their own expert.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...data.facts import Fact, encode_prompt, encode_target
from ...model.lm import LM
from . import anchor_router
from .anchor_router import AnchorFit, AnchorRouter
from .expert_rows import ExpertRows
from .memoe_router import HiddenStateRouter
from .prompt_embedding import text_means

Learning = tuple[list[Tensor], Callable[[], Tensor]]  # leaves; () -> scores (rows, 1 + E)


class Routing(ABC):
    """A router, and what it learns from.

    lm      the model, as patched without the experts
    state   the editor's state, of which parts are replaced
    router  the router as it is now
    """

    router: AnchorRouter | HiddenStateRouter

    def __init__(self, lm: LM, state: dict[str, Any]) -> None:
        self.lm, self.state = lm, state

    @abstractmethod
    def add(self, facts: Sequence[Fact], means: Tensor, which: int, new: int) -> None:
        """Learn facts of expert `which` by their mean embeddings (n, d); `new` experts are new."""

    @abstractmethod
    def learning(self, rows: ExpertRows, which: int | None) -> Learning:
        """What learns with the expert, as leaves, and the scores of the rows."""

    @abstractmethod
    def learned(self, parts: list[Tensor], which: int | None) -> None:
        """Take the leaves of `learning` as training left them."""

    @abstractmethod
    def lost(self) -> int:
        """The number of stored prompts that are routed to another expert than their own."""

    def store(self, **parts: Tensor) -> None:
        """Store new entries, `parts` (n, …) with e among them; they replace those of equal e."""
        state = self.state
        kept = torch.ones(len(state["e"]), dtype=torch.bool)
        if len(kept):
            near = (state["e"][:, None] - parts["e"][None]).abs().amax(2) < 1e-6
            kept = ~near.any(1)
        for name, new in parts.items():
            state[name] = torch.cat([state[name][kept], new])

    def scaled(self, means: Tensor) -> Tensor:
        """What stands for prompts, e (n, d): their mean embeddings (n, d), centered and scaled."""
        return (means - self.state["mu"]) / self.state["sigma"]


class Anchored(Routing):
    """A router by anchors.

    calm   (m, d): mean embeddings of texts that must stay with the base model
    fit    how anchors are fitted before their expert is trained; None, as published: they only move
           with the expert, by its loss
    """

    router: AnchorRouter

    def __init__(
        self,
        lm: LM,
        state: dict[str, Any],
        router: AnchorRouter,
        calm: Tensor,
        fit: AnchorFit | None,
    ) -> None:
        super().__init__(lm, state)
        self.router, self.calm, self.fit = router, calm, fit

    def add(self, facts: Sequence[Fact], means: Tensor, which: int, new: int) -> None:
        """Store prompts and subjects, put an anchor into their middle, and fit it."""
        state, subjects = self.state, [f.subject for f in facts if f.subject]
        some = [means]
        if subjects:
            some.append(text_means(self.lm, list(dict.fromkeys(subjects))))
        e = self.scaled(torch.cat(some))
        prompt = torch.arange(len(e)) < len(means)
        self.store(e=e, owner=torch.full((len(e),), which), prompt=prompt)
        if new:
            mine = state["e"][(state["owner"] == which) & state["prompt"]]
            self.router = anchor_router.grow(self.router, mine)
        if self.fit is not None:
            calm = self.router.pooled(self.calm)
            self.router = anchor_router.fit_anchors(
                self.router, state["e"], state["owner"], calm, which, self.fit
            )

    def learning(self, rows: ExpertRows, which: int | None) -> Learning:
        """Nothing where anchors are fitted; else the projection and the expert's key."""
        router = self.router.to(rows.means.device)
        e = router.pooled(rows.means)
        parts = anchor_router.trainable(router, which) if self.fit is None else []

        def scores() -> Tensor:
            return (anchor_router.assemble(router, which, parts) if parts else router).scores(e)

        return parts, scores

    def learned(self, parts: list[Tensor], which: int | None) -> None:
        """Put the projection and the key in their places."""
        if parts:
            self.router = anchor_router.assemble(self.router, which, parts)

    def lost(self) -> int:
        """The number of stored prompts that choose another anchor than their own."""
        here = self.state["prompt"]
        return anchor_router.misrouted(
            self.router, self.state["e"][here], self.state["owner"][here]
        )


class ByHidden(Routing):
    """MEMoE's router: one matrix over hidden states and known subjects, which every batch moves."""

    router: HiddenStateRouter

    def __init__(
        self,
        lm: LM,
        state: dict[str, Any],
        router: HiddenStateRouter | None,
        layer: int,
        calm: Sequence[str],
        seed: int,
    ) -> None:
        super().__init__(lm, state)
        self.layer, self.seed, self.count = layer, seed, 0
        if router is None:
            hidden, d = self.read(calm), len(state["mu"])
            center = hidden.mean(0)
            spread = (hidden - center).square().mean().sqrt()
            router = HiddenStateRouter(
                center, spread, torch.zeros(0, len(center) + d), torch.zeros(0, d)
            )
            nobody = torch.zeros(0, dtype=torch.long)
            state |= {"hidden": torch.zeros(0, len(center)), "row": nobody, "rows": ()}
        self.router = router

    def read(self, texts: Sequence[str]) -> Tensor:
        """(n, w): mean inputs of the module at prompts."""
        pairs = [(text, "a") for text in texts]  # one token: no answer is read
        module, bos = self.state["module"], self.lm.leading_bos
        return ExpertRows(self.lm, module, self.layer, pairs, bos).hidden.cpu()

    def add(self, facts: Sequence[Fact], means: Tensor, which: int, new: int) -> None:
        """Store prompts, make rows for new experts, and let the router know the subjects."""
        state, tokenizer, e = self.state, self.lm.tokenizer, self.scaled(means)
        texts, self.count = [fact.text for fact in facts], len(facts)
        owner, prompt = torch.full((len(e),), which), torch.ones(len(e), dtype=torch.bool)
        row = torch.arange(len(e)) + len(state["rows"])
        state["rows"] += tuple(tuple(encode_prompt(tokenizer, text)) for text in texts)
        self.store(e=e, owner=owner, prompt=prompt, hidden=self.read(texts), row=row)
        router = self.router.grow(new, self.seed + which)
        for subject in dict.fromkeys(f.subject for f in facts if f.subject):
            # within a prompt a subject follows a space, at its beginning it does not
            within = encode_target(tokenizer, subject)
            first = tokenizer(subject, add_special_tokens=False).input_ids
            mean = self.scaled(text_means(self.lm, [subject])[0])
            router = router.know([tuple(within), tuple(first)], mean)
        self.router = router

    def learning(self, rows: ExpertRows, which: int | None) -> Learning:
        """The whole matrix."""
        router = self.router.to(rows.hidden.device)
        features = router.features(rows.hidden, rows.prompts)
        weight = router.weight.clone().requires_grad_()
        return [weight], lambda: replace(router, weight=weight).scores(features)

    def learned(self, parts: list[Tensor], which: int | None) -> None:
        """Take the matrix; where all experts learned, a fact belongs to the one it chooses now."""
        self.router = replace(self.router, weight=parts[0])
        if which is None:
            owner = self.state["owner"].clone()
            owner[-self.count :] = self.now()[-self.count :]
            self.state["owner"] = owner

    def now(self) -> Tensor:
        """(n,): the expert that each stored prompt is routed to."""
        rows = [self.state["rows"][i] for i in self.state["row"].tolist()]
        return self.router.choose(self.router.features(self.state["hidden"], rows))

    def lost(self) -> int:
        """How many stored prompts are not routed as they were when they were learned."""
        return int((self.now() != self.state["owner"]).sum())
