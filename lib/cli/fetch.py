"""`python -m lib fetch`: brings the embedded default model here ahead of time."""

from __future__ import annotations

import argparse
from typing import Any

from ..model.default_model import default_model


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    fetch = commands.add_parser("fetch", help="bring the embedded default model here ahead of time")
    fetch.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Bring the model here, and print where it lies."""
    print(default_model(progress=True))
