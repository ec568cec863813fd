"""Weight-only quantized models: matrices of eight or four bits, which torchao holds.

The linear layers of the blocks are quantized; embedding, head and norms stay as they are. Weights
are all that is rounded, so activations keep their gradients (`products`), and a
quantized weight itself has none. An editor sees a matrix as the float matrix that its numbers stand
for, and a patch binds a float matrix in its place, as in any other model. Afterwards the quantized
tensor is there again.

torchao is no requirement of the library. It was taken and not bitsandbytes because its weights have
the shape and the type of the matrices that they stand for. On a CPU bitsandbytes rounds the
activations too (eight bits), and at the first run it packs the weights anew for products that have
no gradient (four bits, on processors with AVX-512 BF16).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from ..errors import ArgumentError, FamilyError

KINDS = ("int8", "int4")
BLOCK, SCALES = 64, 256  # weights that share a scale, and scales that share another: as in QLoRA


def is_quantized(weight: Tensor) -> bool:
    """Whether a weight is a quantized tensor of a kind that is known here."""
    return type(weight).__name__ in ("Int8Tensor", "NF4Tensor")  # torchao need not be installed


def plain(weight: Tensor) -> Tensor:
    """The float matrix that a quantized weight stands for, made anew; another weight as it is."""
    if not is_quantized(weight):
        return weight
    made: Any = weight
    return _normal_float(made) if hasattr(made, "nf4") else made.dequantize()


def _normal_float(weight: Any) -> Tensor:
    """What `get_original_weight` of an NF4Tensor gives, bit for bit and several times as fast.

    Both values of a byte are looked up at once, so nothing has to be put in order afterwards.
    """
    byte = torch.arange(256, device=weight.nf4.device)
    pairs = torch.stack([weight.nf4[byte >> 4], weight.nf4[byte & 15]], 1)  # (256, 2)
    scales = weight.dequantize_scalers(
        weight.quantized_scalers, weight.quantization_factor, weight.scaler_block_size
    )
    values = pairs.index_select(0, weight.quantized_data.int()).view(weight.n_blocks, -1)
    return values.mul_(scales[:, None]).view(weight.shape)


def quantize(model: nn.Module, blocks: str, kind: str) -> None:
    """Quantize the linear layers of a model's blocks, one after another; the model is changed.

    blocks  the name of the module that holds the blocks
    kind    "int8" is whole numbers of eight bits with a scale for each row. "int4" is four bits
            that number the sixteen values of NormalFloat, with a scale for each 64 weights, which
            is quantized too.

    Source: Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs" (2023, arXiv
    2305.14314) for NormalFloat. Raises ValueError without torchao, and FamilyError for a model
    whose blocks hold no linear layers (GPT-2's hold `Conv1D`), for one that is quantized already,
    and for a matrix that is not finite.
    """
    try:
        from torchao.quantization import Int8Tensor, PerRow, to_nf4
    except ImportError:
        raise ArgumentError(
            f"quantized={kind!r} needs the package torchao: pip install torchao"
        ) from None
    refuse_foreign(model)
    if any(map(is_quantized, model.parameters())):
        raise FamilyError(f"quantized={kind!r}: this model is quantized already, load it without")
    layers = [m for m in model.get_submodule(blocks).modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise FamilyError(
            f"quantized={kind!r}: the blocks of this model hold no linear layers, which alone can "
            "be quantized"
        )
    for layer in layers:
        weight = layer.weight.detach().contiguous()
        if kind == "int8":
            made = Int8Tensor.from_hp(weight, PerRow())
        else:
            block = math.gcd(weight.numel(), BLOCK)
            made = to_nf4(weight, block, math.gcd(weight.numel() // block, SCALES))
        if not plain(made).isfinite().all():
            raise FamilyError(
                f"quantized={kind!r}: a matrix of shape {tuple(weight.shape)} is not finite then"
            )
        layer.weight = nn.Parameter(made, requires_grad=False)


def refuse_foreign(model: nn.Module) -> None:
    """Raise FamilyError for a model quantized in a way that leaves nothing to edit, and name it."""
    config: Any = getattr(getattr(model, "config", None), "quantization_config", None)
    said = config if isinstance(config, dict) else vars(config) if config else {}
    method = said.get("quant_method", "a method without a name")
    if (config or getattr(model, "hf_quantizer", None)) and method != "torchao":
        raise FamilyError(
            f"a model quantized by {getattr(method, 'value', method)} has no matrices that can be "
            "edited: load it in bf16 or float32, which quantized='int8' can then round"
        )
    for name, weight in model.named_parameters():
        foreign = hasattr(weight, "__tensor_flatten__") and not is_quantized(weight)
        # what rounds or scales the activations too: products here would leave that out
        more = [getattr(weight, of, None) for of in ("act_quant_kwargs", "act_pre_scale")]
        if foreign or not weight.is_floating_point() or more != [None, None]:
            raise FamilyError(
                f"{name} is a {type(weight).__name__} of a kind that cannot be edited: load the "
                "model in bf16 or float32"
            )


def products(quantized: bool) -> AbstractContextManager:
    """In the body, this thread's products with quantized weights are made here, with gradients.

    quantized  whether the model has any
    """
    return _Linears() if quantized else nullcontext()


class _Linears(TorchFunctionMode):
    """The mode that sees every `linear` of its thread. No module is touched."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is linear and not kwargs and is_quantized(args[1]):
            return _Dequantized.apply(*args)
        return func(*args, **(kwargs or {}))


class _Dequantized(torch.autograd.Function):
    """x Wᵀ + bias, and g W as the gradient of x. W is a matrix only during each product.

    The graph would otherwise hold all matrices of the float model until its backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)  # autograd refuses a write before the backward pass
        return linear(x, plain(weight), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return linear(grads[0], plain(ctx.saved_tensors[0]).T), None, None
