"""The dossier of an entity: agreement, lift, layers, and what an edit changed."""

from __future__ import annotations

import math

import pytest

import lib
from lib.data.relations import relations
from lib.workbench.instruments.dossier import dossier, dossier_lines, naming
from lib.workbench.instruments.dossier_answers import EntityAnswers, EntityReply

from ..support import tiny

FEW = {name: relations()[name] for name in ("located in the city of", "capital of", "opposite of")}


@pytest.fixture(scope="module")
def tower(default_lm):
    editor = lib.EDITORS["rome"](default_lm, layer=3)
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
    patch = editor.edit([fact])
    return dossier(default_lm, "the Eiffel Tower ", patch, among=FEW), patch


@pytest.mark.slow
def test_an_edit_shows_in_its_line_and_in_the_log(tower):
    found, patch = tower
    line = found.lines[0]
    assert line.relation == "located in the city of" and len(line.prompts) == 3
    assert line.before.answer == "Paris" and line.before.consistent
    assert line.after.answer == "Rome" and line.after.consistent and line.changed
    assert line.after.lift > 2 and 0 < line.after.p <= 1
    assert found.edits == patch.log and found.entity == "the Eiffel Tower"
    assert "Paris → Rome (changed)" in str(found) and "edited by rome" in str(found)
    assert "with the patch, which changed " in found.verdict
    row = found.table.iloc[0]
    assert row["answer after"] == "Rome" and row["changed"] and row["layer after"] >= 20


def test_an_answer_that_everybody_gets_has_no_lift():
    lm = tiny.model("llama")
    found = dossier(lm, "Anything", among=FEW, others=3)
    again = dossier(lm, "Anything", among=FEW, others=3)
    assert found == again and len(found.lines) == 3
    for line in found.lines:
        assert line.after is line.before and not line.changed
    constant = EntityAnswers((EntityReply("a", 0.9, 0.0), EntityReply("a", 0.9, 0.0)), 2)
    assert constant.agreement == 1 and constant.lift == 0 and not constant.consistent


def test_lift_is_the_difference_from_the_mean_over_others():
    lm = tiny.model("gpt2")
    relation = FEW["capital of"]
    line = next(dossier_lines(lm, "Xanadu", among={"capital of": relation}, others=4))
    template = relation.templates[1]
    table = lm.next_token([relation.ask(template, "Xanadu")])[0]
    others = lm.next_token([relation.ask(template, s) for s, _ in relation.answers[:4]])
    token = int(table.argmax())
    wanted = (table[token] - others.mean(0)[token]).item()
    assert math.isclose(line.before.replies[1].lift, wanted, abs_tol=0.02)  # kept in half precision
    assert math.isclose(line.before.replies[1].p, table[token].exp().item(), rel_tol=1e-4)


def test_agreement_and_the_answer_that_most_wordings_give():
    found = EntityAnswers(
        (
            EntityReply("the Rome", 0.5, 3.0),
            EntityReply("Paris", 0.9, 3.0),
            EntityReply("rome, it", 0.4, 3.0),
        ),
        None,
    )
    assert found.answer == "the Rome" and found.agreement == pytest.approx(2 / 3)
    assert not found.consistent and found.p == pytest.approx(0.6)
    assert EntityAnswers(
        (EntityReply("Rome", 0.5, 3.5), EntityReply("Rome", 0.4, 3.0)), 2
    ).consistent


def test_only_edits_of_this_subject_are_named():
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
    patch = lib.EDITORS["rome"](tiny.model("llama"), layer=1, second_moment=False).edit([fact])
    assert naming(patch, "Eiffel Tower") == patch.log and naming(patch, "Tower") == ()
    assert naming(lib.EMPTY, "x") == ()
