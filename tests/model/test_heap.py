"""Freed memory goes back to the system, and a C library without that is no error."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from lib.model import heap

ROOT = Path(__file__).parents[2]
FRAGMENTED = """
import torch
from pathlib import Path
from lib.model.heap import give_back
def own():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) // 1024
start = own()
held = [torch.ones(25_000) for _ in range(1000)]  # 100 kB each
held = held[::10]
freed = own()
give_back()
print(start, freed, own())
assert all(one.sum() == 25_000 for one in held)
"""


@pytest.mark.skipif(heap._trim() is None, reason="this C library has no malloc_trim")
def test_pieces_between_what_is_used_go_back():
    command = [sys.executable, "-c", FRAGMENTED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    start, freed, after = map(int, done.stdout.split())
    assert freed - start > 80 and after - start < 30  # MB


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    heap._trim.cache_clear()
    try:
        assert heap.give_back() is None and heap._trim() is None
    finally:
        heap._trim.cache_clear()
