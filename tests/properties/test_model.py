"""Properties of asking: no text crashes, and neither padding nor a cache changes an answer."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lib
from lib.errors import FactError
from lib.model import generation, scoring
from lib.model.batching import batches, pad, sequences
from lib.model.prefix_cache import Prefix

from ..support import tiny

ANY = st.text(st.characters(), max_size=12)
WHOLE = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
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
        "stream": lambda p: list(lm.generate(p, 2, stream=True)),
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


@pytest.mark.parametrize("name", ways(tiny.model("llama")))
def test_half_a_character_is_refused_at_every_entrance(name):
    with pytest.raises(FactError, match="half a character"):
        ways(model("llama"))[name]("Tower \ud83d")


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@settings(max_examples=4)
@given(st.lists(WHOLE, min_size=1, max_size=4))
def test_a_cache_changes_no_answer(family, prompts):
    lm = model(family)
    rows, _ = lm.rows(prompts)
    cached, whole = (generation.generate(lm, rows, 5, cache=c).ids for c in (True, False))
    assert cached == whole


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@settings(max_examples=5)
@given(ROWS, WHOLE)
def test_padding_changes_no_score(family, rows, target):
    lm = model(family)
    targets = [target if target.strip() else "x"] * len(rows)
    together = scoring.score(lm, rows, targets)
    for row, wanted in zip(rows, together, strict=True):
        (alone,) = scoring.score(lm, [row], targets[:1])
        torch.testing.assert_close(alone.log_probs, wanted.log_probs, atol=1e-4, rtol=1e-4)
    table = scoring.next_token(lm, rows)
    for row, wanted in zip(rows, table, strict=True):
        torch.testing.assert_close(scoring.next_token(lm, [row])[0], wanted, atol=1e-4, rtol=1e-4)


@settings(max_examples=6)
@given(st.lists(ROWS, min_size=1, max_size=3))
def test_kept_states_change_no_score(groups):
    lm = model("llama")
    prefix = Prefix(lm, 2)
    for rows in groups:
        wanted = scoring.next_token(lm, rows)
        with prefix.used():
            for _ in range(2):  # made, then read
                got = scoring.next_token(lm, rows)
                torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


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
