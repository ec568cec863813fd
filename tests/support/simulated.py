"""A simulated graphics card: tensors that say they are on "sim:0" but compute on the CPU.

The card knows the rules of CUDA and nothing of its speed or its numbers. It refuses what CUDA
refuses: tensors of two devices in one operation, `.numpy()`, a generator of the CPU, an index on
another card, a product of integers. And it counts, by the line of the library that asked, what CUDA
would wait for: copies up from the CPU, down to it and across from card to card, numbers that are
read, and operations whose result has a size that depends on values.

`install` cannot be undone, as torch takes a new kind of device once in a process. So tests call it
in a process of their own (`tests/model/test_simulated_cards.py`). It needs parts of torch that are
marked as experimental; where a release has changed them, `install` raises `Unsupported`.

A card's tensor (`OnCard`) is a wrapper around a tensor of the CPU. Operations on wrappers come to
`OnCard.__torch_dispatch__`. Operations that make a tensor from nothing have no wrapper among their
arguments, so torch finds them as kernels of the device. Both go through `compute`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import accelerate
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

import lib
from lib.model.lm import LM

CARDS = 2
CPU = torch.device("cpu")
HOME = Path(lib.__file__).resolve().parent
COPIES = {"_to_copy", "copy_", "_copy_from"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "addr", "addbmm"}
# Operations after which CUDA waits, because the size of the result depends on values, or because
# the program looks at a number.
WAITS = {
    *("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal"),
    *("repeat_interleave", "bincount", "is_nonzero", "_linalg_eigh", "_linalg_svd"),
}
MIXED = {"where", "masked_fill", "masked_fill_", "fill_", "lerp", "clamp", "pow", "index_fill_"}
FACTORIES = (
    *("empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step"),
    *("eye", "eye.m", "full", "zeros", "ones", "linspace", "scalar_tensor", "randperm", "rand"),
    *("randn", "rand.generator", "randn.generator", "randint", "randint.low", "tril_indices"),
    *("randperm.generator", "triu_indices", "copy_", "_copy_from"),
)


class CardError(RuntimeError):
    """What CUDA would have raised."""


class Unsupported(RuntimeError):
    """This torch has no simulated card."""


class Traffic:
    """What was copied and waited for: {(kind, line of the library): how often}.

    kinds: "down" to the CPU, "up" from it, "across" from card to card, "item" for a number that is
    read, "size" for a result whose size depends on values.
    """

    def __init__(self) -> None:
        self.events: Counter[tuple[str, str]] = Counter()
        self.values: Counter[str] = Counter()  # copied numbers by kind
        self.kernels = 0

    def note(self, kind: str, numbers: int = 1) -> None:
        """One event more, of the line that runs."""
        self.events[kind, line_of_lib()] += 1
        self.values[kind] += numbers

    def total(self, *kinds: str) -> int:
        """How often these kinds, by default all of them, happened."""
        return sum(n for (kind, _), n in self.events.items() if not kinds or kind in kinds)


_open: list[Traffic] = []


@contextmanager
def counted() -> Iterator[Traffic]:
    """The traffic of the body of `with`."""
    traffic = Traffic()
    _open.append(traffic)
    try:
        yield traffic
    finally:
        _open.remove(traffic)


def line_of_lib() -> str:
    """The innermost line of the library among those that run, as `model/lm.py:12`."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if HOME in path.parents:
            return f"{path.relative_to(HOME)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


class OnCard(Tensor):
    """A tensor of a card, around the tensor of the CPU that has its numbers."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device) -> OnCard:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, layout=inner.layout, device=device,
        )  # fmt: skip
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnCard({self.inner}, {self.device})"

    def tolist(self) -> Any:
        """The numbers, after a copy down."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function, args: tuple, kwargs: dict) -> Any:
    """An operation by the rules of a card: checked, counted, and computed on the CPU."""
    name = function._opname
    flat, shape = tree_flatten((args, kwargs))
    tensors = [x for x in flat if isinstance(x, Tensor)]
    wanted = kwargs.get("device")
    if name in COPIES:
        place = _copied(name, tensors, args, wanted)
    else:
        place = torch.device(wanted) if wanted is not None else _common(function, tensors, args)
    if place.type == "sim" and place.index is None:
        place = torch.device("sim", 0)
    _refuse(function, name, tensors, kwargs, place)
    _count(name, args)
    if name == "_fused_sdp_choice":
        return 0  # the plain product, which every device has
    outside = {id(x.inner): x for x in tensors if isinstance(x, OnCard)}
    inside = [x.inner if isinstance(x, OnCard) else x for x in flat]
    args, kwargs = tree_unflatten(inside, shape)
    if wanted is not None:
        kwargs["device"] = CPU
    found = function(*args, **kwargs)

    def wrapped(x: Any) -> Any:
        if not isinstance(x, Tensor) or isinstance(x, OnCard):
            return x
        if id(x) in outside:  # changed in place
            held = outside[id(x)]
            if held.shape != x.shape:
                raise NotImplementedError(f"{function} changed a shape in place")
            return held
        return x if place == CPU else OnCard(x, place)

    return tree_map(wrapped, found)


def _copied(name: str, tensors: list[Tensor], args: tuple, wanted: Any) -> torch.device:
    """The device that a copy ends on; a copy from one device to another is counted."""
    if name == "_to_copy":
        source, place = tensors[0], tensors[0].device if wanted is None else torch.device(wanted)
    else:
        into, source = args[:2] if name == "copy_" else args[1::-1]
        place = into.device
    if place.type == "sim" and place.index is None:
        place = torch.device("sim", 0)
    if source.device != place:
        kind = "down" if place == CPU else "up" if source.device == CPU else "across"
        for traffic in _open:
            traffic.note(kind, source.numel())
    return place


def _common(function, tensors: list[Tensor], args: tuple) -> torch.device:
    """The one device of an operation's tensors; CardError where CUDA takes no such mixture."""
    places = {x.device for x in tensors}
    if len(places) == 1:
        return places.pop()
    name = function._opname
    if name in INDEXING:  # an index may also be on the CPU
        place, others = args[0].device, [i for i in args[1] if isinstance(i, Tensor)]
        value = [args[2]] if len(args) > 2 else []
        if all(i.device in (CPU, place) for i in others) and all(
            v.device == place or (v.device == CPU and v.ndim == 0) for v in value
        ):
            for traffic in _open:
                for i in others:
                    if i.device != place:
                        traffic.note("up", i.numel())
            return place
    elif torch.Tag.pointwise in function.tags or name in MIXED:
        # a number that is on the CPU may stand beside a card's tensor, but takes no result
        cards = {x.device for x in tensors if x.device != CPU}
        numbers = all(x.ndim == 0 for x in tensors if x.device == CPU)
        into_cpu = function._schema.is_mutable and args[0].device == CPU
        if len(cards) == 1 and numbers and not into_cpu:
            return cards.pop()
    found = [(str(x.device), tuple(x.shape)) for x in tensors]
    raise CardError(f"{function}: expected all tensors on the same device, found {found}")


def _refuse(function, name: str, tensors: list, kwargs: dict, place: torch.device) -> None:
    """Raise CardError for what a card cannot do on its own device."""
    draw = kwargs.get("generator")
    if draw is not None and draw.device != place:
        raise CardError(f"{function} on {place} with a generator of {draw.device}")
    if place == CPU:
        return
    if name in PRODUCTS and not tensors[0].is_floating_point():
        raise CardError(f"{function} is not there for {tensors[0].dtype}")
    if name == "linalg_lstsq" and kwargs.get("driver") not in (None, "gels"):
        raise CardError("lstsq on a card has the driver gels only")


def _count(name: str, args: tuple) -> None:
    """Count an operation, and whether the program waits for it."""
    masked = name in INDEXING and any(
        isinstance(i, OnCard) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
    )
    for traffic in _open:
        traffic.kernels += 1
        if name == "_local_scalar_dense":
            traffic.note("item")
        elif name in WAITS or masked:
            traffic.note("size")


class _Backend:
    """`torch.sim`: two cards, of which one byte on the first and two on the other were in use."""

    is_available = is_initialized = staticmethod(lambda: True)
    _is_in_bad_fork = staticmethod(lambda: False)
    device_count = staticmethod(lambda: CARDS)
    current_device = staticmethod(lambda: 0)
    manual_seed_all = empty_cache = synchronize = set_device = staticmethod(lambda *_: None)
    max_memory_allocated = staticmethod(lambda device: 1 + (torch.device(device).index or 0))


_kept: list[Any] = []  # the registered kernels live as long as their library


def install() -> None:
    """Make the cards known to torch, once; Unsupported where this torch behaves otherwise."""
    if _kept:
        return
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

        _setup_privateuseone_for_python_backend("sim", backend_module=_Backend())
        kernels = torch.library.Library("aten", "IMPL")
        for name in FACTORIES:
            operation, _, overload = name.partition(".")
            packet = getattr(torch.ops.aten, operation)
            function = getattr(packet, overload or "default")

            def kernel(*args, function=function, **kwargs):
                return compute(function, args, kwargs)

            kernels.impl(name, kernel, "PrivateUse1")
        _kept.append(kernels)
        torch.autograd.set_multithreading_enabled(False)
    except (ImportError, AttributeError, RuntimeError) as error:
        raise Unsupported(f"this torch has no simulated card: {error}") from error
    wrong = check_itself()
    if wrong:
        raise Unsupported(f"the simulated card does not behave as CUDA does: {', '.join(wrong)}")


def placed(lm: LM, cards: int) -> LM:
    """The model on one card, or its lower and upper blocks on two, as accelerate dispatches it.

    The norm and the head are beside the last block, but for a head that is the embedding.
    """
    model, arch = lm.model, lm.arch
    if cards == 1:
        model.to("sim:0").tie_weights()
        return LM(model, lm.tokenizer, lm.name)
    head = model.get_output_embeddings()
    tied = head.weight is model.get_input_embeddings().weight
    where: dict[str, str] = {}

    def divide(prefix: str, module: nn.Module) -> None:
        for name, child in module.named_children():
            name = f"{prefix}{name}"
            if name == arch.blocks:
                for i in range(lm.n_layers):
                    where[f"{name}.{i}"] = f"sim:{i * cards // lm.n_layers}"
            elif any(inner is lm.blocks for inner in child.modules()):
                divide(f"{name}.", child)
            else:
                last = name == arch.final_norm or (child is head and not tied)
                where[name] = f"sim:{cards - 1 if last else 0}"

    divide("", model)
    model = accelerate.dispatch_model(model, where, main_device="sim:0")
    assert {p.device.index for p in model.parameters()} == set(range(cards)), where
    return LM(model, lm.tokenizer, lm.name)


def check_itself() -> list[str]:
    """The names of those of twelve operations, six forbidden and six allowed, that went wrong."""
    a, b = torch.ones(3, device="sim:0"), torch.ones(3, device="sim:1")
    plain, index = torch.ones(3), torch.tensor([0, 1])
    whole = torch.ones(2, 2, dtype=torch.long, device="sim:0")
    draw = torch.Generator()
    forbidden = {
        "two cards": lambda: a + b,
        "a card and the CPU": lambda: a * plain,
        "numpy of a card": lambda: a.numpy(),
        "an index on another card": lambda: a[index.to("sim:1")],
        "a generator of the CPU": lambda: torch.rand(2, device="sim:0", generator=draw),
        "a product of integers": lambda: whole @ whole,
    }
    leaf = torch.ones(3, device="sim:0", requires_grad=True)
    allowed = {
        "a number beside a card": lambda: (a * torch.tensor(2.0)).sum().item() == 6,
        "an index on the CPU": lambda: a[index].shape == (2,),
        "a copy across": lambda: (a.to("sim:1") + b).device == torch.device("sim", 1),
        "a list of numbers": lambda: torch.arange(3, device="sim:1").tolist() == [0, 1, 2],
        "a gradient": lambda: torch.autograd.grad((leaf * a).sum(), leaf)[0].device == a.device,
        "a new tensor": lambda: torch.tensor([1.0, 2.0], device="sim:0").cpu().sum() == 3,
    }
    wrong = []
    for name, operation in forbidden.items():
        try:
            operation()
            wrong.append(name)
        except (RuntimeError, TypeError):
            pass
    for name, operation in allowed.items():
        try:
            if not bool(operation()):
                wrong.append(name)
        except Exception as error:
            wrong.append(f"{name} ({error})")
    return wrong
