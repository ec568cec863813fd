"""Ways around `lm` inside `lm.patched`: the edited model or a sentence, for every kind of patch."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, pipeline

import lib
from lib.editors.retrieval.retrieval import Entry, Notes

from ..support import tiny
from ..support.editor_settings import TINY

FACT = lib.Fact("Ann Lee", "{} lives in", " xy")
IDS = torch.tensor([list(b"Ann Lee lives in")])
ROUTED = sorted(name for name, kind in lib.EDITORS.items() if kind.writes == "routes")
SAID = r"This patch acts on prompts.*lm.answer, lm.generate, lm.score or lm.run.*patch.save"


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(scope="module")
def weights(lm):
    """A patch of two matrices, one as a low-rank change."""
    torch.manual_seed(3)
    one, two = lm.mlp_out(0), lm.mlp_out(3)
    W = lm.weight(one)
    low = lib.LowRank(((torch.randn(W.shape[0], 1), torch.randn(1, W.shape[1])),))
    return lib.Patch({one: W + torch.randn_like(W), two: low}, base=lm.identity)


@pytest.fixture(scope="module")
def acting(lm, weights):
    """{name: a patch that acts on prompts}: of every routed editor, retrieval, and mixed ones."""
    found = {
        name: lib.EDITORS[name](lm, **{**TINY[name], **_fewer(name)}).edit([FACT])
        for name in ROUTED
    }
    found["retrieval"] = lib.EDITORS["retrieval"](lm).edit([FACT])
    found["weights and route"] = weights | replace(found["grace"], log=())
    notes = Notes((Entry("Ann Lee", "{} lives in", "xy"),))
    found["weights and rewrite"] = replace(weights, rewrites=(notes,))
    return found


def _fewer(name):
    """Few steps: what is written does not matter here."""
    return {"n_iter": 2} if "n_iter" in TINY[name] else {}


NAMES = [*ROUTED, "retrieval", "weights and route", "weights and rewrite"]


def ways(lm, folder):
    """{name: a way to run, write or copy the model that goes around `lm`}."""
    model = lm.model
    return {
        "generate": lambda: model.generate(IDS, max_new_tokens=2),
        "call": lambda: model(IDS),
        "forward": lambda: model.forward(IDS),
        "backbone": lambda: model.base_model(IDS),
        "backbone's forward": lambda: model.base_model.forward(IDS),
        "embeddings given": lambda: model(inputs_embeds=model.get_input_embeddings()(IDS)),
        "wrapped": lambda: nn.DataParallel(model).module(IDS),
        "pipeline": lambda: pipeline("text-generation", model=model, tokenizer=lm.tokenizer)("Ann"),
        "save_pretrained": lambda: model.save_pretrained(folder / "whole"),
        "backbone's save": lambda: model.base_model.save_pretrained(folder / "part"),
        "state_dict": model.state_dict,
        "backbone's state_dict": model.base_model.state_dict,
        "a state_dict from outside": lambda: nn.ModuleDict({"inside": model}).state_dict(),
    }


def state(lm):
    """What may not be changed by a patch that was left: own attributes, hooks and weights."""
    return [
        (module, sorted(vars(module)), list(module._forward_hooks), list(module._forward_pre_hooks))
        for module in lm.model.modules()
    ], [(id(p), p.clone()) for p in lm.model.parameters()]


def same(one, other):
    return one[0] == other[0] and all(
        a == b and torch.equal(p, q) for (a, p), (b, q) in zip(one[1], other[1], strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_way_around_is_a_sentence_and_nothing_is_written(lm, acting, name, tmp_path):
    before, base = state(lm), lm.model(IDS).logits
    with lm.patched(acting[name]):
        for way, go in ways(lm, tmp_path).items():
            with pytest.raises(lib.errors.PatchError, match=SAID):
                pytest.fail(f"{way} gave {go()}")
        edited = lm.answer("Ann Lee lives in", 3)
        assert lm.score("Ann Lee lives in", "xy").shape == (1,)
        assert edited.startswith(lm.generate("Ann Lee lives in", 3))
        lm.run(["Ann Lee lives in"])
        lm.next_token("Ann Lee lives in")
    assert not list(tmp_path.rglob("*.safetensors"))
    assert same(before, state(lm))
    assert torch.equal(lm.model(IDS).logits, base)


def test_weights_are_run_written_and_copied_as_edited(lm, weights, tmp_path):
    base = lm.model(IDS).logits
    with lm.patched(weights):
        wanted = lm.model(IDS).logits
        text = lm.model.generate(IDS, max_new_tokens=4)
        lm.model.save_pretrained(tmp_path / "whole")
        copied = copy.deepcopy(lm.model)
        kept = io.BytesIO()
        torch.save(lm.model.state_dict(), kept)
    assert not torch.equal(wanted, base)
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert torch.equal(read(IDS).logits, wanted) and torch.equal(copied(IDS).logits, wanted)
    assert torch.equal(read.generate(IDS, max_new_tokens=4), text)
    kept.seek(0)
    read = copy.deepcopy(lm.model)
    read.load_state_dict(torch.load(kept))
    assert torch.equal(read(IDS).logits, wanted)
    assert torch.equal(lm.model(IDS).logits, base)


def test_weights_that_are_stored_transposed_are_written_as_edited(tmp_path):
    lm, name = tiny.model("gpt2"), "transformer.h.0.mlp.c_proj"
    W = lm.weight(name)
    with lm.patched(lib.Patch({name: W + torch.randn_like(W)}, base=lm.identity)):
        wanted = lm.model(IDS).logits
        lm.model.save_pretrained(tmp_path)
    found = AutoModelForCausalLM.from_pretrained(tmp_path)(IDS).logits
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(lm.model(IDS).logits, wanted, atol=1e-2)


@pytest.mark.parametrize("name", ["retrieval", "grace"])
def test_a_body_that_raises_and_nested_patches_leave_the_model_as_it_was(
    lm, acting, weights, name, tmp_path
):
    before = state(lm)
    with pytest.raises(KeyError), lm.patched(acting[name]):
        raise KeyError
    assert same(before, state(lm))
    with lm.patched(acting[name]):
        with lm.patched(weights):  # the route and the rewrite go on
            with pytest.raises(lib.errors.PatchError, match=SAID):
                lm.model(IDS)
        with lm.patched(weights, only=True):  # the weights alone
            wanted = lm.model(IDS).logits
            lm.model.save_pretrained(tmp_path)
        with pytest.raises(lib.errors.PatchError, match=SAID):
            lm.model.save_pretrained(tmp_path / "more")
    with lm.patched(weights):
        assert torch.equal(lm.model(IDS).logits, wanted)
        with lm.patched(acting[name]), pytest.raises(lib.errors.PatchError, match=SAID):
            lm.model.generate(IDS)
        assert torch.equal(lm.model(IDS).logits, wanted)
    assert same(before, state(lm))


def test_another_lm_of_the_same_model_does_not_pass_over_the_patch(lm, acting, weights):
    other = type(lm)(lm.model, lm.tokenizer, name=lm.name)
    before = state(lm)
    with lm.patched(acting["retrieval"]):
        with pytest.raises(lib.errors.PatchError, match=SAID):
            other.answer("Ann Lee lives in", 2)
    with lm.patched(weights), other.patched(acting["retrieval"]):
        assert isinstance(other.answer("Ann Lee lives in", 2), str)
    assert same(before, state(lm))


@pytest.mark.slow
def test_a_model_that_was_compiled_before_does_not_pass_over_the_patch(acting, weights, lm):
    lm = tiny.model("llama")
    base = lm.model(IDS).logits
    with lm.patched(weights):
        wanted = lm.model(IDS).logits
    compiled = torch.compile(lm.model, backend="eager")
    assert torch.equal(compiled(IDS).logits, base)
    with lm.patched(weights):
        assert torch.equal(compiled(IDS).logits, wanted)
    assert torch.equal(compiled(IDS).logits, base)
    lm.model.compile(backend="eager")
    with pytest.raises(lib.errors.PatchError, match="compiled"), lm.patched(acting["retrieval"]):
        pass


def test_an_export_inside_a_patch_is_that_of_its_own_patch(lm, acting, tmp_path):
    with lm.patched(acting["retrieval"]):
        lib.workbench.export_model(lm, lib.EMPTY, tmp_path / "base")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.equal(found(IDS).logits, lm.model(IDS).logits)
