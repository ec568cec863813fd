"""What a model is asked in an evaluation, collected first and then asked in one go.

Metrics and events ask the same prompts again and again. `Queries` collects all that is wanted: the
scores of given answers, the text that the model writes until a verdict on it is settled, the
beginning of its own answer, and its state at the prompt's end. Then every prompt is read once
(`lib/model/read_once.py`). What the base model answers is kept in a `Base`.
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
from ..patch.identity import same_model
from ..patch.patch import EMPTY
from .answers import LIMIT, Named, Verdict, judge_any, named
from .metrics import BASE
from .probe_prompts import Item, right

if TYPE_CHECKING:
    from .scores import Scores

PORTION = 64  # prompts whose next-token distributions stand in memory at once
READABLE = 4  # a settled text goes on for at most so many tokens to end its first word
BEGINNING = 8  # tokens of the beginning of an answer
_WORD = re.compile(r"\w\W")
_SENTENCE = re.compile(r"\S[^\n]*?(?:[.!?](?=\s|$)|\n)")
Prompt = tuple[str, bool]  # a text, and whether it is asked in the tokenizer's chat template
Drafts = Mapping[Prompt, tuple[int, ...]]
Texts = list[tuple[str, bool]]  # the texts of a target, each with whether it is cut


@dataclass(kw_only=True)
class Answers:
    """The model's answers to queries.

    scored      {(prompt, target): log-probabilities and argmax hits of the target's tokens}; a
                target is a text or a tuple of token ids.
    generated   {(prompt, target): (text, verdict)} of free generation.
    beginnings  {prompt: (ids, text)}, the first tokens of each answer up to its first sentence's
                end.
    states      {prompt: state (d,)} at the prompt's end, from which `lm.head` makes the next
                token's logits; on the CPU. It has a hundredth of the numbers of the distribution.
    ids         {(prompt, chat): all tokens that were generated}, the drafts of later queries: after
                an edit most answers are still these.
    """

    scored: dict[tuple[str, Any], TokenScores] = field(default_factory=dict)
    generated: dict[tuple[str, Any], tuple[str, Verdict]] = field(default_factory=dict)
    beginnings: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    ids: dict[Prompt, tuple[int, ...]] = field(default_factory=dict)


class Queries:
    """The queries to one model; `ask` puts them under the patch that is entered then.

    scored      {prompt: {target: its ids}}, the targets whose scores are wanted.
    generated   {prompt: {target: its texts}}, the targets looked for in generated text.
    beginnings  {prompt: expected ids}, where the answer's beginning is wanted.
    states      {prompt: None}, where the state is wanted.
    """

    def __init__(self, lm: LM) -> None:
        self.lm = lm
        self.scored: dict[Prompt, dict[Any, tuple[int, ...]]] = {}
        self.generated: dict[Prompt, dict[Any, Texts]] = {}
        self.beginnings: dict[Prompt, tuple[int, ...]] = {}
        self.states: dict[Prompt, None] = {}

    def score(self, prompt: str, target: str | tuple[int, ...]) -> None:
        """Ask for the scores of a target, which is text or token ids."""
        ids = encode_target(self.lm.tokenizer, target) if isinstance(target, str) else target
        self.scored.setdefault((prompt, False), {})[target] = tuple(ids)

    def generate(self, prompt: str, target: Any, *, chat: bool = False) -> None:
        """Ask for a greedy answer, until its verdict is settled and its first word ends.

        It has at most 32 tokens. A target is a text, a tuple of texts of which any is right, or
        what a reply in conversation should name. Of a longer target only the first 32 tokens count.
        """
        texts = target.right if isinstance(target, Named) else target
        texts = (texts,) if isinstance(texts, str) else texts
        wanted = [_within_limit(self.lm, text) for text in texts]
        self.generated.setdefault((prompt, chat), {})[target] = wanted

    def begin(self, prompt: str, expected: tuple[int, ...] = ()) -> None:
        """Ask for the first 8 tokens of a greedy answer, cut after its first sentence.

        expected  Where the answer begins with these ids, nothing more of it is wanted.
        """
        self.beginnings[prompt, False] = expected

    def state(self, prompt: str) -> None:
        """Ask for the state at the prompt's end."""
        self.states[prompt, False] = None

    def ask(self, drafts: Drafts | None = None) -> Answers:
        """Ask everything, each prompt once.

        drafts  Tokens that the model is likely to generate, which save time and change nothing.
        """
        answers = Answers()
        every = dict.fromkeys([*self.scored, *self.generated, *self.beginnings, *self.states])
        for chat in (False, True):
            prompts = [prompt for prompt in every if prompt[1] == chat]
            rows, _ = self.lm.rows([text for text, _ in prompts], chat=chat)
            texts = [
                _Text(self.lm, row, self.generated.get(prompt, {}), self.beginnings.get(prompt))
                for prompt, row in zip(prompts, rows, strict=True)
            ]
            asked = [
                Question(
                    text.row,
                    list(dict.fromkeys(self.scored.get(prompt, {}).values())),
                    prompt in self.states,
                    text.most,
                    self._draft(prompt, drafts or {}),
                    text.is_complete,
                )
                for prompt, text in zip(prompts, texts, strict=True)
            ]
            replies = read_once.ask(self.lm, asked)
            for prompt, text, reply in zip(prompts, texts, replies, strict=True):
                for target, ids in self.scored.get(prompt, {}).items():
                    answers.scored[prompt[0], target] = reply.scores[ids]
                if reply.state is not None:
                    answers.states[prompt[0]] = reply.state.cpu()
                if text.most:
                    text.record(answers, prompt, reply.ids)
        return answers

    def _draft(self, prompt: Prompt, drafts: Drafts) -> tuple[int, ...]:
        """What the model may generate at a prompt where no answer is scored."""
        if prompt in self.scored:
            return ()  # the first answer that is scored is the draft
        texts = [text for wanted in self.generated.get(prompt, {}).values() for text, _ in wanted]
        wanted = tuple(encode_target(self.lm.tokenizer, texts[0])) if texts else ()
        return drafts.get(prompt, wanted)


class _Text:
    """A text that grows token by token, until everything that is wanted of it can be said.

    row       The prompt's token ids.
    targets   {target: its texts}, the targets on which there are verdicts.
    expected  The beginning that is expected; None where the beginning is not wanted.
    most      The most tokens that are wanted.
    ends      {target: the number of tokens after which the verdict on it was settled}.
    """

    def __init__(
        self,
        lm: LM,
        row: list[int],
        targets: Mapping[Any, Texts],
        expected: tuple[int, ...] | None,
    ) -> None:
        self.lm, self.row, self.targets, self.expected = lm, row, targets, expected
        self.most = LIMIT if targets else 0 if expected is None else BEGINNING
        self.ends: dict[Any, int] = {}
        self.begun = expected is None  # whether its beginning is long enough

    def decoded(self, ids: list[int]) -> str:
        return self.lm.texts([self.row], [ids])[0]

    def is_complete(self, ids: list[int]) -> bool:
        """Whether these tokens, one more than at the last call, are all that is wanted."""
        text = self.decoded(ids)
        for target, wanted in self.targets.items():
            if target not in self.ends and (
                len(ids) >= LIMIT or _settled(text, ids, target, wanted)
            ):
                self.ends[target] = len(ids)
        self.begun = self.begun or self._has_begun(text, ids)
        return self.begun and len(self.ends) == len(self.targets)

    def _has_begun(self, text: str, ids: list[int]) -> bool:
        """Whether the tokens hold the expected beginning, or else the whole first sentence."""
        if self.expected and tuple(ids[: len(self.expected)]) == self.expected[: len(ids)]:
            return len(ids) >= min(len(self.expected), BEGINNING)
        sentence = _SENTENCE.search(text)
        # more text changes no sentence that something stands behind
        whole = sentence and (sentence.end() < len(text) or sentence[0].endswith("\n"))
        return bool(whole) or len(ids) >= BEGINNING

    def record(self, answers: Answers, prompt: Prompt, ids: list[int]) -> None:
        """Put down the tokens, the verdicts and the beginning."""
        answers.ids[prompt] = tuple(ids)
        for target, wanted in self.targets.items():
            text = self.decoded(ids[: self.ends.get(target, LIMIT)])
            answers.generated[prompt[0], target] = text, _verdict(text, target, wanted)
        if self.expected is not None:
            answers.beginnings[prompt[0]] = self._beginning(ids[:BEGINNING])

    def _beginning(self, ids: list[int]) -> tuple[tuple[int, ...], str]:
        """The fewest tokens that hold the whole first sentence, or all where none ends."""
        if self.expected and tuple(ids[: len(self.expected)]) == self.expected:
            return self.expected, self.decoded(list(self.expected))
        sentence = _SENTENCE.search(self.decoded(ids))
        # the text after each token: a character may need several tokens, so decode every beginning
        texts = [self.decoded(ids[: n + 1]) for n in range(len(ids))]
        end = len(ids)
        if sentence:
            end = next((n for n, t in enumerate(texts, 1) if len(t) >= sentence.end()), end)
        return tuple(ids[:end]), texts[end - 1] if ids else ""


def generated(
    lm: LM, asked: Iterable[tuple[str, Any]], *, chat: bool = False
) -> dict[tuple[str, Any], tuple[str, Verdict]]:
    """Greedy answers to (prompt, target) pairs, as {(prompt, target): (text, verdict)}.

    A target is a text, or a tuple of texts of which any is right. A text is generated until its
    verdict is settled and its first word ends, and for at most 32 tokens. Only the first 32 tokens
    of a longer target count.

    chat  The prompts are asked in the tokenizer's chat template.
    """
    pairs, queries = list(dict.fromkeys(asked)), Queries(lm)
    for prompt, target in pairs:
        queries.generate(prompt, target, chat=chat)
    found = queries.ask().generated
    return {pair: found[pair] for pair in pairs}


@dataclass
class Base(Answers):
    """The base model's answers: asked once, and used again by every later evaluation.

    model   The identity of the model that gave them.
    scores  Its own `Scores`, where they were measured.
    """

    model: str
    scores: Scores | None = None

    def read(self, lm: LM, items: Sequence[Item], kl_prompts: int) -> None:
        """Ask the base model everything that is not known yet; an entered patch is left out."""
        if not same_model(self.model, lm.identity):
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
            answers = queries.ask(self.ids)
        for kind in fields(Answers):
            getattr(self, kind.name).update(getattr(answers, kind.name))

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
    return [(prompt, right(part.target, part.aliases)) for prompt in part.prompts]


def unrelated(items: Sequence[Item], limit: int) -> list[str]:
    """The first `limit` different locality prompts."""
    return list(dict.fromkeys(i.prompt for i in items if i.metric.name == "locality"))[:limit]


def positives(items: Sequence[Item]) -> dict[int | str, str]:
    """{case: its edit prompt}."""
    return {item.case: item.prompt for item in items if item.metric.name == "efficacy"}


def _verdict(text: str, target: Any, wanted: Texts) -> Verdict:
    """The verdict on the text generated so far; in conversation it says what is named, too."""
    verdict = judge_any(text, wanted)
    if not isinstance(target, Named):
        return verdict
    names, settled = named(text, *target)
    # of an answer that is longer than what was written, the beginning is enough
    return Verdict(
        verdict.begins, verdict.exact, verdict.settled and settled, verdict.begins or names
    )


def _settled(text: str, ids: list[int], target: Any, wanted: Texts) -> bool:
    """Whether no further token can change the verdict, and the first word has ended."""
    if text.endswith("\ufffd") or not _verdict(text, target, wanted).settled:
        return False  # "\ufffd": a character of several tokens is not complete yet
    return len(ids) >= READABLE or _WORD.search(text) is not None


def _within_limit(lm: LM, target: str) -> tuple[str, bool]:
    """The first 32 tokens of the target as text, and whether that is less than the whole."""
    ids = encode_target(lm.tokenizer, target)
    if len(ids) <= LIMIT:
        return target, False
    text = lm.tokenizer.decode(ids[:LIMIT], clean_up_tokenization_spaces=False)
    return text.rstrip("\ufffd"), True
