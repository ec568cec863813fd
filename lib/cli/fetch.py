"""The command `python -m lib fetch`, which downloads the default model ahead of time."""

from __future__ import annotations

import argparse
from typing import Any

from ..model.default_model import default_model


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    fetch = commands.add_parser("fetch", help="bring the embedded default model here ahead of time")
    fetch.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Download the model unless it is there, and print its folder."""
    print(default_model(progress=True))
