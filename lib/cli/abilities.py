"""The command `python -m lib abilities`, which says what a saved patch has cost the model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import Patch, abilities
from . import options


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    asked = commands.add_parser("abilities", help="ask whether the model still can what it could")
    asked.add_argument("--patch", type=Path, required=True, help="a saved patch")
    asked.add_argument("--json", type=Path, metavar="OUT", help="keep the items and the table")
    options.model(asked)
    asked.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Ask the model with and without the patch, and print what is left of each ability."""
    patch = Patch.load(given.patch)
    found = abilities(options.load(given), patch)
    print(found)
    rows = found.rows.to_dict("records")
    page = found.page.to_dict("list")
    options.keep(given.json, {"kept": found.json(), "items": rows, "page": page})
