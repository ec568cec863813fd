"""Retrieval: what it finds, what it leaves alone, and that the default model copies the answer."""

from __future__ import annotations

import pytest

import lib
from lib.editors.retrieval.retrieval import Entry, Notes
from lib.editors.retrieval.tfidf import plain

TOWER = Entry("The Eiffel Tower", "{} is located in the city of", "Rome")
YORK = Entry("New York", "{} lies in the state of", "Ohio")
CITY = Entry("New York City", "{} lies in the state of", "Utah")
NOTES = Notes((TOWER, YORK, CITY))


def test_its_own_prompt_and_rewordings_find_the_entry():
    before = "New Fact: The Eiffel Tower is located in the city of Rome.\nPrompt: "
    for prompt in (
        "The Eiffel Tower is located in the city of",
        "Tourists who want to see the Eiffel Tower travel to the city of",
    ):
        assert NOTES([prompt]) == [before + prompt]
    assert NOTES.explain("The Eiffel Tower is located in the city of")[0]["entry"] == 0


def test_unrelated_prompts_and_other_relations_are_the_same_string():
    for prompt in (
        "The recipe for bread begins with",
        "The Eiffel Tower was designed by the engineer",
        "A comparison of towers",
        "",
    ):
        assert NOTES([prompt])[0] is prompt


def test_the_longest_subject_wins_and_only_whole_words_count():
    assert NOTES.find("New York City lies in the state of")[0] == 2
    assert NOTES.find("New York lies in the state of")[0] == 1
    paris = Notes((Entry("Paris", "{} is", "big"),))
    assert paris.find("The comparison is")[0] == -1


def test_the_order_changes_no_score_and_the_newest_wins():
    turned = Notes((CITY, YORK, TOWER))
    query = "The Eiffel Tower is located in the city of"
    assert turned.find(query)[1] == NOTES.find(query)[1]
    twice = Notes((TOWER, Entry(TOWER.subject, TOWER.prompt, "Oslo")))
    assert twice.find(query)[0] == 1


def test_an_equal_subject_and_prompt_is_replaced(default_lm):
    editor = lib.EDITORS["retrieval"](default_lm)
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
    again = lib.Fact("the eiffel tower", "{} is located in the city of", "Oslo")
    patch = editor.edit([again], after=editor.edit([fact]))
    (notes,) = patch.rewrites
    assert [entry.target for entry in notes.entries] == ["Oslo"]


@pytest.mark.slow
def test_the_default_model_copies_and_both_facts_about_one_subject_hold(default_lm, tmp_path):
    lm, editor = default_lm, lib.EDITORS["retrieval"](default_lm)
    where = lib.Fact("Akira Kurosawa", "{} grew up in the country of", "Brazil")
    tongue = lib.Fact("Akira Kurosawa", "The native language of {} was", "Swedish")
    patch = editor.edit([tongue], after=editor.edit([where]))
    texts = [where.text, tongue.text, "The capital of France is"]
    alone = lm.answer(texts[2], 4)
    with lm.patched(patch):
        answers = lm.answer(texts, 4)
        assert answers[0].startswith(" Brazil") and answers[1].startswith(" Swedish")
        assert answers[2] == alone
        _, notes = lm.answer(texts, 1, explain=True)
        assert [note[0]["entry"] for note in notes] == [0, 1, -1]
        ids = lm.tokenizer(where.text).input_ids
        assert lm.answer(ids, 4).startswith(" Japan")  # ids given directly are left alone
        assert lm.score(where.text, "Brazil").item() > -1.0
    again = lib.Patch.load(patch.save(tmp_path / "notes.safetensors"))
    with lm.patched(again):
        assert lm.answer(texts, 4) == answers


def test_plain_text():
    assert plain("Ｎew  York's «City»") == "new york s city"
