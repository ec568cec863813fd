"""What is asked for a dossier: answers up to a punctuation mark, and what others are answered."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.data.relations import relations
from lib.workbench.instruments.dossier_answers import TOKENS, answers, until_mark, usual_answers

from ..support import tiny

RELATION = relations()["capital of"]
FIRST = RELATION.answers[0][0]
PROMPTS = [RELATION.ask(t, "Xanadu") for t in RELATION.templates[:3]]
NOBODY = [[None] * 3]


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_an_answer_is_the_greedy_one_up_to_its_first_punctuation_mark(lm):
    (found,) = answers(lm, [PROMPTS], NOBODY)
    table = lm.next_token(PROMPTS).max(1).values.exp()
    texts = lm.answer(PROMPTS, TOKENS)
    for reply, text, p in zip(found.replies, texts, table, strict=True):
        assert reply.text == until_mark(text) and reply.p == pytest.approx(p.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "answer"),
    [(" Rome, the", "Rome"), ("\n\n Rome\n", "Rome"), (" Rome", "Rome"), (".", "."), ("", "")],
)
def test_an_answer_ends_at_its_mark(text, answer):
    assert until_mark(text) == answer


def test_the_patch_is_asked_and_left(lm):
    fact = lib.Fact("Xanadu", RELATION.templates[0], "xy")
    editor = lib.EDITORS["ft"](lm, layer=2, lr=2e-2, epochs=40, target_eos=False)
    patch = editor.edit([fact])
    (before,) = answers(lm, [[fact.text]], [[None]])
    (now,) = answers(lm, [[fact.text]], [[None]], patch)
    assert now.answer.startswith("xy") and answers(lm, [[fact.text]], [[None]])[0] != now
    assert answers(lm, [[fact.text]], [[None]])[0].answer == before.answer


def test_what_others_are_answered_is_their_mean_and_is_asked_once(lm, monkeypatch):
    templates = RELATION.templates[:2]
    found = usual_answers(lm, RELATION, templates, "Xanadu", 4)
    for template, mean in zip(templates, found, strict=True):
        prompts = [RELATION.ask(template, s) for s, _ in RELATION.answers[:4]]
        assert torch.allclose(mean, lm.next_token(prompts).mean(0), atol=0.02)
    other = usual_answers(lm, RELATION, templates, FIRST, 4)
    assert not torch.equal(other[0], found[0]), "it is not compared with itself"
    monkeypatch.setattr(lm, "next_token", lambda _: pytest.fail("it was asked again"))
    assert torch.equal(usual_answers(lm, RELATION, templates, "Rome", 4)[0], found[0])
