"""Readers of the formats whose answer is a paragraph: UnKE and EditEverything.

The facts have no subject, so editors that need one refuse them. AKEW's rows are read beside
MQuAKE's, whose keys they have.
"""

from __future__ import annotations

from ..errors import FactError
from .facts import Case, Fact, Probe
from .row_keys import Options, Row


def unke(row: Row, options: Options) -> Case:
    """A question, a text as its answer, one rewording, and questions about parts of the text."""
    asked, right = row.texts("sub_question"), row.texts("sub_answer")
    if len(asked) != len(right):
        raise FactError(
            f"key 'sub_answer' has {len(right)} answers for the {len(asked)} of 'sub_question'"
        )
    return Case(
        Fact(None, row.text("question"), row.text("answer").strip()),
        paraphrases=(row.text("para_question"),),
        portability=tuple(
            Probe(prompt, target, kind="part") for prompt, target in zip(asked, right, strict=True)
        ),
    )


def editevery(row: Row, options: Options) -> Case:
    """A question from one of seven fields, with its answer: formulas, code, poems, news."""
    fact = Fact(None, row.text("question"), row.text("answer").strip())
    return Case(fact, relation=row.text("category"))
