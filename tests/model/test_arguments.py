"""What `answer`, `generate`, `score` and `next_token` take, and what gets a sentence."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pandas as pd
import pytest
import torch

import lib
from lib.model.lm import LM

from ..support import tiny

PROMPT = "Ann lives in"


@pytest.fixture(scope="module")
def lm() -> LM:
    return tiny.model("llama")


@pytest.fixture()
def idle(lm, monkeypatch):
    """The model, which must not run."""

    def run(*inputs, **more):
        raise AssertionError("the model ran")

    monkeypatch.setattr(lm.model.base_model, "forward", run)
    return lm


NUMBERS = [
    *[("temperature", wrong) for wrong in (-1.0, math.nan, math.inf)],
    *[("top_k", wrong) for wrong in (0, -3)],
    ("max_new_tokens", -1),
]


@pytest.mark.parametrize("name, wrong", NUMBERS)
def test_a_number_that_would_draw_nonsense_is_a_sentence_before_any_work(idle, name, wrong):
    with pytest.raises(lib.Error, match=f"^The parameter {name} should be a number of at least"):
        idle.generate(PROMPT, **{name: wrong})


@pytest.mark.parametrize("wrong", ["", [], [""], [PROMPT, ""], [[]], np.str_("")], ids=str)
def test_an_empty_prompt_is_a_sentence(idle, wrong):
    if wrong == []:
        assert idle.answer(wrong) == [] and idle.generate(wrong) == []
        for ask in (idle.next_token, idle.run):
            with pytest.raises(lib.errors.ArgumentError, match="The list of prompts is empty"):
                ask(wrong)
        return
    for ask in (idle.answer, idle.generate, idle.next_token, idle.run):
        with pytest.raises(lib.errors.ArgumentError, match="An empty prompt cannot be continued"):
            ask(wrong)


def test_an_empty_prompt_behind_a_sink_is_none_either():
    from lib.model.lm import put_in_front

    lm = tiny.chatting("llama")
    put_in_front(lm.tokenizer, "<|end|>")
    for chat in (False, True):
        with pytest.raises(lib.errors.ArgumentError, match="An empty prompt cannot be continued"):
            lm.answer("", chat=chat)


@pytest.mark.parametrize("wrong", [[-1], [259], [[5, 10**9]], torch.tensor([5, 259])])
def test_ids_out_of_the_vocabulary_are_a_sentence(idle, wrong):
    with pytest.raises(lib.errors.ArgumentError, match="tiny-llama has tokens 0 to 258, not "):
        idle.answer(wrong)


def test_every_kind_of_list_is_one(lm):
    two = [PROMPT, "Bob is"]
    wanted = lm.answer(two, 3)
    kinds = [tuple(two), pd.Series([*two, "x"])[:2], pd.Index(two), np.array(two), deque(two)]
    kinds += [(text for text in two), dict.fromkeys(two).keys(), pd.Series(two, dtype="string")]
    for kind in kinds:
        assert lm.answer(kind, 3) == wanted
    texts, notes = lm.answer(iter(two), 3, explain=True)
    assert texts == wanted and notes == [[], []]
    assert lm.answer(np.str_(PROMPT), 3) == wanted[0]


def test_every_kind_of_ids_is_one(lm):
    ids = lm.rows(PROMPT)[0][0]
    one = lm.answer(ids, 3)
    for kind in (tuple(ids), np.array(ids), torch.tensor(ids), [np.int64(i) for i in ids]):
        assert lm.answer(kind, 3) == one
        assert lm.answer([kind], 3) == [one]
    assert lm.answer(torch.tensor([ids, ids]), 3) == [one, one]
    assert lm.answer(range(5, 8), 3) == lm.answer([5, 6, 7], 3)


def test_targets_in_another_number_are_a_sentence(idle):
    for prompts, targets in ((PROMPT, ["a", "b"]), ([PROMPT, PROMPT], "a"), ([PROMPT], [])):
        with pytest.raises(lib.errors.ArgumentError, match="prompts but .* targets"):
            idle.score(prompts, targets)
    with pytest.raises(lib.Error):
        idle.score(PROMPT, "")
    with pytest.raises(lib.errors.ArgumentError, match="has tokens 0 to 258"):
        idle.score(PROMPT, [5, 300])
