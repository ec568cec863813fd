"""The tab about one subject: it grows row by row, says what changed, and refuses bad names."""

from __future__ import annotations

import pytest

import lib
from demo_app.html.dossier import shown
from demo_app.session import dossiers
from demo_app.session.visitors import Session
from demo_app.session.worker import Stopped, Trouble


def test_the_dossier_grows_and_shows_the_edit(studio):
    session = Session()
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "xy")
    editor = lib.EDITORS["ft"](studio.lm, layer=2, lr=2e-2, epochs=40, target_eos=False)
    session.patches.append(editor.edit([fact]))
    job = dossiers.asked(studio, session, " The Eiffel Tower ")
    parts = [p.partial for p in job.watch() if p.partial is not None]
    found = job.outcome()
    assert len(found.lines) == 31 and all(len(p.lines) <= 31 for p in parts)
    assert found.lines[0].after.answer.startswith("xy") and len(found.edits) == 1
    page = shown(found)
    answers, inside = page.split("<details", 1)
    assert inside.count("<details") == 2 and "set to zero" in inside and "nearest" in inside
    assert answers.count("<tr") == 32 and "ft wrote “The Eiffel Tower is located" in page
    assert 'class="moved"' in page and "<mark>" in page and "31 relations" in page


def test_without_an_edit_there_is_one_column(studio):
    found = dossiers.asked(studio, Session(), "<b>Nobody</b>").outcome()
    page = shown(found)
    assert "<b>Nobody" not in page and "&lt;b&gt;Nobody" in page and "After" not in page
    assert "wrote “" not in page


def test_a_stopped_dossier_leaves_the_model_free(studio):
    session = Session()
    job = dossiers.asked(studio, session, "Rome")
    for progress in job.watch():
        if progress.partial is not None:
            session.stop()
    with pytest.raises(Stopped):
        job.outcome()
    assert dossiers.asked(studio, session, "Rome").outcome().lines


@pytest.mark.parametrize("wrong", ["", "  ", None, 3, "x" * 200, ["a"]])
def test_bad_names_are_one_sentence(studio, wrong):
    with pytest.raises(Trouble, match="^The name ") as error:
        dossiers.asked(studio, Session(), wrong)
    assert str(error.value).endswith(".")
