"""A typed fact finds the relation that it means, and gets its rewordings and neighbors."""

from __future__ import annotations

import pytest

import lib
from lib.evaluation.own_facts import NEIGHBORS, case_for, matches

pytestmark = pytest.mark.slow  # the default model reads the wordings of 31 relations

FITS = [
    ("The Colosseum", "{} can be found in the city of", "located in the city of"),
    ("Portugal", "{}'s capital is", "capital of"),
    ("Moby-Dick", "The author of {} is", "author of"),
    ("Java", "{} was made by", "developer of"),
]
FITS_NOT = [
    ("Marie Curie", "{} was married to"),
    ("Lisbon", "{} is the capital of"),  # the other way round
    ("my cat", "{} likes to eat"),
    # the end of a wording, behind a verb that asks for something else
    ("The Danube", "{} flows through the country of"),
    ("Napoleon", "{} conquered the city of"),
]


@pytest.mark.parametrize(("subject", "prompt", "relation"), FITS)
def test_a_prompt_finds_its_relation(default_lm, subject, prompt, relation):
    first, second, *_ = matches(default_lm, lib.Fact(subject, prompt, "x"))
    assert first.relation.name == relation and first.fits and first.score >= second.score


@pytest.mark.parametrize(("subject", "prompt"), FITS_NOT)
def test_a_prompt_of_another_kind_fits_none(default_lm, subject, prompt):
    fact = lib.Fact(subject, prompt, "x")
    assert len(matches(default_lm, fact)) == 31
    assert case_for(default_lm, fact) is None


def test_the_case_has_rewordings_and_neighbors_that_the_model_knows(default_lm):
    fact = lib.Fact("The Colosseum", "{} stands in the city of", "Berlin")
    case = case_for(default_lm, fact)
    assert case.fact is fact and case.relation == "located in the city of"
    assert len(case.paraphrases) == 3 and all("Colosseum" in text for text in case.paraphrases)
    assert fact.text not in case.paraphrases and len(case.neighborhood) == NEIGHBORS
    probes = [lib.Case(lib.Fact(None, p.prompt, "x", p.target)) for p in case.neighborhood]
    assert len(lib.known(default_lm, probes)) == NEIGHBORS
    assert case_for(default_lm, fact, "capital of", neighbors=0).neighborhood == ()


@pytest.mark.parametrize("new", ["Paris, France", "Parisian"])
def test_a_neighbor_whose_right_answer_is_the_new_one_is_not_used(default_lm, new):
    case = case_for(default_lm, lib.Fact("The Colosseum", "{} stands in the city of", new))
    found = {probe.target for probe in case.neighborhood}
    assert ("Paris" in found) == (new == "Parisian"), "there going wrong would not show"
    assert len(case.neighborhood) == NEIGHBORS, "others take its place"


def test_it_is_the_unedited_model_that_is_asked(default_lm):
    fact = lib.Fact("The Colosseum", "{} stands in the city of", "Berlin")
    before = [match[1:] for match in matches(default_lm, fact)]
    patch = lib.EDITORS["ft"](default_lm, layer=3, epochs=2).edit([fact])
    with default_lm.patched(patch):
        assert [match[1:] for match in matches(default_lm, fact)] == before


def test_what_has_no_tests_is_measured_by_those_that_can_be_made(default_lm):
    fact = lib.Fact("The Colosseum", "{} can be found in the city of", "Lima")
    scores = lib.evaluate(default_lm, [fact, fact], events=["teacher_forced"])
    assert {"generalization", "specificity", "locality"} <= set(scores.rows["metric"])
    assert set(scores.rows["case"]) == {0, 1}


def test_a_fact_for_which_no_tests_can_be_made_is_named_and_its_edit_is_measured(default_lm):
    cat, case = lib.Fact("my cat", "{} likes to eat", "fish"), lib.classroom()[0]
    with pytest.warns(lib.errors.DataWarning, match="1 of 2 facts.*'my cat likes to eat'"):
        scores = lib.evaluate(default_lm, [cat, case], events=["teacher_forced"])
    mine = scores.rows[scores.rows["case"] == case.id]
    assert len(mine) and "efficacy" in set(scores.rows["metric"])
    with pytest.warns(lib.errors.DataWarning, match="1 of 1 facts"):
        lib.evaluate(default_lm, lib.Fact(None, "Water is", "wet"), events=["teacher_forced"])


def test_who_names_the_metrics_gets_no_tests_made(default_lm):
    fact = lib.Fact("The Colosseum", "{} can be found in the city of", "Lima")
    scores = lib.evaluate(default_lm, fact, metrics=["generalization"])
    assert set(scores.rows["metric"]) == {"efficacy"}
