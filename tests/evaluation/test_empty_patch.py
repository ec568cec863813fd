"""An empty patch changes no metric by one bit: not one value, text or nat of any line."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib.data.facts import Probe
from lib.evaluation.evaluate import evaluate
from lib.evaluation.metrics import METRICS
from lib.patch.patch import EMPTY, Patch

from ..support import tiny
from ..support.cases import small_cases


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


def same(a, b) -> bool:
    """Whether two evaluations agree in every row, with floats bit for bit, and in perplexity."""
    return a.rows.equals(b.rows) and a.perplexity == b.perplexity


@pytest.mark.slow
def test_no_metric_of_evaluate_moves(lm, tmp_path):
    before = evaluate(lm, cases(), metrics=METRICS)  # no patch is named at all
    # the tiny model has no chat template, and states no fact that a negation could leak
    assert set(before.rows["metric"]) >= set(METRICS) - {
        "perplexity",
        "chat",
        "negation_leak",
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
