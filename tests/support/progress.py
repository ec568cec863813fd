"""Progress bars in processes that are forked and killed."""

from __future__ import annotations

import threading

from tqdm import tqdm


def no_shared_lock() -> None:
    """Give tqdm's bars no lock that outlives a child.

    By default it is a semaphore that forked processes share: a child that is killed while it holds
    it leaves it locked for all later ones, which then wait forever.
    """
    tqdm.monitor_interval = 0  # no thread that might hold the lock while a child is forked
    tqdm.set_lock(threading.RLock())
