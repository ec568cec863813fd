"""What the library asks of a device: whether it is a graphics card, the rule of several cards, and
which products are fast on a CPU.

A model larger than one card is loaded with `device_map="auto"`: its blocks then live on several
cards, and states travel from card to card. Nothing else in the library needs to know where a block
is, because of one rule that these four places keep:

* `LM.backbone` and `LM.head` give their result back beside what they were given, and `LM.weight`
  gives a matrix where its module is.
* A `Replay` lives on the device of its first block, `Replay.device`. Its hidden states, what it has
  seen, its labels and all that `run` gives are there.
* A route gets the module's inputs and its `Sequences` on the device of the module's output. Only
  `Patchable` calls routes, so only there anything is moved.
* A patch is on the CPU: editors bring their results there when they are done.

A copy between a card and the CPU makes the program wait for the card, and so does every number
that is read from it (`.item()`, `.tolist()`, a boolean index). Loops of training therefore read one
small tensor per step, which holds all that the step is judged by.

PyTorch multiplies float32 matrices on a CPU by MKL, which on an AMD EPYC took about twice as long
as oneDNN. So wherever the model runs on one of AMD's processors, its products with frozen weights
are oneDNN's. oneDNN reads the weight where it stands: there is no copy that could be stale. The
processor's maker decides and not a measurement, so that two runs give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from ..errors import ArgumentError
from ..settings import nearest, shown
from .quantized import is_quantized, plain

LEAST = 4096  # outputs of a product from which on oneDNN was faster, in one run that is not stored
try:
    AMD = b"AuthenticAMD" in Path("/proc/cpuinfo").read_bytes()
except OSError:  # not Linux
    AMD = False
FASTER = AMD and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # no public name: it may leave

DTYPES: dict[str, torch.dtype | Literal["auto"]] = {  # by torch's words, and by those of many
    "auto": "auto",
    **dict.fromkeys(("float32", "float", "fp32"), torch.float32),
    **dict.fromkeys(("bfloat16", "bf16"), torch.bfloat16),
    **dict.fromkeys(("float16", "half", "fp16"), torch.float16),
    **dict.fromkeys(("float64", "double", "fp64"), torch.float64),
}
SPREAD = ("auto", "balanced", "balanced_low_rank", "sequential", "disk")  # words of a device_map


def dtype_of(given: Any) -> torch.dtype | Literal["auto"]:
    """The type of weights that a word or a torch.dtype names; ArgumentError where none is named.

    dtype_of("bf16") -> torch.bfloat16
    """
    word = str(given).removeprefix("torch.").lower()
    if word not in DTYPES or not isinstance(given, str | torch.dtype):
        known = "float32, bfloat16, float16, float64 and auto"
        raise ArgumentError(f"dtype={shown(given)}: there are {known}{nearest(word, DTYPES)}")
    return DTYPES[word]


def refuse_missing(device_map: Any) -> None:
    """Raise ArgumentError for a device_map with a device that this machine does not have."""
    for place in device_map.values() if isinstance(device_map, Mapping) else [device_map]:
        try:
            torch.empty(0, device=None if place in SPREAD else place)
        except Exception:  # each kind of device has an error of its own
            cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
            here = ", ".join(["cpu", *cards, *["mps"] * torch.backends.mps.is_available()])
            raise ArgumentError(
                f"device_map={shown(device_map)}: there is no device {shown(place)} here, but "
                f"{here}; or the word 'auto'"
            ) from None


def on_card(device: torch.device) -> bool:
    """Whether a device is a card that computes many rows at once and knows float64.

    Apple's graphics does not know float64, so it is treated as the CPU is.
    """
    return device.type not in ("cpu", "mps")


def fast_products(quantized: bool = False) -> AbstractContextManager:
    """In the body, this thread's products with frozen weights are oneDNN's where that is faster.

    quantized  whether the model has quantized weights, whose products are made here in any case
    """
    return _Linears() if FASTER or quantized else nullcontext()


class _Linears(TorchFunctionMode):
    """The mode that sees every `linear` of its thread. No module is touched."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is linear and not kwargs and is_quantized(args[1]):
            return _Dequantized.apply(*args)
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


class _Dequantized(torch.autograd.Function):
    """The same with a quantized W, which is a matrix during each product and not between them.

    The graph would otherwise hold all matrices of the float model until its backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)
        return _either(x, plain(weight), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _either(grads[0], plain(ctx.saved_tensors[0]).T, None), None, None


def _either(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product that a float weight of these numbers would get, so that both give the same."""
    return (_product if _fits(x, weight, bias) else linear)(x, weight, bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether oneDNN is faster here: all are float32 on the CPU, the weights frozen, the product
    is large enough.
    """
    frozen = (weight,) if bias is None else (weight, bias)
    return (
        FASTER
        and x.numel() * len(weight) >= LEAST * x.shape[-1]
        and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in (x, *frozen))
        and not any(part.requires_grad for part in frozen)
    )
