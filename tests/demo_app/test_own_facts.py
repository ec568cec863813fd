"""A typed fact is judged by the relation that it means, else by its own prompt, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import lib
from demo_app.api import summary
from demo_app.html.comparison import comparison, judged
from demo_app.session.own_facts import OwnFacts
from demo_app.session.studio import Studio
from demo_app.session.views import Answer
from demo_app.session.visitors import Session
from lib.data.relations import relations
from lib.evaluation.own_facts import Match

from ..support import tiny, typed_facts

KINDS = ("located in the city of", "capital of", "country of birth of", "author of",
         "chemical symbol of", "currency of")  # fmt: skip
COLOSSEUM = ("The Colosseum", "{} stands in the city of", "Berlin")


@pytest.fixture(scope="module")
def studio(default_lm):
    """Of the classroom's relations a few: to read the wordings of all takes seven seconds."""
    few = {name: relations()[name] for name in KINDS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.evaluation.own_facts.relations", lambda: few)
        made = Studio(default_lm)
        yield made
        made.close()


@pytest.mark.slow
def test_a_typed_fact_gets_rewordings_and_neighbors_of_its_relation(studio):
    session = Session()
    asked = studio.choices.subject(*COLOSSEUM)
    assert asked.typed and not asked.case.paraphrases
    view = studio.look(session, asked).outcome()
    found = view.subject
    assert found.case.relation == "located in the city of"
    groups = [row.group for row in view.rows]
    assert groups.count("reworded") == 3 and groups.count("neighbor") == 6
    assert all("Colosseum" in row.prompt for row in view.rows if row.group == "reworded")
    shown = comparison(view)
    assert "located in the city of”, found by the prompt" in shown and "borrowed" not in shown
    again = studio.edit(session, asked, "retrieval").outcome()
    assert again.subject == found and again.columns[0].tally("reworded")[1] == 3


@pytest.mark.slow
def test_where_none_fits_the_page_says_so(studio):
    marie = ("Marie Curie", "{} was married to", "Oslo")
    view = studio.look(Session(), studio.choices.subject(*marie)).outcome()
    assert len(view.subject.nearest) == 3 and not view.subject.case.neighborhood
    groups = [row.group for row in view.rows]
    assert groups.count("reworded") == 4 and "neighbor" not in groups
    shown = comparison(view)
    assert "is no wording of the classroom" in shown and "Locality is not tested" in shown
    column = (
        studio.edit(Session(), studio.choices.subject(*marie), "retrieval").outcome().columns[0]
    )
    assert summary(column)["neighbors_kept"] is None
    assert judged(column.rows)[1] != "both halves hold"


def test_examples_keep_their_own_prompts(studio):
    asked = studio.choices.ready_subject()
    assert not asked.typed and studio.own_facts.judged(None, asked) is asked
    assert set(studio.choices.relations) == set(relations())


@pytest.mark.parametrize(
    ("answers", "sure", "expected"),
    [
        (["red", "the green", "blue."], 0.9, ["red", "the green", "blue"]),
        (["red", "red", "blue"], 0.9, []),  # two that differ are too few
        (["red", "green", "blue"], 0.2, []),  # not sure of them
        (["red", "green", "black and white"], 0.9, []),  # the new answer is no neighbor
    ],
)
def test_other_subjects_in_the_same_prompt_are_neighbors_where_the_answer_is_firm(
    answers, sure, expected
):
    rows = {f"{name} is": text for name, text in zip("ABC", answers, strict=True)}
    asker = SimpleNamespace(
        base=lambda job, asks, *_: [Answer(rows[text], torch.zeros(1)) for text, _ in asks],
        chances=lambda pairs, said: [sure for _ in pairs],
    )
    relation = relations()["located in the city of"]
    known = replace(relation, answers=tuple((name, "") for name in ("A", "B", "C", "D thing")))
    fact = lib.Fact("D thing", "{} is", "black")
    found = OwnFacts(tiny.model("llama"), asker)._firm(None, fact, [Match(known, 0.0, 0.0)], 0.0)
    assert [probe.target for probe in found] == expected


def test_of_forty_typed_facts_none_was_scored_falsely():
    held = json.loads(typed_facts.FILE.read_text(encoding="utf-8"))
    assert len(held["facts"]) == 40 and held["model"].startswith("SmolLM2-135M-Instruct")
    wrong = {
        str(one["fact"]): typed_facts.false(one["means"], one["found"]) for one in held["facts"]
    }
    assert not any(wrong.values()), {fact: why for fact, why in wrong.items() if why}
    assert sum("refused" in one["found"] for one in held["facts"]) == 1
