"""What an interview wants of a prompt, one thing at a time, each with its answer as a row on disk.

The key of a row is all that was asked, as text: the prompt, and the wanted answer where it decides
what counts as heard. A row holds the answer bit for bit: texts and verdicts as JSON, numbers as the
bytes of float32, whose count must be the expected one. No row is trusted: what does not fit its
question is a ValueError.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.lm import LM
from ..model.scoring import TokenScores
from ..patch.tensor_file import TokenId, decode
from .answer_file import Row
from .answers import Verdict
from .interview import Heard, Interview

_TYPES = {str(kind): kind for kind in (torch.float32, torch.bfloat16, torch.float16)}


class Wanted(ABC):
    """One thing that is wanted of a prompt."""

    prompt: str

    @property
    @abstractmethod
    def key(self) -> str:
        """All that is asked, as text."""

    @abstractmethod
    def ask(self, interview: Interview) -> None:
        """Ask for it."""

    @abstractmethod
    def answer(self, heard: Heard) -> Any:
        """Its answer among all that was heard."""

    @abstractmethod
    def tell(self, heard: Heard, answer: Any) -> None:
        """Write its answer to what was heard."""

    def packed(self, answer: Any) -> Row | None:
        """The answer as a row, None where it cannot be kept."""
        return Row(json.dumps(answer))

    @abstractmethod
    def unpacked(self, row: Row, lm: LM) -> Any:
        """The answer in a row; ValueError where it does not fit the question."""


@dataclass(frozen=True)
class Score(Wanted):
    """The scores of a target of so many tokens."""

    prompt: str
    target: str | tuple[int, ...]
    tokens: int

    @property
    def key(self) -> str:
        """The prompt and the target, a text or token ids."""
        return as_key("score", self.prompt, self.target)

    def ask(self, interview: Interview) -> None:
        """Ask for the scores."""
        interview.score(self.prompt, self.target)

    def answer(self, heard: Heard) -> TokenScores:
        """The scores of the target's tokens."""
        return heard.scores[self.prompt, self.target]

    def tell(self, heard: Heard, answer: TokenScores) -> None:
        """Write down the scores."""
        heard.scores[self.prompt, self.target] = answer

    def packed(self, answer: TokenScores) -> Row | None:
        """The hits as JSON, the log-probabilities as numbers."""
        if answer.log_probs.dtype != torch.float32:
            return None
        return Row(json.dumps(answer.hits.tolist()), _bytes(answer.log_probs))

    def unpacked(self, row: Row, lm: LM) -> TokenScores:
        """As many hits and log-probabilities as the target has tokens."""
        hits = decode(row.said, list[bool])
        if len(hits) != self.tokens:
            raise ValueError(f"{len(hits)} hits for {self.tokens} tokens")
        return TokenScores(_tensor(row.numbers, self.tokens), torch.tensor(hits))


@dataclass(frozen=True)
class State(Wanted):
    """The state at the prompt's end."""

    prompt: str

    @property
    def key(self) -> str:
        """The prompt."""
        return as_key("state", self.prompt)

    def ask(self, interview: Interview) -> None:
        """Ask for the state."""
        interview.state(self.prompt)

    def answer(self, heard: Heard) -> Tensor:
        """The state (d,)."""
        return heard.states[self.prompt]

    def tell(self, heard: Heard, answer: Tensor) -> None:
        """Write down the state."""
        heard.states[self.prompt] = answer

    def packed(self, answer: Tensor) -> Row | None:
        """The number type as JSON, the state as float32, which holds the smaller types exactly."""
        name = str(answer.dtype)
        return Row(json.dumps(name), _bytes(answer)) if name in _TYPES else None

    def unpacked(self, row: Row, lm: LM) -> Tensor:
        """A state that is as wide as the model's head."""
        name = decode(row.said, str)
        if name not in _TYPES:
            raise ValueError(f"no state has the number type {name}")
        width = lm.model.get_output_embeddings().weight.shape[1]
        return _tensor(row.numbers, width).to(_TYPES[name])


@dataclass(frozen=True)
class Said(Wanted):
    """A greedy answer until the verdict on a target is settled: (text, verdict, ids).

    ids  All tokens that were generated at the prompt, which a later interview takes for a draft.
    """

    prompt: str
    chat: bool
    target: str | tuple[str, ...]

    @property
    def key(self) -> str:
        """The prompt, its form, and the target or targets."""
        return as_key("said", self.prompt, self.chat, self.target)

    def ask(self, interview: Interview) -> None:
        """Ask for the answer."""
        interview.generate(self.prompt, self.target, chat=self.chat)

    def answer(self, heard: Heard) -> tuple[str, Verdict, tuple[int, ...]]:
        """Text, verdict and tokens."""
        said = heard.chat if self.chat else heard.said
        return *said[self.prompt, self.target], heard.ids[self.prompt, self.chat]

    def tell(self, heard: Heard, answer: tuple[str, Verdict, tuple[int, ...]]) -> None:
        """Write down the answer and its tokens."""
        text, verdict, ids = answer
        (heard.chat if self.chat else heard.said)[self.prompt, self.target] = text, verdict
        _draft(heard, (self.prompt, self.chat), ids)

    def unpacked(self, row: Row, lm: LM) -> tuple[str, Verdict, tuple[int, ...]]:
        """A text, a verdict and token ids."""
        text, verdict, ids = decode(row.said, tuple[str, tuple[bool, bool, bool], list[TokenId]])
        return text, Verdict(*verdict), tuple(ids)


@dataclass(frozen=True)
class Begun(Wanted):
    """The beginning of a greedy answer of at most so many tokens: (its ids, its text, all ids)."""

    prompt: str
    tokens: int

    @property
    def key(self) -> str:
        """The prompt and the most tokens."""
        return as_key("begin", self.prompt, self.tokens)

    def ask(self, interview: Interview) -> None:
        """Ask for the beginning."""
        interview.begin(self.prompt, tokens=self.tokens)

    def answer(self, heard: Heard) -> tuple[tuple[int, ...], str, tuple[int, ...]]:
        """The beginning with its text, and all tokens that were generated."""
        return *heard.begins[self.prompt], heard.ids[self.prompt, False]

    def tell(self, heard: Heard, answer: tuple[tuple[int, ...], str, tuple[int, ...]]) -> None:
        """Write down the beginning and the tokens."""
        heard.begins[self.prompt] = answer[:2]
        _draft(heard, (self.prompt, False), answer[2])

    def unpacked(self, row: Row, lm: LM) -> tuple[tuple[int, ...], str, tuple[int, ...]]:
        """Token ids, a text and token ids."""
        ids, text, every = decode(row.said, tuple[list[TokenId], str, list[TokenId]])
        if len(ids) > self.tokens:
            raise ValueError(f"{len(ids)} tokens, where {self.tokens} were asked for")
        return tuple(ids), text, tuple(every)


def wanted(interview: Interview) -> Iterator[Wanted]:
    """All that an interview wants, one thing at a time."""
    for (prompt, _), targets in interview.scored.items():
        yield from (Score(prompt, target, len(ids)) for target, ids in targets.items())
    for (prompt, chat), said in interview.said.items():
        yield from (Said(prompt, chat, target) for target in said)
    for (prompt, _), (tokens, _) in interview.begun.items():
        yield Begun(prompt, tokens)
    yield from (State(prompt) for prompt, _ in interview.states)


def as_key(*parts: Any) -> str:
    """What was asked as one text, ASCII throughout."""
    return json.dumps(parts)


def _draft(heard: Heard, prompt: tuple[str, bool], ids: tuple[int, ...]) -> None:
    """Keep the longest of the texts that were generated at a prompt."""
    heard.ids[prompt] = max(heard.ids.get(prompt, ()), ids, key=len)


def _bytes(x: Tensor) -> bytes:
    """The numbers of x (n,) as little-endian float32."""
    return x.float().numpy().astype("<f4").tobytes()


def _tensor(numbers: bytes, count: int) -> Tensor:
    """`count` numbers of float32; ValueError where there are more or less."""
    if len(numbers) != 4 * count:
        raise ValueError(f"{len(numbers)} bytes for {count} numbers")
    return torch.from_numpy(np.frombuffer(numbers, "<f4").astype(np.float32))
