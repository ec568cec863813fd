"""Weight-only quantized models: matrices of eight or four bits, which torchao keeps.

The linear layers of the blocks are quantized, and embedding, head and norms stay as they are.
Activations are floats, so gradients of activations pass through quantized layers
(`devices._Dequantized`), and a quantized weight itself gets none. A patch puts a float matrix in
the place of a quantized one, as it does with any other; the tensor that comes back is the quantized
one that was there.

torchao is not a requirement of the library: `pip install torchao`. It was taken and not
bitsandbytes, because its weights keep the shape and the type of the matrix they stand for, and are
functions of activations that have gradients. On a CPU bitsandbytes rounds the activations too
(eight bits), and packs the weights anew at the first run, without gradients (four bits).
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from ..errors import FamilyError

KINDS = ("int8", "int4")
BLOCK, SCALES = 64, 256  # weights that share a scale, scales that share a second one: QLoRA's


def is_quantized(weight: Tensor) -> bool:
    """Whether a weight is one of the quantized tensors that can be edited beside."""
    return type(weight).__name__ in ("Int8Tensor", "NF4Tensor")


def plain(weight: Tensor) -> Tensor:
    """A quantized weight as a matrix of its own type, made anew; another one as it is."""
    if not is_quantized(weight):
        return weight
    made: Any = weight
    return made.get_original_weight() if hasattr(made, "nf4") else made.dequantize()


def quantize(model: nn.Module, blocks: str, kind: str) -> None:
    """Quantize the linear layers of a model's blocks, one after another, where they stand.

    blocks  the name of the module that holds the blocks
    kind    "int8": whole numbers of eight bits and one scale for each row. "int4": four bits as
            NormalFloat (NF4, Dettmers et al., QLoRA, 2023, arXiv:2305.14314), the scales of 64
            weights quantized once more.

    Raises ValueError without torchao, and FamilyError for a model whose matrices stand in no linear
    layers (GPT-2).
    """
    try:
        from torchao.quantization import Int8Tensor, PerRow, to_nf4
    except ImportError:
        raise ValueError(f"quantized={kind!r} needs torchao: pip install torchao") from None
    layers = [m for m in model.get_submodule(blocks).modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise FamilyError(
            f"quantized={kind!r}: the blocks of this model hold no linear layers to quantize"
        )
    for layer in layers:
        weight = layer.weight.detach()
        if kind == "int8":
            made = Int8Tensor.from_hp(weight, PerRow())
        else:
            block = math.gcd(weight.numel(), BLOCK)
            made = to_nf4(weight, block, math.gcd(weight.numel() // block, SCALES))
        layer.weight = nn.Parameter(made, requires_grad=False)


def weight_bytes(model: nn.Module) -> int:
    """The bytes that a model's parameters take, of a quantized one those of all its parts."""
    return sum(map(_bytes, model.parameters()))


def _bytes(weight: Any) -> int:
    if not is_quantized(weight):
        return weight.nbytes
    return sum(_bytes(getattr(weight, part)) for part in weight.__tensor_flatten__()[0])


def refuse_foreign(model: nn.Module) -> None:
    """Raise FamilyError for a quantized model without matrices to edit beside, and name its kind."""
    config: Any = getattr(getattr(model, "config", None), "quantization_config", None)
    said = config if isinstance(config, dict) else vars(config) if config else {}
    method = said.get("quant_method", "a method without a name")
    if (config or getattr(model, "hf_quantizer", None)) and method != "torchao":
        raise FamilyError(
            f"a model quantized by {getattr(method, 'value', method)} has no matrices that can be "
            f"edited: load it in bf16 or float32, or that with quantized='int8'"
        )
    for name, weight in model.named_parameters():
        foreign = hasattr(weight, "__tensor_flatten__") and not is_quantized(weight)
        if foreign or not weight.is_floating_point() or getattr(weight, "act_quant_kwargs", None):
            raise FamilyError(
                f"{name} is a {type(weight).__name__} of {weight.dtype}, which is no weight-only "
                "quantized matrix that can be edited: load it in bf16 or float32"
            )
