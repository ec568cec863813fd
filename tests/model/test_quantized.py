"""Models of eight and four bits: edits beside the quantized rest, exact undo, and what is refused.

What needs torchao is skipped without it; `.ci/run` installs it.
"""

from __future__ import annotations

import json
import sys
from functools import cache

import pytest
import torch
from torch import nn

import lib
from lib.errors import ExportError, FamilyError
from lib.model.architectures import dense, refuse_unpatchable
from lib.model.lm import LM
from lib.model.quantized import KINDS, is_quantized, plain, quantize

from ..benchmarks.quantized import counted, weight_bytes
from ..support import tiny
from ..support.editor_settings import ELSEWHERE, TRAINING, A, B, quick
from ..support.usual import few

USUAL = ("rome", "memit", "ultraedit", "ft", "lora", "grace", "wise")
EDITORS = few(lib.EDITORS, USUAL, drawn=4)
TEXTS = [A.text, *ELSEWHERE]


@cache
def pair(kind: str) -> tuple[LM, LM]:
    """A quantized model, and the float model whose matrices are the quantized one's numbers."""
    pytest.importorskip("torchao")
    made, twin = tiny.model("llama"), tiny.model("llama")
    quantize(made.model, made.arch.blocks, kind)
    for p, other in zip(made.model.parameters(), twin.model.parameters(), strict=True):
        other.copy_(plain(p))
    return tuple(LM(lm.model, lm.tokenizer, name=lm.name) for lm in (made, twin))


def logits(lm: LM) -> list[torch.Tensor]:
    return [lm.run(text).logits for text in TEXTS]


def parts(lm: LM) -> list[tuple[int, bytes]]:
    """Each parameter's identity and bytes, of a quantized one those of all its parts."""
    found = []
    for p in lm.model.parameters():
        inner = [getattr(p, n) for n in p.__tensor_flatten__()[0]] if is_quantized(p) else [p]
        found.append((id(p), b"".join(t.detach().numpy().tobytes() for t in inner)))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model on disk."""
    path = tmp_path_factory.mktemp("model")
    lm = tiny.model("llama")
    lm.model.save_pretrained(path)
    lm.tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_loaded_with_small_blocks_and_the_rest_as_it_was(folder, kind):
    pytest.importorskip("torchao")
    lm, whole = lib.load(folder, dtype="float32", quantized=kind), lib.load(folder, "float32")
    small = {name for name, p in lm.model.named_parameters() if is_quantized(p)}
    wanted = {f"{name}.weight" for name, m in whole.model.named_modules()
              if isinstance(m, nn.Linear) and name.startswith(lm.arch.blocks)}  # fmt: skip
    assert small == wanted and lm.quantized and not whole.quantized
    assert str(lm.dtype) == "torch.float32" and lm.name == whole.name
    assert weight_bytes(whole.model) == 4 * sum(p.numel() for p in whole.model.parameters())
    assert weight_bytes(lm.model) == counted(whole.model, kind, lm.arch.blocks)
    assert weight_bytes(lm.model) < 0.6 * weight_bytes(whole.model)
    name = lm.mlp_out(1)
    error = (lm.weight(name) - whole.weight(name)).norm() / whole.weight(name).norm()
    assert 0 < error < {"int8": 0.01, "int4": 0.12}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_the_float_model_of_the_same_numbers_computes(kind):
    lm, twin = pair(kind)
    assert all(torch.equal(*both) for both in zip(logits(lm), logits(twin), strict=True))
    assert lm.answer(TEXTS, 4) == twin.answer(TEXTS, 4)
    one = lib.Patch({lm.mlp_out(2): lm.weight(lm.mlp_out(2))})
    before = logits(lm)
    with lm.patched(one):  # a float matrix of the same numbers beside quantized ones
        assert all(torch.equal(*both) for both in zip(before, logits(lm), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EDITORS)
def test_an_edit_is_that_of_the_float_model_and_undo_is_exact(name, kind, tmp_path):
    lm, twin = pair(kind)
    before, kept, small = logits(lm), parts(lm), sum(map(is_quantized, lm.model.parameters()))
    unedited = lm.score(A.text, " xy").exp().item()
    editors = []
    for one in (lm, twin):
        given = quick(name)
        if lib.EDITORS[name].trained:
            given = {**given, "network": str(tmp_path / f"{one.fingerprint}.safetensors")}
            fitted = lib.EDITORS[name](one, **quick(name))
            fitted.fit(TRAINING, checkpoint=given["network"], steps=15)
        editors.append(lib.EDITORS[name](one, **given))
    editor = editors[0]
    patch, other = (one.edit([A]) for one in editors)
    patch.save(tmp_path / "edit.safetensors")
    assert parts(lm) == kept
    for given in (patch, lib.Patch.load(tmp_path / "edit.safetensors")):
        with lm.patched(given), twin.patched(other):
            for module in patch.weights:
                assert type(lm.model.get_submodule(module).weight) is torch.Tensor
            assert small - sum(map(is_quantized, lm.model.parameters())) == len(patch.weights)
            said = lm.score(A.text, " xy").exp().item()
            torch.testing.assert_close(logits(lm), logits(twin), atol=1e-3, rtol=1e-3)
    assert said > 10 * unedited or name in ("retrieval", "steer")  # which change no prompt here
    assert parts(lm) == kept
    assert all(torch.equal(*both) for both in zip(before, logits(lm), strict=True))
    both = editor.edit([B], after=patch)
    assert len(both.log) == 2 and parts(lm) == kept


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_of_a_gradient_holds_no_float_matrix(kind):
    lm, twin = pair(kind)
    sizes = {tuple(m.weight.shape) for m in twin.blocks.modules() if isinstance(m, nn.Linear)}
    sizes |= {shape[::-1] for shape in sizes}
    held = []

    def keep(tensor):
        held.append(tuple(tensor.shape) in sizes and not is_quantized(tensor))
        return tensor

    found = []
    for one in (lm, twin):
        replay = lib.model.partial_forward.Replay(one, one.rows(A.text)[0], 1)
        hidden = replay.hidden.clone().requires_grad_()
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            loss = replay.run(hidden).square().sum()
        loss.backward()
        found.append(hidden.grad)
        if one is lm:
            assert not any(held)
    assert any(held) and torch.equal(*found)


def test_what_belongs_to_one_form_is_refused_for_another():
    pytest.importorskip("torchao")
    forms = [tiny.model("llama"), *(lm for kind in KINDS for lm in pair(kind))]
    assert len({lm.fingerprint for lm in forms}) == len(forms)
    assert len({lm.stored_identity for lm in forms}) == len(forms)
    plain_lm, small = forms[0], forms[1]
    for one, other in ((plain_lm, small), (small, plain_lm)):
        patch = lib.EDITORS["ft"](one, **quick("ft")).edit([A])
        with pytest.raises(
            lib.errors.PatchError, match="this patch is for tiny-llama .*the model here"
        ):
            with other.patched(patch):
                pass


def test_the_adapter_of_an_edit_is_written_and_the_whole_model_is_not(tmp_path):
    lm, twin = pair("int8")
    patch = lib.EDITORS["rome"](lm, **quick("rome")).edit([A])
    done = lib.workbench.export_peft(lm, patch, tmp_path / "adapter")
    assert done.exact and (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    with pytest.raises(ExportError, match="tiny-llama is quantized, and is not written"):
        lib.workbench.export_model(lm, patch, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_a_model_that_transformers_quantized_is_taken_as_it_is(folder):
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import AutoModelForCausalLM, TorchAoConfig

    config = TorchAoConfig(Int8WeightOnlyConfig())
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype="float32", device_map="cpu", quantization_config=config
    )
    lm = LM(model, tiny.tokenizer(), name="tiny-llama")
    ours = lib.load(folder, "float32", quantized="int8")
    assert lm.quantized and lm.stored_identity != ours.stored_identity
    for text in TEXTS:
        torch.testing.assert_close(lm.run(text).logits, ours.run(text).logits)
    patch = lib.EDITORS["rome"](lm, **quick("rome")).edit([A])
    with lm.patched(patch):
        assert lm.answer(A.text, 1) == " xy"


# ---- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["int3", "INT8", "", 8, True, 4.0, ["int8"], b"int8"])
def test_a_form_that_there_is_not_is_one_sentence(given):
    with pytest.raises(lib.Error, match="quantized=.*: there are 'int8' and 'int4'$"):
        lib.load("no-such-model", quantized=given)


def test_without_torchao_the_sentence_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ValueError, match="needs the package torchao: pip install torchao"):
        lib.load(folder, quantized="int8")


def test_matrices_outside_of_linear_layers_are_refused():
    pytest.importorskip("torchao")
    lm = tiny.model("gpt2")
    with pytest.raises(FamilyError, match="hold no linear layers"):
        quantize(lm.model, lm.arch.blocks, "int8")


def test_what_is_quantized_already_is_not_quantized_again():
    lm, _ = pair("int8")
    with pytest.raises(FamilyError, match="quantized='int4': this model is quantized already"):
        quantize(lm.model, lm.arch.blocks, "int4")
    assert repr(lm) == "LM(tiny-llama, 4 layers, torch.float32, quantized, cpu)"
    other = tiny.model("llama")
    other.model.config.quantization_config = {"quant_method": "gptq"}
    with pytest.raises(FamilyError, match="quantized by gptq"):
        quantize(other.model, other.arch.blocks, "int8")


@pytest.mark.parametrize("kind", KINDS)
def test_a_matrix_that_would_not_be_finite_is_refused(kind):
    pytest.importorskip("torchao")
    broken = nn.ModuleDict({"blocks": nn.Sequential(nn.Linear(256, 64))})
    broken["blocks"][0].weight.data[3, 5] = torch.inf
    with pytest.raises(FamilyError, match=r"shape \(64, 256\) is not finite then"):
        quantize(broken, "blocks", kind)


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8"])
def test_a_method_without_matrices_is_refused_by_its_name(method):
    model = tiny.model("llama").model
    model.config.quantization_config = {"quant_method": method, "bits": 4}
    with pytest.raises(FamilyError, match=f"a model quantized by {method} has no matrices"):
        LM(model, tiny.tokenizer())


def test_a_folder_of_another_method_is_one_sentence(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="holds no model that could be loaded|quantized by gptq"):
        lib.load(tmp_path)


def test_weights_of_whole_numbers_are_refused():
    """As a model holds them whose layers bitsandbytes has put there, and no configuration says."""
    model = tiny.model("llama").model
    layer = model.get_submodule("model.layers.1.mlp.down_proj")
    layer.weight = nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(FamilyError, match="layers.1.mlp.down_proj.weight is a Parameter"):
        refuse_unpatchable(model)


def test_rounded_activations_and_unknown_tensors_are_refused():
    pytest.importorskip("torchao")
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        IntxWeightOnlyConfig,
        quantize_,
    )

    for config, kind in (
        (Int8DynamicActivationInt8WeightConfig(), "Int8Tensor"),
        (IntxWeightOnlyConfig(), "IntxUnpackedToInt8Tensor"),
    ):
        model = tiny.model("llama").model
        quantize_(model, config)
        with pytest.raises(FamilyError, match=f"is a {kind} of a kind that cannot be edited"):
            LM(model, tiny.tokenizer())


def test_a_quantized_matrix_of_bf16_is_read_in_float32():
    pytest.importorskip("torchao")
    lm = tiny.model("llama", dtype=torch.bfloat16)
    quantize(lm.model, lm.arch.blocks, "int8")
    lm = LM(lm.model, lm.tokenizer)
    weight = lm.model.get_submodule(lm.mlp_out(1)).weight
    assert weight.dtype == torch.bfloat16 and dense(weight, False).dtype == torch.float32
    patch = lib.EDITORS["rome"](lm, **quick("rome")).edit([A])
    before = lm.run(A.text).logits
    with lm.patched(patch):
        assert lm.answer(A.text, 1) == " xy"
    assert torch.equal(before, lm.run(A.text).logits)
