"""LoRA: what is trained is what is written, where it is put, and that peft reads the same."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.model.hooks import hooked

from ..support import tiny
from ..support.exported import logits, patched_logits, with_adapter

A = lib.Fact("The old tower", "I saw {}", "xy")
B = lib.Fact("The old tower", "Who built {}", "qz")
TUNE = {"layers": (1, 2), "rank": 4, "lr": 0.02, "epochs": 40}


def editor(lm: lib.LM, **more) -> lib.Editor:
    return lib.EDITORS["lora"](lm, **{**TUNE, **more})


def loss(lm: lib.LM, patch: lib.Patch, *facts: lib.Fact) -> float:
    """Mean NLL of the answers, by the library's own scores."""
    with lm.patched(patch):
        found = lm.score([f.text for f in facts], [f.target_new for f in facts])
    return -float(torch.stack([s.mean() for s in found]).mean())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_peft_reads_the_trained_adapter(family, tmp_path):
    lm = tiny.model(family)
    modules = ("down", "c_attn") if family == "gpt2" else ("down", "up", "attn", "q_proj")
    patch = editor(lm, modules=modules).edit([A])
    found = lib.workbench.export_peft(lm, patch, tmp_path / "adapter")
    assert found.exact and len(found.modules) == 2 * (2 if family == "gpt2" else 5)
    assert {written.rank for written in found.modules.values()} <= {1, 2, 3, 4}
    wanted, plain = patched_logits(lm, patch), logits(lm.model)
    for got, want in zip(with_adapter(lm, family, tmp_path / "adapter"), wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert (wanted[0] - plain[0]).abs().max() > 0.1


def test_the_first_step_moves_b_by_lr_and_leaves_a(tmp_path):
    lm = tiny.model("llama")
    once, none = (editor(lm, epochs=n, weight_decay=0.0).edit([A]) for n in (1, 0))
    for name, value in once.weights.items():
        ((b, a),), ((b0, a0),) = value.chunks, none.weights[name].chunks
        assert torch.equal(a, a0) and not b0.any()  # the gradient of A is zero while B is
        assert a.abs().max() <= 1 / a.shape[1] ** 0.5
        # Adam's first step is lr · sign; α/r stands in the patch
        torch.testing.assert_close(b.abs(), torch.full_like(b, 0.02 * 32 / 4), atol=1e-4, rtol=1e-3)


def test_training_stops_when_the_answer_is_learned():
    lm = tiny.model("llama")
    before = loss(lm, lib.EMPTY, A)
    known = editor(lm, enough=2 * before, target_eos=False).edit([A])
    assert not any(value.dense().any() for value in known.weights.values())  # nothing moved
    early = editor(lm, enough=0.5 * before, target_eos=False).edit([A])
    # the loss beside the weights is that of the patch: it ended below the bound, and not far below
    low = loss(lm, editor(lm, target_eos=False).edit([A]), A)
    assert low + 0.5 < loss(lm, early, A) < 0.5 * before


def test_all_facts_of_a_call_are_learned_in_shuffled_batches():
    lm = tiny.model("llama")
    both = editor(lm, batch_size=1).edit([A, B])
    with lm.patched(both):
        assert lm.answer([A.text, B.text], 1) == [" xy", " qz"]
    assert len(both.weights[lm.mlp_out(1)].chunks) == 1


def test_a_batch_is_read_once_for_each_step():
    lm, read = tiny.model("llama"), []
    with hooked(lm.blocks[-1], lambda *_: read.append(1)):
        editor(lm, epochs=3, batch_size=1, enough=0.0).edit([A, B], check=False)
    assert len(read) == 3 * 2


def test_a_later_call_starts_a_new_adapter_behind_the_first():
    lm = tiny.model("llama")
    one = editor(lm).edit([A])
    two = editor(lm).edit([B], after=one)
    for name, value in two.weights.items():
        assert value.chunks[0] is one.weights[name].chunks[0] and len(value.chunks) == 2
    with lm.patched(two):
        assert lm.answer(B.text, 1) == " qz"


def test_places_that_are_not_there_are_refused_in_one_sentence():
    lm = tiny.model("llama")
    assert editor(lm, layers=(3,), modules=("up",)).modules() == [
        "model.layers.3.mlp.gate_proj", "model.layers.3.mlp.up_proj"
    ]  # fmt: skip
    for wrong, message in (
        ({"modules": ("c_attn",)}, "no module 'c_attn' in its blocks. Available modules: down, up"),
        ({"modules": ()}, "modules should be a list of non-empty texts"),
        ({"rank": 0}, "rank should be a whole number of at least 1, not 0"),
        ({"layers": (2, 1)}, "Layers should ascend"),
    ):
        with pytest.raises(lib.errors.EditError, match=message):
            editor(lm, **wrong).edit([A])
    fused = tiny.model("phi3")
    with pytest.raises(lib.errors.EditError, match="gate and up in one matrix"):
        editor(fused, modules=("up",)).edit([A])
    with pytest.raises(lib.errors.EditError, match="gate and up in one matrix"):
        editor(fused, modules=("gate_up_proj",)).edit([A])
