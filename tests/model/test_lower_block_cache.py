"""Kept lower states: the same numbers as a whole run, and blocks below are called once only."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.model import batching
from lib.model.lower_block_cache import LowerBlockCache

from ..support import tiny

FAMILIES = ("llama", "gpt2", "gptj", "gpt_neo", "opt", "bloom", "falcon", "gemma3_text", "mistral")
TEXTS = ["I saw the old tower", "Who", "A cat sat on the mat", "Seven days of rain"]


def padded(lm, rows, side):
    ids, real = batching.pad(lm, rows)
    if side == "right":
        order = [torch.argsort(~here, stable=True) for here in real]
        ids, real = (
            torch.stack([t[o] for t, o in zip(both, order, strict=True)]) for both in (ids, real)
        )
    return ids, real


def states(lm, rows, side="left"):
    """Behind the final norm at real tokens, row by row."""
    ids, real = padded(lm, rows, side)
    with torch.no_grad(), lm.owner.hold():
        out = lm.backbone(ids, real, use_cache=False).last_hidden_state
    return [hidden[here] for hidden, here in zip(out, real, strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start", [1, 3])
def test_a_run_from_kept_states_is_the_whole_run(family, start):
    lm = tiny.model(family)
    rows = lm.rows(TEXTS)[0]
    wanted = states(lm, rows)
    prefix = LowerBlockCache(lm, start)
    forwards = [vars(block).get("forward") for block in lm.blocks]
    with prefix.used():
        for side in ("right", "left"):  # filled with the one padding, used with both
            for some in (rows, rows[1:3], rows[:1] * 2):
                for row, state in zip(some, states(lm, some, side), strict=True):
                    torch.testing.assert_close(state, wanted[rows.index(row)], atol=1e-5, rtol=1e-5)
    assert len(prefix.states) == len(rows) and lm.lower_blocks is None
    assert [vars(block).get("forward") for block in lm.blocks] == forwards


def test_blocks_below_run_once_and_a_patch_above_is_seen(monkeypatch):
    lm, calls = tiny.model("llama"), []
    rows, name = lm.rows(TEXTS)[0], lm.mlp_out(2)
    patch = lib.Patch({name: lm.weight(name) + 0.1}, base=lm.identity)
    with lm.patched(patch):
        wanted = states(lm, rows)
    plain = lm.blocks[0].forward
    monkeypatch.setattr(
        lm.blocks[0], "forward", lambda *a, **k: calls.append(1) or plain(*a, **k), raising=False
    )
    prefix = LowerBlockCache(lm, 2)
    with prefix.used():
        states(lm, rows)
        with lm.patched(patch):
            found = states(lm, rows)
        assert len(calls) == len({len(row) for row in rows})  # a run per length
        ran = len(calls)
        states(lm, [*rows, [7, 8, 9]])
        assert len(calls) == ran + 1 and len(prefix.states) == len(rows) + 1
    states(lm, rows)
    assert len(calls) == ran + 2  # outside, as ever
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_a_kept_row_does_not_depend_on_what_it_was_filled_with():
    lm = tiny.model("llama")
    rows = [[7, 8, i] for i in range(9)]
    alone, together = LowerBlockCache(lm, 2), LowerBlockCache(lm, 2)
    for prefix, parts in ((alone, [[row] for row in rows]), (together, [rows])):
        with prefix.used():
            for some in parts:
                states(lm, some)
    assert all(torch.equal(alone.states[key], state) for key, state in together.states.items())


def test_what_lies_below_is_never_skipped():
    lm = tiny.model("llama")
    rows, name = lm.rows(TEXTS)[0], lm.mlp_out(1)
    patch = lib.Patch({name: lm.weight(name) + 0.1}, base=lm.identity)
    with lm.patched(patch):
        wanted = states(lm, rows)
    seen = []
    with LowerBlockCache(lm, 2).used():
        states(lm, rows)
        with lm.patched(patch):
            assert all(map(torch.equal, states(lm, rows), wanted))
        hook = lm.model.get_submodule(name).register_forward_hook(lambda *_: seen.append(1))
        states(lm, rows)
        hook.remove()
        told = lm.answer(TEXTS, 4)  # with a cache: as ever
    assert seen and told == lm.answer(TEXTS, 4)


def test_memory_is_bounded_and_the_oldest_goes():
    lm = tiny.model("gpt2")
    rows = lm.rows(TEXTS)[0]
    size = [4 * 32 * len(row) for row in rows]  # float32, 32 wide
    prefix = LowerBlockCache(lm, 2, limit=size[0] + size[1])
    wanted = states(lm, rows)
    with prefix.used():
        for _ in range(2):
            found = states(lm, rows)  # a batch larger than the limit is exact all the same
            assert prefix.bytes <= prefix.limit
        states(lm, rows[:2])
        assert list(prefix.states) == [tuple(row) for row in rows[:2]]
        states(lm, rows[:1])
        states(lm, rows[3:])
    assert tuple(rows[1]) not in prefix.states and tuple(rows[3]) in prefix.states
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_gradients_flow_above_as_ever():
    lm = tiny.model("llama")
    rows, name = lm.rows(TEXTS)[0], lm.mlp_out(2)
    ids, real = batching.pad(lm, rows)
    found = []
    for prefix in (None, LowerBlockCache(lm, 2)):
        W = lm.weight(name).requires_grad_()
        lm.lower_blocks = prefix
        with lm.owner.hold(), lm.bind({name: W}), torch.enable_grad():
            out = lm.backbone(ids, real, use_cache=False).last_hidden_state[real]
            found.append(torch.autograd.grad(out.square().sum(), W)[0])
        lm.lower_blocks = None
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_weights_written_between_two_uses_are_noticed():
    lm = tiny.model("llama")
    prefix, rows = LowerBlockCache(lm, 3), [[1, 2, 3], [4, 5]]
    with prefix.used():
        before = lm.next_token(rows)
    lm.model.get_submodule(lm.mlp_out(0)).weight.data.mul_(-1)
    wanted = lm.next_token(rows)
    with prefix.used():
        torch.testing.assert_close(lm.next_token(rows), wanted, atol=1e-4, rtol=1e-4)
    assert (wanted - before).abs().max() > 1e-2
