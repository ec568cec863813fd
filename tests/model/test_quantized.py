"""Models of eight and four bits: edits beside the quantized rest, exact undo, and what is refused.

What needs torchao is skipped without it; `.ci/run` installs it.
"""

from __future__ import annotations

import json
from functools import cache
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import nn

import lib
from lib.errors import ExportError, FamilyError
from lib.model.architectures import dense, refuse_unpatchable
from lib.model.lm import LM
from lib.model.quantized import is_quantized, plain

from ..benchmarks.quantized import configured, counted, weight_bytes
from ..support import tiny
from ..support.editor_settings import ELSEWHERE, TRAINING, A, B, quick
from ..support.usual import few

USUAL = ("rome", "memit", "ultraedit", "ft", "lora", "grace", "wise")
EDITORS = few(lib.EDITORS, USUAL, drawn=4)
TEXTS = [A.text, *ELSEWHERE]
KINDS = ("int8", "int4")
GROUP = 8  # scales that share another, of matrices as small as these


def quantized(folder, kind: str, dtype: str = "float32") -> LM:
    """The model of a folder in eight or four bits, as transformers makes it."""
    pytest.importorskip("torchao")
    return lib.load(folder, dtype, quantization_config=configured(kind, GROUP))


@cache
def pair(kind: str) -> tuple[LM, LM]:
    """A quantized model, and the float model whose matrices are the quantized one's numbers."""
    twin = tiny.model("llama")
    with TemporaryDirectory() as folder:
        saved(twin, folder)
        made = quantized(folder, kind)
    for p, other in zip(made.model.parameters(), twin.model.parameters(), strict=True):
        other.copy_(plain(p))
    return tuple(LM(lm.model, twin.tokenizer, name=twin.name) for lm in (made, twin))


def saved(lm: LM, folder) -> None:
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)


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
    saved(tiny.model("llama"), path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_loaded_with_small_blocks_and_the_rest_as_it_was(folder, kind):
    lm, whole = quantized(folder, kind), lib.load(folder, "float32")
    small = {name for name, p in lm.model.named_parameters() if is_quantized(p)}
    wanted = {f"{name}.weight" for name, m in whole.model.named_modules()
              if isinstance(m, nn.Linear) and name.startswith(lm.arch.blocks)}  # fmt: skip
    assert small == wanted and lm.quantized and not whole.quantized
    assert str(lm.dtype) == "torch.float32" and lm.name == whole.name
    assert weight_bytes(whole.model) == 4 * sum(p.numel() for p in whole.model.parameters())
    assert weight_bytes(lm.model) == counted(whole.model, kind, lm.arch.blocks, GROUP)
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
            lib.errors.PatchError, match="This patch is for tiny-llama .*the model here"
        ):
            with other.patched(patch):
                pass


def test_the_adapter_of_an_edit_is_written_and_the_whole_model_is_not(tmp_path):
    lm, twin = pair("int8")
    patch = lib.EDITORS["rome"](lm, **quick("rome")).edit([A])
    done = lib.workbench.export_peft(lm, patch, tmp_path / "adapter")
    assert done.exact and (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    with pytest.raises(ExportError, match="tiny-llama is quantized, so it cannot be written"):
        lib.workbench.export_model(lm, patch, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_a_folder_that_was_saved_in_eight_bits_is_taken_as_it_is(folder, tmp_path):
    lm = quantized(folder, "int8")
    saved(lm, tmp_path)
    again = lib.load(tmp_path, "float32")
    assert again.quantized and lib.LM(lm.model, tiny.tokenizer()).quantized
    assert all(torch.equal(*both) for both in zip(logits(lm), logits(again), strict=True))
    patch = lib.EDITORS["rome"](again, **quick("rome")).edit([A])
    with again.patched(patch):
        assert again.answer(A.text, 1) == " xy"


# ---- what is refused -------------------------------------------------------------------------


def test_without_torchao_the_sentence_says_what_to_install(folder, monkeypatch):
    pytest.importorskip("torchao")
    monkeypatch.setattr("transformers.quantizers.quantizer_torchao.is_torchao_available", bool)
    with pytest.raises(lib.Error, match="no model that could be loaded: .*pip install torchao"):
        quantized(folder, "int8")


def test_a_quantized_model_says_so():
    lm, _ = pair("int8")
    assert repr(lm) == "LM(tiny-llama, 4 layers, torch.float32, quantized, cpu)"


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8"])
def test_a_method_without_matrices_is_refused_by_its_name(method):
    model = tiny.model("llama").model
    model.config.quantization_config = {"quant_method": method, "bits": 4}
    with pytest.raises(FamilyError, match=f"A model quantized by {method} has no matrices"):
        LM(model, tiny.tokenizer())


def test_a_folder_of_another_method_is_one_sentence(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no model that could be loaded|quantized by gptq"):
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


def test_a_quantized_matrix_of_bf16_is_read_in_float32(folder):
    lm = quantized(folder, "int8", "bf16")
    weight = lm.model.get_submodule(lm.mlp_out(1)).weight
    assert weight.dtype == torch.bfloat16 and dense(weight, False).dtype == torch.float32
    patch = lib.EDITORS["rome"](lm, **quick("rome")).edit([A])
    before = lm.run(A.text).logits
    with lm.patched(patch):
        assert lm.answer(A.text, 1) == " xy"
    assert torch.equal(before, lm.run(A.text).logits)
