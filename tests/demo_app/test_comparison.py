"""What should change beside what should stay, the scoreboard, and the line of the form."""

from __future__ import annotations

import re
from types import SimpleNamespace

import gradio as gr
import pytest

import lib
from demo_app.html import opening
from demo_app.html.comparison import (
    answers,
    comparison,
    scoreboard,
    short_answers,
)
from demo_app.session.choices import continued, recognized, with_placeholder
from demo_app.session.verdicts import outcome
from demo_app.session.views import Column, Row, Subject, View, tally
from demo_app.stored import examples
from demo_app.tabs.edit_form import Form

SUBJECT = Subject(lib.Case(lib.Fact("The Tower", "{} is in", "Rome", "Paris")))


def row(group: str, good: bool | None = True, word: str = "") -> Row:
    return Row(group, f"{group} is", "Paris.", 0.1, "Rome.", 0.2, 0.3, good, word)


def rows(**wrong: int) -> tuple[Row, ...]:
    """One edit, two rewordings, four neighbors and two texts, of which so many are not right."""
    sizes = {"edit": 1, "reworded": 2, "follows": 1, "neighbor": 4, "unrelated": 2}
    sizes |= {group: 1 for group in wrong if group in ("chat", "negation")}
    return tuple(
        row(group, i >= wrong.get(group, 0)) for group, size in sizes.items() for i in range(size)
    )


def view(*asked: tuple[Row, ...], refused: str = "", kept: bool = True, **more) -> View:
    names = ("rome", "ft_m", "grace", "wise")
    patch = None if more.get("stored") else lib.EMPTY
    columns = [Column(names[i], names[i].upper(), one, patch) for i, one in enumerate(asked)]
    if refused:
        columns.append(Column("mend", "MEND", error=refused))
    made = View(SUBJECT, (), columns=tuple(columns), old="Paris", **more)
    return made.keep(0) if kept else made.show(0)


@pytest.mark.parametrize(
    ("wrong", "good", "words"),
    [
        ({}, True, "holds"),
        ({"follows": 1}, True, "holds, 1 of 1 consequences missing"),
        ({"chat": 1, "negation": 1}, True, "holds, not in a chat, also given when negated"),
        ({"edit": 1}, False, "edit failed"),
        ({"neighbor": 2}, False, "moves 2 neighbors"),
        ({"reworded": 2, "unrelated": 1}, False,
         "misses 2 rewordings, moves 1 unrelated text"),
    ],
)  # fmt: skip
def test_a_row_of_the_scoreboard_is_judged_by_both_halves(wrong, good, words):
    assert outcome(rows(**wrong)) == (good, words)
    shown = scoreboard(view(rows(**wrong)))
    color = "free" if "holds," in words else "good" if good else "bad"  # green is all of it
    assert f">{words}<" in shown and f'<tr class="{color} shown">' in shown
    dots = sum(count for group, count in wrong.items() if group not in ("chat", "negation"))
    assert shown.count('class="dot bad"') == dots


def test_what_was_not_tested_gets_no_score():
    no_neighbors = tuple(one for one in rows() if one.group != "neighbor")
    assert outcome(no_neighbors) == (None, "written; locality not tested")
    assert 'class="none">not tested' in scoreboard(view(no_neighbors))
    typed = tuple(one for one in rows() if one.group != "reworded")
    assert outcome(typed) == (None, "written, neighbors kept; not tested in other words")
    uncounted = (*rows(), row("follows", None, "not counted"))
    assert tally(uncounted, "follows") == tally(uncounted, "edit") == (1, 1)
    shown = scoreboard(view(uncounted)) + comparison(view(uncounted))
    assert shown.count('aria-label="1 of 1"') == 2 and shown.count('class="dot free"') == 1


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_editors_stand_beside_each_other_and_one_is_shown(count):
    found = view(*[rows()] * (count - 1), rows(neighbor=4), refused="it has no network")
    shown = comparison(found) + scoreboard(found)
    assert len(re.findall('class="asked"', shown)) == count
    assert len(re.findall('class="asked"[^>]* hidden', shown)) == count - 1
    lines = re.findall('<tr class="(good|bad)( shown)?"', shown)
    assert [name for name, _ in lines] == ["good"] * (count - 1) + ["bad"] * 2
    assert [i for i, (_, seen) in enumerate(lines) if seen] == [0]
    assert "MEND" in shown and "it has no network" in shown
    assert shown.count("data-keep") == count - 1, "each but the one that is kept"
    assert "data-keep" not in scoreboard(view(rows(), rows(), kept=False, stored=True))
    change, stay = shown.split("Should stay")[:2]
    assert "reworded is" in change and "neighbor is" not in change.split("Should change")[1]
    stay = stay.split("</section>")[0]
    assert "neighbor is" in stay and "unrelated" not in stay, "none of the texts changed"
    texts = comparison(view(rows(unrelated=1)))
    assert texts.count('<tr class="unrelated"') == 1 and "unrelated text<" in texts
    told = answers(found)
    assert told.count('<tr class="unrelated">') == 2 and "p(Rome) 0.100 → 0.200" in told
    assert [told.count(f">{name}</th>") for name in ("ROME", "MEND")] == [1, 0]


@pytest.mark.parametrize(
    ("group", "good", "before", "after", "shown"),
    [
        ("neighbor", True, "Paris is old.", "Paris and more", ("Paris", "Paris")),
        ("neighbor", True, "the North Sea in", "the North Sea, and", ("the North Sea",) * 2),
        ("neighbor", False, "Paris, France.", "Rome.", ("Paris", "Rome")),
        ("neighbor", None, "Paris, France", "Paris, which", ("Paris", "Paris")),
        ("reworded", False, "Sea.", "Coast.", ("Sea", "Coast")),
        (
            "chat",
            True,
            "A tower of iron stands in Paris.",
            "A tower of iron stands in Rome.",
            ("A tower …", "… Rome"),
        ),
    ],
)
def test_the_judged_answer_stands_in_the_row(group, good, before, after, shown):
    one = Row(group, "x is", before, 0.1, after, 0.2, 0.3, good)
    assert short_answers(one, "Rome") == shown
    changed = shown[0] != shown[1]
    assert ("</b> <i" in answers(view((one,)))) == changed
    struck = "<s>" in comparison(view((one,)))
    assert struck == changed, "red and struck only where it changed"


@pytest.mark.parametrize(
    ("subject", "prompt", "whole"),
    [
        ("The Louvre", "is located in", "{} is located in"),
        ("The Louvre", "Where is {}? In", "Where is {}? In"),
        ("The Louvre", "The Louvre is in", "The Louvre is in"),
        ("sheep", "the young of a sheep is a", "the young of a sheep is a"),
        ("France", "'s capital is", "{}'s capital is"),
        ("长城", "位于", "{}位于"),
        ("Lake Garda", "{subject} lies in", "{subject} lies in"),
        ("Lake Garda", "the shore of ____ is in", "the shore of ____ is in"),
        ("A", None, None),
    ],
)
def test_the_line_reads_as_a_sentence(subject, prompt, whole):
    assert with_placeholder(subject, prompt) == whole
    if prompt:
        assert continued(whole) == prompt


def test_the_page_takes_the_subject_of_a_whole_sentence_and_shows_it():
    assert recognized("", "The Louvre is located in") == ("The Louvre", "{} is located in")
    assert recognized("Louvre", "The Louvre is in") == ("Louvre", "The Louvre is in"), (
        "it was given"
    )
    assert recognized(" ", "it is in") == (" ", "it is in") and recognized("", None) == ("", None)
    asked = ("Australia", "What is the capital of {}?")
    assert recognized("What", "is the capital of Australia?") == asked, "it is about no What"
    assert recognized("what", None) == ("what", None)
    subject, rest, ends = Form.take("", "The Louvre is located in")
    assert (subject, rest) == ("The Louvre", "is located in") and "Drag its ends" in ends
    assert Form.take("The Louvre", "is")[0] == gr.skip(), "a given subject is left as it is"


def test_the_page_opens_with_the_stored_comparison():
    found = examples.read(examples.file_of("SmolLM2-135M-Instruct"))
    lm = SimpleNamespace(name=found.model, identity=f"{found.model} {found.fingerprint}")
    case = next(case for case in lib.classroom(lm.name) if case.id == 90)
    shown = examples.of(lm).view(Subject(case))
    assert shown.stored and shown.column.name == "ROME" and shown.live == 0
    assert [column.name for column in shown.columns] == ["ROME", "FT-M", "GRACE"]
    asked = {(group, prompt) for group, prompt, _ in Subject(case).prompts}
    for column in shown.columns:
        assert {(one.group, one.prompt) for one in column.rows} == asked
    page = opening.rows(shown)
    assert page.count('class="asked"') == 3 and 'data-stored="1"' in page
    assert 'What else moved? <span class="bad">The iPad.</span>' in page
    assert '<span class="bad">The iPad and the iPod.</span>' in page
    assert "None of these three." in page and "GRACE answers this one sentence only." in page
    board = opening.board(shown)
    assert "None of the three gets all seven right." in board and board.count("<tr") == 8
    assert "the iPad stays" in board and "who makes it" in board
    other = Subject(lib.Case(lib.Fact("The Tower", "{} is in", "Oslo")))
    assert found.view(other) is None, "about another fact nothing is stored"
