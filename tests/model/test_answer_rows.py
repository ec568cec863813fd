"""Rows of prompts and answers: what is read, where each answer token is predicted, its weight."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.model import batching
from lib.model.answer_rows import AnswerRows, select_labels
from lib.model.partial_forward import Replay

from ..support import tiny

ROWS = AnswerRows([[5, 6, 7], [4], [3, 2]], [[8, 9], [1, 2, 3], []])


def test_rows_and_labels_by_hand():
    assert ROWS.ids == [[5, 6, 7, 8], [4, 1, 2], [3, 2]] and len(ROWS) == 3
    assert ROWS.behind == [1, 2, 0] and ROWS.ends == [2, 0, 1]
    # row 2 has no answer and no label
    assert ROWS.labels.tolist() == [[0, 0, 1, 1, 1], [2, 3, 0, 1, 2], [8, 9, 1, 2, 3]]
    assert ROWS.share.tolist() == [1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3]
    some = ROWS.take([2, 1])
    assert some.ids == [[3, 2], [4, 1, 2]] and some.labels[0].tolist() == [1, 1, 1]
    nothing = AnswerRows([[1, 2]], [[]])
    assert nothing.labels.shape == (3, 0) and nothing.labels.dtype == torch.long
    assert nothing.share.shape == (0,)


def test_the_published_variants_by_hand():
    whole = AnswerRows([[5, 6]], [[8, 9]], read_whole=True)  # WISE counts the last token too
    assert whole.ids == [[5, 6, 8, 9]] and whole.behind == [2]
    assert whole.labels.tolist() == [[0, 0], [1, 2], [8, 9]]
    last = AnswerRows([[5, 6]], [[8, 9]], at_prompt=True)  # FT-L predicts all from the prompt
    assert last.ids == [[5, 6, 8]] and last.behind == [1]
    assert last.labels.tolist() == [[0, 0], [1, 1], [8, 9]]
    assert last.take([0, 0]).labels.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [8, 9, 8, 9]]


def test_labels_of_rows_that_stay_are_renumbered():
    labels, kept = select_labels(ROWS.labels, torch.tensor([False, True, True]))
    assert labels.tolist() == [[0, 0, 0], [0, 1, 2], [1, 2, 3]]
    assert kept.tolist() == [False, False, True, True, True]
    assert ROWS.labels[0].tolist() == [0, 0, 1, 1, 1]  # the old labels stay as they are


def test_texts_are_tokenized_apart_and_ended_when_asked():
    tokenizer = tiny.model("llama").tokenizer
    pairs = [("A cat sat on the", "mat"), ("Seven", "xy")]
    rows = AnswerRows.of(tokenizer, pairs, eos=True)
    for (prompt, target), ids, answer in zip(pairs, rows.prompts, rows.answers, strict=True):
        assert ids == lib.data.facts.encode_prompt(tokenizer, prompt)
        assert answer == [*lib.data.facts.encode_target(tokenizer, target), tokenizer.eos_token_id]
    assert AnswerRows.of(tokenizer, pairs, at_prompt=True).at_prompt


def test_labels_of_rows_padded_on_the_left():
    assert batching.padded_labels(ROWS).tolist() == [
        [0, 0, 1, 1, 1],
        [2, 3, 1, 2, 3],  # the longest row has 4 tokens, row 1 has 3
        [8, 9, 1, 2, 3],
    ]


@pytest.mark.parametrize("lookup", [None, [1, 0, 1]])
def test_a_replay_finds_the_labels_in_its_own_columns(lookup):
    lm = tiny.model("llama")
    with torch.no_grad():
        replay = Replay(lm, ROWS.ids, 1, lookup=lookup, behind=ROWS.behind)
        row, column, token = replay.labels(ROWS)
        states = replay.run(replay.hidden)
    wanted = [replay.column(i, p) for i, p, _ in ROWS.labels.T.tolist()]
    assert column.tolist() == wanted and torch.equal(token, ROWS.labels[2])
    found = lm.head(states[row, column]).log_softmax(-1).gather(1, token[:, None])[:, 0]
    for i in range(2):
        (score,) = lm.score([list(ROWS.prompts[i])], [list(ROWS.answers[i])])
        torch.testing.assert_close(found[row == i], score, atol=1e-5, rtol=1e-4)
