"""Guess first, then see: nothing of an edit is shown before, and every guess is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

import lib
from demo_app.html import guess as html
from demo_app.html.table import table
from demo_app.session import guesses
from demo_app.session.views import Answer, Column, Row, Score, Subject, View
from demo_app.session.visitors import Session
from demo_app.session.worker import Trouble

from ..support import tiny
from ..support.page import Caller

CASE = lib.Case(
    lib.Fact("The Tower", "{} is in", "Rome", "Paris"),
    paraphrases=("Where is the Tower? In", "The Tower stands in"),
    neighborhood=(lib.Probe("Big Ben is in", "London"), lib.Probe("The Louvre is in", "Paris")),
    id="own",
)
SAID = {"reworded": (True, False), "neighbor": (True, False)}  # one of each is as one would wish


def seen() -> View:
    """An edit whose second rewording does not hold and whose second neighbor has changed."""
    rows = [Row("edit", CASE.fact.text, Answer("Paris", None), 0.1, good=True)]
    prompts = {"reworded": CASE.paraphrases, "neighbor": [p.prompt for p in CASE.neighborhood]}
    for group, goods in SAID.items():
        rows += [
            Row(group, prompt, Answer("x", None), 0.1, Answer("y", None), 0.2, 0.3, good, "word")
            for prompt, good in zip(prompts[group], goods, strict=True)
        ]
    return View(Subject(CASE), tuple(rows), 1, editor="<ROME>")


def kept_back() -> Session:
    return Session(view=seen(), guessing=True)


@pytest.mark.parametrize(
    ("changed", "held", "hits"), [([1], [0], 4), ([0], [1], 0), ([], [0, 1], 2), ([0, 1], [], 2)]
)
def test_every_prompt_is_one_guess(changed, held, hits):
    session = kept_back()
    view, score = guesses.reveal(session, changed, held)
    assert score == Score(hits, 4, 2) and session.score == score and not session.guessing
    assert view is session.view and view.guessed[0] is None, "the edit itself is not guessed"
    assert sum(mark is True for mark in view.guessed) == hits


def test_the_score_of_the_visit_adds_up_and_stands_beside_the_steady_guess():
    session = kept_back()
    guesses.reveal(session, [1], [0])
    session.view, session.guessing = seen(), True
    view, score = guesses.reveal(session, [], [0, 1])
    assert session.score == Score(6, 8, 4)
    line = html.scored(view, score, session.score)
    assert "2 of 4" in line and "6 of 8" in line and "<strong>4</strong>" in line


def test_marks_stand_in_the_table_and_go_when_another_editor_is_kept():
    session = kept_back()
    view, _ = guesses.reveal(session, [1], [1])
    shown = table(view)
    assert shown.count("you guessed right") == 2 and shown.count("you guessed wrong") == 2
    assert "you guessed" not in table(seen())
    kept = replace(view, columns=(Column("ft", "FT", view.rows),)).keep(0)
    assert "you guessed" not in table(kept)


def test_what_is_no_guess_is_one_sentence_and_changes_nothing():
    with pytest.raises(Trouble, match="no edit to reveal"):
        guesses.reveal(Session(), [], [])
    with pytest.raises(Trouble, match="no edit to reveal"):
        guesses.reveal(Session(view=seen()), [], [])
    session = kept_back()
    for wrong in (None, "0", [None], [0.5], {"a": 1}, [10**12], 3):
        with pytest.raises(Trouble, match="list of neighbors"):
            guesses.reveal(session, wrong, [])
        with pytest.raises(Trouble, match="list of rewordings"):
            guesses.reveal(session, [], wrong)
    assert session.guessing and session.score == Score() and not session.view.guessed
    guesses.reveal(session, [99, -1], [10**9])  # numbers of no prompt tick nothing
    assert session.score == Score(2, 4, 2)


def test_prompts_and_names_are_escaped():
    session = kept_back()
    session.view = replace(session.view, columns=(Column("a", "a"), Column("b", "b")))
    line = html.scored(*guesses.reveal(session, [], []), session.score)
    assert "<script>" not in html.withheld("<script>") and "&lt;ROME&gt;" in line


# ---- the page


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("gradio")
    from demo_app.__main__ import free_port, open_page

    with pytest.MonkeyPatch.context() as patch:
        row = {"layer": 2, "lr": 2e-2, "epochs": 60, "target_eos": False}
        patch.setattr("lib.editors.shared.config._presets", lambda: {"ft": {"any": row}})
        demo, studio = open_page(tiny.model("llama"), free_port(20860, "127.0.0.1"))
        yield demo.local_url, studio
        demo.close()
        studio.close()


TOWER = ["The Eiffel Tower", "{} is located in the city of"]


def form(target: str, guess: bool, subject: list[str] = TOWER) -> list:
    return [*subject, target, [], ["ft"], "", "", None, None, "", guess]


def said(caller: Caller, fn_index: int, data: list) -> dict:
    caller.join(fn_index=fn_index, data=data)
    return caller.answers(1).popitem()[1]


def test_nothing_of_the_edit_is_sent_before_it_is_revealed(page):
    caller = Caller(page[0], "guesser")
    endpoints = {name: one["id"] for name, one in caller.endpoints().items()}
    done = said(caller, endpoints["page_edit"], form("xy", True))
    assert done["success"], done
    text = str(done["output"])
    session: Session = page[1].sessions.get("guesser")
    assert session.guessing and session.view.new == "xy" and len(session.patches) == 1
    assert "xy" not in text and "wrote it" not in text and "Reveal" not in text
    assert "nothing of it is shown yet" in text
    shown = str(said(caller, endpoints["reveal"], [[0], [1]])["output"])
    assert "wrote it" in shown and "coming" in shown and "you guessed" in shown
    assert session.score.asked == 6 and not session.guessing
    again = said(caller, endpoints["reveal"], [[], []])
    assert not again["success"] and "no edit to reveal" in str(again["output"])
    page[1].sessions.drop("guesser")


def test_an_edit_that_fails_or_is_undone_leaves_no_guess(page):
    caller = Caller(page[0], "second")
    endpoints = {name: one["id"] for name, one in caller.endpoints().items()}
    failed = said(caller, endpoints["page_edit"], form("xy", True, ["A", "B is"]))
    assert not failed["success"] and not page[1].sessions.get("second").guessing
    said(caller, endpoints["page_edit"], form("qz", True))
    assert page[1].sessions.get("second").guessing
    undone = said(caller, endpoints["undo_last"], [])
    assert "Undone" in str(undone["output"]) and not page[1].sessions.get("second").guessing
    typed = said(caller, endpoints["page_edit"], form("xy", True, ["The moon", "{} is made of"]))
    assert typed["success"] and page[1].sessions.get("second").guessing
    page[1].sessions.drop("second")
