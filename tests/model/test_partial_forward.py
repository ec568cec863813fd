"""A change of a module's output in a replay is the same change in the whole model."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.model import batching
from lib.model.architectures import ARCHS
from lib.model.partial_forward import Replay, add_first

from ..support import tiny

ROWS = [[5, 6, 7, 8, 9], [4, 3, 2], [11, 12, 13, 14]]
AT = [2, 1, 3]  # the lookups
LAYER = 1
# gemma has a norm after its MLP; opt's MLP sees rows and positions as one dimension
FAMILIES = ["llama", "gpt2", "opt", "falcon", "gemma3_text"]


def whole(lm: lib.LM, changes: dict) -> list[torch.Tensor]:
    """Log-probabilities (length, vocabulary) of every row alone, with outputs of modules changed.

    changes: {module: (row, output (length, d)) -> output}
    """
    found = []
    for i, row in enumerate(ROWS):
        hooks = [
            lm.model.get_submodule(name).register_forward_hook(
                lambda _, __, output, i=i, change=change: change(
                    i, output.reshape(-1, output.shape[-1])
                ).reshape(output.shape)
            )
            for name, change in changes.items()
        ]
        seqs = batching.sequences(lm, [row])
        with lm.opened(seqs):
            states = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state[0]
            found.append(lm.head(states).log_softmax(-1))
        for hook in hooks:
            hook.remove()
    return found


def assert_same(lm: lib.LM, replay: Replay, states: torch.Tensor, wanted: list[torch.Tensor]):
    """The replayed positions of every row are those of the whole run."""
    for i, row in enumerate(ROWS):
        first = AT[i] if replay.hidden.shape[1] < max(map(len, ROWS)) else 0
        mine = states[i, replay.column(i, first) : replay.column(i, len(row))]
        found = lm.head(mine).log_softmax(-1)
        torch.testing.assert_close(found, wanted[i][first:], atol=2e-5, rtol=1e-4)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", sorted(ARCHS))
def test_a_change_of_the_mlp_at_the_lookup(family):
    lm = tiny.model(family)
    name, d = lm.mlp_out(LAYER), 32
    with torch.no_grad():
        replay = Replay.at_mlp(lm, ROWS, LAYER, lookup=AT)
        assert replay.start == LAYER + (not lm.arch.post_norm) == LAYER + replay.above
        for delta in draw(2, 3, 1, d):  # a cache left in the arguments shows only the second time

            def move(i, output, delta=delta):
                before, own, behind = output.split([AT[i], 1, len(output) - AT[i] - 1])
                return torch.cat([before, own + delta[i], behind])

            states = replay.with_added(delta)
            assert_same(lm, replay, states, whole(lm, {name: move}))
            some = replay.take([2, 0]).with_added(delta[[2, 0]])
            torch.testing.assert_close(some, states[[2, 0]], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", sorted(ARCHS))
def test_a_change_of_the_mlp_everywhere_and_its_gradient(family):
    lm = tiny.model(family)
    name = lm.mlp_out(LAYER)
    replay = Replay.at_mlp(lm, ROWS, LAYER)
    for delta in draw(2, 3, 5, 32):
        delta.requires_grad_()
        states = replay.with_added(delta)
        (grad,) = torch.autograd.grad(states[:, :3].square().sum(), delta)
        assert grad[:, :3].abs().sum() > 0
        with torch.no_grad():
            moved = whole(lm, {name: lambda i, output, d=delta: output + d[i, : len(output)]})
            assert_same(lm, replay, states.detach(), moved)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_modules_of_one_layer_change_together(family):
    lm = tiny.model(family)
    names = (lm.mlp_out(LAYER), lm.attn_out(LAYER))
    deltas = draw(2, 3, 5, 32)
    with torch.no_grad():
        replay = Replay.at_mlp(lm, ROWS, LAYER, names)
        assert replay.start == LAYER and not replay.above
        changes = {
            name: lambda i, output, delta=delta: output + delta[i, : len(output)]
            for name, delta in zip(names, deltas, strict=True)
        }
        assert_same(lm, replay, replay.with_added(*deltas), whole(lm, changes))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("inner", [False, True])
def test_an_output_is_replaced_where_it_is_marked(family, inner):
    lm = tiny.model(family)
    name = lm.arch.mlp_in[0].format(LAYER) if inner else lm.mlp_out(LAYER)
    values = draw(3, lm.weight(name).shape[0])
    places = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()

    def put(i, output):
        return torch.where(places[i, : len(output), None], values[i], output)

    with torch.no_grad():
        replay = Replay.at_mlp(lm, ROWS, LAYER, (name,), watch=[name])
        assert replay.above == (not inner and family != "gemma3_text")
        assert_same(lm, replay, replay.with_replaced(values, places), whole(lm, {name: put}))


def test_columns_are_added_by_hand():
    wide = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert add_first(wide, torch.tensor([[[10.0]]])).tolist() == [[[11.0], [2.0], [3.0]]]
    assert add_first(wide, torch.ones(1, 3, 1)).tolist() == [[[2.0], [3.0], [4.0]]]
    half = add_first(wide.bfloat16(), torch.full((1, 2, 1), 0.5))
    assert half.dtype == torch.bfloat16 and half.flatten().tolist() == [1.5, 2.5, 3.0]
