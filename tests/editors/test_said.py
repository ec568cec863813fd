"""What `edit` says: edits that did not take, contradictions, and how far a long one is."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections import Counter

import pytest

import lib
from lib import cancellation
from lib.model import read_once

from ..support import tiny
from ..support.editor_settings import TINY, A, B, quick

CHINESE = lib.Fact("长城", "{}位于", "罗马")


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def said(editor, facts, **more):
    """The EditWarnings of an edit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        editor.edit(facts, **more)
    return [str(one.message) for one in caught if one.category is lib.errors.EditWarning]


# ---- an edit that did not take ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "fact"),
    [
        ("retrieval", {}, A),  # the model does not copy the note
        ("rome", {"steps": 0}, A),
        ("ft_m", {"epochs": 0}, CHINESE),
        ("ft", {"epochs": 0}, lib.Fact("The old tower", "I saw {}", "🗼")),
        ("grace", {"n_iter": 0, "value_init": "cold"}, B),
    ],
)
def test_an_edit_that_did_not_take_is_quoted(lm, name, settings, fact):
    editor = lib.EDITORS[name](lm, **{**TINY.get(name, {}), **settings})
    (warning,) = said(editor, fact)
    with lm.patched(editor.edit(fact, check=False)):
        now = " ".join(lm.answer(fact.text, 8).split())
    assert f"{name}: the model does not give 1 of 1 new answers: {fact.text!r}" in warning
    assert repr(now)[:8] in warning and f"not with {fact.target_new!r}" in warning
    assert said(editor, fact, check=False) == []


def test_an_edit_that_took_costs_one_forward_and_says_nothing(lm, monkeypatch):
    calls = Counter()

    def backbone(*given, real=lm.backbone, **more):
        calls["backbone"] += 1
        return real(*given, **more)

    monkeypatch.setattr(lm, "backbone", backbone)
    editor, found = lib.EDITORS["ft_m"](lm, **TINY["ft_m"]), []
    for check in (False, True):
        calls.clear()
        assert said(editor, [A, B], check=check) == []
        found.append(calls["backbone"])
    assert found[1] == found[0] + 1


def test_of_many_three_are_quoted_and_the_last_answer_to_a_prompt_counts(lm):
    facts = [lib.Fact(None, text, "xy") for text in ("Who", "Seven of", "It is", "Pisa", "A cat")]
    (warning,) = said(lib.EDITORS["ft"](lm, layer=1, epochs=0), facts)
    assert "does not give 5 of 5 new answers" in warning and warning.count("answered with") == 3
    newest = lib.Fact(A.subject, A.prompt, "qz")
    (warning,) = said(lib.EDITORS["grace"](lm, **TINY["grace"]), [A, newest])
    assert "contradict" in warning  # and the newer answer is given


def test_an_answer_in_other_tokens_is_an_answer(lm, monkeypatch):
    editor = lib.EDITORS["ft"](lm, layer=1, epochs=0)
    monkeypatch.setattr(lm, "answer", lambda prompts, *_: ["“XY”, of course"] * len(prompts))
    assert said(editor, [A]) == []


@pytest.mark.parametrize(("pool", "read"), [("row", [0]), ("mean", [6])])
def test_a_route_that_reads_answers_is_asked_as_a_person_asks(lm, monkeypatch, pool, read):
    """A person gives no answer for it to read, so only the first token of one is asked for."""
    editor = lib.EDITORS["wise"](lm, **{**quick("wise"), "pool": pool})
    fact, behind = lib.Fact("The old tower", "I saw {}", "abcdef"), []
    patch = editor.edit(fact, check=False)
    made = read_once.sequences

    def sequences(lm, rows, answered, *more):
        behind.append(answered)
        return made(lm, rows, answered, *more)

    monkeypatch.setattr(read_once, "sequences", sequences)
    assert editor.unsaid([fact], patch) in ([], [0]) and behind == [read]


def test_steering_promises_no_answer_and_is_not_asked(lm):
    assert said(lib.EDITORS["steer"](lm, layer=2), [A]) == []


def test_a_stream_counts_and_says_it_once_at_its_end(lm):
    cases = [lib.Case(fact, id=i) for i, fact in enumerate((A, B, CHINESE))]
    run = lib.stream(lm, lib.EDITORS["ft"](lm, layer=1, epochs=0), cases, eval_at=())
    with pytest.warns(lib.errors.EditWarning) as caught:
        run.finish()
    texts = [str(one.message) for one in caught if one.category is lib.errors.EditWarning]
    assert texts == ["ft: right after its own batch the model did not give 3 of 3 new answers"]


# ---- contradictions inside one call -------------------------------------------------------------


@pytest.mark.parametrize("name", ["ft_m", "retrieval", "memit", "ultraedit", "grace", "wise"])
def test_every_editor_names_contradictions(lm, name):
    editor = lib.EDITORS[name](lm, **quick(name))
    other = lib.Fact(A.subject, A.prompt, "qz")
    warning = said(editor, [B, A, other], check=False)[0]
    assert warning == (
        "The facts contradict each other: 'I saw The old tower' is 'xy' in row 1 and 'qz' in row 2"
    )


@pytest.mark.parametrize(
    ("other", "against"),
    [
        (lib.Fact("the old  tower", "I saw {} ", "qz"), True),  # case and blanks
        (lib.Fact(None, "I saw The old tower", "qz"), True),  # without a subject
        (lib.Fact(A.subject, A.prompt, "XY "), False),  # the same answer
        (A, False),
        (B, False),
    ],
)
def test_what_contradicts_is_told_by_the_text(lm, other, against):
    editor = lib.EDITORS["retrieval"](lm)
    assert bool(said(editor, [A, other], check=False)) == against


def test_of_many_contradictions_three_are_named(lm):
    facts = [lib.Fact(None, "Who", answer) for answer in ("a", "b", "c", "d", "e", "a")]
    (warning,) = said(lib.EDITORS["retrieval"](lm), facts, check=False)
    assert warning.count(" in row ") == 6 and warning.endswith("and 1 more")


# ---- how far it is ------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [("rome", "rome: facts"), ("ultraedit", "matrices solved"), ("ft_m", "ft_m: epochs")],
)
def test_more_than_two_facts_show_a_bar_on_a_terminal_only(lm, monkeypatch, name, words):
    editor, facts = lib.EDITORS[name](lm, **quick(name)), [A, B, A]
    for kind, shown in ((Terminal, True), (io.StringIO, False)):
        stream = kind()
        monkeypatch.setattr(sys, "stderr", stream)
        editor.edit(facts, check=False)
        assert (f"{words}:" in stream.getvalue()) == shown
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    editor.edit([A], check=False)  # it is done before three seconds have passed
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(cancellation, "bar", cancellation.bars())
    editor.edit(facts, check=False)
    assert stream.getvalue() == ""


def test_the_log_has_a_line_for_each_stage_and_nothing_is_shown(lm, caplog, capfd):
    editor = lib.EDITORS["memit"](lm, **quick("memit"))
    editor.edit([A, B], check=False)
    assert capfd.readouterr() == ("", "")
    with caplog.at_level(logging.INFO, "modeledit"):
        editor.edit([A, B], check=False)
    lines = [record.getMessage() for record in caplog.records if record.name == "modeledit"]
    assert lines[0] == "memit: writing 2 facts" and lines[-1] == "memit: written"
    assert "values for 2 facts: 1" in lines


def test_where_no_bar_is_seen_a_long_stage_says_how_long_it_takes(monkeypatch):
    clock = iter(range(0, 1000, 7))
    monkeypatch.setattr(cancellation.time, "monotonic", lambda: next(clock))
    with pytest.warns(
        lib.errors.SlowWarning, match=r"moments: this takes at most about \d+ s more"
    ) as caught:
        assert list(cancellation.steps("abcd", "moments")) == [*"abcd"]
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with cancellation.progress_after(float("inf")):  # a stream has a bar of its own
            list(cancellation.steps("abcd", "moments"))
        with cancellation.cancellable(lambda *_: None):  # somebody hears of every step
            list(cancellation.steps("abcd", "moments"))


def test_in_a_notebook_a_bar_is_a_line_of_text_that_goes(monkeypatch):
    """A widget would leave "Loading widget…" in a page that is saved and opened again."""
    cell = io.StringIO()
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr(sys, "stdout", cell)
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # would be shown in red
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(cancellation, "bar", cancellation.bars())
    with cancellation.progress_after(0.0):
        for step in cancellation.steps(range(20), "steps of the search"):
            inner = list(cancellation.steps("ab", "inside"))
            if step == 18 and inner:
                break
    text = cell.getvalue()
    assert "steps of the search" in text and "inside" in text
    assert "\n" not in text and "\x1b" not in text and not text.rsplit("\r", 2)[-2].strip()
    assert not sys.stderr.getvalue()
