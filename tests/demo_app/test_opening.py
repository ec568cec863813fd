"""The rows of the first place: what the heading and the sentence below them say, by rule."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import lib
from demo_app.editor_roles import ABOUT, FAMILIES, RECOMMENDED, ROLES
from demo_app.html import opening
from demo_app.session import questions
from demo_app.session.choices import shown
from demo_app.session.verdicts import NOT_IN_CHAT, judged
from demo_app.session.views import Column, Row, Subject, View
from demo_app.session.visitors import Session
from lib.data.facts import Probe
from lib.data.relations import relations

from .visits import TOWER

pytestmark = pytest.mark.usefixtures("strong_settings")

PHONE = next(case for case in lib.classroom() if case.id == 90)
ASKED = "The iPad was developed by", "The iPod was developed by", "Who makes Excel? It is made by"


def view(neighbors=(True, True, True), reworded=(True, True), chat=(True,), first=True) -> View:
    def row(group: str, prompt: str, good: bool | None) -> Row:
        moves = good is (group != "neighbor")
        return Row(group, prompt, " Apple.", 0.1, " Samsung." if moves else " Apple.", good=good)

    rows = (
        row("edit", PHONE.fact.text, first),
        *(row("reworded", f"In words {i} it is", good) for i, good in enumerate(reworded)),
        *(row("chat", "Which company makes the iPhone?", good) for good in chat),
        *(row("neighbor", text, good) for text, good in zip(ASKED, neighbors, strict=False)),
    )
    column = Column("rome", "ROME", rows, lib.EMPTY)
    return View(Subject(PHONE), (), 1, columns=(column,), old="Apple", kept=True).show(0)


@pytest.mark.parametrize(
    ("neighbors", "heading", "thin"),
    [
        ((), "Not tested.", True),
        ((None,), "Not tested.", True),
        ((True,), "Hardly tested.", True),
        ((False,), "The iPad.", False),
        ((True, True), "None of these two.", False),
        ((True, True, True), "None of these three.", False),
        ((False, True, True), "The iPad.", False),
        ((False, False, False), "The iPad, the iPod and Excel.", False),
    ],
)
def test_the_heading_answers_what_else_moved(neighbors, heading, thin):
    found = view(neighbors)
    said, why, hardly = opening.what_moved(found, found.column)
    assert re.sub("<.*?>", "", said) == heading and hardly is thin
    assert ("Why" in why) == ("bad" in said) and ("Why the iPad?" in why) == (
        heading == "The iPad."
    )


def test_a_neighbor_without_a_name_is_counted():
    found = view((False, True, True))
    found = replace(found.column, rows=tuple(replace(r, prompt=f"{r.prompt}!") for r in found.rows))
    assert "One of these three." in opening.what_moved(view(), found)[0]


@pytest.mark.parametrize(
    ("reworded", "chat", "first", "said"),
    [
        ((True, True), (True,), True, "The edit holds in other words."),
        ((True, True), (False,), True, "The edit holds in other words, but not in a chat."),
        ((True, False), (True,), True, "The edit holds in 2 of 3 other wordings."),
        ((False, False), (False,), True, "ROME answers this one sentence only."),
        ((), (None,), True, "The edit wasn't tested in other words."),
        ((True,), (), False, "ROME did not make the model say “Samsung”."),
        ((True,), (), None, "Nothing to change: the model already said so."),
    ],
)
def test_a_sentence_says_whether_it_holds(reworded, chat, first, said):
    found = view(reworded=reworded, chat=chat, first=first)
    assert opening.says(found, found.column) == said


def test_a_row_is_a_guess_and_a_result_and_one_that_is_not_judged_has_no_box():
    html = opening.rows(view((False, True, None), chat=(None,)))
    rows = re.findall(r'<(label|div) class="row (.*?)".*?data-changed="(.*?)".*?</\1>', html)
    assert rows == [
        ("label", "ok", "1"), ("label", "ok", "1"), ("div", "off", ""),
        ("label", "moved", "1"), ("label", "kept", "0"), ("div", "off", ""),
    ]  # fmt: skip
    assert html.count('type="checkbox"') == 4 and "2 of 2 changed" in html
    assert "1 of 2 stayed" in html and "✗ moved" in html


def test_other_questions_stand_below_and_are_not_counted():
    case = replace(PHONE, relation=None, neighborhood=(Probe(ASKED[0], "Apple"),))
    fact = replace(case.fact, prompt="{} was developed by")
    found = view((True,))
    other = Row("other", "The headquarters of Sony are in", " Tokyo.", 0.1, " Tokyo.", good=None)
    column = replace(found.column, rows=(*found.rows, other))
    found = replace(
        found, subject=Subject(replace(case, fact=fact), typed=True), columns=(column,)
    ).show(0)
    html = opening.rows(found)
    assert "One other question, not counted" in html and "one neighbor asked the same" in html
    assert "1 of 1 stayed" in html and "What the model said before, true or not." in html


def test_a_chat_that_did_not_know_the_fact_is_not_counted():
    first = judged(Row("edit", "It is", " Paris.", 0.1, " Rome."), "Rome")

    def chat(before: str, after: str) -> tuple:
        row = judged(Row("chat", "Where is it?", before, 0.1, after), "Rome", first)
        return row.good, row.word

    assert chat("It is in Paris.", "It is in Rome.") == (True, "new answer")
    assert chat("It is in Paris.", "It is in Paris.")[0] is False
    assert chat("I do not know.", "A fine place.") == (None, NOT_IN_CHAT)


def test_every_relation_has_a_question_and_a_text(studio):
    for name, one in relations().items():
        subject, answer = one.answers[0]
        case = lib.Case(lib.Fact(subject, one.templates[0], "x", answer), relation=name)
        assert questions.chat(case).endswith("?") and "{}" not in questions.chat(case)
        assert questions.text_to_continue(case) and "{}" not in questions.text_to_continue(case)
    assert questions.chat(lib.Case(lib.Fact("A", "{} is", "b"))) is None
    for label in studio.choices.examples:
        assert "{}" not in shown(studio.choices.example(label).fact), "braces are nowhere"


def test_every_editor_stands_in_one_family():
    every = [name for *_, names in FAMILIES for name in names]
    assert sorted(every) == sorted(lib.EDITORS) == sorted(ROLES) == sorted(ABOUT)
    assert RECOMMENDED.keys() <= {*every}
    for *_, names in FAMILIES:
        first = [name in RECOMMENDED for name in names]
        assert first == sorted(first, reverse=True), "the recommended ones come first"


def test_what_the_model_says_already_is_written_only_where_one_wants_it(studio):
    session = Session()
    said = studio.look(session, studio.choices.subject(*TOWER, "xy")).outcome().rows[0].before
    asked = studio.choices.subject(*TOWER, said.split("\n")[0].strip() or said.strip())
    view = studio.edit(session, asked, "ft").outcome()
    assert view.already and not session.edits and not view.columns
    html = opening.rows(view)
    assert 'data-state="true"' in html and "Nothing was written." in html
    assert studio.edit(session, asked, "ft", anyway=True).outcome().columns
