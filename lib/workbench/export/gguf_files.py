"""A patch for llama.cpp and Ollama: the edited model as one GGUF file, or a LoRA adapter as one.

The package `gguf` of llama.cpp's authors knows the names of tensors and keys and rounds to their
types. What is written here is what llama.cpp expects of the LLaMA architecture and of a tokenizer
of byte-level BPE. Models of other families are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from torch import Tensor

from ...cancellation import steps
from ...data.facts import encode_prompt
from ...errors import ExportError
from ...model.lm import LM
from ...patch.patch import Patch
from ...setting_fields import Size
from .export import (
    Exported,
    adapter_parts,
    base_name,
    new_folder,
    refuse_adapter,
    refuse_whole,
)
from .model_card import write_card

# The types that the package `gguf` can write, with llama.cpp's number of such a file. The embedded
# model came as q4_1.
TYPES = {
    "f32": 0, "f16": 1, "bf16": 32, "q8_0": 7, "q5_1": 9, "q5_0": 8, "q4_1": 3, "q4_0": 2,
}  # fmt: skip
FAMILY = "llama"
HEAD = "lm_head.weight"
MODEL, ADAPTER = "model.gguf", "adapter.gguf"


def export_gguf(lm: LM, patch: Patch, folder: str | Path, *, type: str = "f16") -> Exported:
    """Write the patched model as `model.gguf` for llama.cpp, with a `Modelfile` for Ollama.

    The file's tokenizer puts the same token in front of a text as that of `lm`, or none. Norms and
    biases are float32. In the types of 4 and 5 bits the embedding and the head are q8_0, as in the
    file of the embedded model; a matrix whose rows are no multiple of a type's block is f16.

    type  One of TYPES, for the matrices.

    Raises ExportError for a patch with routes or rewrites, an unknown type, a model of another
    family than LLaMA or with another tokenizer than byte-level BPE, a folder that holds something,
    a weight that is too large for f16, and a quantized model; PatchError for a patch of another.
    """
    refuse_whole(lm, patch)
    if not isinstance(type, str) or type not in TYPES:
        raise ExportError(f"{type!r} is no type of a GGUF file here; known are {', '.join(TYPES)}")
    _supported(lm)
    with new_folder(folder) as work:
        with closing(gguf.GGUFWriter(work / MODEL, FAMILY)) as writer:
            _describe(writer, lm, type)
            _describe_tokenizer(writer, lm)
            with lm.patched(patch, only=True):
                _write_weights(writer, lm, type)
        (work / "Modelfile").write_text(modelfile(lm), encoding="utf-8")
        made_on = replace(patch, base=lm.identity)
        write_card(work, made_on, "gguf", base_name(lm), type=type)
    return Exported.of(folder)


def export_gguf_lora(
    lm: LM, patch: Patch, folder: str | Path, rank: Size | None = None
) -> Exported:
    """Write the patch as `adapter.gguf` for llama.cpp's `--lora`, with a `Modelfile` for Ollama.

    The factors are those of `export_peft`, in float32, and `rank` is the same; llama.cpp multiplies
    them by alpha / r, which is 1. The adapter puts no token in front of a text: that is the base
    model's GGUF file, which `export_gguf` writes with the empty patch.

    Raises the errors of both, and ExportError for a change of the embedding or the head.
    """
    refuse_adapter(lm, patch)
    _supported(lm)
    with new_folder(folder) as work:
        factors, modules, r = adapter_parts(lm, patch, rank)
        with closing(gguf.GGUFWriter(work / ADAPTER, FAMILY)) as writer:
            writer.add_type("adapter")
            writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
            writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(r))
            for name, (A, B) in factors.items():
                if name in (HEAD.removesuffix(".weight"), lm.arch.embed):
                    raise ExportError(
                        f"an adapter of llama.cpp cannot change {name}: export as gguf instead"
                    )
                known, b = _names(lm)(f"{name}.weight"), _reordered(lm, name, B)
                writer.add_tensor(f"{known}.lora_a", A.contiguous().numpy())
                writer.add_tensor(f"{known}.lora_b", b.contiguous().numpy())
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        (work / "Modelfile").write_text(modelfile(lm, adapter=True), encoding="utf-8")
        write_card(work, patch, "gguf-lora", base_name(lm), modules, rank=r)
    return Exported.of(folder, modules, r)


def modelfile(lm: LM, adapter: bool = False) -> str:
    """Ollama's `Modelfile` for a folder with a model or an adapter.

    Ollama takes the chat template from the GGUF file where it knows it, as it knows ChatML.
    """
    if not adapter:
        return f"FROM ./{MODEL}\n"
    base = f"# put the GGUF file of the base model {base_name(lm)} here\nFROM ./base.gguf"
    return f"{base}\nADAPTER ./{ADAPTER}\n"


def _supported(lm: LM) -> None:
    """Raise ExportError for a model whose GGUF file llama.cpp would read as another model."""
    config = lm.model.config
    rope = getattr(config, "rope_parameters", None) or {}
    found = {
        "family": (config.model_type, FAMILY),
        "rope type": (rope.get("rope_type", "default"), "default"),
        "activation": (getattr(config, "hidden_act", None), "silu"),
    }
    for what, (given, known) in found.items():
        if given != known:
            raise ExportError(
                f"{what} '{given}' has no GGUF file here, only family '{FAMILY}' with silu and "
                "plain rope does: export as model, which llama.cpp's own converter reads"
            )


def _split_rule(state: dict[str, Any]) -> str:
    """llama.cpp's name of how a tokenizer cuts a text before BPE; ExportError for others.

    state  what its file says
    """
    before = state["pre_tokenizer"] or {}
    cuts = before.get("pretokenizers", [before])
    kinds = [cut.get("type") for cut in cuts]
    plain = kinds and kinds[-1] == "ByteLevel" and not cuts[-1]["add_prefix_space"]
    if state["model"]["type"] == "BPE" and state["normalizer"] is None and plain:
        if kinds == ["ByteLevel"] and cuts[0]["use_regex"]:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and cuts[0]["individual_digits"]:
            return "smollm"
    raise ExportError(
        "this tokenizer has no GGUF form here, only byte-level BPE that cuts texts as GPT-2 or "
        "SmolLM does: export as model, which llama.cpp's own converter reads"
    )


def _vocabulary(lm: LM) -> Iterator[tuple[str, int]]:
    """The token of each row of the embedding, and its kind in llama.cpp.

    The kinds are 1 for a plain token, 3 for a special one, 4 for another that was added, and 5 for
    a row without a token. Raises ExportError where the tokenizer has an id without a row.
    """
    tokenizer = lm.tokenizer
    texts = {number: text for text, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    rows = len(lm.model.get_submodule(lm.arch.embed).weight)
    if max(texts) >= rows:
        raise ExportError(f"the tokenizer has ids up to {max(texts)}, the model only {rows} rows")
    for number in range(rows):
        if number in added:
            yield added[number].content, 3 if added[number].special else 4
        else:
            yield texts.get(number, f"[PAD{number}]"), 1 if number in texts else 5


def _describe(writer: Any, lm: LM, type: str) -> None:
    """The keys of the model."""
    config = lm.model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys = {
        "type": "model",
        "name": base_name(lm),
        "block_count": lm.n_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "head_count": config.num_attention_heads,
        "head_count_kv": config.num_key_value_heads,
        "key_length": head,
        "value_length": head,
        "rope_dimension_count": head,
        "rope_freq_base": float(config.rope_parameters["rope_theta"]),
        "layer_norm_rms_eps": config.rms_norm_eps,
        "vocab_size": len(lm.model.get_submodule(lm.arch.embed).weight),
        "file_type": TYPES[type],
        "quantization_version": 2,
    }
    for name, value in keys.items():
        getattr(writer, f"add_{name}")(value)


def _describe_tokenizer(writer: Any, lm: LM) -> None:
    """The keys of the tokenizer; ExportError where llama.cpp would read a text otherwise."""
    tokenizer, bos = lm.tokenizer, lm.leading_bos
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    if encode_prompt(tokenizer, "a") != ([] if bos is None else [bos]) + bare:
        raise ExportError("this tokenizer puts more around a text than one token in front of it")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    rule, tokens = _split_rule(state), list(_vocabulary(lm))
    template = getattr(tokenizer, "chat_template", None)
    keys = {
        "tokenizer_model": "gpt2",
        "tokenizer_pre": rule,
        "token_list": [text for text, _ in tokens],
        "token_types": [kind for _, kind in tokens],
        "token_merges": [
            p if isinstance(p, str) else " ".join(p) for p in state["model"]["merges"]
        ],
        # without it llama.cpp may put its own BOS in front, and every state is another one
        "add_bos_token": bos is not None,
        "add_space_prefix": False,
        **{
            f"{k}_token_id": getattr(tokenizer, f"{k}_token_id")
            for k in ("bos", "eos", "pad", "unk")
        },
        "chat_template": template if isinstance(template, str) else None,
    }
    for name, value in keys.items():
        if value is not None:
            getattr(writer, f"add_{name}")(value)


def _write_weights(writer: Any, lm: LM, type: str) -> None:
    """Every weight of the model as it is now, one after another, so that only one is copied."""
    named, state = _names(lm), lm.model.state_dict()
    if state[HEAD].data_ptr() == state[f"{lm.arch.embed}.weight"].data_ptr():
        del state[HEAD]  # tied: llama.cpp takes the embedding where a file has no head
    kinds = {name: _kind(lm, name, weight, type) for name, weight in state.items()}
    for name, weight in state.items():
        kind = kinds[name]
        bytes_of = gguf.quant_shape_to_byte_shape(tuple(weight.shape), kind)
        cell = np.dtype({"F32": "f4", "F16": "f2"}.get(kind.name, "u1"))
        shape = bytes_of if cell.itemsize == 1 else tuple(weight.shape)
        writer.add_tensor_info(named(name), shape, cell, prod(bytes_of), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, weight in steps(state.items(), "weights"):
        whole = _reordered(lm, name.rpartition(".")[0], weight.detach().cpu().float())
        with np.errstate(over="ignore"):  # what does not fit is infinite, and refused
            rounded = gguf.quants.quantize(whole.contiguous().numpy(), kinds[name])
        if not np.isfinite(gguf.quants.dequantize(rounded, kinds[name])).all():
            raise ExportError(
                f"{name} has values that {kinds[name].name.lower()} cannot hold: choose type f32"
            )
        writer.write_tensor_data(rounded)


def _kind(lm: LM, name: str, weight: Tensor, type: str) -> Any:
    """The type in which a weight is written, as `export_gguf` says."""
    kinds = gguf.GGMLQuantizationType
    if weight.ndim < 2:
        return kinds.F32
    coarse = type.startswith(("q4", "q5")) and name in (HEAD, f"{lm.arch.embed}.weight")
    kind = kinds[("q8_0" if coarse else type).upper()]
    return kinds.F16 if weight.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] else kind


def _names(lm: LM) -> Callable[[str], str]:
    """llama.cpp's name of each weight, by its name here; ExportError for what has none."""
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, lm.n_layers)

    def named(name: str) -> str:
        found = known.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ExportError(f"llama.cpp has no name for the weight {name}")
        return str(found)

    return named


def _reordered(lm: LM, module: str, rows: Tensor) -> Tensor:
    """The rows of a weight in llama.cpp's order, which differs for queries and keys.

    Both turn a head's numbers in pairs. Here number i is turned with number i + half, there the two
    stand beside each other: [0, 1, 2, 3] -> [0, 2, 1, 3].
    """
    config, last = lm.model.config, module.rpartition(".")[2]
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(last)
    if heads is None:
        return rows
    pairs = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return pairs.transpose(1, 2).reshape(rows.shape)
