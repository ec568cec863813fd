"""A typed fact is judged by the classroom relation that it means, or says that none fits."""

from __future__ import annotations

import pytest

from demo_app.html.comparison import comparison
from demo_app.session import links
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session
from demo_app.session.worker import Trouble
from lib import relations

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


def test_a_typed_fact_gets_rewordings_and_neighbors_of_its_relation(studio):
    session = Session()
    asked = studio.choices.subject(*COLOSSEUM)
    assert asked.typed and asked.borrowed and not asked.case.paraphrases
    view = studio.look(session, asked).outcome()
    found = view.subject
    assert found.case.relation == "located in the city of" and found.borrowed is None
    groups = [row.group for row in view.rows]
    assert groups.count("reworded") == 3 and groups.count("neighbor") == 6
    assert all("Colosseum" in row.prompt for row in view.rows if row.group == "reworded")
    shown = comparison(view)
    assert "located in the city of” (found by the prompt" in shown and "borrowed" not in shown
    again = studio.edit(session, asked, "retrieval").outcome()
    assert again.subject == found and again.columns[0].tally("reworded")[1] == 3


def test_where_none_fits_the_page_says_so_and_another_kind_can_be_named(studio):
    marie = ("Marie Curie", "{} was married to", "Oslo")
    view = studio.look(Session(), studio.choices.subject(*marie)).outcome()
    assert len(view.subject.nearest) == 3 and view.subject.borrowed
    shown = comparison(view)
    assert "No kind of fact of the classroom fits" in shown and "borrowed from" in shown
    named = studio.choices.subject(*marie, "", "country of birth of")
    view = studio.look(Session(), named).outcome()
    assert view.subject.case.relation == "country of birth of" and not view.subject.borrowed
    assert "(named by you" in comparison(view)
    query = links.link(studio.choices, view)
    assert "kind=country+of+birth+of" in query


def test_links_and_forms_refuse_an_unknown_kind(studio):
    found = links.opened(studio.choices, {"kind": "age", "example": "the-eiffel-tower"})
    assert found.kind == "" and "kind of fact" in found.ignored
    assert links.opened(studio.choices, {"kind": "capital of"}).kind == "capital of"
    for wrong in ("age", 3, ["capital of"]):
        with pytest.raises(Trouble, match="There is no kind of fact"):
            studio.choices.subject(*COLOSSEUM, "", wrong)


def test_examples_keep_their_own_prompts(studio):
    asked = studio.choices.ready_subject()
    assert not asked.typed and studio.own_facts.judged(None, asked) is asked
    assert set(studio.choices.relations) == set(relations())
