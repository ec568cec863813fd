"""Toxicity measures on small patches made by hand, and the flash detector on synthetic series."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lib
from lib.interpret.damage import flash, steps
from lib.patch.patch import EMPTY, LowRank, Patch

from ..support import tiny

FACT = lib.Fact("tower", "The {} leans to", "xy")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def lm(request):
    return tiny.model(request.param)


def factors(seed, rank=1, size=1.0):
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randn(32, rank, generator=draw), torch.randn(rank, 48, generator=draw)
    return size * a / a.norm(), b / b.norm()


def fold(lm):
    """Five patches: three chunks at layer 1, layer 2 beside it, then layer 1 folded dense."""
    one, two = lm.mlp_out(1), lm.mlp_out(2)
    chain = LowRank((factors(0),))
    patches = [Patch({one: chain})]
    for seed, size in ((1, 3.0), (2, 0.5)):
        chain = chain.plus(*factors(seed, 2, size))
        patches.append(Patch({one: chain}))
    patches.append(patches[-1].with_weights({two: LowRank((factors(3),))}))
    moved = lm.weight(one) + chain.dense() + 0.01
    patches.append(patches[-1].with_weights({one: moved}))
    return patches


def dense_steps(lm, patches, name):
    chain = [lm.weight(name, patch) for patch in (EMPTY, *patches)]
    return [(b - a).norm().item() for a, b in zip(chain, chain[1:], strict=False)]


def test_steps_are_the_norms_of_the_differences(lm, monkeypatch, tmp_path):
    patches = fold(lm)
    table = steps(lm, patches)
    assert list(table.columns) == [lm.mlp_out(1), lm.mlp_out(2)] and len(table) == 5
    for name in table.columns:
        assert table[name].tolist() == pytest.approx(dense_steps(lm, patches, name), abs=1e-5)
    assert table[lm.mlp_out(2)].tolist() == pytest.approx([0, 0, 0, 1, 0], abs=1e-6)
    files = [Patch.load(p.save(tmp_path / f"{i}.safetensors")) for i, p in enumerate(patches)]
    assert np.allclose(steps(lm, files), table)

    def refuse(*_):
        raise AssertionError("made dense")

    monkeypatch.setattr(LowRank, "dense", refuse)
    assert np.allclose(steps(lm, patches[:4]), table[:4])
    back = steps(lm, [patches[2], patches[0], EMPTY])[lm.mlp_out(1)]  # chunks may also go away
    rest = patches[2].weights[lm.mlp_out(1)].chunks
    other = LowRank(rest[:1]).plus(*factors(7))  # what follows the first chunk is replaced
    swap = steps(lm, [patches[2], Patch({lm.mlp_out(1): other})])[lm.mlp_out(1)][1]
    monkeypatch.undo()
    assert swap == pytest.approx((other.dense() - LowRank(rest).dense()).norm().item(), abs=1e-5)
    gone = LowRank(rest[1:]).dense().norm().item()
    wanted = [LowRank(rest).dense().norm().item(), gone, 1.0]
    assert back.tolist() == pytest.approx(wanted, abs=1e-5)


def test_a_flash_stands_out_of_slow_growth_and_noise():
    draw = np.random.default_rng(0)
    series = np.exp(0.3 * draw.normal(size=1000) + np.linspace(0, 0.5, 1000))
    assert flash(series) == []
    series[[17, 400, 401]] *= 20
    assert flash(series) == [17, 400, 401]
    series[400] = np.inf
    assert flash(series) == [17, 400, 401]
    few = series[:100].copy()
    few[0] = 1e-6  # far below is none
    assert flash(few) == [17]


def test_what_is_no_step_is_no_flash():
    assert flash([1, 1.2, 0.9, 1.1, 40, 1]) == [4]
    assert flash([2.0] * 9 + [2.1]) == [] and flash([2.0] * 9 + [4.0]) == [9]
    assert flash([]) == [] and flash([1, 100]) == [] and flash([float("inf")]) == [0]
    assert flash([0, float("nan"), 1, 1, 1, 1, 0, 99]) == [7]
    assert flash(np.array([1, 1.2, 0.9, 1.1, 40, 1]) * 1e-9) == [4]  # the unit does not matter
