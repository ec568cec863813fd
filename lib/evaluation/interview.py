"""What a model is asked in an evaluation, gathered first and asked in one go.

Metrics and events ask the same prompts again and again. An `Interview` takes note of all that is
wanted: the scores of given answers, the text that the model writes until a verdict on it is
settled, the beginning of its own answer, and its state at the prompt's end. Then every prompt is
read once (`lib/model/questions.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from ..data.facts import encode_target
from ..model import questions
from ..model.lm import LM
from ..model.questions import Question
from ..model.scoring import TokenScores
from .answers import LIMIT, Verdict, judge_any

READABLE = 4  # a settled text goes on for at most so many tokens to end its first word
BEGINNING = 8  # tokens of the beginning of an answer
_WORD = re.compile(r"\w\W")
_SENTENCE = re.compile(r"\S[^\n]*?(?:[.!?](?=\s|$)|\n)")
Prompt = tuple[str, bool]  # a text, and whether it is asked in the tokenizer's chat template
Drafts = Mapping[Prompt, tuple[int, ...]]


@dataclass
class Heard:
    """The model's answers to an interview.

    scores  {(prompt, target): log-probabilities and argmax hits of the target's tokens}; a target
            is a text or a tuple of token ids.
    said    {(prompt, target): (text, verdict)} of free generation.
    chat    The same for prompts in the chat template.
    begins  {prompt: (ids, text)}, the first tokens of each answer up to its first sentence's end.
    states  {prompt: state (d,)} at the prompt's end, from which `lm.head` makes the next token's
            logits; on the CPU.
    ids     {(prompt, chat): all tokens that were generated}, the drafts of a later interview.
    """

    scores: dict[tuple[str, Any], TokenScores] = field(default_factory=dict)
    said: dict[tuple[str, Any], tuple[str, Verdict]] = field(default_factory=dict)
    chat: dict[tuple[str, Any], tuple[str, Verdict]] = field(default_factory=dict)
    begins: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    ids: dict[Prompt, tuple[int, ...]] = field(default_factory=dict)


class Interview:
    """The questions to one model; `ask` puts them under the patch that is entered then.

    scored  {prompt: {target: its ids}}, the targets whose scores are wanted.
    said    {prompt: {target: its texts, and whether each is cut}}, the targets looked for.
    begun   {prompt: (most tokens, expected ids)}, where the answer's beginning is wanted.
    states  {prompt: None}, where the state is wanted.
    """

    def __init__(self, lm: LM) -> None:
        self.lm = lm
        self.scored: dict[Prompt, dict[Any, tuple[int, ...]]] = {}
        self.said: dict[Prompt, dict[Any, list[tuple[str, bool]]]] = {}
        self.begun: dict[Prompt, tuple[int, tuple[int, ...]]] = {}
        self.states: dict[Prompt, None] = {}

    def __len__(self) -> int:
        """The number of prompts that are asked."""
        return len({*self.scored, *self.said, *self.begun, *self.states})

    def score(self, prompt: str, target: str | tuple[int, ...]) -> None:
        """Ask for the scores of a target, which is text or token ids."""
        ids = encode_target(self.lm.tokenizer, target) if isinstance(target, str) else target
        self.scored.setdefault((prompt, False), {})[target] = tuple(ids)

    def generate(self, prompt: str, target: Any, *, chat: bool = False) -> None:
        """Ask for a greedy answer, until its verdict is settled and its first word ends.

        It has at most 32 tokens. A target is a text, or a tuple of texts of which any is right. Of
        a longer target only the first 32 tokens count.
        """
        texts = (target,) if isinstance(target, str) else target
        wanted = [within_limit(self.lm, text) for text in texts]
        self.said.setdefault((prompt, chat), {})[target] = wanted

    def begin(self, prompt: str, expected: tuple[int, ...] = (), tokens: int = BEGINNING) -> None:
        """Ask for the first tokens of a greedy answer, cut after its first sentence.

        expected  Where the answer begins with these ids, nothing more of it is wanted.
        """
        self.begun[prompt, False] = tokens, expected

    def state(self, prompt: str) -> None:
        """Ask for the state at the prompt's end."""
        self.states[prompt, False] = None

    def ask(self, drafts: Drafts | None = None) -> Heard:
        """Ask everything, each prompt once.

        drafts  Tokens that the model is likely to generate, which save time and change nothing.
        """
        prompts = list(dict.fromkeys([*self.scored, *self.said, *self.begun, *self.states]))
        rows: dict[Prompt, list[int]] = {}
        for chat in (False, True):
            some = [prompt for prompt in prompts if prompt[1] == chat]
            rows |= zip(some, self.lm.rows([text for text, _ in some], chat=chat)[0], strict=True)
        listeners = {prompt: self._listener(prompt, rows[prompt]) for prompt in prompts}
        asked = [
            Question(
                rows[prompt],
                list(dict.fromkeys(self.scored.get(prompt, {}).values())),
                prompt in self.states,
                listeners[prompt].most,
                self._drafts(prompt, drafts or {}),
                listeners[prompt].enough,
            )
            for prompt in prompts
        ]
        heard = Heard()
        for prompt, reply in zip(prompts, questions.ask(self.lm, asked), strict=True):
            for target, ids in self.scored.get(prompt, {}).items():
                heard.scores[prompt[0], target] = reply.scores[ids]
            if reply.state is not None:
                heard.states[prompt[0]] = reply.state.cpu()
            if prompt in self.said or prompt in self.begun:
                listeners[prompt].tell(heard, prompt, reply.ids)
        return heard

    def _drafts(self, prompt: Prompt, drafts: Drafts) -> list[tuple[int, ...]]:
        """What the model may generate at a prompt: given drafts, and the answers asked for."""
        encode = partial(encode_target, self.lm.tokenizer)
        texts = [text for wanted in self.said.get(prompt, {}).values() for text, _ in wanted]
        return [
            *([drafts[prompt]] if prompt in drafts else []),
            *(tuple(encode(text)) for text in dict.fromkeys(texts)),
        ]

    def _listener(self, prompt: Prompt, row: list[int]) -> _Listener:
        return _Listener(
            partial(_text, self.lm, row), self.said.get(prompt, {}), self.begun.get(prompt)
        )


class _Listener:
    """Hears one answer token by token and knows when it was heard far enough.

    most  The most tokens that are wanted.
    ends  {target: the number of tokens after which the verdict on it was settled}.
    """

    def __init__(
        self,
        text: Callable[[list[int]], str],
        said: Mapping[Any, list[tuple[str, bool]]],
        begun: tuple[int, tuple[int, ...]] | None,
    ) -> None:
        self.text, self.said = text, said
        self.tokens, self.expected = begun or (0, ())
        self.most = max(LIMIT if said else 0, self.tokens)
        self.ends: dict[Any, int] = {}
        self.begun = begun is None  # whether enough of the beginning was heard

    def enough(self, ids: list[int]) -> bool:
        """Whether these tokens, one more than at the last call, are all that is wanted."""
        text = self.text(ids)
        for target, wanted in self.said.items():
            if target not in self.ends and (len(ids) >= LIMIT or _settled(text, ids, wanted)):
                self.ends[target] = len(ids)
        if not self.begun:
            sentence = _SENTENCE.search(text)
            # more text changes no sentence that something stands behind
            whole = sentence and (sentence.end() < len(text) or sentence[0].endswith("\n"))
            same = bool(self.expected) and tuple(ids[: len(self.expected)]) == self.expected
            self.begun = len(ids) >= self.tokens or same or bool(whole and not self._pending(ids))
        return self.begun and len(self.ends) == len(self.said)

    def _pending(self, ids: list[int]) -> bool:
        """Whether the tokens are the beginning of what is expected, but not yet all of it."""
        return len(ids) < len(self.expected) and tuple(ids) == self.expected[: len(ids)]

    def tell(self, heard: Heard, prompt: Prompt, ids: list[int]) -> None:
        """Write down what was heard."""
        heard.ids[prompt] = tuple(ids)
        said = heard.chat if prompt[1] else heard.said
        for target, wanted in self.said.items():
            text = self.text(ids[: self.ends.get(target, LIMIT)])
            said[prompt[0], target] = text, judge_any(text, wanted)
        if self.tokens:
            heard.begins[prompt[0]] = self._beginning(ids[: self.tokens])

    def _beginning(self, ids: list[int]) -> tuple[tuple[int, ...], str]:
        """The fewest tokens that hold the whole first sentence, or all where none ends."""
        if self.expected and tuple(ids[: len(self.expected)]) == self.expected:
            return self.expected, self.text(list(self.expected))
        sentence = _SENTENCE.search(self.text(ids))
        # the text after each token: a character may need several tokens, so decode every beginning
        texts = [self.text(ids[: n + 1]) for n in range(len(ids))]
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
    pairs, interview = list(dict.fromkeys(asked)), Interview(lm)
    for prompt, target in pairs:
        interview.generate(prompt, target, chat=chat)
    heard = interview.ask()
    said = heard.chat if chat else heard.said
    return {pair: said[pair] for pair in pairs}


def beginnings(
    lm: LM, prompts: Iterable[str], tokens: int = BEGINNING
) -> dict[str, tuple[tuple[int, ...], str]]:
    """The first greedy tokens of each answer, cut after its first sentence: {prompt: (ids, text)}.

    tokens  The most tokens that are generated.
    """
    interview = Interview(lm)
    for prompt in prompts:
        interview.begin(prompt, tokens=tokens)
    return interview.ask().begins


def _text(lm: LM, row: list[int], ids: list[int]) -> str:
    return lm.texts([row], [ids])[0]


def _settled(text: str, ids: list[int], wanted: list[tuple[str, bool]]) -> bool:
    """Whether no further token can change the verdict, and the first word has ended."""
    if text.endswith("\ufffd") or not judge_any(text, wanted).settled:
        return False  # "\ufffd": a character of several tokens is not complete yet
    return len(ids) >= READABLE or _WORD.search(text) is not None


def within_limit(lm: LM, target: str) -> tuple[str, bool]:
    """The first 32 tokens of the target as text, and whether that is less than the whole."""
    ids = encode_target(lm.tokenizer, target)
    if len(ids) <= LIMIT:
        return target, False
    text = lm.tokenizer.decode(ids[:LIMIT], clean_up_tokenization_spaces=False)
    return text.rstrip("\ufffd"), True
