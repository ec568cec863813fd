"""Consequences on the page: an example's own, those lent to other facts, and which count."""

from __future__ import annotations

import lib
from demo_app.session import consequences
from demo_app.session.visitors import Session
from lib.data.facts import Probe
from lib.evaluation.answers import begins
from lib.evaluation.prompt_batch import Base

PLACE = "{} is located in the city of"


def follows(case):
    return {p.prompt: p.target for p in case.portability}


def test_another_answer_and_an_own_fact_borrow_the_questions_of_their_relation(studio):
    country = "The country in which {} stands is"

    def tower(answer):
        return follows(studio.choices.subject("The Eiffel Tower", PLACE, answer).case)

    assert tower("Rome")[country.format("the Eiffel Tower")] == "Italy"
    # another answer for the tower: what follows from it is known from another example
    assert tower("Madrid")[country.format("the Eiffel Tower")] == "Spain"
    assert not [text for text in tower("Madrid") if "Flavian" in text], "not the tower's name"
    assert tower("Atlantis") == {}
    # a typed fact, once its relation is known
    asked = studio.choices.subject("my house", PLACE, "Rome")
    assert not asked.case.portability
    found = studio.look(Session(), asked).outcome().subject.case
    assert follows(found)[country.format("my house")] == "Italy"
    # another answer for the same subject and prompt, whose test prompts are kept
    asked = studio.choices.subject("my house", PLACE, "Madrid")
    found = studio.look(Session(), asked).outcome().subject.case
    assert follows(found)[country.format("my house")] == "Spain"
    # from the answer back, the visitor's subject is asked for
    fact = lib.Fact("Japan", "The capital city of {} is", "Shanghai")
    back = consequences.borrowed(fact, "capital of", lib.classroom())
    assert back and all(probe.target == "Japan" for probe in back)
    assert consequences.borrowed(fact, "currency of", lib.classroom()) == []


def test_a_question_counts_only_where_its_parts_are_known(studio):
    lm = studio.lm
    text = lm.answer("One is", 32)
    right = text.split()[0]
    assert begins(text, right)
    known, unknown = Probe("One is", "zz", (right,)), Probe("Two is", "zz")
    asked = [Probe("a", "x", parts=(known,)), Probe("b", "x", parts=(known, unknown)),
             Probe("c", "x")]  # fmt: skip
    base = Base(lm.identity)
    assert consequences.known(lm, base, asked) == {"a": True, "b": False, "c": True}
    found = dict(base.generated)
    assert consequences.known(lm, base, asked)["b"] is False
    assert all(base.generated[pair] is said for pair, said in found.items()), "asked twice"
