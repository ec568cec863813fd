"""Limits the memory that visitors can make the page use, sacrificing one job to keep the page and
all edits.

The operating system refuses memory above a ceiling, so that an allocation fails inside a job,
ending it with a message, instead of the kernel killing the page. The memory in use is read from
/proc, so this works only on Linux; elsewhere, the page is not limited. A lower limit set by the
shell (`ulimit -d`) or a container is kept.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

STATM, MEMINFO = Path("/proc/self/statm"), Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")  # a container's control group
LEAST = 128 << 20  # minimum bytes for jobs, in addition to the memory in use when the page opens
SLACK = 1 << 30  # the system also counts thread stacks, which are reserved but barely used


def available() -> int | None:
    """Bytes still available to this process, also considering its container; None if unknown."""
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
    """Have the operating system permanently refuse memory beyond current use plus `more` bytes.

    The default is half of the free memory. Allocations then fail with an error that jobs can
    survive. Only call this in a process dedicated to the page.
    """
    data, free = pages(5), available()
    if data is None or free is None:
        return
    import resource  # not available on Windows

    wanted = data + max(free // 2 if more is None else more, LEAST) + SLACK
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or wanted < most:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


def pages(column: int) -> int | None:
    """A column of /proc/self/statm in bytes: 1 is resident memory, 5 data and stacks; None if
    unavailable.
    """
    try:
        return int(STATM.read_text().split()[column]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError, ValueError):
        return None
