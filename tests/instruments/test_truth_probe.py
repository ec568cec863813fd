"""A probe of truth is refused where it cannot tell, and for a patch above it."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.errors import ProbeError
from lib.workbench.instruments import truth_probe as probes
from lib.workbench.instruments.truth_probe import truth_probe

from ..support import tiny


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
    with pytest.raises(ProbeError, match="80% are required"):
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
