"""A free prompt continued by two models beside each other, in columns whose equal words align."""

from __future__ import annotations

import re

import pytest

import lib
from demo_app.html import both_models as html
from demo_app.session import models
from demo_app.session.both_models import Beside, BothModels, Side
from demo_app.session.models import Models
from demo_app.session.studio import Studio
from demo_app.session.texts import Text
from demo_app.session.visitors import Session
from demo_app.session.worker import Stopped, Trouble
from demo_app.tabs.free_prompt import Free

from ..support import tiny

pytestmark = pytest.mark.usefixtures("strong_settings")

OTHER = "gemma-3-270m"
PROMPT = "The Eiffel Tower is located in the city of"


@pytest.fixture(scope="module")
def both():
    """A tiny page on which another tiny model can be opened."""

    def load(name: str) -> lib.LM:
        lm = tiny.model("gemma3_text")
        lm.name = name
        return lm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "fetch", lambda wanted, coming: None)
        patch.setattr(models, "is_here", lambda wanted: wanted.name == OTHER)
        patch.setattr(lib, "load", load)
        patch.setattr(Studio, "warm_up", lambda self: None)
        made = Models(Studio(tiny.model("llama")), lambda *given: None)
        yield BothModels(made.first, made)
        made.close()


def write(both: BothModels, session: Session, *more) -> list[Beside]:
    list(both.opened(OTHER))
    jobs = both.start(session, OTHER, PROMPT, False, 12, *more)
    return list(both.watch(jobs, OTHER))


def test_each_model_writes_what_it_would_alone_and_edits_stay_with_their_own(both):
    lm = both.studio.lm
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "xy")
    session = Session(patches=[lib.EDITORS["ft"](lm).edit([fact])])
    last = write(both, session)[-1]
    one, two = last.sides
    assert last.done and (one.name, one.live, two.name, two.live) == (lm.name, 1, OTHER, 0)
    with lm.patched(session.patches[0]):
        assert "".join(one.text.pieces) == lm.generate(PROMPT, 12).rstrip("\ufffd")
    other = both.models.studios[OTHER].lm
    assert "".join(two.text.pieces) == other.generate(PROMPT, 12).rstrip("\ufffd")
    drawn = write(both, Session(), 1.5)[-1]
    text = other.generate(PROMPT, 12, temperature=1.5, seed=0).rstrip("\ufffd")
    assert "".join(drawn.sides[1].text.pieces) == text and drawn.sides[0].live == 0


def test_a_model_that_is_not_here_or_is_no_model_is_one_sentence(both, monkeypatch):
    for name, said in (
        ("magic", "There is no model"), (None, "There is no model"), (7, "There is no model"),
        (both.studio.lm.name, "There is no model"),
        ("SmolLM2-135M-Instruct", "choose it at the top"),
    ):  # fmt: skip
        with pytest.raises(Trouble, match=said):
            list(both.opened(name))
        with pytest.raises(Trouble, match="is not open"):
            both.start(Session(), name, PROMPT, False)
    list(both.opened(OTHER))
    with pytest.raises(Trouble, match="empty"):
        both.start(Session(), OTHER, " ", False)
    jobs = both.start(Session(), OTHER, PROMPT, True)
    with pytest.raises(Trouble, match="no chat template"):
        list(both.watch(jobs, OTHER))


def test_a_stopped_side_ends_the_other(both):
    list(both.opened(OTHER))
    jobs = both.start(Session(), OTHER, PROMPT, False, 120)
    jobs[1].stop()
    with pytest.raises(Stopped):
        list(both.watch(jobs, OTHER))
    jobs[0].stop()


@pytest.mark.parametrize(
    ("first", "second", "lines"),
    [
        ("a b c", "a b c", [("a b c", "a b c", True)]),
        ("in Rome and it is old", "in Paris and it is old",
         [("in Rome", "in Paris", False), ("and it is old", "and it is old", True)]),
        ("a b x c", "a b c", [("a b", "a b", True), ("x c", "c", False)]),
        ("a", "", [("a", "", False)]), ("", "", []), ("a", "a", [("a", "a", True)]),
        ("x y", "a b", [("x y", "a b", False)]),
    ],
)  # fmt: skip
def test_equal_words_share_a_line(first, second, lines):
    found = html.aligned(first.split(), second.split())
    assert [(" ".join(a), " ".join(b), same) for a, b, same in found] == lines


def side(name: str, text: str, live: int = 0) -> Side:
    return Side(name, Text(tuple(range(len(text))), tuple(text)), live)


def test_the_columns_have_the_same_lines_and_escape_everything():
    sides = side("One", "in <b>Rome and it is"), side("Two", "in Paris and it is", 2)
    shown = html.beside(Beside("A <i> prompt", False, sides, True))
    assert "<i>" not in shown and shown.count('class="both"') == 2
    assert "<b" not in shown.replace('<b class="both">', "")
    rows = re.findall(r'grid-row:(\d+)">(.*?) </p>', shown)
    assert rows == [
        ("3", "in &lt;b&gt;Rome"), ("4", '<b class="both">and it is</b>'),
        ("3", "in Paris"), ("4", '<b class="both">and it is</b>'),
    ]  # fmt: skip
    assert "Two with 2 edits" in shown and 'aria-label="One"' in shown
    growing = html.beside(Beside("p", True, (Side("One"), Side("Two"))))
    assert growing.count("caret") == 2 and "source" not in growing and "lead" not in growing


def test_the_list_of_models_is_there_only_where_there_are_others(both):
    gr = pytest.importorskip("gradio")
    with gr.Blocks():
        alone, several = Free(both.studio), Free(both.studio, both.models)
    assert not alone.beside.visible and several.beside.visible
    assert [value for _, value in several.beside.choices] == ["", "SmolLM2-135M-Instruct", OTHER]
