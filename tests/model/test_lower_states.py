"""Kept states of an evaluation: the numbers of a whole run, with lower blocks run once per row."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.evaluation.probe_prompts import METRICS
from lib.evaluation.scores import Base
from lib.model.lower_states import OVERHEAD, LowerStates

from ..support import tiny
from .test_prefix_cache import FAMILIES, TEXTS, states

FORCED = ("teacher_forced", "probability")


def above(lm, layer, seed=0):
    """A patch of the MLP output of a layer."""
    torch.manual_seed(seed)
    name = lm.mlp_out(layer)
    return lib.Patch({name: torch.randn_like(lm.weight(name))}, base=lm.identity)


def counted(lm, monkeypatch, block):
    """A list that grows by one each time a block runs."""
    calls, plain = [], lm.blocks[block].forward
    run = lambda *given, **named: calls.append(1) or plain(*given, **named)  # noqa: E731
    monkeypatch.setattr(lm.blocks[block], "forward", run, raising=False)
    return calls


def close(found, wanted):
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", [2, 3])
def test_a_patched_run_from_kept_states_is_the_whole_run(family, layer):
    lm = tiny.model(family)
    rows, patch = lm.rows(TEXTS)[0], above(lm, layer)
    plain = states(lm, rows)
    with lm.patched(patch):
        wanted = states(lm, rows)
    assert (wanted[0] - plain[0]).abs().max() > 1e-2
    kept = LowerStates(lm)
    assert kept.depths == [2, 3]
    for _ in range(2):
        with kept.used():
            close(states(lm, rows), plain)
            with lm.patched(patch):
                for some in (rows, rows[1:3], rows[:1] * 2):
                    for row, state in zip(some, states(lm, some), strict=True):
                        close([state], [wanted[rows.index(row)]])
    assert len(kept.states) == len(rows) and lm.prefix is None
    assert not any("forward" in vars(block) for block in lm.blocks)


def test_blocks_below_run_once_for_a_row_and_those_above_each_time(monkeypatch):
    lm = tiny.model("llama")
    rows, kept = lm.rows(TEXTS)[0], LowerStates(lm)
    low, high = counted(lm, monkeypatch, 1), counted(lm, monkeypatch, 3)
    with kept.used():
        states(lm, rows)
        ran = len(low)
        for layer in (2, 3):
            with lm.patched(above(lm, layer)):
                states(lm, rows)
    assert 0 < ran == len(low) and len(high) == 3
    with kept.used(), lm.patched(above(lm, 1)):
        states(lm, rows)  # nothing below this block is kept
    assert len(low) == ran + 1


def test_a_route_or_a_hook_below_is_never_skipped():
    lm = tiny.model("llama")
    rows, seen = lm.rows(TEXTS)[0], []
    kept = LowerStates(lm)
    with kept.used():
        states(lm, rows)
        hook = lm.model.get_submodule(lm.mlp_out(0)).register_forward_hook(
            lambda *_: seen.append(1)
        )
        states(lm, rows)
        hook.remove()
        told = lm.answer(TEXTS, 4)  # with a cache: the whole model
    assert len(seen) == 1 and told == lm.answer(TEXTS, 4)


def test_a_row_does_not_depend_on_the_rows_that_it_was_first_read_with():
    lm = tiny.model("llama")
    rows = [[7, 8, i][: 2 + i % 2] for i in range(9)] + [[i] for i in range(5)]
    alone, together = LowerStates(lm), LowerStates(lm)
    for kept, parts in ((alone, [[row] for row in rows]), (together, [rows])):
        with kept.used():
            for some in parts:
                states(lm, some)
    assert alone.states.keys() == together.states.keys()
    for row, found in together.states.items():
        assert all(torch.equal(found[depth], alone.states[row][depth]) for depth in found)


def test_memory_is_bounded_and_rows_beyond_it_are_right():
    lm = tiny.model("gpt2")
    rows = lm.rows(TEXTS)[0]
    one = OVERHEAD + 2 * 4 * 32 * max(map(len, rows))  # two depths of 32 float32
    kept = LowerStates(lm, limit=one)
    wanted = states(lm, rows)
    for _ in range(2):
        with kept.used():
            close(states(lm, rows), wanted)
        assert len(kept.states) == 1 and 0 < kept.bytes <= one
    with LowerStates(lm, limit=0).used():
        close(states(lm, rows), wanted)


def test_weights_written_between_two_uses_are_noticed():
    lm = tiny.model("llama")
    kept, rows = LowerStates(lm), lm.rows(TEXTS)[0]
    with kept.used():
        before = states(lm, rows)
    lm.model.get_submodule(lm.mlp_out(0)).weight.data.mul_(-1)
    wanted = states(lm, rows)
    with kept.used():
        close(states(lm, rows), wanted)
    assert (wanted[0] - before[0]).abs().max() > 1e-2


def test_a_run_with_gradients_goes_through_the_whole_model():
    lm, kept = tiny.model("llama"), LowerStates(tiny.model("llama"))
    ids = torch.tensor([[7, 8, 9, 10]])
    wide = lm.model.get_input_embeddings().weight.requires_grad_()
    lm.prefix = kept
    with lm.owner.hold(), torch.enable_grad():
        out = lm.backbone(ids, torch.ones_like(ids, dtype=torch.bool), use_cache=False)
        (found,) = torch.autograd.grad(out.last_hidden_state.square().sum(), wide)
    assert found[7].abs().max() > 0 and not kept.states


@pytest.mark.parametrize("events", [FORCED, None])
def test_evaluations_give_the_verdicts_of_whole_runs(events, monkeypatch):
    lm, cases = tiny.model("llama"), lib.classroom()[:6]
    patches = [lib.EMPTY, above(lm, 2), above(lm, 3), above(lm, 2, seed=1), above(lm, 0)]
    asked = {"metrics": [m for m in METRICS if m != "chat"], "text": "A cat sat. It ran away."}
    asked |= {"events": events} if events else {}

    def scores():
        base = Base(lm.identity)
        return base, [lib.evaluate(lm, cases, patch, base=base, **asked) for patch in patches]

    base, found = scores()
    assert base.lower.states and lm.prefix is None
    monkeypatch.setattr("lib.model.lower_states.DEPTHS", ())
    for one, two in zip(found, scores()[1], strict=True):
        kl = one.rows["event"] == "kl_nats"
        assert kl.any()
        assert one.rows[~kl].equals(two.rows[~kl])
        torch.testing.assert_close(
            *(torch.tensor(s.rows["value"][kl].to_numpy()) for s in (one, two)), atol=1e-5, rtol=0
        )
        assert one.perplexity == pytest.approx(two.perplexity, rel=1e-5)
