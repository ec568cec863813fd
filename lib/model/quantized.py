"""Weight-only quantized models: matrices of eight or four bits, stored by torchao.

transformers creates them: `lib.load(NAME, quantization_config=TorchAoConfig(…))`. Only the weights
are rounded, so activations keep their gradients (`products`), but a quantized weight itself has
none. An editor sees a matrix as the float matrix that its numbers represent, and a patch binds a
float matrix instead, as in any other model. Afterwards, the quantized tensor is restored.

torchao is not a requirement of the library. We chose it instead of bitsandbytes because its weights
have the shape and type of the matrices that they represent. On a CPU, bitsandbytes also rounds the
activations (eight bits), and at the first run it repacks the weights for products that have no
gradient (four bits, on processors with AVX-512 BF16).
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
    """Return whether a weight is a quantized tensor of a supported kind."""
    return type(weight).__name__ in ("Int8Tensor", "NF4Tensor")  # torchao need not be installed


def plain(weight: Tensor) -> Tensor:
    """Return the float matrix represented by a quantized weight, newly made; others unchanged."""
    if not is_quantized(weight):
        return weight
    made: Any = weight
    return made.get_original_weight() if hasattr(made, "nf4") else made.dequantize()


def refuse_foreign(model: nn.Module) -> None:
    """Raise FamilyError, naming the method, for a model whose quantization prevents editing."""
    config: Any = getattr(getattr(model, "config", None), "quantization_config", None) or {}
    method = (config if isinstance(config, dict) else vars(config)).get("quant_method", "torchao")
    if method != "torchao":
        raise FamilyError(
            f"A model quantized by {getattr(method, 'value', method)} has no matrices that can be "
            "edited. Load it in bf16 or float32, or quantized by torchao."
        )
    for name, weight in model.named_parameters():
        foreign = hasattr(weight, "__tensor_flatten__") and not is_quantized(weight)
        # kinds that also round or scale the activations, which the products here would leave out
        more = [getattr(weight, of, None) for of in ("act_quant_kwargs", "act_pre_scale")]
        if foreign or not weight.is_floating_point() or more != [None, None]:
            raise FamilyError(
                f"{name} is a {type(weight).__name__} of a kind that cannot be edited. Load the "
                "model in bf16 or float32."
            )


def products(quantized: bool) -> AbstractContextManager:
    """Compute this thread's products with quantized weights here within the body, with gradients.

    quantized  whether the model has any
    """
    return _Linears() if quantized else nullcontext()


class _Linears(TorchFunctionMode):
    """The mode intercepting every `linear` of its thread, without changing any module."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is linear and not kwargs and is_quantized(args[1]):
            return _Dequantized.apply(*args)
        return func(*args, **(kwargs or {}))


class _Dequantized(torch.autograd.Function):
    """x Wᵀ + bias, and g W as the gradient of x. W is a matrix only during each product.

    Otherwise, the graph would hold all matrices of the float model until its backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)  # autograd rejects a write before the backward pass
        return linear(x, plain(weight), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return linear(grads[0], plain(ctx.saved_tensors[0]).T), None, None
