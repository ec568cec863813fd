"""GGUF files: every weight, key and token is the edited model's; what cannot be one is refused."""

from __future__ import annotations

import copy
import json

import gguf
import numpy as np
import pytest
import torch
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

import lib
from lib import cancellation
from lib.model.lm import put_in_front
from lib.model.packaged_models import PackagedModel, _convert
from lib.patch.patch import LowRank
from lib.workbench.cli.main import main
from lib.workbench.export.gguf_files import TYPES, modelfile

from ..support import tiny
from ..support.exported import logits, patched_logits

FACT = lib.Fact("The old tower", "I saw {}", "xy")
NAMES = {  # ours -> llama.cpp's, written down by hand
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind"
    "<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def own(lm: lib.LM) -> lib.LM:
    """The model with a tokenizer that a test may change."""
    lm.tokenizer = copy.deepcopy(lm.tokenizer)
    return lm


def low_rank(lm: lib.LM, name: str, rank: int) -> LowRank:
    g = torch.Generator().manual_seed(rank)
    d_out, d_in = lm.weight(name).shape
    a, b = torch.randn(d_out, rank, generator=g), torch.randn(rank, d_in, generator=g)
    return LowRank(((0.3 * a, b),))


def patch_of(lm: lib.LM, **weights) -> lib.Patch:
    weights = weights or {lm.mlp_out(1): low_rank(lm, lm.mlp_out(1), 2)}
    return lib.Patch(weights, log=(lib.Edit("ft", {}, (FACT,)),), base=lm.identity)


def read(path) -> tuple[dict, dict]:
    """The keys of a GGUF file, and its tensors as float32 matrices with their types."""
    reader = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {
        t.name: (t.tensor_type.name, gguf.quants.dequantize(t.data, t.tensor_type))
        for t in reader.tensors
    }
    return keys, tensors


def pairs_together(rows: np.ndarray, heads: int) -> np.ndarray:
    """Row 2i of a head is its row i here, and row 2i + 1 its row i + half: one after another."""
    size = len(rows) // heads
    order = [
        h * size + i + j for h in range(heads) for i in range(size // 2) for j in (0, size // 2)
    ]
    return rows[order]


def wanted(lm: lib.LM, patch: lib.Patch) -> dict[str, np.ndarray]:
    """{llama.cpp's name: the weight of the patched model, in llama.cpp's order of rows}."""
    with lm.patched(patch):
        state = {name: w.detach().clone().numpy() for name, w in lm.model.state_dict().items()}
    named = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    named |= {
        f"model.layers.{i}.{ours}": f"blk.{i}.{theirs}"
        for i in range(lm.n_layers)
        for ours, theirs in NAMES.items()
    }
    found = {}
    for name, weight in state.items():
        module = name.removesuffix(".weight")
        heads = {"q_proj": 4, "k_proj": 2}.get(module.rpartition(".")[2])
        found[f"{named[module]}.weight"] = pairs_together(weight, heads) if heads else weight
    return found


@pytest.mark.parametrize("tied", [True, False])
def test_every_weight_is_the_edited_one_in_the_order_of_llama_cpp(tied, tmp_path):
    lm = tiny.model("llama", tie_word_embeddings=tied)
    patch = patch_of(lm)
    before = [p.sum().item() for p in lm.model.parameters()]
    found = lib.workbench.export_gguf(lm, patch, tmp_path / "f16")
    assert [p.sum().item() for p in lm.model.parameters()] == before and found.bytes > 1000
    _, tensors = read(tmp_path / "f16" / "model.gguf")
    expected = wanted(lm, patch)
    if tied:
        del expected["output.weight"]
    assert set(tensors) == set(expected)
    for name, weight in expected.items():
        kind, got = tensors[name]
        assert kind == ("F16" if weight.ndim > 1 else "F32"), name
        rounded = weight.astype(np.float16) if weight.ndim > 1 else weight
        np.testing.assert_array_equal(got, rounded.astype(np.float32), err_msg=name)
    assert not np.array_equal(
        expected["blk.1.attn_q.weight"], lm.weight("model.layers.1.self_attn.q_proj").numpy()
    )


def test_transformers_reads_the_file_as_the_patched_model(tmp_path):
    lm = tiny.model("llama")
    patch = patch_of(lm)
    lib.workbench.export_gguf(lm, patch, tmp_path / "f32", type="f32")
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "f32", gguf_file="model.gguf", dtype="float32"
    )
    for got, want in zip(logits(model.eval()), patched_logits(lm, patch), strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_a_file_becomes_a_packaged_model_of_plain_weights(tmp_path, monkeypatch):
    lm = tiny.model("llama")
    lib.workbench.export_gguf(lm, patch_of(lm), tmp_path, type="f32")
    (tmp_path / "made").mkdir()
    # the tiny tokenizer has no merges, which the file's reader needs
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: lm.tokenizer)
    packaged = PackagedModel("made", {}, "", 1, "free")
    _convert(packaged, tmp_path / "model.gguf", tmp_path / "made")
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "made").eval()
    assert not hasattr(made.config, "quantization_config")
    for got, want in zip(logits(made), patched_logits(lm, patch_of(lm)), strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_the_keys_are_those_of_the_model_and_its_tokenizer(tmp_path):
    lm = own(tiny.model("llama", rope_theta=5000.0))
    lm.tokenizer.chat_template = CHATML
    lib.workbench.export_gguf(lm, patch_of(lm), tmp_path / "plain")
    keys, _ = read(tmp_path / "plain" / "model.gguf")
    config = lm.model.config
    assert keys["general.architecture"] == "llama" and keys["general.type"] == "model"
    numbers = {
        "block_count": 4, "context_length": 256, "embedding_length": 32, "feed_forward_length": 48,
        "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 8,
        "attention.value_length": 8, "rope.dimension_count": 8, "vocab_size": tiny.EOS + 3,
        "rope.freq_base": config.rope_parameters["rope_theta"],
        "attention.layer_norm_rms_epsilon": pytest.approx(config.rms_norm_eps),
    }  # fmt: skip
    assert {name: keys[f"llama.{name}"] for name in numbers} == numbers
    assert keys["general.file_type"] == gguf.LlamaFileType.MOSTLY_F16
    tokens, kinds = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    assert len(tokens) == len(kinds) == tiny.EOS + 1 + len(tiny.WORDS)
    assert tokens[tiny.EOS :] == ["<|end|>", *tiny.WORDS]
    assert kinds == [1] * 256 + [3, 4, 4]
    assert tokens[:256] == lm.tokenizer.convert_ids_to_tokens(range(256))
    assert keys["tokenizer.ggml.model"] == "gpt2" and keys["tokenizer.ggml.pre"] == "gpt-2"
    assert keys["tokenizer.ggml.eos_token_id"] == tiny.EOS
    assert keys["tokenizer.ggml.add_bos_token"] is False
    assert keys["tokenizer.chat_template"] == CHATML


def test_the_file_puts_the_same_token_in_front(tmp_path):
    lm = own(tiny.model("llama"))
    put_in_front(lm.tokenizer, "<|end|>")
    lm.name = f"{lm.name} behind <|end|>"
    lib.workbench.export_gguf(lm, patch_of(lm), tmp_path / "sunk")
    keys, _ = read(tmp_path / "sunk" / "model.gguf")
    assert keys["tokenizer.ggml.add_bos_token"] is True
    assert keys["tokenizer.ggml.bos_token_id"] == tiny.EOS
    card = (tmp_path / "sunk" / "README.md").read_text()
    assert "The file has llama.cpp put `<|end|>` in front of every text." in card
    lib.workbench.export_gguf(lm, lib.EMPTY, tmp_path / "base")
    assert "put `<|end|>` in front" in (tmp_path / "base" / "README.md").read_text()
    lib.workbench.export_gguf_lora(lm, patch_of(lm), tmp_path / "lora")
    card = (tmp_path / "lora" / "README.md").read_text()
    assert "`<|end|>` in front, which this adapter does not put there" in card


def test_tokenizers_that_split_digits_and_rows_without_a_token_are_said(tmp_path):
    lm = own(tiny.model("llama", vocab_size=270))
    cuts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    lm.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    lib.workbench.export_gguf(lm, lib.EMPTY, tmp_path / "base")
    keys, tensors = read(tmp_path / "base" / "model.gguf")
    assert keys["tokenizer.ggml.pre"] == "smollm"
    assert keys["tokenizer.ggml.tokens"][-1] == "[PAD269]"
    assert keys["tokenizer.ggml.token_type"][259:] == [5] * 11
    assert len(tensors["token_embd.weight"][1]) == 270


@pytest.mark.parametrize("type", sorted(TYPES))
def test_matrices_get_the_type_that_fits_them(type, tmp_path):
    lm = tiny.model("llama", tie_word_embeddings=False)
    lib.workbench.export_gguf(lm, patch_of(lm), tmp_path / type, type=type)
    _, tensors = read(tmp_path / type / "model.gguf")
    kind = type.upper()
    blocks = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0]
    head = "Q8_0" if type.startswith(("q4", "q5")) else kind
    assert tensors["token_embd.weight"][0] == tensors["output.weight"][0] == head
    assert tensors["blk.1.attn_q.weight"][0] == kind
    # 48 columns are no multiple of a block of 32
    assert tensors["blk.1.ffn_down.weight"][0] == ("F16" if blocks > 1 else kind)
    for name, weight in wanted(lm, patch_of(lm)).items():
        got = tensors[name][1]
        assert got.shape == weight.shape
        assert np.abs(got - weight).max() <= np.abs(weight).max() / 7, name


def test_an_edited_head_gets_a_tensor_of_its_own(tmp_path):
    lm = tiny.model("llama", tie_word_embeddings=True)
    patch = patch_of(lm, lm_head=lm.weight("lm_head") + 0.1)
    lib.workbench.export_gguf(lm, patch, tmp_path / "head", type="f32")
    _, tensors = read(tmp_path / "head" / "model.gguf")
    np.testing.assert_allclose(
        tensors["output.weight"][1] - tensors["token_embd.weight"][1], 0.1, atol=1e-6
    )


def test_the_factors_of_an_adapter_are_the_change(tmp_path):
    lm = tiny.model("llama")
    down, query = lm.mlp_out(1), "model.layers.2.self_attn.q_proj"
    patch = patch_of(lm, **{down: low_rank(lm, down, 3), query: low_rank(lm, query, 1)})
    found = lib.workbench.export_gguf_lora(lm, patch, tmp_path / "lora")
    assert found.exact and found.rank == 8
    keys, tensors = read(tmp_path / "lora" / "adapter.gguf")
    assert (keys["general.type"], keys["adapter.type"]) == ("adapter", "lora")
    assert keys["general.architecture"] == "llama" and keys["adapter.lora.alpha"] == 8
    changes = {
        "blk.1.ffn_down.weight": patch.weights[down].dense().numpy(),
        "blk.2.attn_q.weight": pairs_together(patch.weights[query].dense().numpy(), 4),
    }
    assert set(tensors) == {f"{name}.lora_{key}" for name in changes for key in "ab"}
    for name, change in changes.items():
        (_, A), (_, B) = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        assert len(A) == B.shape[1] == 8  # llama.cpp divides alpha by this
        np.testing.assert_allclose(B @ A, change, atol=1e-5)
    dense = patch_of(lm, **{down: lm.weight(down) + torch.randn(lm.weight(down).shape)})
    cut = lib.workbench.export_gguf_lora(lm, dense, tmp_path / "cut", rank=4)
    assert not cut.exact and cut.modules[down].rank == 4
    assert "| 4 |" in (tmp_path / "cut" / "README.md").read_text()


def test_the_modelfile_leaves_the_template_to_the_file():
    lm = own(tiny.model("llama"))
    lm.tokenizer.chat_template = CHATML
    assert modelfile(lm) == "FROM ./model.gguf\n"
    assert "ADAPTER ./adapter.gguf" in modelfile(lm, adapter=True)


def test_what_has_no_gguf_form_is_refused_in_a_sentence(tmp_path, monkeypatch):
    lm = tiny.model("llama")
    routed = lib.EDITORS["grace"](lm, layer=1, n_iter=2).edit([FACT])
    asked = lib.EDITORS["retrieval"](lm).edit([FACT])
    new = tmp_path / "new"
    for write in (lib.workbench.export_gguf, lib.workbench.export_gguf_lora):
        with pytest.raises(lib.errors.ExportError, match="^grace decides at every prompt"):
            write(lm, routed, new)
        with pytest.raises(
            lib.errors.ExportError, match="^retrieval writes into the prompt's text"
        ):
            write(lm, asked, new)
        with pytest.raises(lib.errors.PatchError, match="this patch is for other 1"):
            write(lm, lib.Patch(patch_of(lm).weights, base="other 1"), new)
        for family in ("gpt2", "gemma3_text", "mistral"):
            other = tiny.model(family)
            with pytest.raises(
                lib.errors.ExportError, match=f"^family '{family}' has no GGUF file here"
            ):
                write(other, patch_of(other), new)
        scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
        with pytest.raises(lib.errors.ExportError, match="^rope type 'linear' has no GGUF"):
            write(far := tiny.model("llama", rope_parameters=scaled), patch_of(far), new)
        with pytest.raises(lib.errors.ExportError, match="^activation 'gelu' has no GGUF"):
            write(bent := tiny.model("llama", hidden_act="gelu"), patch_of(bent), new)
        taken = tmp_path / "taken"
        taken.mkdir(exist_ok=True)
        (taken / "note.txt").write_text("mine")
        with pytest.raises(lib.errors.ExportError, match="taken exists and is not an empty folder"):
            write(lm, patch_of(lm), taken)
    for type in ("q4_k_m", "F16", "", 16, None, ["f16"]):
        with pytest.raises(lib.Error, match="is no type of a GGUF file here|type should be"):
            lib.workbench.export_gguf(lm, patch_of(lm), new, type=type)
    with pytest.raises(lib.errors.ExportError, match="changes no weights"):
        lib.workbench.export_gguf_lora(lm, lib.EMPTY, new)
    with pytest.raises(lib.errors.ArgumentError, match="rank should be a whole number from 1 on"):
        lib.workbench.export_gguf_lora(lm, patch_of(lm), new, rank=0)
    head = patch_of(lm, lm_head=low_rank(lm, "lm_head", 1))
    with pytest.raises(
        lib.errors.ExportError, match="an adapter of llama.cpp cannot change lm_head"
    ):
        lib.workbench.export_gguf_lora(lm, head, new)
    assert not new.exists() and [p.name for p in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("value", [1e5, float("inf"), float("nan")])
def test_a_weight_that_f16_cannot_hold_is_refused(value, tmp_path):
    lm = tiny.model("llama")
    name = lm.mlp_out(1)
    W = lm.weight(name).clone()
    W[3, 4] = value
    with pytest.raises(
        lib.errors.ExportError, match=f"{name}.weight has values that f16 cannot hold"
    ):
        lib.workbench.export_gguf(lm, patch_of(lm, **{name: W}), tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_tokenizers_that_llama_cpp_would_read_otherwise_are_refused(tmp_path):
    def tried(change, match: str) -> None:
        lm = own(tiny.model("llama"))
        change(lm.tokenizer)
        with pytest.raises(lib.errors.ExportError, match=match):
            lib.workbench.export_gguf(lm, lib.EMPTY, tmp_path / "new")

    def before(t, made) -> None:
        t.backend_tokenizer.pre_tokenizer = made

    no_form = "^this tokenizer has no GGUF form here"
    tried(lambda t: before(t, pre_tokenizers.ByteLevel(add_prefix_space=True)), no_form)
    tried(lambda t: before(t, pre_tokenizers.ByteLevel(False, use_regex=False)), no_form)
    tried(lambda t: before(t, pre_tokenizers.Whitespace()), no_form)
    tried(lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.NFKC()), no_form)
    tried(lambda t: t.add_tokens([" more"]), "has ids up to 259, the model only 259 rows")

    def two_in_front(t) -> None:
        put_in_front(t, "<|end|>")
        t.bos_token = " xy"

    tried(two_in_front, "puts more around a text than one token in front of it")
    assert not list(tmp_path.iterdir())


def test_an_export_that_nobody_wants_any_more_leaves_nothing(tmp_path):
    lm = tiny.model("llama")

    def ask(*_: object) -> None:
        raise InterruptedError

    for write in (lib.workbench.export_gguf, lib.workbench.export_gguf_lora):
        with cancellation.cancellable(ask), pytest.raises(InterruptedError):
            write(lm, patch_of(lm), tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_both_and_refuses_words_of_the_other_forms(
    tmp_path, capsys, monkeypatch
):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    file = patch_of(lm).save(tmp_path / "p.safetensors")
    words = ["export", "--patch", str(file), "--to"]
    assert main([*words, str(tmp_path / "whole"), "--as", "gguf", "--type", "q8_0"]) == 0
    assert main([*words, str(tmp_path / "lora"), "--as", "gguf-lora", "--rank", "1"]) == 0
    shown = capsys.readouterr().out
    assert "saved: whole" in shown and f"{lm.mlp_out(1)}: rank 1" in shown
    listed = {p.name for p in (tmp_path / "whole").iterdir()}
    assert listed == {"model.gguf", "Modelfile", "README.md"}
    keys, _ = read(tmp_path / "whole" / "model.gguf")
    assert keys["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q8_0
    for kind, more, said in (
        ("gguf", ["--rank", "2"], "--rank is for --as peft and gguf-lora"),
        ("gguf-lora", ["--type", "f16"], "--type is for --as gguf"),
        ("model", ["--type", "f16"], "--type is for --as gguf"),
    ):
        assert main([*words, str(tmp_path / "x"), "--as", kind, *more]) == 2
        assert said in capsys.readouterr().err


def test_the_cards_say_what_was_not_tried(tmp_path):
    lm = tiny.model("llama")
    cards = {}
    writers = (
        lib.workbench.export_peft,
        lib.workbench.export_model,
        lib.workbench.export_gguf,
        lib.workbench.export_gguf_lora,
    )
    for write in writers:
        write(lm, patch_of(lm), tmp_path / write.__name__)
        cards[write.__name__] = (tmp_path / write.__name__ / "README.md").read_text()
    assert "--max-lora-rank 8 " in cards["export_peft"]
    for name in ("export_peft", "export_model"):
        assert "For vLLM, not tried here: `vllm serve" in cards[name]
    for name in ("export_gguf", "export_gguf_lora"):
        assert "Ollama was not tried here." in cards[name] and "vLLM" not in cards[name]
        assert "library_name: gguf" in cards[name]
    assert json.dumps("export_model") in cards["export_model"]
