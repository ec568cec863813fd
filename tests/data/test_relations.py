"""The classroom's relations: wordings, known facts, and questions about any subject."""

from __future__ import annotations

import pytest

import lib
from lib.data.relations import relations


@pytest.fixture(scope="module")
def known():
    return relations()


def test_all_relations_have_wordings_and_facts(known):
    assert len(known) == 31 == len({case.relation for case in lib.classroom()})
    for name, relation in known.items():
        assert len(relation.templates) >= 3 and len(relation.answers) >= 2, name
        assert len(set(relation.templates)) == len(relation.templates)
        assert all(template.count("{}") == 1 for template in relation.templates), name
        prompts = [probe.prompt for probe in relation.neighbors]
        assert len(set(prompts)) == len(prompts) >= 5
    capitals = dict(known["capital of"].answers)
    assert capitals["China"] == "Beijing" and capitals["Denmark"] == "Copenhagen", "a neighbor"


@pytest.mark.parametrize(
    ("relation", "template", "subject", "text"),
    [
        ("capital of", "The capital of {} is", "The Gambia", "The capital of the Gambia is"),
        ("capital of", "{} is a country whose capital city is", "the Gambia",
         "The Gambia is a country whose capital city is"),
        ("author of", "Who wrote {}? It was written by", "The Trial",
         "Who wrote The Trial? It was written by"),
        ("young of", "The young of a {} is called a", "a zebra",
         "The young of a zebra is called a"),
        ("home country of the language", "The {} language is spoken in the country of", "Dutch",
         "The Dutch language is spoken in the country of"),
    ],
)  # fmt: skip
def test_a_subject_is_written_as_a_sentence_wants_it(known, relation, template, subject, text):
    assert template in known[relation].templates
    assert known[relation].ask(template, subject) == text


def test_rewordings_leave_the_prompt_out_and_neighbors_the_subject(known):
    relation = known["located in the city of"]
    own = relation.ask("{} stands in the city of", "The Colosseum")
    found = relation.rewordings("The Colosseum", own.upper(), 3)
    assert len(found) == 3 and own not in found and all("Colosseum" in text for text in found)
    others = relation.others("the eiffel tower", [relation.neighbors[1].prompt])
    assert others and not any("Eiffel" in probe.prompt for probe in others)
    assert relation.neighbors[1] not in others
    with pytest.raises(lib.errors.FactError, match="The subject is empty"):
        relation.ask("{} is", "  ")


def test_cases_of_ones_own_give_relations():
    one = lib.Case(
        lib.Fact("The Rex", "{} was built by", "Ann", "Bob"),
        paraphrases=("The builder of the Rex was", "no mention", "The Rex, the Rex by"),
        neighborhood=(lib.Probe("Old Tom was built by", "Cid"),),
        relation="builder",
    )
    bare = lib.Case(lib.Fact("X", "{} is", "a"))
    found = relations([one, bare])
    assert list(found) == ["builder"]
    assert found["builder"].templates == ("{} was built by", "The builder of {} was")
    assert found["builder"].answers == (("The Rex", "Bob"), ("Old Tom", "Cid"))
    assert relations([]) == {}
