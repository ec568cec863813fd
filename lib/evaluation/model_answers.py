"""Where an evaluation gets a model's answers from: here from the model itself.

`KeptAnswers` in kept_base.py gives the same answers and finds those of the base model on disk.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..model.lm import LM
from .conversation import Ask, Reply, replies
from .interview import Drafts, Heard, Interview
from .long_answers import Question, written
from .perplexity import perplexity


class Answers:
    """What a model says as it is patched; it is asked every time."""

    def __init__(self, lm: LM) -> None:
        self.lm = lm

    def heard(self, interview: Interview, drafts: Drafts | None = None) -> Heard:
        """The answers to an interview."""
        return interview.ask(drafts)

    def replies(self, asks: Iterable[Ask]) -> dict[Ask, Reply]:
        """The replies in conversation."""
        return replies(self.lm, asks)

    def written(self, questions: Iterable[Question]) -> dict[Question, str]:
        """The long answers."""
        return written(self.lm, questions)

    def perplexity(self, text: str | None = None) -> float | None:
        """The perplexity of a text, by default of the shipped one; None where that is missing."""
        return perplexity(self.lm, text)
