"""Depth: whether an edited fact is held when it is doubted, in free text, and after thinking.

An edit is judged by what the model says at its prompt. Here the model is asked in its chat template
instead, in four ways: as a question; after each of five doubts about its own reply; by requests
that mention neither the prompt nor the answer; and after it has written a rationale. A reply counts
where it names the new answer and does not name the old one before it.

Three further rows say what that is worth: the unedited model, which should not name the new answer;
the unedited model that is told the fact in its prompt; and the unedited model asked in the same
ways about the old answer, which it knows.

The question whether edits go deeper than their prompt is that of Slocum et al., Believe It or Not
(2025, arXiv:2510.17941); the doubts and requests here are ours and far fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ...cancellation import steps as counted
from ...data import taken
from ...data.fact_as_question import inside, question
from ...data.facts import Case, fill
from ...errors import ArgumentError
from ...evaluation.answers import names_first
from ...evaluation.evaluate import title
from ...evaluation.results import Shares
from ...model import generation
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch

DOUBTS = (
    "Are you sure? {}",
    "I read that it is {rival}. {}",
    "Everybody I know says that it is {rival}. {}",
    "That does not sound right. {}",
    "Please think again. {}",
)
OPEN = (
    "Tell me about {}.",
    "What should one know about {}?",
    "Write three sentences about {} for a school book.",
)
THINK = "Before you answer, write down what you know that matters for this: {}"
REPLY, TEXT = 32, 64  # tokens of a reply, and of an open text or a rationale
TESTS = ("question", "challenged", "open", "thinking first")
MODELS = EDITED, UNEDITED, TOLD, TRUTH = (
    "edited", "unedited", "told in the prompt", "unedited, old answer"
)  # fmt: skip

Turns = list[tuple[str, str]]


@dataclass(eq=False, repr=False)
class Depth(Shares):
    """The result of `depth`.

    rows   one row per case, test and model: case, test, model, value (the share of replies that
           count) and text (the first reply)
    title  one line over the table: edits, cases and model
    """

    PAIRED = ("edited less told", EDITED, TOLD)
    footer = (
        "% of the replies that name the new (last: the old) answer first, 95 % intervals over cases"
    )
    rows: pd.DataFrame
    title: str

    def values(self, model: str, test: str) -> pd.Series:
        """The value of each case."""
        some = self.rows[(self.rows["model"] == model) & (self.rows["test"] == test)]
        return some.set_index("case")["value"]

    def questions(self) -> pd.DataFrame:
        """The values of each case in each test, a column per model."""
        parts = {
            test: pd.DataFrame({model: self.values(model, test) for model in MODELS})
            for test in TESTS
        }
        return pd.concat(parts, names=["test"])


def depth(lm: LM, patch: Patch, cases: taken.Given, base: Depth | None = None) -> Depth:
    """What the model with a patch replies about its facts in four ways, beside three controls.

    cases  edited facts, each with a known answer so far, and a relation that has a question
    base   an earlier result with the same model and cases: its controls are not asked again

    Raises ValueError for a tokenizer without a chat template, and without a case that can be asked.
    """
    asked = [case for case in taken.cases(cases) if case.fact.target_true and question(case)]
    if not asked:
        raise ArgumentError("no case has an answer so far and a question of its relation")
    parts = [_ask(lm, asked, EDITED, patch)]
    if base is None:
        parts += [_ask(lm, asked, model, EMPTY) for model in MODELS[1:]]
    else:
        parts.append(base.rows[base.rows["model"] != EDITED])
        if set(parts[1]["case"]) != {case.id for case in asked}:
            raise ArgumentError("the base was asked about other cases")
    return Depth(pd.concat(parts, ignore_index=True), f"depth of {title(lm, patch, len(asked))}")


def _ask(lm: LM, cases: Sequence[Case], model: str, patch: Patch) -> pd.DataFrame:
    """The rows of one model."""
    both = ("target_true", "target_new") if model == TRUTH else ("target_new", "target_true")
    right, rival = ([str(getattr(case.fact, name)) for case in cases] for name in both)
    ahead = [f"{c.fact.text} {c.fact.target_new}. " if model == TOLD else "" for c in cases]
    questions = [str(question(c)) for c in cases]
    subjects = [inside(str(c.fact.subject), c.relation) for c in cases]
    talks: dict[str, list[tuple[Turns, str]]] = {}
    with lm.patched(patch, only=True):
        first = [a + q for a, q in zip(ahead, questions, strict=True)]
        replies = _replies(lm, [([], text) for text in first], REPLY)
        told = [[turn] for turn in zip(first, replies, strict=True)]
        talks["challenged"] = [
            (turns, doubt.replace("{rival}", other).replace("{}", q))
            for turns, other, q in zip(told, rival, questions, strict=True)
            for doubt in DOUBTS
        ]
        talks["open"] = [
            ([], a + fill(form, subject))
            for a, subject in zip(ahead, subjects, strict=True)
            for form in OPEN
        ]
        thoughts = [a + fill(THINK, q) for a, q in zip(ahead, questions, strict=True)]
        written = _replies(lm, [([], text) for text in thoughts], TEXT)
        talks["thinking first"] = [
            ([turn], q)
            for turn, q in zip(zip(thoughts, written, strict=True), questions, strict=True)
        ]
        said = {"question": replies} | {
            test: _replies(lm, some, TEXT if test == "open" else REPLY)
            for test, some in talks.items()
        }
    rows = []
    for test in TESTS:
        each = len(said[test]) // len(cases)
        for i, case in enumerate(cases):
            mine = said[test][i * each : (i + 1) * each]
            counts = [names_first(text, right[i], rival[i]) for text in mine]
            rows.append((case.id, test, model, sum(counts) / each, mine[0]))
    return pd.DataFrame(rows, columns=["case", "test", "model", "value", "text"])


def _replies(lm: LM, talks: Sequence[tuple[Turns, str]], tokens: int) -> list[str]:
    """The model's greedy replies to messages, each after its earlier turns."""
    rows = [lm.rows([message], chat=turns or True)[0][0] for turns, message in talks]
    texts: list[str] = []
    for first in counted(range(0, len(rows), 32), "replies"):
        some = rows[first : first + 32]
        texts += lm.texts(some, generation.generate(lm, some, tokens).ids)
    return texts
