"""Prompts that are read once: batches, long targets, windows, and the number of runs."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
import torch

from lib.model import generation, scoring
from lib.model.batching import planned
from lib.model.read_once import Question, ask

from ..support import tiny
from ..support.usual import few


def cost(groups, lengths, extra):
    return sum(max(lengths[i] for i in g) * len(g) + extra for g in groups)


def test_a_plan_has_every_row_once_and_no_other_plan_of_sorted_rows_costs_less():
    draw = random.Random(0)
    for _ in range(30):
        n, limit, extra = draw.randint(1, 7), draw.choice([8, 20, 60]), draw.choice([0, 5, 30])
        lengths = [draw.randint(1, 12) for _ in range(n)]
        groups = planned(lengths, limit, extra)
        assert sorted(i for g in groups for i in g) == list(range(n))
        assert all(len(g) == 1 or max(lengths[i] for i in g) * len(g) <= limit for g in groups)
        order = sorted(range(n), key=lambda i: -lengths[i])
        others = []
        for cuts in (c for k in range(n) for c in combinations(range(1, n), k)):
            ends = [0, *cuts, n]
            plan = [order[a:b] for a, b in zip(ends, ends[1:], strict=False)]
            if all(len(g) == 1 or lengths[g[0]] * len(g) <= limit for g in plan):
                others.append(cost(plan, lengths, extra))
        assert cost(groups, lengths, extra) == min(others)
    assert planned([], 8) == []


def same(lm, rows, targets, most, draft=()):
    """Replies agree with `score` and `generate`, one prompt at a time."""
    asked = [Question(row, targets, True, most, draft) for row in rows]
    for row, reply in zip(rows, ask(lm, asked), strict=True):
        assert reply.ids == generation.generate(lm, [row], most).ids[0]
        scores = scoring.score(lm, [row] * len(targets), targets)
        for target, score in zip(targets, scores, strict=True):
            torch.testing.assert_close(
                reply.scores[target].log_probs, score.log_probs, atol=1e-4, rtol=1e-4
            )
            assert reply.scores[target].hits.tolist() == score.hits.tolist()
        torch.testing.assert_close(
            lm.head(reply.state).log_softmax(-1),
            scoring.next_token(lm, [row])[0],
            atol=1e-4,
            rtol=1e-4,
        )


@pytest.mark.parametrize("family", few(("llama", "gpt2", "bloom", "opt", "gpt_neo"), 1))
def test_rows_of_many_lengths_targets_and_drafts(family):
    lm, draw = tiny.model(family), random.Random(1)
    rows = [[draw.randint(40, 90) for _ in range(draw.randint(1, 14))] for _ in range(9)]
    said = generation.generate(lm, rows, 20).ids
    targets = [(50,), (51, 52, 53), tuple(said[0][:5]) or (54,), tuple(range(60, 75))]
    for draft in ((), said[0], [*said[2][:9], 41, 42]):
        same(lm, rows, targets, 20, draft)


def test_beyond_an_attention_window_nothing_is_read_behind_masked_tokens(monkeypatch):
    lm, masked, backbone = tiny.model("llama"), [], tiny.model("llama").backbone
    rows = [[41 + i % 7 for i in range(n)] for n in (3, 30)]

    def noting(ids, real, **more):
        before = more.get("mask", real).int()
        masked.append([len(row) for row in before if (row[1:] < row[:-1]).any()])
        return backbone(ids, real, **more)

    monkeypatch.setattr(lm.model.config, "sliding_window", 36, raising=False)
    monkeypatch.setattr(lm, "backbone", noting)
    short, long = ask(lm, [Question(row, [(50, 51), (52, 53)], True, 6) for row in rows])
    assert sum(masked, []) and max(sum(masked, [])) < 30  # the short row alone
    monkeypatch.undo()
    same(lm, rows, [(50, 51), (52, 53)], 6)
    assert [short.ids, long.ids] == generation.generate(lm, rows, 6).ids


def test_one_run_verifies_a_right_draft(monkeypatch):
    lm = tiny.model("llama")
    row = lm.rows(["A cat sat"])[0][0]
    said = generation.generate(lm, [row], 9).ids[0]
    runs, backbone = [], lm.backbone
    monkeypatch.setattr(lm, "backbone", lambda *a, **m: runs.append(1) or backbone(*a, **m))
    (reply,) = ask(lm, [Question(row, [tuple(said)], most=9)])
    assert reply.ids == said and reply.scores[tuple(said)].hits.all() and len(runs) == 1
    runs.clear()
    (reply,) = ask(lm, [Question(row, most=9, draft=said)])
    assert reply.ids == said and len(runs) == 1
    runs.clear()
    (reply,) = ask(lm, [Question(row, most=9)])
    assert reply.ids == said and len(runs) >= len(said)


def test_bad_questions_are_one_sentence():
    lm = tiny.model("gpt2")
    with pytest.raises(ValueError, match="An empty target cannot be scored"):
        ask(lm, [Question([40], [()])])
    with pytest.raises(ValueError, match="tokens, but the context"):
        ask(lm, [Question([40] * lm.context, [(41, 42)])])
    # a row that fills the context is scored, and gets no token
    (reply,) = ask(lm, [Question([40] * lm.context, [(41,)], most=5)])
    assert reply.ids == [] and len(reply.scores[41,].hits) == 1
    assert ask(lm, []) == []
