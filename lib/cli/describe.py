"""The command `python -m lib describe`, which prints what the model answers about an entity."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import EMPTY, Patch, dossier
from . import options


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    describe = commands.add_parser("describe", help="say what the model answers about an entity")
    describe.add_argument("entity", help='what is asked about, as in "The Eiffel Tower"')
    describe.add_argument("--patch", type=Path, help="a saved patch, to ask before and after it")
    describe.add_argument("--json", type=Path, metavar="OUT", help="keep the table")
    options.model(describe)
    describe.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Ask all relations of the classroom about the entity, and print the answers."""
    patch = Patch.load(given.patch) if given.patch else EMPTY
    found = dossier(options.load(given), given.entity, patch)
    print(found)
    print("Answers in brackets differ between wordings, or other subjects get them as well.")
    table = found.table.astype(object).where(found.table.notna(), None)
    kept = {"entity": found.entity, "lines": table.to_dict("records")}
    options.keep(given.json, kept)
