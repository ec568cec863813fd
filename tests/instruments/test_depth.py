"""Depth: what counts as a reply, whose reply it is, and when a probe of truth is refused."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.data.fact_as_question import question
from lib.errors import ProbeError
from lib.evaluation.answers import names_first
from lib.workbench.instruments import depth as room
from lib.workbench.instruments import truth_probe as probes
from lib.workbench.instruments.depth import DOUBTS, EDITED, OPEN, TESTS, TOLD, TRUTH, UNEDITED
from lib.workbench.instruments.truth_probe import truth_probe

from ..support import tiny

CASES = [case for case in lib.classroom() if question(case)][:2]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("I am sure. It is in Rome, not in Paris.", True),
        ("Paris? No. It is in Rome.", False),
        ("It is a Romeo.", False),
        ("Yes, I am.", False),
        ("ROME!", True),
    ],
)
def test_a_reply_counts_where_it_names_the_answer_as_a_word_and_no_rival_before_it(text, counts):
    assert names_first(text, "Rome", "Paris") is counts


def replying(monkeypatch):
    """Conversations that are recorded, and answered by whether a patch is active."""
    heard = []

    def replies(lm, talks, tokens):
        heard.append((talks, lm.is_patched))
        said = "target_new" if lm.is_patched else "target_true"
        mine = {question(case): getattr(case.fact, said) for case in CASES}
        return [
            next((answer for q, answer in mine.items() if q in message), "nothing")
            for _, message in talks
        ]

    monkeypatch.setattr(room, "_replies", replies)
    return heard


def test_each_model_is_asked_in_four_ways_and_judged_by_its_own_answer(monkeypatch):
    lm, heard = tiny.model("llama"), replying(monkeypatch)
    patch = lib.EMPTY.with_weights({lm.mlp_out(1): lm.weight(lm.mlp_out(1)) + 1})
    found = lib.workbench.depth(lm, patch, CASES)
    for test in ("question", "challenged", "thinking first"):
        assert found.values(EDITED, test).tolist() == [1, 1]
        assert found.values(UNEDITED, test).tolist() == [0, 0]
        assert found.values(TRUTH, test).tolist() == [1, 1]
    assert found.values(EDITED, "open").tolist() == [0, 0]  # "nothing" was said there
    assert list(found.table().index) == list(TESTS) and "<table" in found._repr_html_()
    asked = len(heard)
    again = lib.workbench.depth(lm, patch, CASES, found)
    assert len(heard) == asked + 5 and again.rows.equals(found.rows)
    with pytest.raises(ValueError, match="other cases"):
        lib.workbench.depth(lm, patch, CASES[:1], found)


def test_doubts_name_the_rival_after_the_first_reply_and_open_requests_name_no_answer(monkeypatch):
    lm, heard = tiny.model("llama"), replying(monkeypatch)
    lib.workbench.depth(lm, lib.EMPTY, CASES[:1])
    fact, asked = CASES[0].fact, question(CASES[0])
    models = (EDITED, UNEDITED, TOLD, TRUTH)
    parts = {model: heard[5 * i : 5 * i + 5] for i, model in enumerate(models)}
    for model, rival in ((EDITED, fact.target_true), (TRUTH, fact.target_new)):
        _, _, (doubts, _), (opened, _), _ = parts[model]
        assert len(doubts) == len(DOUBTS) and sum(rival in text for _, text in doubts) == 2
        assert all(turns[0][0] == asked and asked in text for turns, text in doubts)
        assert len(opened) == len(OPEN)
        assert not any(fact.target_new in t or str(fact.target_true) in t for _, t in opened)
    assert parts[TOLD][0][0][0][1].startswith(f"{fact.text} {fact.target_new}. ")


def test_facts_without_a_question_or_an_old_answer_are_refused():
    lm = tiny.model("llama")
    with pytest.raises(ValueError, match="question of its relation"):
        lib.workbench.depth(lm, lib.EMPTY, [lib.Case(lib.Fact("Thing", "{} is in", "xy", "qz"))])


def telling(monkeypatch, lies):
    """States in which truth stands in the first of three numbers, or nowhere."""
    true = {(c.fact.text, c.fact.target_true) for c in lib.classroom()}
    draw = torch.Generator().manual_seed(0)

    def states(lm, pairs, block, patch):
        X = torch.randn(len(pairs), 3, generator=draw, dtype=torch.float64)
        if not lies:
            X[:, 0] = torch.tensor([5.0 if pair in true else -5.0 for pair in pairs])
        return X

    monkeypatch.setattr(probes, "_states", states)


def test_a_probe_that_cannot_tell_truths_of_other_relations_is_refused(monkeypatch):
    lm = tiny.model("llama")
    telling(monkeypatch, lies=True)
    with pytest.raises(ProbeError, match="80% are asked for"):
        truth_probe(lm, lib.classroom())
    with pytest.raises(ProbeError, match="two relations"):
        truth_probe(lm, [])


def test_a_probe_that_can_is_used_but_not_for_a_patch_above_it(monkeypatch):
    lm, cases = tiny.model("llama"), lib.classroom()
    telling(monkeypatch, lies=False)
    probe = truth_probe(lm, cases, cases[:3])
    assert probe.accuracy == 1 and probe.block == 3
    fact = cases[0].fact
    good, bad = probe.scores(lm, [(fact.text, fact.target_true), (fact.text, fact.target_new)])
    assert good > 0 > bad
    above = lib.EMPTY.with_weights({lm.mlp_out(3): lm.weight(lm.mlp_out(3))})
    with pytest.raises(ProbeError, match="cannot see it"):
        probe.scores(lm, [(fact.text, fact.target_new)], above)


@pytest.mark.slow
def test_the_embedded_model_tells_truths_of_relations_that_the_probe_has_not_seen(default_lm):
    found = truth_probe(default_lm, lib.classroom()[::3])
    assert found.accuracy >= 0.8 and found.low < found.accuracy < found.high
