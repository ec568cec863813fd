"""A free prompt: two aligned columns, three samples, and a token that is exchanged."""

from __future__ import annotations

import gradio as gr
import pytest
import torch

import lib
from demo_app.html import free_text as html
from demo_app.session.free_text import FORCED, LONGEST, Writer
from demo_app.session.texts import Pair, Text, Writing
from demo_app.session.visitors import Session
from demo_app.session.worker import Trouble
from demo_app.tabs.free_prompt import _place

pytestmark = pytest.mark.usefixtures("strong_settings")

PROMPT = "The Eiffel Tower is located in the city of"


@pytest.fixture(scope="module")
def patch(studio):
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "xy")
    return lib.EDITORS["ft"](studio.lm).edit([fact])


def whole(text: str) -> str:
    """A text without the beginning of a character at its end."""
    return text.rstrip("\ufffd")


def edited(patch) -> Session:
    return Session(patches=[patch])


def test_texts_are_what_the_model_generates_token_by_token(studio, patch):
    said = Writer(studio).write(edited(patch), f"{PROMPT} ", False, 12).outcome()
    ((before, after),) = [(pair.before, pair.after) for pair in said.pairs]
    lm = studio.lm
    assert said.prompt == PROMPT and said.live == 1
    assert "".join(before.pieces) == whole(lm.generate(PROMPT, 12))
    with lm.patched(patch):
        assert "".join(after.pieces) == whole(lm.generate(PROMPT, 12))
    assert len(before.pieces) == len(before.ids) and before.cut == (len(before.ids) == 12)
    (pair,) = said.pairs
    place = pair.parting()
    assert before.ids[:place] == after.ids[:place] and before.ids[place:] != after.ids[place:]


def test_three_samples_have_the_same_seeds_on_both_sides(studio, patch):
    writer = Writer(studio)
    said = writer.write(edited(patch), PROMPT, False, 6, 1.5, True).outcome()
    assert len(said.pairs) == 3 and len({pair.before.ids for pair in said.pairs}) == 3
    for seed, pair in enumerate(said.pairs):
        text = studio.lm.generate(PROMPT, 6, temperature=1.5, seed=seed)
        assert "".join(pair.before.pieces) == whole(text)
        with studio.lm.patched(patch):
            text = studio.lm.generate(PROMPT, 6, temperature=1.5, seed=seed)
        assert "".join(pair.after.pieces) == whole(text)
    assert len(writer.write(Session(), PROMPT, False, 3, 0.0, True).outcome().pairs) == 1
    alone = writer.write(Session(), PROMPT, False, 3, 1.5, True).outcome()
    assert all(pair.after is None and pair.parting() is None for pair in alone.pairs)


def test_alternatives_are_both_models_distributions_at_that_place(studio, patch):
    writer, session, lm = Writer(studio), edited(patch), studio.lm
    said = writer.write(session, PROMPT, False, 5).outcome()
    found = writer.alternatives(session, 0, "after", 2).outcome()
    after = said.pairs[0].after
    row = [*lm.rows([PROMPT])[0][0], *after.ids[:2]]
    with lm.patched(lib.EMPTY, only=True):
        before = lm.next_token([row])[0].exp()
    with lm.patched(patch, only=True):
        later = lm.next_token([row])[0].exp()
    assert found.chosen == after.ids[2] and found.chosen in [one.id for one in found.tokens]
    assert found.lead == PROMPT + "".join(after.pieces[:2])
    for one in found.tokens:
        torch.testing.assert_close(one.before, before[one.id].item(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.after, later[one.id].item(), atol=1e-5, rtol=1e-4)
    best = [max(one.before, one.after) for one in found.tokens[:8]]
    assert best == sorted(best, reverse=True)


def test_a_forced_token_stands_in_both_columns_and_both_go_on(studio, patch):
    writer, session, lm = Writer(studio), edited(patch), studio.lm
    first = writer.write(session, PROMPT, False, 5).outcome()
    other = (first.pairs[0].after.ids[2] + 1) % 100
    said = writer.force(session, 0, "after", 2, other).outcome()
    fixed = (*first.pairs[0].after.ids[:2], other)
    (pair,) = said.pairs
    assert pair.before.ids[:3] == pair.after.ids[:3] == fixed and said.forced == fixed
    assert pair.before.forced == pair.after.forced == 3 and session.writing is said
    row = [*lm.rows([PROMPT])[0][0], *fixed]
    with lm.patched(patch, only=True):
        own = lm.generate([row], 5)[0]
    assert "".join(pair.after.pieces[3:]) in own and len(pair.after.ids) <= 8
    shown = html.writing(said, True)
    assert shown.count('title="forced"') == sum(map(bool, pair.before.pieces[:3])) * 2
    again = writer.force(session, 0, "before", 4, other).outcome()
    assert len(again.forced) == 5 and again.forced[:3] == fixed


def test_what_is_no_place_or_token_is_one_sentence(studio, patch):
    writer, session = Writer(studio), edited(patch)
    with pytest.raises(Trouble, match="not here any more"):
        writer.alternatives(session, 0, "after", 0)
    writer.write(session, PROMPT, False, 3).outcome()
    before = session.writing
    for place in ((1, "after", 0), (0, "after", 99), (0, "ids", 0), (0, None, 0), (-1, "after", 0)):
        with pytest.raises(Trouble, match="not here any more"):
            writer.alternatives(session, *place)
    for place in ((None, "after", 0), (0, "after", "1"), (0, "after", 10**12), (True, "after", 0)):
        with pytest.raises(Trouble, match="should be a whole number"):
            writer.force(session, *place, 1)
    for token in (-1, 10**8, None, "x", 1.5):
        with pytest.raises(Trouble, match="token"):
            writer.force(session, 0, "after", 0, token)
    session.writing = Writing("a", False, 3, 0.0, (Pair(Text((1,) * (FORCED + 2))),))
    with pytest.raises(Trouble, match="fixed tokens are too many"):
        writer.force(session, 0, "before", FORCED + 1, 1)
    session.writing = before
    with pytest.raises(Trouble, match="empty"):
        writer.write(session, "  ", False)
    with pytest.raises(Trouble, match="no chat template"):
        writer.write(session, "Hello", True).outcome()
    with pytest.raises(Trouble, match="Three samples should be true or false"):
        writer.write(session, "Hello", False, 3, 1.0, "3")
    assert session.writing is before


def test_length_is_bounded_and_a_stopped_text_leaves_the_last_one(studio):
    session, writer = Session(), Writer(studio)
    said = writer.write(session, "A cat", False, 10**6).outcome()
    assert said.tokens == LONGEST and len(said.pairs[0].before.ids) <= LONGEST
    job = writer.write(session, "A dog", False, 100)
    for progress in job.watch(every=0.01):
        if progress.partial is not None:
            job.stop()
    assert session.writing is said or session.writing.prompt == "A dog" and job.error is None


@pytest.mark.parametrize(
    ("value", "place"),
    [("0.after.12", (0, "after", 12)), ("", (None,) * 3), ("a.b.c", (None,) * 3),
     ("1.before." + "9" * 50, (None,) * 3), (None, (None,) * 3)],
)  # fmt: skip
def test_a_place_is_read_from_what_a_browser_sends(value, place):
    assert _place(gr.EventData(None, {"value": value})) == place


def test_pairs_part_where_the_first_token_differs():
    one, two = Text((1, 2, 3), ("a", "b", "c")), Text((1, 2, 4), ("a", "b", "d"))
    assert Pair(one, two).parting() == 2 and Pair(one, one).parting() is None
    assert Pair(one, Text((1, 2), ("a", "b"))).parting() == 2
    assert Pair(one).parting() is None and Pair().parting() is None
    said = Writing("p", False, 3, 0.0, (Pair(one, two),), live=1)
    shown = html.writing(said, True)
    assert shown.count("parting") == 2 and shown.count('tabindex="0"') == 2
    assert "data-at" not in html.writing(said, False), "nothing to press while it grows"
