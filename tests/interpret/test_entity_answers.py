"""What is asked for a dossier: answers with and without drafts, and what others are answered."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.data.relations import relations
from lib.interpret import entity_answers, usual_answers
from lib.interpret.entity_answers import said
from lib.interpret.entity_dossier import OTHERS, WORDINGS, dossier_lines, keep_usual
from lib.interpret.usual_answers import usual

from ..support import tiny

RELATION = relations()["capital of"]
FIRST = RELATION.answers[0][0]
PROMPTS = [RELATION.ask(t, "Xanadu") for t in RELATION.templates[:3]]


@pytest.fixture
def lm(tmp_path, monkeypatch):
    """A random model that nothing is known of, with a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tiny.model("llama")


def kept(tmp_path) -> list:
    return sorted(tmp_path.rglob("usual-answers/*"))


def test_an_answer_is_the_greedy_one_up_to_its_first_punctuation_mark(lm):
    found = said(lm, PROMPTS)
    texts = lm.answer(PROMPTS, entity_answers.TOKENS)
    table = lm.next_token(PROMPTS)
    for one, text, row in zip(found, texts, table, strict=True):
        assert one.text == entity_answers._answer(text)
        assert torch.allclose(one.next_token, row, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "answer"),
    [(" Rome, the", "Rome"), ("\n\n Rome\n", "Rome"), (" Rome", "Rome"), (".", "."), ("", "")],
)
def test_reading_on_behind_the_mark_changes_no_answer(lm, text, answer):
    assert entity_answers._answer(text) == answer
    row = lm.rows(["It is"])[0][0]
    ended = entity_answers._ended(lm, row)
    ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    for size in range(len(ids) + 1):
        if ended(ids[:size]):  # from here on no further token is read
            so_far = lm.texts([row], [ids[:size]])[0]
            assert entity_answers._answer(so_far) == answer
            break


def test_drafts_change_nothing_but_the_time(lm):
    plain = said(lm, PROMPTS)
    for drafts in [one.ids for one in plain], [[1, 2, 3]] * 3, [[]] * 3:
        again = said(lm, PROMPTS, drafts=drafts)
        assert [(one.ids, one.text) for one in again] == [(one.ids, one.text) for one in plain]


def test_the_patch_is_asked_and_left(lm):
    fact = lib.Fact("Xanadu", RELATION.templates[0], "xy")
    editor = lib.EDITORS["ft"](lm, layer=2, lr=2e-2, epochs=40, target_eos=False)
    patch = editor.edit([fact])
    before = said(lm, [fact.text])[0]
    assert said(lm, [fact.text], patch)[0].text.startswith("xy")
    assert said(lm, [fact.text])[0].ids == before.ids


def test_what_others_are_answered_is_their_mean(lm):
    templates = RELATION.templates[:2]
    found = usual(lm, RELATION, templates, "Xanadu", 4)
    for template, mean in zip(templates, found, strict=True):
        prompts = [RELATION.ask(template, s) for s, _ in RELATION.answers[:4]]
        assert torch.allclose(mean, lm.next_token(prompts).mean(0), atol=0.02)
    other = usual(lm, RELATION, templates, FIRST, 4)
    assert not torch.equal(other[0], found[0]), "it is not compared with itself"


def test_it_is_kept_on_disk_only_where_that_is_asked_for(lm, tmp_path, monkeypatch):
    usual(lm, RELATION, RELATION.templates[:1], "Xanadu", 4)
    assert not kept(tmp_path)
    usual_answers._MEANS.clear()
    found = usual(lm, RELATION, RELATION.templates[:1], "Xanadu", 4, on_disk=True)
    assert len(kept(tmp_path)) == 1
    usual(lm, RELATION, RELATION.templates[:1], FIRST, 4, on_disk=True)
    assert len(kept(tmp_path)) == 1, "what one entity alone needs is not"
    usual_answers._MEANS.clear()
    monkeypatch.setattr(lm, "next_token", lambda _: pytest.fail("it was asked again"))
    again = usual(lm, RELATION, RELATION.templates[:1], "Somebody", 4, on_disk=True)
    assert torch.equal(again[0], found[0])


@pytest.mark.parametrize("wrong", [b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      ", b"x" * 99])
def test_a_file_that_is_none_is_made_again(lm, tmp_path, wrong):
    found = usual(lm, RELATION, RELATION.templates[:1], "Xanadu", 4, on_disk=True)
    (path,) = kept(tmp_path)
    path.write_bytes(wrong)
    usual_answers._MEANS.clear()
    again = usual(lm, RELATION, RELATION.templates[:1], "Xanadu", 4, on_disk=True)
    assert torch.equal(again[0], found[0]) and path.read_bytes() != wrong


def test_a_folder_that_takes_no_file_is_no_obstacle(lm, tmp_path):
    (tmp_path / "model-editing").write_text("a file in the place of the folder")
    assert usual(lm, RELATION, RELATION.templates[:1], "Xanadu", 4, on_disk=True)[0] is not None


def test_a_dossier_finds_what_was_kept_for_all(lm, tmp_path, monkeypatch):
    keep_usual(lm, RELATION)
    usual_answers._MEANS.clear()
    monkeypatch.setattr(lm, "next_token", lambda _: pytest.fail("it was asked again"))
    among = {RELATION.name: RELATION}
    (line,) = dossier_lines(lm, "Xanadu", among=among, on_disk=True)
    assert len(line.prompts) == WORDINGS and len(RELATION.answers) >= OTHERS
