"""Bounds what visitors can make the page hold: one job ends, the page and everybody's edits stay.

Three things together. Before each job the memory of the process is read, and a job is refused where
there is too much in use already. While a job runs, it is read at each of its steps, and a job that
has passed the ceiling ends there. And the operating system refuses what is asked for at one go
above the ceiling, so that the allocation fails inside the job instead of the kernel killing the
page.

The memory of a process is read from /proc, so all of this is Linux only; elsewhere nothing bounds
the page. A single operation that neither allocates nor ends is not interrupted by any of it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
from collections.abc import Callable
from pathlib import Path

from .worker import NO_MEMORY, Job, Trouble, Worker

try:
    import resource
except ImportError:  # Windows has no limits of this kind
    resource = None  # type: ignore[assignment]

STATM, MEMINFO = Path("/proc/self/statm"), Path("/proc/meminfo")
GROUPS = (  # (limit, usage) of the control group that a container stands in
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
LEAST = 128 << 20  # bytes for jobs beside what the page holds when it opens
SLACK = 1 << 30  # the system also counts stacks of threads, which are reserved and hardly used
ARENA_MAX = -8  # glibc's number of that setting
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
FULL = (
    "This page holds as much as its memory allows: undo edits that you do not need, or try again "
    "when other visitors have left."
)


def resident() -> int | None:
    """Bytes of memory that this process uses; None where the system does not say."""
    return _pages(1)


def available() -> int | None:
    """Bytes that this process could still get, in its container too; None if it is not known."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    free = [int(found.group(1)) << 10] if found else []
    for limit, usage in GROUPS:
        try:
            free.append(int(limit.read_text()) - int(usage.read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return max(0, min(free)) if free else None


def size(text: str) -> int:
    """Bytes from "6G", "800M" or "1073741824". Raises ValueError with one sentence."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"'{text[:40]}' is no size: write one as 6G or 800M.")
    return int(float(found.group(1)) * UNITS[found.group(2).upper()])


def usual() -> int | None:
    """The ceiling where none is named: what is in use now, and half of what is still free.

    None where the system does not say how much that is.
    """
    here, free = resident(), available()
    return None if here is None or free is None else here + max(free // 2, LEAST)


def forbid(ceiling: int) -> None:
    """Have the operating system refuse memory beyond a ceiling, in bytes, for good.

    Allocations then fail with an error that a job survives. Only for a process of the page's own.
    """
    here, data = resident(), _pages(5)
    if resource is None or here is None or data is None:
        return
    wanted = data + max(ceiling - here, LEAST) + SLACK
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or wanted < most:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


class MemoryCeiling:
    """Refuses jobs where memory is short, and ends those that take too much.

    ceiling: bytes of memory that the process may use.
    most: the most that was seen in use, bytes.
    """

    def __init__(
        self, worker: Worker, ceiling: int, shed: Callable[[], None] = lambda: None
    ) -> None:
        """shed: frees what can be computed again."""
        self.worker, self.ceiling, self.shed = worker, ceiling, shed
        self.most = resident() or 0
        worker.admit, worker.limit = self.admit, self.check

    def check(self) -> None:
        """Called at each step of a running job: raises Trouble where it has taken too much."""
        if self._over():
            raise Trouble(NO_MEMORY)

    def admit(self, job: Job) -> None:
        """Called before each step of a job: where it may not begin, it ends with a sentence."""
        if not self._over():
            return
        self.shed()
        trim()
        for other in [one for one in self.worker.begun() if one is not job] * (not job.begun):
            if self._over():  # what it has made so far is in use
                other.stop(NO_MEMORY)
                trim()
        if self._over() and not job.frees:
            job.stop(NO_MEMORY if job.begun else FULL)

    def _over(self) -> bool:
        used = resident() or 0
        self.most = max(self.most, used)
        return used > self.ceiling


def trim() -> None:
    """Give memory that is free inside this process back to the system, where that is possible."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        pass


def one_heap() -> None:
    """Have all threads that begin from here on share the C library's one heap.

    By default it makes up to eight for each core, and what is freed in one of them cannot be given
    back while anything at its end is in use. That was all that grew with the visits: after 22 of
    them (a random model, one run each) 650 MB with the default and 637 MB with one heap, while the
    numbers of objects and the bytes in use had stood still since the twelfth.
    """
    try:
        ctypes.CDLL("libc.so.6").mallopt(ARENA_MAX, 1)
    except (OSError, AttributeError):  # another C library
        pass


def _pages(column: int) -> int | None:
    """A column of /proc/self/statm in bytes: 1 is resident memory, 5 data and stacks."""
    try:
        return int(STATM.read_text().split()[column]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError, ValueError):
        return None
