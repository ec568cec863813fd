"""The tab about one subject: it grows row by row, says what changed, and refuses bad names."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

import lib
from demo_app.html.dossier import shown
from demo_app.session import dossiers
from demo_app.session.visitors import Session
from demo_app.session.worker import Stopped, Trouble
from demo_app.stored import examples
from lib.interpret.entity_answers import Answers, Reply
from lib.interpret.entity_dossier import Dossier, Line

DEFAULT = examples.file_of("SmolLM2-135M-Instruct")
FACT = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", "Paris")
STORED = Dossier(
    "The Eiffel Tower",
    (
        Line(
            "located in the city of",
            ("The Eiffel Tower is located in the city of",),
            Answers((Reply("Paris", 0.9, 5.0),), 20),
            Answers((Reply("Rome", 0.8, 5.0),), 22),
        ),
    ),
    (lib.Edit("rome", {}, (FACT,)),),
)


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
    assert page.count("<tr") == 32 and "ft wrote “The Eiffel Tower is located" in page
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


# ---- the tab


@pytest.fixture
def tab(studio):
    """The tab over a random model, with a stored example that another model has made."""
    gr = pytest.importorskip("gradio")
    from demo_app.tabs.dossier import DossierTab

    with gr.Blocks():
        return DossierTab(studio, replace(examples.read(DEFAULT), dossier=STORED))


def last(pages) -> dict:
    found: dict = {}
    for page in pages:
        found |= page
    return found


def test_the_tab_opens_with_the_stored_example_and_without_the_model(tab, studio):
    assert "Stored example: <b>The Eiffel Tower → Rome</b>" in tab.caption.value
    assert "<mark>Rome</mark>" in tab.result.value and "rome wrote “" in tab.result.value
    visitor = SimpleNamespace(session_hash="looks")
    page = last(tab.look(visitor))
    assert page[tab.result] == tab.result.value and page[tab.entity] == "The Eiffel Tower"
    assert not studio.sessions.get("looks").jobs, "nothing was asked"
    assert set(last(tab.look(visitor))) == {tab.entity}, "nothing is sent twice"


def test_an_edit_of_ones_own_replaces_it_and_undo_brings_it_back(tab, studio):
    visitor = SimpleNamespace(session_hash="edits")
    session = studio.sessions.get("edits")
    last(tab.look(visitor))
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "xy")
    editor = lib.EDITORS["ft"](studio.lm, layer=2, lr=2e-2, epochs=40, target_eos=False)
    session.patches.append(editor.edit([fact]))
    pages = list(tab.look(visitor))
    first = next(page for page in pages if tab.result in page)
    assert all(tab.caption not in page for page in pages[: pages.index(first)]), "it stays so long"
    page = last(pages)
    assert "<b>Yours</b>: The Eiffel Tower." in page[tab.caption]
    assert "<mark>xy" in page[tab.result] and "ft wrote “" in page[tab.result]
    assert set(last(tab.look(visitor))) == {tab.entity}, "the same edit, the same subject"
    session.patches = []
    back = last(tab.look(visitor))
    assert back[tab.result] == tab.result.value and "Stored example" in back[tab.caption]


def test_another_subject_is_asked_and_stays_until_the_view_changes(tab, studio):
    visitor = SimpleNamespace(session_hash="asks")
    page = last(tab.ask("Mount Everest", visitor))
    assert "<b>Yours</b>: Mount Everest." in page[tab.caption]
    assert "Mount Everest: " in page[tab.result]
    assert set(last(tab.look(visitor))) == {tab.entity}, "what one has asked for stays"
    session = studio.sessions.get("asks")
    session.view = studio.look(session, studio.choices.subject("alpha", "{} is", "xy")).outcome()
    page = last(tab.look(visitor))
    assert page[tab.entity] == "alpha" and "<b>Yours</b>: alpha." in page[tab.caption]


def test_what_was_stopped_is_asked_again(tab, studio):
    visitor = SimpleNamespace(session_hash="stops")
    session = studio.sessions.get("stops")
    pages = tab.ask("Rome", visitor)
    next(pages)
    session.stop()
    assert "Stopped" in last(pages)[tab.status] and session.inquired is None
    assert tab.result in last(tab.look(visitor))


def test_a_model_without_a_stored_dossier_says_so(studio):
    gr = pytest.importorskip("gradio")
    from demo_app.tabs.dossier import DossierTab

    with gr.Blocks():
        for given in None, replace(examples.read(DEFAULT), dossier=None):
            tab = DossierTab(studio, given)
            assert "No example is stored for" in tab.caption.value and tab.result.value == ""
    page = last(tab.look(SimpleNamespace(session_hash="no example")))
    assert "<b>Yours</b>: The Eiffel Tower." in page[tab.caption]
