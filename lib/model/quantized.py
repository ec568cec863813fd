"""Weight-only quantized models: matrices of eight or four bits, which torchao holds.

transformers makes them: `lib.load(NAME, quantization_config=TorchAoConfig(…))`. Weights are all
that is rounded, so activations keep their gradients (`products`), and a quantized weight itself has
none. An editor sees a matrix as the float matrix that its numbers stand for, and a patch binds a
float matrix in its place, as in any other model. Afterwards the quantized tensor is there again.

torchao is no requirement of the library. It was taken and not bitsandbytes because its weights have
the shape and the type of the matrices that they stand for. On a CPU bitsandbytes rounds the
activations too (eight bits), and at the first run it packs the weights anew for products that have
no gradient (four bits, on processors with AVX-512 BF16).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from ..errors import FamilyError


def is_quantized(weight: Tensor) -> bool:
    """Whether a weight is a quantized tensor of a kind that is known here."""
    return type(weight).__name__ in ("Int8Tensor", "NF4Tensor")  # torchao need not be installed


def plain(weight: Tensor) -> Tensor:
    """The float matrix that a quantized weight stands for, made anew; another weight as it is."""
    if not is_quantized(weight):
        return weight
    made: Any = weight
    return made.get_original_weight() if hasattr(made, "nf4") else made.dequantize()


def refuse_foreign(model: nn.Module) -> None:
    """Raise FamilyError for a model quantized in a way that leaves nothing to edit, and name it."""
    config: Any = getattr(getattr(model, "config", None), "quantization_config", None) or {}
    method = (config if isinstance(config, dict) else vars(config)).get("quant_method", "torchao")
    if method != "torchao":
        raise FamilyError(
            f"a model quantized by {getattr(method, 'value', method)} has no matrices that can be "
            "edited: load it in bf16 or float32, or quantized by torchao"
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
