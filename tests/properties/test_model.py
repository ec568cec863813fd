"""Properties of asking: no text crashes, and batches hold every row once."""

from __future__ import annotations

from functools import cache

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lib
from lib.model.batching import batches, pad, sequences

from ..support import tiny

ANY = st.text(st.characters(), max_size=12)
ROWS = st.lists(st.lists(st.integers(0, 258), min_size=1, max_size=14), min_size=1, max_size=5)


@cache
def model(family: str) -> lib.LM:
    return tiny.model(family)


def ways(lm: lib.LM) -> dict:
    """Every public way by which a prompt gets into the model."""
    return {
        "answer": lambda p: lm.answer(p, 2),
        "answer a list": lambda p: lm.answer(["a", p], 2),
        "explain": lambda p: lm.answer(p, 2, explain=True),
        "generate": lambda p: lm.generate(p, 2),
        "score": lambda p: lm.score(p, "x"),
        "score the target": lambda p: lm.score("x", p),
        "next_token": lm.next_token,
        "run": lambda p: lm.run([p]),
        "rows": lm.rows,
        "keys": lambda p: lm.keys([lib.Fact("a", "{} is", "b")], 1, [p + "{}"]),
        "facts": lambda p: lm.keys([lib.Fact(p, "{} is", "b")], 1),
    }


@settings(max_examples=12)
@given(ANY)
@example("\ud800")
@example("Tower \udc80")
@example("")
@example(" ")
@example("{}")
@example("<|end|>")
def test_every_text_is_answered_or_refused_in_one_sentence(text):
    lm = model("llama")
    half = any("\ud800" <= c <= "\udfff" for c in text)
    for name, way in ways(lm).items():
        try:
            way(text)
        except ValueError as error:  # FactError is one
            said = str(error)
            assert said and "\n" not in said and "codec" not in said, name
            assert half or not text.strip() or "{}" in text, (name, said)
            said.encode()
        else:
            assert not half, name


@given(ROWS, st.integers(1, 60))
def test_batches_hold_every_row_once_and_keep_the_bound(rows, limit):
    groups = list(batches(rows, limit))
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(len(rows[i]) for i in group) <= limit


@given(ROWS)
def test_padded_rows_come_back(rows):
    lm = model("llama")
    ids, real = pad(lm, rows)
    assert [some[here].tolist() for some, here in zip(ids, real, strict=True)] == rows
    seqs = sequences(lm, rows)
    assert torch.equal(seqs.prompt, real) and bool(real[:, -1].all())
    assert seqs.last.tolist() == [ids.shape[1] - 1] * len(rows)
