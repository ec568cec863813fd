"""Time, memory and the floor of a piece of work on one device.

The floor of an edit is made from its own matrix products: each takes at least the time that its
multiply-adds take at the rate of one large product of its type, and at least the time in which its
matrices are read and its result is written, both measured in the same run. It says how much of the
time is products that run as well as they can. It does not say that fewer products would not do, and
it leaves out solves, softmax, norms and everything on the CPU, so a ratio of one is out of reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# the two factors of a product among its arguments; a bias stands before them
PRODUCTS = {
    "mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "_linear_pointwise": (0, 1),
    "linear": (0, 1), "mv": (0, 1), "addmv": (1, 2),
}  # fmt: skip


class Device:
    """One device: its clock, its memory and what it can do at most."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.type = name.split(":")[0]
        self.rates: dict[torch.dtype, float] = {}  # multiply-adds per second, by type
        self.bandwidth = 0.0  # bytes per second

    @property
    def module(self) -> Any:
        """torch.cuda or its like; None for the CPU."""
        return None if self.type == "cpu" else torch.get_device_module(self.name)

    def now(self) -> float:
        """Seconds on a clock, once the device has done what it was told."""
        if self.module:
            self.module.synchronize()
        return time.perf_counter()

    def timed(self, work: Callable[[], Any]) -> tuple[float, Any]:
        """(seconds, result) of some work."""
        start = self.now()
        found = work()
        return self.now() - start, found

    def clear_peak(self) -> None:
        """Begin to measure the memory anew."""
        if self.module and hasattr(self.module, "reset_peak_memory_stats"):
            self.module.reset_peak_memory_stats()

    def peak(self) -> int | None:
        """The most bytes in use on the card since `clear_peak`; None on the CPU."""
        return int(self.module.max_memory_allocated(self.name)) if self.module else None

    def describe(self) -> dict[str, Any]:
        """What the device is."""
        found: dict[str, Any] = {"name": self.name, "torch": torch.__version__}
        if self.type == "cuda":
            about = torch.cuda.get_device_properties(self.name)
            found |= {"name": about.name, "bytes": about.total_memory, "cuda": torch.version.cuda}
        return {**found, "count": self.module.device_count() if self.module else 0}

    def measure_rates(self, width: int, rows: int) -> dict[str, Any]:
        """Multiply-adds per second of one large product by type, and bytes per second of a copy."""
        for dtype in (torch.bfloat16, torch.float32, torch.float64):
            x = torch.ones(rows, width, device=self.name, dtype=dtype)
            w = torch.ones(width, width, device=self.name, dtype=dtype)
            x @ w
            self.rates[dtype] = rows * width * width / self._fastest(lambda x=x, w=w: x @ w)
        x = torch.ones(rows * width * 4, device=self.name, dtype=torch.bfloat16)
        y = torch.empty_like(x)
        self.bandwidth = 2 * x.numel() * x.element_size() / self._fastest(lambda: y.copy_(x))
        rates = {str(dtype).removeprefix("torch."): rate for dtype, rate in self.rates.items()}
        return {"multiply_adds_per_second": rates, "bytes_per_second": self.bandwidth}

    def _fastest(self, work: Callable[[], Any], times: int = 5) -> float:
        """The least seconds of some repetitions, each of several calls, for one call."""
        return min(self.timed(lambda: [work() for _ in range(4)])[0] / 4 for _ in range(times))


class Products(TorchDispatchMode):
    """Counts the matrix products of its body, and how long a device needs for them at least.

    count    multiply-adds
    seconds  the floor, see above
    """

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device, self.count, self.seconds, self._rows = device, 0, 0.0, 0

    @property
    def rows(self) -> int:
        """Rows of a product, in the mean over the multiply-adds."""
        return round(self._rows / max(1, self.count))

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        name = function._opname
        if name in PRODUCTS:
            self._note(*(args[i] for i in PRODUCTS[name]), found)
        elif name.startswith("_scaled_dot_product") and not name.endswith("backward"):
            query, key = args[:2]
            rows = query.numel() // query.shape[-1]
            # scores and their mixture of values
            self._add(2 * rows * key.shape[-2] * query.shape[-1], args[:3], query.dtype)
        return found

    def _note(self, a: Tensor, b: Tensor, found: Tensor) -> None:
        """One product; its inner size is the last one of the first factor."""
        work = found.numel() * a.shape[-1]
        self._rows += work * found.shape[:-1].numel()  # a product may be empty
        self._add(work, (a, b, found), a.dtype)

    def _add(self, work: int, parts: tuple, dtype: torch.dtype) -> None:
        if parts[0].device.type != self.device.type:
            return  # a product on the CPU beside the card
        self.count += work
        size = sum(part.numel() * part.element_size() for part in parts if not part.is_mkldnn)
        size += sum(part.numel() * 4 for part in parts if part.is_mkldnn)
        rate = self.device.rates.get(dtype)
        if rate:
            self.seconds += max(work / rate, size / self.device.bandwidth)


class Clock:
    """The time that a part has; the part itself asks before each step whether there is any left."""

    def __init__(self, limit: float) -> None:
        self._end = time.monotonic() + limit
        self.limit = limit

    def left(self) -> float:
        """Seconds until the limit."""
        return self._end - time.monotonic()

    def part(self, share: float) -> Clock:
        """A clock for a share of the whole limit, and no more than is left."""
        return Clock(max(0.0, min(self.limit * share, self.left())))
