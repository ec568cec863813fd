"""An empty patch changes no metric by one bit: not one value, text or nat of any line."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib.data.facts import Probe
from lib.evaluation.abilities import KINDS, abilities, items
from lib.evaluation.evaluate import evaluate
from lib.evaluation.probe_prompts import LONG, METRICS
from lib.patch.patch import EMPTY, Patch

from ..support import tiny
from ..support.cases import small_cases

FEW = 4  # items of each kind of abilities


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def cases():
    """Four facts, one of them with a consequence of a kind, so that every metric has a line."""
    first, *others = small_cases()
    asked = Probe("Ann lives in", "Italy", kind="one-hop", parts=(Probe("One is", "q"),))
    return [replace(first, portability=(*first.portability, asked, replace(asked, parts=())))] + (
        others
    )


def changed(lm) -> Patch:
    """A patch after which nothing is as before."""
    name = lm.mlp_out(1)
    weight = lm.weight(name)
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(weight.numel(), generator=draw)
    return EMPTY.with_weights({name: 9 * weight.flatten()[order].view_as(weight)})


def few():
    return [item for kind in KINDS for item in [i for i in items() if i.kind == kind][:FEW]]


def same(a, b) -> bool:
    """Whether two evaluations agree in every row, with floats bit for bit, and in perplexity."""
    return a.rows.equals(b.rows) and a.perplexity == b.perplexity


def test_no_metric_of_evaluate_moves(lm, tmp_path):
    before = evaluate(lm, cases(), metrics=METRICS)  # no patch is named at all
    # the tiny model has no chat template, and states no fact that a negation could leak
    assert set(before.rows["metric"]) >= set(METRICS) - {
        "perplexity",
        "chat",
        "negation_leak",
        *LONG,
    }
    assert before.perplexity > 1
    kl = before.rows[before.rows["event"] == "kl_nats"]["value"]
    assert len(kl) and (kl == 0.0).all()
    empty = Patch.load(EMPTY.save(tmp_path / "empty.safetensors"))
    assert same(before, evaluate(lm, cases(), empty, metrics=METRICS))
    # also with the base model's answers known, and after another patch has come and gone
    broken = evaluate(lm, cases(), changed(lm), metrics=METRICS, base=before.base)
    assert not same(before, broken)
    assert same(before, evaluate(lm, cases(), empty, metrics=METRICS, base=before.base))


def test_no_ability_moves(lm, tmp_path):
    empty = Patch.load(EMPTY.save(tmp_path / "empty.safetensors"))
    before = abilities(lm, some=few())
    assert (before.page["base"] == before.page["edited"]).all() and len(before.page)
    broken = abilities(lm, changed(lm), few(), base=before)
    assert (broken.page["base"] != broken.page["edited"]).all()
    again = abilities(lm, empty, few(), base=before)
    assert again.rows.equals(before.rows) and again.page.equals(before.page)
    assert again.json() == before.json()
