"""The model architectures known to this library, one row of ARCHS per `config.model_type`.

A row contains the names of modules and a few properties, so that no other file tests a model's
name: editors see `mlp_out` as one matrix (d_out, d_in) in float32. For a model without a row, the
library runs the model to infer one (infer_architecture.py), or you can load it with a row, as in
`lib.load(NAME, arch=…)`. Add a row here for a widely used family, or for a family whose modules are
not found by running it; the tests then run the whole conformance suite of
`tests/model/test_architectures.py` on a tiny random model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import FamilyError
from .quantized import plain, refuse_foreign


@dataclass(frozen=True)
class Arch:
    """Module names of one family; `{}` is replaced by the layer's number.

    blocks      the list of transformer blocks
    mlp_out     output projection of the MLP, the matrix that locate-then-edit methods write
    mlp_in      its input projections
    mlp         the whole MLP module, None if the family has none
    attn_out    output projections of the attention; if kinds alternate, one of each kind
    final_norm  the norm after the last block
    embed       the input embedding
    transposed  weights are stored (d_in, d_out)
    post_norm   the MLP is followed by a norm or a factor: blocks are not linear in `mlp_out`
    into        the module whose output a block adds to the stream, if it is a different one
    softcap     config attribute with the cap on the logits, None for plain logits
    fused_in    two input projections are fused into one module, and neither can be edited on its
                own
    logit_factor  the factor multiplying the head's logits, or config -> that number
    whole       blocks cannot run individually: a replay runs the whole model
    rewinds     tokens read into a cache can be masked later, as if they had not been read; running
                a model does not show that, leaving it False for inferred rows
    """

    blocks: str
    mlp_out: str
    mlp_in: tuple[str, ...]
    mlp: str | None
    attn_out: tuple[str, ...]
    final_norm: str
    embed: str
    transposed: bool = False
    post_norm: bool = False
    into: str | None = None
    softcap: str | None = None
    fused_in: bool = False
    logit_factor: float | Callable[[Any], float] = 1.0
    whole: bool = False
    rewinds: bool = True

    @property
    def into_stream(self) -> str:
        """The module whose output a block adds to the stream: `mlp_out`, or `into`."""
        return self.into or self.mlp_out


def _gpt(mlp_out: str, mlp_in: str, attn_out: str, **more: Any) -> Arch:
    """Return the row of a family naming its modules like GPT-2."""
    h = "transformer.h"
    return Arch(
        blocks=h,
        mlp_out=f"{h}.{{}}.{mlp_out}",
        mlp_in=(f"{h}.{{}}.{mlp_in}",),
        mlp=f"{h}.{{}}.mlp",
        attn_out=(f"{h}.{{}}.{attn_out}",),
        final_norm="transformer.ln_f",
        **{"embed": "transformer.wte", **more},
    )


def _llama(
    gate_up: tuple[str, ...] = ("gate_proj", "up_proj"),
    post_norm: bool = False,
    *,
    root: str = "model",
    out: str = "down_proj",
    attention: tuple[str, ...] = ("self_attn.o_proj",),
    **more: Any,
) -> Arch:
    """Return the row of a family naming its modules like LLaMA."""
    block = f"{root}.layers.{{}}."
    into = {"into": f"{block}post_feedforward_layernorm"} if post_norm else {}
    return Arch(
        blocks=f"{root}.layers",
        mlp_out=f"{block}mlp.{out}",
        mlp_in=tuple(f"{block}mlp.{name}" for name in gate_up),
        mlp=f"{block}mlp",
        attn_out=tuple(block + name for name in attention),
        embed=f"{root}.embed_tokens",
        post_norm=post_norm,
        **{"final_norm": f"{root}.norm", **into, **more},
    )


CAP = "final_logit_softcapping"  # the setting used by families for a cap on the logits
_4H = ("mlp.dense_4h_to_h", "mlp.dense_h_to_4h", "self_attention.dense")

ARCHS: dict[str, Arch] = {
    "gpt2": _gpt("mlp.c_proj", "mlp.c_fc", "attn.c_proj", transposed=True),
    "gptj": _gpt("mlp.fc_out", "mlp.fc_in", "attn.out_proj"),
    "gpt_neo": _gpt("mlp.c_proj", "mlp.c_fc", "attn.attention.out_proj"),
    "falcon": _gpt(*_4H, embed="transformer.word_embeddings"),
    "bloom": _gpt(*_4H, embed="transformer.word_embeddings"),
    "gpt_neox": Arch(
        blocks="gpt_neox.layers",
        mlp_out="gpt_neox.layers.{}.mlp.dense_4h_to_h",
        mlp_in=("gpt_neox.layers.{}.mlp.dense_h_to_4h",),
        mlp="gpt_neox.layers.{}.mlp",
        attn_out=("gpt_neox.layers.{}.attention.dense",),
        final_norm="gpt_neox.final_layer_norm",
        embed="gpt_neox.embed_in",
    ),
    "opt": Arch(
        blocks="model.decoder.layers",
        mlp_out="model.decoder.layers.{}.fc2",
        mlp_in=("model.decoder.layers.{}.fc1",),
        mlp=None,
        attn_out=("model.decoder.layers.{}.self_attn.out_proj",),
        final_norm="model.decoder.final_layer_norm",
        embed="model.decoder.embed_tokens",
    ),
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "stablelm", "smollm3", "gemma", "olmo"), _llama()
    ),
    **dict.fromkeys(("olmo2", "olmo3"), _llama(post_norm=True)),
    **dict.fromkeys(("gemma2", "gemma3_text"), _llama(post_norm=True, softcap=CAP)),
    # including its part for images
    "gemma3": _llama(post_norm=True, softcap=CAP, root="model.language_model"),
    "phi": _llama(
        ("fc1",), out="fc2", attention=("self_attn.dense",), final_norm="model.final_layernorm"
    ),
    "phi3": _llama(("gate_up_proj",), fused_in=True),
    "glm4": _llama(
        ("gate_up_proj",), True, fused_in=True, into="model.layers.{}.post_mlp_layernorm"
    ),
    "starcoder2": _llama(("c_fc",), out="c_proj"),
    "cohere2": _llama(logit_factor=lambda config: config.logit_scale),
    "granite": _llama(
        post_norm=True,
        into="model.layers.{}.mlp.down_proj",
        logit_factor=lambda config: 1 / config.logits_scaling,
    ),
    # three of four layers use a recurrent state for attention, which cannot be rewound
    "qwen3_5_text": _llama(
        attention=("linear_attn.out_proj", "self_attn.o_proj"), whole=True, rewinds=False
    ),
}


# The activation functions of an MLP, by their names in configurations.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}


def attention_window(config: Any) -> int | None:
    """Return the maximum number of tokens that a layer attends to, None if it attends to all."""
    names, config = ("sliding_window", "window_size"), config.get_text_config()
    found = [getattr(config, name, None) for name in names]
    return min((window for window in found if window), default=None)


def mlp_activation(config: Any) -> str | None:
    """Return the name of the MLP's activation function in a configuration, None if it has none."""
    names = (
        "hidden_act",
        "hidden_activation",
        "activation_function",
        "activation",
        "mlp_hidden_act",
    )
    config = config.get_text_config()
    return next((getattr(config, name) for name in names if getattr(config, name, None)), None)


def refuse_unpatchable(model: nn.Module) -> None:
    """Raise FamilyError for models whose weights are not plain matrices in memory."""
    if hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None:
        raise FamilyError(
            "A compiled model may continue using old weights. Load it without compiling."
        )
    if hasattr(model, "get_base_model") or any(hasattr(m, "base_layer") for m in model.modules()):
        raise FamilyError(
            "This model carries peft adapters in addition to its weights. Use the model returned "
            "by merge_and_unload()."
        )
    if getattr(model, "get_output_embeddings", lambda: None)() is None:
        raise FamilyError(
            f"{type(model).__name__} has no head predicting tokens. Load the model using "
            "AutoModelForCausalLM."
        )
    refuse_foreign(model)
    where = set(map(str, (getattr(model, "hf_device_map", None) or {}).values()))
    if where & {"disk", "meta"} or any(p.is_meta for p in model.parameters()):
        raise FamilyError(
            "Part of this model is offloaded. Choose a device_map that fits in memory."
        )
    if "cpu" in where and len(where) > 1:
        raise FamilyError(
            "Part of this model is offloaded to the CPU. Choose a device_map that fits."
        )


def below_head(model: Any) -> Any:
    """Return the model without its head, by its name or, if that is wrong, by its parts."""
    base = getattr(model, "base_model", model)
    inner = [part for part in model.children() if hasattr(part, "get_input_embeddings")]
    return inner[0] if base is model and inner else base


def block_signature(block: nn.Module) -> inspect.Signature:
    """Return the signature of a module's forward, for naming captured arguments."""
    return inspect.signature(block.forward)


# The names of a key-value cache, as an argument of models and blocks, and their users.
CACHES = {
    "cache": "transformers from 5.24 on",
    "past_key_values": "transformers up to 5.23",
    "layer_past": "blocks of BLOOM, Falcon, GPT-Neo and GPT-NeoX",
}
# Arguments of a block whose last dimension is a row's positions, and their users.
POSITIONS = {"position_ids": "every version", "cache_position": "transformers up to 5.23"}


def cache_argument(module: nn.Module) -> str:
    """Return the name of a block's or a model's argument for its key-value cache, one of CACHES."""
    names = block_signature(module).parameters
    return next((name for name in CACHES if name in names), next(iter(CACHES)))


def dense(weight: Tensor, transposed: bool) -> Tensor:
    """Return a stored weight as a matrix (d_out, d_in) in float32; calling it again reverses it.

    A quantized weight becomes a new matrix, the only one that an edit ever sees.
    """
    weight = plain(weight)
    return (weight.T if transposed else weight).float()
