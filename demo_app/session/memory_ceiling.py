"""Bounds what visitors can make the page hold: one job ends, the page and everybody's edits stay.

The operating system refuses memory above a ceiling, so that an allocation fails inside a job, which
ends with a sentence, instead of the kernel killing the page. What is in use is read from /proc, so
this is Linux only; elsewhere nothing bounds the page. A lower limit of the shell (`ulimit -d`) or
of a container is kept.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

STATM, MEMINFO = Path("/proc/self/statm"), Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")  # the control group that a container stands in
LEAST = 128 << 20  # bytes for jobs beside what the page holds when it opens
SLACK = 1 << 30  # the system also counts stacks of threads, which are reserved and hardly used


def available() -> int | None:
    """Bytes that this process could still get, in its container too; None if it is not known."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    free = [int(found.group(1)) << 10] if found else []
    with suppress(OSError, ValueError):  # no such group, or "max"
        limit, usage = (int((GROUP / f"memory.{of}").read_text()) for of in ("max", "current"))
        free.append(limit - usage)
    return max(0, min(free)) if free else None


def forbid(more: int | None = None) -> None:
    """Have the operating system refuse memory beyond what is in use now and `more` bytes, for good.

    By default these are half of what is still free. Allocations then fail with an error that a job
    survives. Only for a process of the page's own.
    """
    data, free = pages(5), available()
    if data is None or free is None:
        return
    import resource  # which Windows does not have

    wanted = data + max(free // 2 if more is None else more, LEAST) + SLACK
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or wanted < most:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


def pages(column: int) -> int | None:
    """A column of /proc/self/statm in bytes: 1 is resident memory, 5 data and stacks; None where
    the system does not say.
    """
    try:
        return int(STATM.read_text().split()[column]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError, ValueError):
        return None
