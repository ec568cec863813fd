"""A model of 8B's widths, loaded from its files and edited, needs the memory that was counted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..benchmarks import large_model

ROOT = Path(__file__).parents[2]
SLACK = 1.0  # GB: activations, features, and what the allocator keeps
# layers: (GB of disk that must be free, GB of memory that must be available)
DEPTHS = {32: (20, 20), 8: (8, 12)}


def depth(folder: Path) -> int:
    """The layers that EDIT_LARGE_MODEL asks for where this machine has room for them, else 0.

    It is asked for by name, because eight layers take seven minutes and gigabytes of disk, and 32
    were never run.
    """
    wanted = int(os.environ.get("EDIT_LARGE_MODEL", "0"))
    disk = shutil.disk_usage(folder).free / 1e9
    lines = Path("/proc/meminfo").read_text().splitlines()
    (free,) = (int(line.split()[1]) / 1e6 for line in lines if line.startswith("MemAvailable"))
    room = (n for n, (d, m) in DEPTHS.items() if n <= wanted and disk >= d and free >= m)
    return next(room, 0)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="reads Linux's account of memory")
def test_edits_of_a_large_model_need_the_memory_that_was_counted(tmp_path):
    layers = depth(tmp_path)
    if not layers:
        pytest.skip(
            "needs EDIT_LARGE_MODEL=32 with 20 GB of free disk and 20 GB of available memory, "
            "or EDIT_LARGE_MODEL=8 with 8 GB and 12 GB"
        )
    limit = max(large_model.counted().values()) / 1e9 + SLACK
    out = tmp_path / "large.json"
    words = [str(tmp_path), "--layers", str(layers), "--limit", f"{limit:.2f}", "--out", str(out)]
    command = [sys.executable, "-m", "tests.benchmarks.large_model", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())[str(layers)]
    assert all(found["checks"].values()), found["checks"]
    assert 2 * found["weights"] / 1e9 > (15 if layers == 32 else 5) and found["rank"] == 8
    for name, step in found["steps"].items():
        needed = (step["anonymous"] - found["before"]["anonymous"]) / 1e9
        assert needed < found["counted"][name] / 1e9 + SLACK, (name, needed)


def test_random_weights_are_finite_and_all_different():
    drawn = large_model._random(large_model.np.random.default_rng(0), (64, 64))
    sizes = drawn.float().abs()
    assert sizes.min() >= 1 / 64 and sizes.max() < 1 / 32
    assert len(drawn.float().unique()) == 256 and abs(drawn.float().mean()) < 1e-3
    assert large_model.weights(32) == 8_030_261_248 - 65 * 4096  # without the norms


@pytest.mark.slow
def test_a_process_over_its_limit_ends():
    program = (
        "import time; from tests.benchmarks import large_model\n"
        "large_model.Peak(1e6); time.sleep(20)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3 and "over the limit" in done.stderr
