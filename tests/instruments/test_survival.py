"""Lives change weights and nothing else."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.workbench.instruments.survival import (
    EditedAgain,
    Trained,
    matrices,
)

from ..support import tiny
from ..support.editor_settings import quick

FACTS = [lib.Fact(f"Thing {i}", "{} is in", "xy") for i in range(3)]
TEXT = ("Somewhere a cat saw a dog, and the dog saw the cat as well. " * 4,)


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(scope="module")
def patch(lm):
    return lib.EDITORS["ft"](lm, layer=3, lr=0.02, epochs=60).edit(FACTS)


def test_every_matrix_of_the_blocks_and_nothing_else_is_lived_with(lm):
    names = matrices(lm)
    inside = {n.removesuffix(".weight") for n, p in lm.model.named_parameters() if p.ndim == 2}
    assert set(names) == {name for name in inside if name.startswith(f"{lm.arch.blocks}.")}


@pytest.mark.parametrize("rank", [None, 2])
def test_training_lowers_the_loss_of_its_text_and_leaves_the_model(lm, patch, rank):
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    life = Trained(TEXT, steps=6, lr=1e-2, rank=rank)
    after = life(lm, patch)
    assert all(torch.equal(p, before[name]) for name, p in lm.model.named_parameters())
    losses = []
    for one in (patch, after):
        with lm.patched(one):
            losses.append(lib.perplexity(lm, TEXT[0]))
    assert losses[1] < 0.8 * losses[0]
    again = life(lm, patch)
    assert all(torch.equal(lm.weight(n, after), lm.weight(n, again)) for n in after.weights)
    assert after.log == patch.log and after.base == patch.base


def test_a_step_of_training_is_the_gradient_of_the_mean_loss(lm):
    """Against transformers' own loss, for one row and one step of AdamW (a step of lr · sign)."""
    life = Trained((TEXT[0][:90],), steps=1, lr=1e-3, batch=1)
    after, rows = life(lm, lib.EMPTY), life.rows(lm)
    assert len(rows) == 1
    model, ids = lm.model, torch.tensor(rows)
    params = [lm.model.get_submodule(name).weight for name in after.weights]
    for p in params:
        p.requires_grad_()
    try:
        with torch.enable_grad():
            grads = torch.autograd.grad(model(ids, labels=ids).loss, params)
    finally:
        for p in params:
            p.requires_grad_(False)
    for (name, W), grad in zip(after.weights.items(), grads, strict=True):
        large = grad.abs() > 1e-4  # where AdamW's epsilon does not count
        moved = (W - lm.weight(name))[large] / -1e-3
        torch.testing.assert_close(moved, grad[large].sign(), atol=2e-2, rtol=0)


def test_later_edits_follow_the_patch(lm, patch):
    later = EditedAgain("grace", (lib.Fact("Thing 9", "{} is in", "qz"),))
    kind = lib.EDITORS["grace"]
    with pytest.MonkeyPatch.context() as given:
        given.setattr(kind, "__init__", _with(kind.__init__, quick("grace")))
        after = later(lm, patch)
    assert after.log[: len(patch.log)] == patch.log and after.log[-1].editor == "grace"
    assert after.weights.keys() == patch.weights.keys()


def _with(init, settings):
    return lambda self, lm, **given: init(self, lm, **{**settings, **given})


def test_a_route_stays_beside_the_weights_that_change(lm):
    patch = lib.EDITORS["grace"](lm, **quick("grace")).edit([FACTS[0]])
    (place,) = patch.routes
    after = Trained(TEXT, steps=2, lr=1e-4)(lm, patch)
    assert after.routes[place] is patch.routes[place] and place not in after.weights
    with lm.patched(after):
        lm.answer("Thing 0 is in", 3)
