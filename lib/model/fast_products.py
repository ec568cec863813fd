"""Products with frozen weights by oneDNN, wherever the model runs on one of AMD's processors.

PyTorch multiplies float32 matrices on a CPU by MKL, which on an AMD EPYC takes about twice as long
as oneDNN. oneDNN reads the weight where it stands, so there is no copy that could be stale. Nothing
changes on other processors. The processor's maker decides and not a measurement, so that two runs
give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

LEAST = 4096  # outputs of a product from which on oneDNN is faster


@contextmanager
def fast_products() -> Iterator[None]:
    """In the body, this thread's products with frozen weights are oneDNN's where that is faster."""
    with _Linears() if faster() else nullcontext():
        yield


@cache
def faster() -> bool:
    """Whether this is one of AMD's processors under Linux, and this PyTorch has oneDNN."""
    about = Path("/proc/cpuinfo")
    amd = about.exists() and "AuthenticAMD" in about.read_text(encoding="utf-8", errors="replace")
    return amd and torch.backends.mkldnn.is_available()


class _Linears(TorchFunctionMode):
    """The mode that sees every `linear` of its thread. No module is touched."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is linear and not kwargs and _fits(*args):
            return _Product.apply(*args)
        return func(*args, **(kwargs or {}))


class _Product(torch.autograd.Function):
    """x Wᵀ + bias, and g W as the gradient of x. The frozen W and bias get none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)  # autograd refuses a write before the backward pass
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _product(grads[0], ctx.saved_tensors[0].T, None), None, None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether all are float32 on the CPU, the weights frozen, and the product is large enough."""
    frozen = (weight,) if bias is None else (weight, bias)
    plain = all(p.dtype == torch.float32 and p.device.type == "cpu" for p in (x, *frozen))
    large = x.numel() * len(weight) >= LEAST * x.shape[-1]
    return plain and large and not any(part.requires_grad for part in frozen)
