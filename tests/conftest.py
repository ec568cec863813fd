"""Models that several test files share; the default one is fetched once and cached."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see lib/__init__.py

import pytest
import torch

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session")
def default_lm():
    """The embedded default model in float32, shared by all tests, which must leave it as it is."""
    import lib

    return lib.load(dtype="float32")
