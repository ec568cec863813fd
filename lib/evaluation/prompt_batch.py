"""Collecting all questions of an evaluation before running them together.

Metrics and events use the same prompts again and again. `Queries` collects everything needed: the
scores of given answers, a generated text that is long enough for them, the beginning of the model's
own answer, and its state at the end of the prompt. Then every prompt is read once
(`lib/model/read_once.py`). The base model's answers are kept in a `Base`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from ..data.facts import Probe, encode_target
from ..errors import ArgumentError
from ..model import read_once
from ..model.lm import LM
from ..model.read_once import Question
from ..model.scoring import TokenScores
from ..patch.patch import EMPTY, same_model
from .answers import LIMIT, Named, Verdict, judge_any, named
from .metrics import BASE
from .probe_prompts import Item, right

if TYPE_CHECKING:
    from .scores import Scores

PORTION = 64  # prompts whose next-token distributions are in memory at once
MORE = 4  # tokens beyond the answer's own, for a quote or line break before it and a word after it
BEGINNING = 8  # tokens of the beginning of an answer
_SENTENCE = re.compile(r"\S[^\n]*?(?:[.!?](?=\s|$)|\n)")
Prompt = tuple[str, bool]  # a text, and whether to use the tokenizer's chat template
Drafts = Mapping[Prompt, tuple[int, ...]]
Texts = list[tuple[str, bool]]  # the texts of a target, each with a flag if it is cut


@dataclass(kw_only=True)
class Answers:
    """The model's answers to queries.

    scored      {(prompt, target): log-probabilities and argmax hits of the target's tokens}; a
                target is a text or a tuple of token ids.
    generated   {(prompt, target): (text, verdict)} of free generation.
    beginnings  {prompt: (ids, text)}, the first tokens of each answer up to the end of its first
                sentence.
    states      {prompt: state (d,)} at the end of the prompt, on the CPU; `lm.head` gives the
                logits of the next token. It has a hundredth of the numbers of the distribution.
    ids         {(prompt, chat): all generated tokens}, the drafts of later queries: after an edit
                most answers are the same.
    """

    scored: dict[tuple[str, Any], TokenScores] = field(default_factory=dict)
    generated: dict[tuple[str, Any], tuple[str, Verdict]] = field(default_factory=dict)
    beginnings: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    ids: dict[Prompt, tuple[int, ...]] = field(default_factory=dict)


class Queries:
    """The queries to one model; `ask` runs them, using the patch applied at that moment.

    scored      {prompt: {target: its ids}}, the targets whose scores are needed.
    generated   {prompt: {target: its texts}}, the targets to search for in generated text.
    most        {prompt: maximum number of tokens to generate}.
    beginnings  {prompt: None}, if the beginning of the answer is needed.
    states      {prompt: None}, if the state is needed.
    """

    def __init__(self, lm: LM) -> None:
        self.lm = lm
        self.scored: dict[Prompt, dict[Any, tuple[int, ...]]] = {}
        self.generated: dict[Prompt, dict[Any, Texts]] = {}
        self.most: dict[Prompt, int] = {}
        self.beginnings: dict[Prompt, None] = {}
        self.states: dict[Prompt, None] = {}
        self._likely: dict[Prompt, tuple[int, ...]] = {}  # what may be generated

    def score(self, prompt: str, target: str | tuple[int, ...]) -> None:
        """Ask for the scores of a target, which is text or token ids."""
        ids = encode_target(self.lm.tokenizer, target) if isinstance(target, str) else target
        self.scored.setdefault((prompt, False), {})[target] = tuple(ids)

    def generate(self, prompt: str, target: Any, *, chat: bool = False) -> None:
        """Request a greedy answer, with a few tokens following the target.

        It has at most 32 tokens. A target is a text, a tuple of texts of which any is right, or
        what a reply in conversation should name. Of a longer target only the first 32 tokens count.
        """
        texts = target.right if isinstance(target, Named) else target
        texts, asked = (texts,) if isinstance(texts, str) else texts, (prompt, chat)
        ids = [tuple(encode_target(self.lm.tokenizer, text)) for text in texts]
        wanted = [_within_limit(self.lm, *one) for one in zip(texts, ids, strict=True)]
        self.generated.setdefault(asked, {})[target] = wanted
        self._likely.setdefault(asked, ids[0])
        # a reply may name the answer anywhere in its first sentence
        size = LIMIT if isinstance(target, Named) else min(LIMIT, max(map(len, ids)) + MORE)
        self.most[asked] = max(size, self.most.get(asked, 0))

    def begin(self, prompt: str) -> None:
        """Ask for the first 8 tokens of a greedy answer, cut after its first sentence."""
        self.beginnings[prompt, False] = None
        self.most[prompt, False] = max(BEGINNING, self.most.get((prompt, False), 0))

    def state(self, prompt: str) -> None:
        """Ask for the state at the end of the prompt."""
        self.states[prompt, False] = None

    def ask(self, drafts: Drafts | None = None) -> Answers:
        """Run all queries, reading each prompt once, and return the answers.

        drafts  tokens that the model is likely to generate, saving time without changing anything.
        """
        answers = Answers()
        every = dict.fromkeys([*self.scored, *self.most, *self.states])
        for chat in (False, True):
            prompts = [prompt for prompt in every if prompt[1] == chat]
            rows, _ = self.lm.rows([text for text, _ in prompts], chat=chat)
            asked = [
                Question(
                    row,
                    list(dict.fromkeys(self.scored.get(prompt, {}).values())),
                    prompt in self.states,
                    self.most.get(prompt, 0),
                    self._draft(prompt, drafts or {}),
                )
                for prompt, row in zip(prompts, rows, strict=True)
            ]
            replies = read_once.ask(self.lm, asked)
            texts = self.lm.texts(rows, [reply.ids for reply in replies])
            for prompt, row, reply, text in zip(prompts, rows, replies, texts, strict=True):
                for target, ids in self.scored.get(prompt, {}).items():
                    answers.scored[prompt[0], target] = reply.scores[ids]
                if reply.state is not None:
                    answers.states[prompt[0]] = reply.state.cpu()
                for target, wanted in self.generated.get(prompt, {}).items():
                    answers.generated[prompt[0], target] = text, _verdict(text, target, wanted)
                if prompt in self.most:
                    answers.ids[prompt] = tuple(reply.ids)
                if prompt in self.beginnings:
                    beginning = _beginning(self.lm, row, reply.ids[:BEGINNING])
                    answers.beginnings[prompt[0]] = beginning
        return answers

    def _draft(self, prompt: Prompt, drafts: Drafts) -> tuple[int, ...]:
        """Return the likely tokens at a prompt, if these are more than the first score."""
        draft = drafts.get(prompt, self._likely.get(prompt, ()))
        first = next(iter(self.scored.get(prompt, {}).values()), ())
        return draft if draft[: len(first)] == first else ()


def _beginning(lm: LM, row: list[int], ids: list[int]) -> tuple[tuple[int, ...], str]:
    """Return the fewest tokens with the whole first sentence, or all if none ends."""
    # the text after each token: a character may need several tokens, so decode every beginning
    texts = [lm.texts([row], [ids[: n + 1]])[0] for n in range(len(ids))]
    sentence, end = _SENTENCE.search(texts[-1] if ids else ""), len(ids)
    if sentence:
        end = next((n for n, t in enumerate(texts, 1) if len(t) >= sentence.end()), end)
    return tuple(ids[:end]), texts[end - 1] if ids else ""


def generated(
    lm: LM, asked: Iterable[tuple[str, Any]], *, chat: bool = False
) -> dict[tuple[str, Any], tuple[str, Verdict]]:
    """Return greedy answers to (prompt, target) pairs, as {(prompt, target): (text, verdict)}.

    A target is a text, or a tuple of texts of which any is right. A text has a few tokens more than
    the target, and at most 32. Only the first 32 tokens of a longer target count.

    chat  whether to put the prompts into the tokenizer's chat template.
    """
    pairs, queries = list(dict.fromkeys(asked)), Queries(lm)
    for prompt, target in pairs:
        queries.generate(prompt, target, chat=chat)
    found = queries.ask().generated
    return {pair: found[pair] for pair in pairs}


@dataclass
class Base(Answers):
    """The base model's answers, computed once and used again by every following evaluation.

    model   the identity of the model that gave them.
    scores  the model's own `Scores`, if they were measured.
    """

    model: str
    scores: Scores | None = None

    def read(self, lm: LM, items: Sequence[Item], kl_prompts: int) -> None:
        """Query the base model, without any patch, for all missing answers."""
        if not same_model(self.model, lm.identity):
            raise ArgumentError(
                f"These base answers are from {self.model}, but the model here is {lm.identity}."
            )
        # collect the prompts whose answers are missing …
        positive = positives(items)
        asked: set[tuple[str, Any, bool]] = set()
        for item in items:
            if item.metric.about == BASE:
                own = [positive[item.case]] if item.metric.stated else []
                asked |= {(p, item.right, item.metric.chat) for p in [*item.prompts, *own]}
            asked |= {(*pair, False) for part in item.parts for pair in _wordings(part)}
        # … and run them, sorted, so that the batches do not depend on the order of a set
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
            answers = queries.ask(self.ids)
        for kind in fields(Answers):
            getattr(self, kind.name).update(getattr(answers, kind.name))

    def divergences(self, lm: LM, states: dict[str, Tensor]) -> dict[str, float]:
        """Return KL(base ‖ edited) of the next token in nats, {prompt: nats}.

        states  the edited model's states, {prompt: state (d,)}; the patch is already applied.
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
        """Return whether the base model knows every part of the item's answer."""
        return all(
            any(self.generated[pair][1].begins for pair in _wordings(part)) for part in item.parts
        )


def _wordings(part: Probe) -> list[tuple[str, Any]]:
    return [(prompt, right(part.target, part.aliases)) for prompt in part.prompts]


def unrelated(items: Sequence[Item], limit: int) -> list[str]:
    """Return the first `limit` different locality prompts."""
    return list(dict.fromkeys(i.prompt for i in items if i.metric.name == "locality"))[:limit]


def positives(items: Sequence[Item]) -> dict[int | str, str]:
    """Return {case: its edit prompt}."""
    return {item.case: item.prompt for item in items if item.metric.name == "efficacy"}


def _verdict(text: str, target: Any, wanted: Texts) -> Verdict:
    """Return the verdict on a text; in conversation it also says if the answer is named."""
    verdict = judge_any(text, wanted)
    if not isinstance(target, Named):
        return verdict
    # if an answer is longer than the generated text, its beginning is enough
    return verdict._replace(named=verdict.begins or named(text, *target))


def _within_limit(lm: LM, target: str, ids: Sequence[int]) -> tuple[str, bool]:
    """Return the first 32 tokens of the target as text, and whether the target is longer."""
    if len(ids) <= LIMIT:
        return target, False
    text = lm.tokenizer.decode(ids[:LIMIT], clean_up_tokenization_spaces=False)
    return text.rstrip("\ufffd"), True
