"""Models that several test files share; the default one is fetched once and cached."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # of gradio's client
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see lib/__init__.py

import sys

import pytest
import torch

from .support.progress import no_shared_lock

no_shared_lock()
# a worker of pytest-xdist has one core to itself, and no result may depend on -n
torch.set_num_threads(1)


def pytest_xdist_auto_num_workers(config):
    """Workers of the whole suite: one per core, at most four, as each holds the default model.

    None where files or tests are named: one of them is sooner done without starting any.
    """
    named = any(not arg.startswith("-") and os.path.exists(arg.split("::")[0])
                for arg in config.invocation_params.args)  # fmt: skip
    return 0 if named else min(4, os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def own_editors_leave():
    """An editor that a test registers is not there for the next one."""
    before = {*getattr(sys.modules.get("lib"), "EDITORS", ())}
    yield
    editors = getattr(sys.modules.get("lib"), "EDITORS", {})
    for name in [*editors] if before else []:
        if name not in before:
            del editors[name]


@pytest.fixture(scope="session")
def default_lm():
    """The embedded default model in float32, shared by all tests, which must leave it as it is."""
    import lib

    return lib.load(dtype="float32")


@pytest.fixture(scope="session")
def plain_lm():
    """The default model without its sink token, as stored runs and the authors' code read it."""
    import lib

    return lib.load(dtype="float32", sink=None)


@pytest.fixture
def ctrl_c():
    """Ctrl-C interrupts this process and its children, as in a terminal.

    A shell ignores SIGINT in what it starts in the background, and children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
