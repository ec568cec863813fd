"""The unedited model's answers: asked once, and used again by every later evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from ..data.facts import Probe
from ..errors import ArgumentError
from ..model.lm import LM
from ..patch.patch import EMPTY
from .answers import Verdict
from .metrics import BASE
from .probe_prompts import Item, right
from .queries import Prompt, Queries

if TYPE_CHECKING:
    from .scores import Scores

PORTION = 64  # prompts whose next-token distributions stand in memory at once


@dataclass
class Base:
    """The base model's answers.

    model       The identity of the model that gave them.
    beginnings  {prompt: (ids, text)}, the first tokens that it generates.
    states      {prompt: state (d,)}, from which its head makes the logits of the next token. A
                state has a hundredth of the numbers of the distribution.
    generated   {(prompt, target): (text, verdict)}, its generations; a target may be a tuple.
    drafts      {(prompt, chat): ids}, all tokens that it generated. After an edit most answers are
                still these, so they are tried as drafts.
    scores      Its own `Scores`, where they were measured.
    """

    model: str
    beginnings: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    generated: dict[tuple[str, Any], tuple[str, Verdict]] = field(default_factory=dict)
    drafts: dict[Prompt, tuple[int, ...]] = field(default_factory=dict)
    scores: Scores | None = None

    def read(self, lm: LM, items: Sequence[Item], kl_prompts: int) -> None:
        """Ask the base model everything that is not known yet; an entered patch is left out."""
        if self.model != lm.identity:
            raise ArgumentError(
                f"these base answers are of {self.model}, the model here is {lm.identity}"
            )
        # collect the prompts whose answers are missing …
        positive = positives(items)
        asked: set[tuple[str, Any, bool]] = set()
        for item in items:
            if item.metric.about == BASE:
                own = [positive[item.case]] if item.metric.stated else []
                asked |= {(p, item.right, item.metric.chat) for p in [*item.prompts, *own]}
            asked |= {(*pair, False) for part in item.parts for pair in _wordings(part)}
        # … and ask them, sorted, so that the batches do not depend on the order of a set
        queries = Queries(lm)
        for prompt in sorted({i.prompt for i in items if i.answer is None} - {*self.beginnings}):
            queries.begin(prompt)
        for prompt, target, chat in sorted(asked, key=lambda one: (one[0], str(one[1]))):
            if (prompt, target) not in self.generated:
                queries.generate(prompt, target, chat=chat)
        for prompt in unrelated(items, kl_prompts):
            if prompt not in self.states:
                queries.state(prompt)
        with lm.patched(EMPTY, only=True):
            answers = queries.ask(self.drafts)
        self.beginnings |= answers.beginnings
        self.generated |= answers.generated
        self.states |= answers.states
        self.drafts |= answers.ids

    def divergences(self, lm: LM, states: dict[str, Tensor]) -> dict[str, float]:
        """KL(base ‖ edited) of the next token in nats, {prompt: nats}.

        states  The edited model's, {prompt: state (d,)}; the patch is entered.
        """
        found: dict[str, float] = {}
        prompts = list(states)
        # a few prompts at a time: each needs a whole distribution over the vocabulary
        for start in range(0, len(prompts), PORTION):
            part = prompts[start : start + PORTION]
            own = torch.stack([self.states[prompt] for prompt in part])
            with lm.patched(EMPTY, only=True):
                before = lm.head(own.to(lm.head_device)).log_softmax(-1)
            now = torch.stack([states[prompt] for prompt in part])
            after = lm.head(now.to(before.device)).log_softmax(-1)
            nats = kl_div(after, before, reduction="none", log_target=True).sum(1)
            found |= zip(part, nats.clamp(min=0).tolist(), strict=True)
        return found

    def knows(self, item: Item) -> bool:
        """Whether the base model answers every part that the item's answer is put together from."""
        return all(
            any(self.generated[pair][1].begins for pair in _wordings(part)) for part in item.parts
        )


def _wordings(part: Probe) -> list[tuple[str, Any]]:
    """The (prompt, target) pairs of a question, one for each of its wordings."""
    return [(prompt, right(part.target, part.aliases)) for prompt in part.prompts]


def unrelated(items: Sequence[Item], limit: int) -> list[str]:
    """The first `limit` different locality prompts."""
    return list(dict.fromkeys(i.prompt for i in items if i.metric.name == "locality"))[:limit]


def positives(items: Sequence[Item]) -> dict[int | str, str]:
    """{case: its edit prompt}."""
    return {item.case: item.prompt for item in items if item.metric.name == "efficacy"}
