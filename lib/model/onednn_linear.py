"""Linear layers that are frozen and run on a CPU, computed by oneDNN.

PyTorch multiplies float32 matrices on the CPU by MKL. oneDNN was about twice as fast on an AMD
EPYC, with copies of the weights in a layout of its own. On an Intel Xeon the two are close in the
forward product, and MKL is the faster one in the backward, whose matrix stands row by row as it
needs it; so there the gradient is MKL's (`tests/benchmarks/onednn_speed.json`). No copy in oneDNN's
layout is kept here, because it would go on answering for a weight that was written to in a way that
nobody sees, such as `weight.data.copy_(other)`. oneDNN reads the weight where it stands.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Product(torch.autograd.Function):
    """x Wᵀ + bias, also in the gradient of x; W itself gets no gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # saved, so that a write to the weight before the backward is refused by autograd
        ctx.save_for_backward(weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        back = grad @ weight if gradient_by_mkl() else product(grad, weight.T, None)
        return back, None, None


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The outputs x Wᵀ + bias (…, d_out) by oneDNN, for x (…, d_in) and W (d_out, d_in)."""
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


class Linears:
    """The linear layers of one model; inside `with linears.used():` oneDNN computes them.

    modules  the linear layers that oneDNN may compute.
    depth    how many `used` are entered at the moment.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = _linears(model) if available() else []
        self.depth = 0

    @contextmanager
    def used(self) -> Iterator[None]:
        """In the body, linear layers with a frozen weight run by oneDNN. May be nested."""
        self.depth += 1
        if self.depth == 1:
            for module in self.modules:
                module.forward = partial(_run, module)  # type: ignore[method-assign]
        try:
            yield
        finally:
            self.depth -= 1
            if self.depth == 0:
                for module in self.modules:
                    del module.forward  # the class's own forward shows again


def _run(module: nn.Linear, x: Tensor) -> Tensor:
    """The forward of a linear layer, by oneDNN where its weight of the moment is frozen."""
    weight, bias = module._parameters["weight"], module.bias
    learns = weight.requires_grad or (bias is not None and bias.requires_grad)
    # the model may have moved, and a patch may have bound a matrix in training
    if not _plain(weight) or (learns and torch.is_grad_enabled()) or x.dtype != weight.dtype:
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Product.apply(x, weight, bias)
    return product(x.detach(), weight.detach(), bias)


def _linears(model: nn.Module) -> list[nn.Linear]:
    """Plain float32 linear layers on the CPU without hooks of their own on `forward`."""
    return [
        m
        for m in model.modules()
        if type(m) is nn.Linear and "forward" not in vars(m) and _plain(m.weight)
    ]


def _plain(weight: Tensor) -> bool:
    """Whether oneDNN takes a weight as it stands: float32, on the CPU, and contiguous."""
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.is_contiguous()


@cache
def gradient_by_mkl() -> bool:
    """Whether this is one of Intel's processors, and PyTorch has Intel's MKL.

    The processor's maker decides and no measurement at run time, so that two runs on one machine
    give the same bits.
    """
    try:
        maker = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        maker = platform.processor()
    return torch.backends.mkl.is_available() and "GenuineIntel" in maker


@cache
def available() -> bool:
    """Whether this build has the product of oneDNN and it agrees with the plain one."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops, "mkldnn"):
        return False
    try:
        x, w = torch.ones(3, 32), torch.arange(16 * 32.0).reshape(16, 32) / 512
        return torch.allclose(product(x, w, None), x @ w.T)
    except (AttributeError, RuntimeError):
        return False
