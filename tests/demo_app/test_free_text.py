"""A free prompt: two aligned columns, and three samples."""

from __future__ import annotations

import pytest

import lib
from demo_app.html import free_text as html
from demo_app.session.free_text import LONGEST, Writer
from demo_app.session.texts import Pair, Text, Writing
from demo_app.session.visitors import Session
from demo_app.session.worker import Trouble

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


def test_wrong_values_are_one_sentence_and_length_is_bounded(studio):
    writer, session = Writer(studio), Session()
    with pytest.raises(Trouble, match="empty"):
        writer.write(session, "  ", False)
    with pytest.raises(Trouble, match="no chat template"):
        writer.write(session, "Hello", True).outcome()
    with pytest.raises(Trouble, match="Three samples should be true or false"):
        writer.write(session, "Hello", False, 3, 1.0, "3")
    said = writer.write(session, "A cat", False, 10**6).outcome()
    assert said.tokens == LONGEST and len(said.pairs[0].before.ids) <= LONGEST


def test_pairs_part_where_the_first_token_differs():
    one, two = Text((1, 2, 3), ("a", "b", "c")), Text((1, 2, 4), ("a", "b", "d"))
    assert Pair(one, two).parting() == 2 and Pair(one, one).parting() is None
    assert Pair(one, Text((1, 2), ("a", "b"))).parting() == 2
    assert Pair(one).parting() is None and Pair().parting() is None
    said = Writing("p", False, 3, 0.0, (Pair(one, two),), live=1)
    assert html.writing(said, True).count('class="parting"') == 2
    assert "parting" not in html.writing(said, False) and "caret" in html.writing(said, False)
