"""What happened inside an edit: in which layer the answer turns."""

from __future__ import annotations

from dataclasses import dataclass

import lib
from lib.data.facts import encode_target
from lib.workbench.interpret.logit_lens import lens

from .studio import Studio
from .subject_in_view import layers_of, subject_of
from .visitors import Session
from .worker import Job, Trouble

Ranks = dict[str, list[int]]  # {answer: its rank after every layer}


@dataclass(frozen=True)
class Layers:
    """Ranks of two answers after every layer.

    answers: the old answer and the new one.
    was: their ranks in the unedited model.
    now: their ranks under the edits.
    edited: the layers that the edits touch.
    """

    answers: tuple[str, str]
    was: Ranks
    now: Ranks
    edited: tuple[int, ...]

    @property
    def found(self) -> str:
        """Where the new answer overtakes the old one."""
        old, new = self.answers
        was, now = self.was[new], self.now[new]
        pairs = list(zip(now, self.now[old], strict=True))
        ahead = [layer for layer in range(len(now)) if all(a < b for a, b in pairs[layer:])]
        if not ahead:
            return f"“{new}” does not overtake “{old}” for good: it ends at rank {now[-1]:,}."
        return (
            f"From layer {ahead[0]} on “{new}” stands before “{old}”, and it ends at rank "
            f"{now[-1]:,}; before the edit at {was[-1]:,}."
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The ranks at about six layers."""
        count = len(self.was[self.answers[0]])
        each = range(0, count, max(1, count // 6))
        return tuple(
            f"“{answer}” {name}: " + ", ".join(f"layer {i} rank {table[answer][i]:,}" for i in each)
            for name, table in (("before", self.was), ("after", self.now))
            for answer in self.answers
        )


def look(studio: Studio, session: Session) -> Job:
    """What a visitor's edits do to the prompt in view: Layers."""
    lm, patch = studio.lm, session.patch
    if not patch:
        raise Trouble("No edit is live: make one in “Try” first.")
    fact = subject_of(studio.choices, session).case.fact

    def work(job: Job) -> Layers:
        with job.counting(lm, "Reading every layer", 4, 0.0, 1.0):
            with lm.patched(lib.EMPTY, only=True):
                old = fact.target_true or lm.answer(fact.text, 1).strip() or "the"
            answers = old, fact.target_new
            if len({encode_target(lm.tokenizer, answer)[0] for answer in answers}) == 1:
                raise Trouble(
                    f"“{answers[0]}” and “{answers[1]}” begin with the same token, so their ranks "
                    "are one line."
                )
            was, now = (_ranks(lm, fact.text, answers, one) for one in (lib.EMPTY, patch))
        return Layers(answers, was, now, tuple(layers_of(lm, patch)))

    return session.submit(studio.worker, work, aside=True)


def _ranks(lm: lib.LM, prompt: str, answers: tuple[str, str], patch: lib.Patch) -> Ranks:
    with lm.patched(patch, only=True):
        table = lens(lm, prompt, list(answers), patch)
    return {
        answer: table[table["answer"] == answer].sort_values("layer")["rank"].tolist()
        for answer in answers
    }
