"""One rule judges every row of the page: it compares what is said with what was said before."""

from __future__ import annotations

from dataclasses import replace

import pytest

import lib
from demo_app.api import summary
from demo_app.html import edits as listed
from demo_app.html import opening
from demo_app.html.comparison import comparison, scoreboard
from demo_app.session.edits import AppliedEdit
from demo_app.session.verdicts import (
    ALREADY_SO,
    ALREADY_TRUE,
    EARLIER,
    FACT_MISSING,
    IGNORES_NOT,
    INVISIBLE,
    LOOPS,
    NOTHING,
    judged,
    loops,
    outcome,
)
from demo_app.session.views import Column, Row, Subject, View
from demo_app.session.visitors import Session
from lib.data.facts import Probe
from lib.evaluation.own_facts import overlap

from .visits import TOWER

pytestmark = pytest.mark.usefixtures("strong_settings")

WORDS = (
    "a secret recipe that only three monks in the whole of the old world have ever known by heart"
)


def row(group, before, after, prompt="", **more) -> Row:
    return Row(group, prompt or f"{group} is", before, 0.1, after, 0.2, 0.3, **more)


def table(new, *rows, right=(), first=None) -> tuple[Row, ...]:
    """Rows with their verdicts; those of consequences and neighbors have this right answer."""
    found = []
    for one in rows:
        answers = right if one.group in ("follows", "neighbor", "other") else ()
        found.append(judged(one, new, first or (found[0] if found else None), answers))
    return tuple(found)


def edit(before, after, new, **more) -> Row:
    return judged(row("edit", before, after, **more), new)


# ---- the table of own facts that were typed


@pytest.mark.parametrize(
    ("new", "rows", "right", "good", "words"),
    [
        (  # Frida Kahlo was by profession a
            "chess player",
            [("edit", " painter.", " chess player."), ("chat", "Frida was a painter", "Frida was"),
             ("negation", " painter, but", " chess player")],
            (), None, "written, not in a chat; locality not tested",
        ),
        (  # the Danube flows into the: of the Rhine this is the right answer
            "North Sea",
            [("edit", " Black Sea.", " North Sea."), ("neighbor", " North Sea", " North Sea.")],
            ("the North Sea",), None, "written; locality not tested",
        ),
        (  # Nintendo was founded in the country of: one asks the same, five something else
            "Brazil",
            [("edit", " Japan.", " Brazil."), ("neighbor", " Korea.", " Korea."),
             *[("other", " Korea.", " Korea.")] * 5],
            ("Korea",), None, "written; locality barely tested",
        ),
        (  # the Colosseum is in Rome anyway
            "Rome",
            [("edit", " Rome, Italy.", " Rome."), ("reworded", " Rome.", " Rome."),
             ("follows", " called Roma", " Rome"), ("negation", " Rome.", " Rome.")],
            ("Italy",), None, NOTHING,
        ),
        (  # Is the Kremlin in
            "Madrid",
            [("edit", " Moscow?", " Madrid?"), *[("neighbor", " Paris?", " Paris?")] * 2],
            ("Paris",), None, "written, neighbors kept; not tested in other words",
        ),
    ],
)  # fmt: skip
def test_a_typed_fact_is_judged_as_a_careful_reader_would(new, rows, right, good, words):
    found = table(new, *(row(*one) for one in rows), right=right)
    assert outcome(found) == (good, words)
    told = summary(Column("rome", "ROME", found, lib.EMPTY))
    assert told["verdict"] == words and told["written"] is found[0].good, "programs read the same"


# ---- full stops, long answers, other scripts: what is written reads as written everywhere


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("St. Petersburg", " St. Petersburg, Russia. It is"),
        ("J. R. R. Tolkien", " J. R. R. Tolkien. He wrote"),
        ("Rome.", " Rome, Italy. It"),
        ("罗马", " 罗马。它是"),
        ("روما", " روما، إيطاليا."),
        (WORDS, f" {WORDS}. And"),
    ],
)
def test_an_answer_with_stops_reads_as_written_in_table_and_list(target, text):
    found = edit(" London. It", text, target)
    assert found.good is True
    made = lib.Edit("ft", {}, (lib.Fact("The Louvre", "{} is in", target),))
    shown = listed.listed([AppliedEdit(lib.Patch(log=(made,)), "FT", found)], None)
    assert "holds; the model says" in shown and "hold;" not in shown
    assert target.rstrip(".")[:30] in shown.split("the model says")[1], "the whole answer is shown"
    assert edit(" London. It", " Paris. It", target).good is False


@pytest.mark.parametrize("target", ["St. xy", " ".join(f"x{i}" for i in range(12))])
def test_texts_are_long_enough_for_the_answer(studio, target):
    asker, subject = studio.asker, studio.choices.subject(*TOWER, target)
    own = len(studio.lm.tokenizer(f" {target.strip()}", add_special_tokens=False)["input_ids"])
    for chat in (False, True):
        assert asker.size(("The tower is in", chat), target) > own
    view = studio.edit(session := Session(), subject, "ft", keep="any").outcome()
    now = session.edits[0].row
    assert (now.after, now.good) == (view.rows[0].after, view.rows[0].good), "list and table"
    assert len(view.rows[0].after) >= min(len(target), own)
    assert now.good is True or len(target) > 30, "a random model learns no long answer"
    long = " ".join(["word"] * 80)
    assert asker.size(("a", False), long) > 80, "no answer is too long to count"
    assert asker.size(("a " * 60, True), "x") > 60, "a reply may repeat its prompt"


# ---- what was so before is neither to the edit's credit nor its fault


def test_a_fact_that_was_true_has_nothing_to_change():
    first = edit(" Rome, Italy.", " Rome.", "Rome")
    assert (first.good, first.word) == (None, NOTHING)
    assert edit(" rome", " Rome.", "ROME.").word == NOTHING, "in another case, with a period"
    assert edit(" Paris.", " Rome.", "Rome", earlier=" Rome!").word == NOTHING, "by an earlier edit"
    assert edit(" Rome.", " Paris.", "Rome").good is False, "it has lost what was true"
    assert edit(" Rome.", " Rome.", "Rome", earlier=" Oslo.").good is True, "it brings that back"
    rest = [row("reworded", " Paris.", " Rome."), row("follows", " Gaul", " Gaul"),
            row("chat", "Hm", "Hm"), row("negation", " Oslo", " Rome")]  # fmt: skip
    found = table("Rome", row("edit", " Rome, Italy.", " Rome."), *rest, right=("Italy",))
    assert {one.word for one in found[1:]} == {ALREADY_TRUE} and outcome(found) == (None, NOTHING)
    moved = (
        *found,
        *table("Rome", row("neighbor", " Bonn", " Rome"), right=("Bonn",), first=first),
    )
    assert outcome(moved) == (False, "nothing to change, moves 1 neighbor")
    view = View(Subject(lib.Case(lib.Fact("It", "{} is", "Rome"))), found, 1, kept=True,
                columns=(Column("ft", "FT", found, lib.EMPTY),))  # fmt: skip
    assert "Nothing to change: the model already said so." in opening.rows(view)
    assert 'tr class="free shown"' in scoreboard(view), "neither green nor red"


def test_the_same_fact_again_has_nothing_to_change(studio):
    session, asked = Session(), studio.choices.subject(*TOWER, "xy")
    words = []
    for _ in range(2):  # a program's edits pile up
        job = studio.edit(session, asked, "ft", keep="any", listed=False)
        words.append(job.outcome().rows[0].word)
    assert words[0] != NOTHING and words[1] == NOTHING
    assert [one.row.word for one in session.edits] == words
    other = studio.choices.subject("Big Ben", TOWER[1], "qz")
    studio.edit(session, other, "retrieval", keep="any").outcome()
    shown = listed.listed(session.edits, None)
    assert shown.count("nothing to change; before this edit the model already said “xy") == 1
    studio.revisions.undo(session, 0).outcome()
    assert NOTHING not in listed.listed(session.edits, None), "what came before it is gone"


def test_a_consequence_and_a_rewording_count_only_if_the_edit_caused_them():
    told = edit(" Paris.", " Rome.", "Rome")
    for group, was, now, good, word in [
        ("follows", " Italy", " Italy.", None, ALREADY_SO),
        ("follows", " France", " Italy.", True, "follows: Italy"),
        ("follows", " Italy", " Rome.", False, "not Italy"),
        ("follows", " France", " the Italian Republic", True, "follows: Italy"),
        ("reworded", " Rome", " Rome.", None, ALREADY_SO),
        ("reworded", " Rome", " Paris.", False, "not the new answer"),
        ("chat", "It is Rome", "Rome it is", None, ALREADY_SO),
        ("chat", "It is Paris", "In Rome it is", True, "new answer"),
    ]:
        right = ("Italy", "the Italian Republic")
        found = judged(row(group, was, now), "Rome", told, right)
        assert (found.good, found.word) == (good, word), (group, was, now)
    assert judged(row("follows", " France", " Italy"), "Rome", told).word == FACT_MISSING
    under = judged(row("follows", " France", " Italy", earlier=" Italy"), "Rome", told, ["Italy"])
    assert under.word == ALREADY_SO, "an earlier edit drew it"


@pytest.mark.parametrize(
    ("plain", "was", "now", "good", "word"),
    [
        (" Paris, France.", " Paris.", " Rome.", None, IGNORES_NOT),
        (" Paris.", " Rome, Italy", " Rome.", None, ALREADY_SO),
        (" Apple Inc.", " a single company.", " Rome.", False, "new answer, though negated"),
        (" Apple Inc.", " a single company.", " a company.", True, "not the new answer"),
        ("", " a single company.", " Rome.", False, "new answer, though negated"),
    ],
)
def test_a_denial_counts_only_where_the_model_heard_the_word_before(plain, was, now, good, word):
    told = edit(plain, " Rome.", "Rome")
    found = judged(row("negation", was, now), "Rome", told)
    assert (found.good, found.word) == (good, word)
    assert ("also given when negated" in outcome((told, found)).word) == (good is False)
    under = edit(" Oslo.", " Rome.", "Rome", earlier=plain)
    later = judged(row("negation", " a town", now, earlier=was), "Rome", under)
    assert (later.good, later.word) == (good, word), "compared with the earlier edits"


# ---- neighbors


@pytest.mark.parametrize(
    ("right", "new", "blind"),
    [
        ("Rome", "Rome", True),
        ("the North Sea", "North Sea", True),
        ("New York City", "New York", True),
        ("Romania", "Rome", False),
    ],
)
def test_a_neighbor_whose_right_answer_is_the_new_one_is_not_used(right, new, blind):
    assert overlap(right, new) is blind
    probe = Probe("The fountain is in", right)
    fact = lib.Fact("The Tower", "{} is in", new)
    asked = Subject(lib.Case(fact, neighborhood=(probe,)), own=(probe.prompt,)).prompts
    groups = [group for group, prompt, _ in asked if prompt == probe.prompt]
    assert groups == (["own"] if blind else ["neighbor"]), "asked as one's own, and not judged"


def test_a_neighbor_is_compared_with_what_it_said_just_before():
    told = edit(" Paris.", " Rome.", "Rome")

    def word(was, now, right=("Bonn",), **more):
        found = judged(row("neighbor", was, now, **more), "Rome", told, right)
        return found.good, found.word

    assert word(" Bonn.", " Bonn, and") == (True, "kept")
    assert word(" Bonn.", " Rome.") == (False, "moved")
    assert word(" Rome.", " Rome.") == (None, INVISIBLE), "going wrong would not show there"
    assert word(" Oslo.", " Oslo.") == (True, "kept"), "as wrong as before"
    assert word(" Bonn.", " Rome.", earlier=" Rome.") == (None, EARLIER)
    assert word(" Bonn.", " Rome.", earlier=" Bonn!") == (False, "moved")


# ---- loops


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (" Rome Rome Rome Rome", True),
        (" puppy.\n\npuppy.\n\npuppy.", True),
        ("罗马罗马罗马", True),
        (" Rome, Italy. It is a Roman city", False),
        (" Rome. Rome is", False),
        ("", False),
    ],
)
def test_a_text_that_says_the_same_three_times_loops(text, found):
    assert loops(text) is found


def test_a_looping_answer_is_named():
    looping = edit(" Paris.", " Rome Rome Rome Rome", "Rome")
    assert (looping.good, looping.word) == (True, f"new answer, but {LOOPS}")
    assert edit(" so so so", " Rome Rome Rome", "Rome").word == "new answer", "it did before"
    assert edit(" Paris.", " ha ha ha", "ha ha ha").word == "new answer", "it is the answer"
    kept = table("Rome", *[row("neighbor", " Bonn.", " Bonn.")] * 2, right=["Bonn"], first=looping)
    again = judged(row("reworded", " Paris.", " Rome."), "Rome", looping)
    rows = (looping, again, *kept)
    assert outcome(rows) == (None, f"written, neighbors kept, but {LOOPS}"), "and not green"
    gone = judged(row("neighbor", " Bonn.", " Bonn Bonn Bonn"), "Rome", looping, ["Bonn"])
    assert (gone.good, gone.word) == (False, LOOPS)
    view = View(Subject(lib.Case(lib.Fact("It", "{} is", "Rome"))), rows)
    assert f">{LOOPS}<" in comparison(replace(view, rows=(looping,)))
    made = lib.Patch(log=(lib.Edit("ft", {}, (lib.Fact("It", "{} is", "Rome"),)),))
    assert f"given, but {LOOPS}" in listed.listed([AppliedEdit(made, "FT", looping)], None)
