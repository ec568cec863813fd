"""Every row of ARCHS on a tiny random model of its family: names, keys, scores, generation."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.data.facts import Fact, lookup
from lib.errors import FamilyError
from lib.model import generation
from lib.model.architectures import ARCHS, refuse_unpatchable
from lib.model.infer_architecture import arch_of
from lib.model.lm import LM

from ..support import tiny

CAT = Fact("cat", "A {} sat", "here")
TEXTS = ["The tower of Pisa leans", "A cat sat", "It is in the city of Rome, they say"]


@pytest.fixture(scope="module", params=sorted(ARCHS))
def lm(request) -> LM:
    return tiny.model(request.param)


def test_names_lead_to_modules_of_the_right_shape(lm):
    d_out, d_in = lm.weight(lm.mlp_out(1)).shape
    assert d_out == lm.model.config.get_text_config().hidden_size and d_in > d_out
    for layer in range(lm.n_layers):
        lm.model.get_submodule(lm.attn_out(layer))
        for name in (*lm.arch.mlp_in, *([lm.arch.mlp] if lm.arch.mlp else [])):
            lm.model.get_submodule(name.format(layer))
    assert lm.model.get_submodule(lm.arch.embed) is lm.model.get_input_embeddings()


def test_keys_are_the_inputs_of_mlp_out_at_the_subject(lm):
    facts = [CAT, Fact("tower of Pisa", "The {} leans", "left")]
    K = lm.keys(facts, 2)
    assert K.shape == (lm.weight(lm.mlp_out(2)).shape[1], 2) and K.dtype == torch.float32
    for i, fact in enumerate(facts):
        ids, at = lookup(lm.tokenizer, fact)
        seen = lm.run([ids], watch=[lm.mlp_out(2)]).seen[lm.mlp_out(2)][0]
        torch.testing.assert_close(K[:, i], seen[0, at], atol=1e-5, rtol=1e-4)
    both = lm.keys(facts, [1, 2], templates=["{}", "Well. {}"])
    assert both[2].shape == (2, K.shape[0], 2)
    torch.testing.assert_close(both[2][0], K, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_generation_equals_transformers_token_for_token(lm):
    rows = [lm.tokenizer(text).input_ids for text in TEXTS]
    mine = generation.generate(lm, rows, 8).ids
    uncached = generation.generate(lm, rows, 8, cache=False).ids
    for row, ids in zip(rows, mine, strict=True):
        theirs = lm.model.generate(
            torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long),
            max_new_tokens=8, do_sample=False, pad_token_id=0,
        )  # fmt: skip
        assert ids == theirs[0, len(row) :].tolist()
    assert mine == uncached
    assert [generation.generate(lm, [row], 8).ids[0] for row in rows] == mine


def test_batched_scores_equal_one_by_one(lm):
    targets = ["left", "on the mat today", "so"]
    batch = lm.score(TEXTS, targets)
    for text, target, together in zip(TEXTS, targets, batch, strict=True):
        alone = lm.score(text, target)
        assert alone.shape == (len(lm.tokenizer(" " + target).input_ids),)
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
        whole = lm.run([lm.tokenizer(text + " " + target).input_ids]).logits[0].log_softmax(-1)
        n = len(alone)
        ids = lm.tokenizer(" " + target).input_ids
        direct = torch.stack([whole[-n - 1 + i, t] for i, t in enumerate(ids)])
        torch.testing.assert_close(alone, direct, atol=1e-4, rtol=1e-4)


def test_fused_projections_are_refused():
    lm = tiny.model("phi3")
    name = lm.arch.mlp_in[0].format(1)
    with pytest.raises(lib.errors.PatchError, match="gate_up_proj stores two matrices in one"):
        with lm.patched(lib.Patch({name: lm.weight(name)})):
            pass


def test_what_is_no_model_names_itself():
    odd = torch.nn.Linear(2, 2)
    with pytest.raises(FamilyError, match="'Linear' is not recognized"):
        arch_of(odd)


def test_offloaded_quantized_and_compiled_models_are_refused_in_one_sentence():
    model = tiny.model("llama").model
    model.hf_device_map = {"model": 0, "lm_head": "cpu"}
    with pytest.raises(FamilyError, match="offloaded"):
        LM(model, tiny.tokenizer())
    model.hf_device_map = {"": "disk"}
    with pytest.raises(FamilyError, match="offloaded"):
        refuse_unpatchable(model)
    del model.hf_device_map
    model.config.quantization_config = {"quant_method": "gptq"}
    with pytest.raises(FamilyError, match="quantized"):
        refuse_unpatchable(model)
    del model.config.quantization_config
    with pytest.raises(FamilyError, match="compiled"):
        refuse_unpatchable(torch.compile(model))
