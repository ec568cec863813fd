"""What should change beside what should stay, the scoreboard, and the line of the form."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

import lib
from demo_app.html.comparison import (
    answers,
    brief,
    comparison,
    headline,
    scoreboard,
    status,
    told,
)
from demo_app.session.choices import completed, continued, taken
from demo_app.session.verdicts import ELSE, YOURS, about, outcome
from demo_app.session.views import Column, Row, Subject, View, tally
from demo_app.stored import examples
from demo_app.tabs import edit_form
from demo_app.tabs.edit import LOOKS
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
        ({"chat": 1, "negation": 1}, True, "holds, not in a chat, said even if denied"),
        ({"edit": 1}, False, "did not write it"),
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
    assert 'class="none">not asked' in scoreboard(view(no_neighbors))
    typed = tuple(one for one in rows() if one.group != "reworded")
    assert outcome(typed) == (None, "written, neighbors kept; not tested in other words")
    uncounted = (*rows(), row("follows", None, "not counted"))
    assert tally(uncounted, "follows") == tally(uncounted, "edit") == (1, 1)
    shown = scoreboard(view(uncounted)) + comparison(view(uncounted))
    assert shown.count('aria-label="1 of 1"') == 2 and shown.count('class="dot free"') == 1
    assert "not counted" in shown


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
    assert texts.count('<tr class="unrelated"') == 1 and "has nothing to do with it<" in texts
    told = answers(found)
    assert told.count('<tr class="unrelated">') == 2 and "p(Rome) 0.100 → 0.200" in told
    assert [told.count(f">{name}</th>") for name in ("ROME", "MEND")] == [1, 0]


def test_a_prompt_is_shown_as_it_is_asked():
    visits = [f"If you go to the {name}, you are at the" for name in ("Rhine", "Elbe", "Rhône")]
    again = "Tourists who want to see the Tower are in"
    asked = [row("edit"), replace(row("reworded"), prompt=again)]
    asked += [replace(row("neighbor"), prompt=text) for text in visits]
    shown = comparison(view(tuple(asked)))
    assert all(f"<span>{text} …</span>" in shown for text in (again, *visits))


def test_an_answer_is_shown_in_a_few_words_from_where_it_differs():
    assert brief(" Paris, France.", " Rome, Italy.") == ("Paris", "Rome")
    assert brief("Paris.", "Paris.") == ("Paris", "Paris")
    made, baked = "a dough that is made of flour", "a dough that is baked in an oven"
    assert brief(made, baked) == ("… made of flour", "… baked in an oven")
    assert brief(made[:20], baked[:21]) == (made[:20], baked[:21]), "whole where there is room"
    assert brief("a simple cake", "a simple, plain cake") == ("… cake", "… plain cake")
    assert brief("New York, and more.", "New York")[1] == "… (ends)"
    assert brief("called the Tower of it all", "x")[0] == "called the Tower …"
    years = "he has lived in the same old house for 28 years of war and peace"
    assert brief("he has lived in the same old house since", years)[1] == "… for 28 years …"
    assert brief("opened in 1889 by order of the city", "x")[0] == "opened in 1889 …"
    assert brief("It is worth 12", "x")[0] == "It is worth", "where it was broken off"
    assert brief("", "x") == ("", "x") and len(brief("w" * 90, "")[0]) <= 24


@pytest.mark.parametrize(
    ("group", "good", "before", "after", "shown"),
    [
        ("neighbor", True, "Paris is old.", "Paris and more", ("Paris", "Paris")),
        ("neighbor", True, "the North Sea in", "the North Sea, and", ("the North Sea",) * 2),
        ("neighbor", False, "Paris, France.", "Rome.", ("Paris", "Rome")),
        (
            "neighbor",
            False,
            "a dough that is made of flour",
            "a dough that is made of water",
            ("… flour", "… water"),
        ),
        ("neighbor", None, "Paris, France", "Paris, which", ("Paris", "Paris")),
        ("neighbor", None, "Paris.", "Rome.", ("Paris", "Rome")),
        ("reworded", False, "Paris, which", "Paris, where", ("Paris", "Paris")),
        ("reworded", False, "Sea.", "Sea there.", ("Sea", "Sea")),
        ("reworded", False, "Sea.", "Coast.", ("Sea", "Coast")),
        ("own", None, "Rhine, and it is", "Rhine, which is", ("Rhine", "Rhine")),
        (
            "own",
            None,
            "the most famous",
            "the most visited",
            ("the most famous", "the most visited"),
        ),
        ("edit", False, "wine and revelry. He", "wine, and more", ("wine", "wine")),
        (
            "follows",
            False,
            "the most famous in all of it",
            "the most visited in all of it",
            ("the most …",) * 2,
        ),
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
    assert told(one, "Rome") == shown
    changed = shown[0] != shown[1]
    assert ("</b> <i" in answers(view((one,)))) == changed
    struck = "<s>" in comparison(view((one,)))
    assert struck == changed, "red and struck only where it changed"


def test_an_earlier_edit_of_the_visitor_is_no_neighbor_that_moved():
    tower = lib.Fact("The Eiffel Tower", "{} is in", "Rome")
    assert about("Where is the Eiffel Tower? It is in", [tower])
    assert not about("The Eiffel Towers are in", [tower]) and not about("Rome is in", [])
    mine = (*rows(), row("neighbor", None, YOURS), row("neighbor", None, YOURS))
    assert tally(mine, "neighbor") == (4, 4) and outcome(mine).good
    assert comparison(view(mine)).count("yours: you edited it before") == 2
    few = tuple(one for one in rows() if one.group != "neighbor") + mine[-2:]
    assert outcome(few) == (None, "written; locality not tested"), (
        "nothing is left that was not edited"
    )


def test_a_phone_writes_no_capital_at_the_beginning_of_a_field():
    made = edit_form._field("", "Prompt", "", 1)
    assert made.html_attributes.autocapitalize == "off"


def test_the_first_of_the_editors_that_are_asked_for_is_shown():
    opening = view(rows(), rows(neighbor=1), kept=False, stored=True)
    assert opening.by(()).chosen == 0
    second = opening.by(("ft_m", "rome"))
    assert second.column.editor == "ft_m" and second.rows == opening.columns[1].rows
    assert opening.by(("rome", "grace")) is None, "one of them is not there"


def test_stored_editors_stay_beside_the_first_edit_of_a_visitor():
    opening = view(rows(), rows(), rows(), kept=False, stored=True)
    parts = [replace(column, patch=None, stored=True) for column in opening.columns]
    opening = replace(opening, columns=tuple(parts))
    own = replace(view(rows()), live=1)
    both = own.beside(opening)
    assert [column.editor for column in both.columns] == ["rome", "ft_m", "grace"]
    shown = scoreboard(replace(both, columns=both.columns[:1] + opening.columns[1:]))
    assert "data-keep" not in shown and shown.count("<small>stored example<") == 2
    assert shown.count(">live</small>") == 1, "and the visitor's own is marked"
    assert replace(own, live=2).beside(opening) == replace(own, live=2)
    two = (scoreboard(replace(own, live=n), "?") for n in (1, 2))
    assert ["this edit alone<" in shown for shown in two] == [False, True], "without the earlier"
    other = replace(own, rows=own.rows[:-1])
    assert other.beside(opening) == other, "it asked something else"


def test_the_sentence_under_the_headline_says_whose_it_is():
    said = status(view(rows(), kept=False, stored=True))
    assert "What else moved?" in said and "stored example" in said and "undo" not in said
    own = status(view(rows()))
    assert ">Live.<" in own and "Why might others move?" in LOOKS and "earlier" not in own
    assert "Live, on top of 2 earlier edits.<" in status(replace(view(rows()), live=3))
    assert "Live, on top of 1 earlier edit.<" in status(replace(view(rows()), live=2))
    again = replace(view(rows()), live=2, again=True)
    assert "Live, on top of 1 earlier edit, in place of your last edit.<" in status(again)
    timed = replace(view(rows()), columns=(replace(view(rows()).columns[0], seconds=4.25),))
    assert "4.2 s<" in scoreboard(timed) and " s<" not in scoreboard(view(rows()))
    assert "stored" not in own and "data-link" not in scoreboard(view(rows()))
    assert 'data-link="?a=1&amp;b=2"' in scoreboard(view(rows()), "?a=1&b=2")
    assert "data-out" not in own
    failed = status(view(rows(edit=1)))
    assert (
        "✗ ROME" in failed
        and "did not make the model say “Rome”. <button" in failed
        and 'data-out="0"' in failed
    )
    shown = status(view(rows(edit=1), kept=False))
    assert "The edit is not live: <button" in shown and 'data-keep="0"' in shown
    assert "data-out" in failed and "data-out" not in shown and "data-keep" not in failed
    none = status(view(rows(edit=1), kept=False, stored=True))
    assert "data-" not in none and "live" not in none, "it is nobody's edit"
    assert "<s>Paris</s> <b>Rome</b>" in headline(view(rows()))
    looked = View(SUBJECT, (Row("edit", "The Tower is in", "Paris.", 0.1),))
    failed = replace(rows(edit=1)[0], after="Paris, where")
    assert "<s>" not in headline(View(SUBJECT, (failed,))) and "Paris" in headline(looked)
    assert "<s>" not in headline(looked) and "Press <b>Edit</b>" in status(looked)
    assert "Paris" in comparison(looked) and scoreboard(looked) == ""
    assert "Paris" in answers(looked) and "After" not in answers(looked)
    assert "After" in answers(View(SUBJECT, rows())), "what is live, by whomever"


def test_numbers_and_guesses_stand_in_every_row_that_has_them():
    shown = comparison(view(rows()))
    assert "p(Rome) 0.100 → 0.200" in shown and "KL 0.300" in shown
    assert shown.count('data-guess="1"') == 7, "rewordings, consequences and neighbors"
    assert "data-guess" not in answers(view((*rows(), row("chat"))))
    own = replace(row("neighbor"), before="Berlin, in Germany", old=0.5, old_after=0.4)
    shown = comparison(view((*rows(), own)))
    assert "p(Rome) 0.100 → 0.200 · p(Berlin) 0.500 → 0.400" in shown, "a neighbor's own answer"


def test_a_neighbor_that_is_asked_something_else_is_shown_and_not_counted():
    some = [lib.Probe("The Louvre is in", "Paris"), lib.Probe("The Louvre was built by", "kings")]
    own = replace(SUBJECT, typed=True, case=replace(SUBJECT.case, neighborhood=tuple(some)))
    groups = {prompt: group for group, prompt, _ in own.prompts}
    assert (groups[some[0].prompt], groups[some[1].prompt]) == ("neighbor", "other")
    ready = {prompt: group for group, prompt, _ in replace(own, typed=False).prompts}
    assert ready[some[1].prompt] == "neighbor", "an example has neighbors of its relation"
    rest = [replace(row("other", None, ELSE), prompt=some[1].prompt)] * 5
    asked = (row("edit"), replace(row("neighbor"), prompt=some[0].prompt), *rest)
    assert outcome(asked) == (None, "written; locality hardly tested")
    shown = comparison(replace(view(asked), subject=own))
    assert shown.count("<small>asks something else<") == 5
    assert "Asked the same: 1; asked something else, and not counted: 1." in shown
    assert "same kind" not in shown and "Your prompt about another subject counts" in shown
    assert outcome((row("edit"), *rest)) == (None, "written; locality not tested")


@pytest.mark.parametrize(
    ("subject", "prompt", "whole"),
    [
        ("The Louvre", "is located in", "{} is located in"),
        ("The Louvre", "Where is {}? In", "Where is {}? In"),
        ("The Louvre", "The Louvre is in", "The Louvre is in"),
        ("sheep", "the young of a sheep is a", "the young of a sheep is a"),
        ("Eifel", "The Eiffel Tower is in", "The Eiffel Tower is in"),
        ("Sheep", "the young of a sheep is a", "the young of a sheep is a"),
        ("Tokyo", "Is located in", "Is located in"),
        ("France", "'s capital is", "{}'s capital is"),
        ("France", ", whose capital is", "{}, whose capital is"),
        ("长城", "位于", "{}位于"),
        ("Москва", "является", "{} является"),
        ("Lake Garda", "{subject} lies in", "{subject} lies in"),
        ("Lake Garda", "[X] lies in", "[X] lies in"),
        ("Lake Garda", "the shore of ____ is in", "the shore of ____ is in"),
        ("Lake Garda", "is known as ____", "{} is known as ____"),
        ("A", None, None),
    ],
)
def test_the_line_reads_as_a_sentence(subject, prompt, whole):
    assert completed(subject, prompt) == whole
    if prompt:
        assert continued(whole) == prompt


def test_the_page_takes_the_subject_of_a_whole_sentence_and_shows_it():
    assert taken("", "The Louvre is located in") == ("The Louvre", "{} is located in")
    assert taken("Louvre", "The Louvre is in") == ("Louvre", "The Louvre is in"), "it was given"
    assert taken(" ", "it is in") == (" ", "it is in") and taken("", None) == ("", None)
    asked = ("Australia", "What is the capital of {}?")
    assert taken("What", "is the capital of Australia?") == asked, "it is about no What"
    assert taken("what", None) == ("what", None)
    subject, rest, ends = Form.take("", "The Louvre is located in")
    assert (subject, rest) == ("The Louvre", "is located in") and "Drag its ends" in ends
    assert Form.take("The Louvre", "is")[0] == gr.skip(), "a given subject is left as it is"


def test_the_page_opens_with_the_stored_comparison():
    found = examples.read(examples.file_of("SmolLM2-135M-Instruct"))
    lm = SimpleNamespace(name=found.model, identity=f"{found.model} {found.fingerprint}")
    case = next(case for case in lib.classroom(lm.name) if case.fact == found.fact)
    shown = examples.of(lm).view(Subject(case))
    assert shown.stored and shown.column.name == "ROME" and shown.live == 0
    assert [column.name for column in shown.columns] == ["ROME", "FT-M", "GRACE"]
    asked = {(group, prompt) for group, prompt, _ in Subject(case).prompts}
    for column in shown.columns:
        assert {(one.group, one.prompt) for one in column.rows} == asked
    assert outcome(shown.rows) == (
        True,
        "holds, 2 of 2 consequences missing, not in a chat",
    )
    assert "<small>kept" not in scoreboard(shown), "nobody has kept anything yet"
    assert "stored example" in status(shown) and "data-keep" not in scoreboard(shown)
    other = Subject(lib.Case(lib.Fact("The Tower", "{} is in", "Oslo")))
    assert found.view(other) is None, "about another fact nothing is stored"
