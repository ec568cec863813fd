"""Linear layers that are frozen and run on a CPU, computed by oneDNN with weights packed once.

PyTorch multiplies float32 matrices on the CPU with a general routine that packs the weight again at
every call; for the few rows of an edit this costs as much as the product. The weights of a base
model never change, so they are packed once, for both directions. This is 1.3 to 2.9 times faster,
mostly 2.2, on one thread of an AMD EPYC (`tests/benchmarks/packed_speed.json`). Modules that a
patch binds run on the bound tensor without packing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LIMIT = 4 * 2**30  # bytes of packed copies: larger models run as they are
ROWS = 64  # typical number of rows, a hint for the packed layout


class _Product(torch.autograd.Function):
    """x Wᵀ + bias with packed W, also in the gradient of x; W itself gets no gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, pair: Pair, bias: Tensor | None) -> Tensor:
        ctx.pair = pair
        return _linear(x, pair.forward, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return _linear(grad, ctx.pair.backward, None), None, None


class Pair:
    """One weight packed for x Wᵀ and, when first needed, for g W.

    weight   the weight W (d_out, d_in).
    state    its identity when it was packed.
    forward  W, packed.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.state = _state(weight)
        self.forward = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self._backward: Tensor | None = None

    @property
    def backward(self) -> Tensor:
        """Wᵀ packed."""
        if self._backward is None:
            turned = self.weight.detach().T.contiguous()
            self._backward = torch.ops.mkldnn._reorder_linear_weight(turned, ROWS)
        return self._backward


def _state(weight: Tensor) -> tuple[int, int]:
    """Address and version of a weight, which change when it is moved or written to."""
    return weight.data_ptr(), weight._version


def _linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """The outputs x Wᵀ + bias (…, d_out) for x (…, d_in) and a packed W (d_out, d_in)."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


class Packs:
    """The packed weights of one model; inside `with packs.used():` its linear layers run on them.

    pairs    the packed weights of the modules that have run.
    modules  the linear layers that may run packed.
    base     the base model's weight of each of them.
    depth    how many `used` are entered at the moment.
    """

    def __init__(self, model: nn.Module) -> None:
        self.pairs: dict[nn.Module, Pair] = {}
        self.modules = _linears(model) if available() else []
        # twice: once for each direction
        if 2 * sum(m.weight.numel() * m.weight.element_size() for m in self.modules) > LIMIT:
            self.modules = []
        self.base = {module: module.weight for module in self.modules}
        self.depth = 0

    @contextmanager
    def used(self) -> Iterator[None]:
        """In the body, linear layers with the base model's weight run packed. May be nested."""
        self.depth += 1
        if self.depth == 1:
            for module in self.modules:
                module.forward = partial(self._run, module)  # type: ignore[method-assign]
        try:
            yield
        finally:
            self.depth -= 1
            if self.depth == 0:
                for module in self.modules:
                    del module.forward  # the class's own forward shows again

    def _run(self, module: nn.Linear, x: Tensor) -> Tensor:
        """The forward of a linear layer, packed where its weight is the base model's."""
        weight = module._parameters["weight"]
        # a patch has bound another matrix, or the model has moved
        if weight is not self.base[module] or not _plain(weight):
            return F.linear(x, weight, module.bias)
        pair = self.pairs.get(module)
        if pair is None or pair.state != _state(weight):
            # the first run, or the base weight itself was written to
            pair = self.pairs[module] = Pair(weight)
        if torch.is_grad_enabled() and x.requires_grad:
            return _Product.apply(x.contiguous(), pair, module.bias)
        return _linear(x.contiguous(), pair.forward, module.bias)


def _linears(model: nn.Module) -> list[nn.Linear]:
    """Plain float32 linear layers on the CPU without hooks of their own on `forward`."""
    return [
        m
        for m in model.modules()
        if type(m) is nn.Linear and "forward" not in vars(m) and _plain(m.weight)
    ]


def _plain(weight: Tensor) -> bool:
    """Whether a weight can be packed: float32, on the CPU, and contiguous."""
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.is_contiguous()


@cache
def available() -> bool:
    """Whether this build has the packed product and it agrees with the plain one."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops, "mkldnn"):
        return False
    try:
        x, w = torch.ones(3, 32), torch.arange(16 * 32.0).reshape(16, 32) / 512
        return torch.allclose(_linear(x, Pair(w).forward, None), x @ w.T)
    except (AttributeError, RuntimeError):
        return False
