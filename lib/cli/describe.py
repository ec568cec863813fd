"""The command `python -m lib describe`: what a model answers about an entity, and what it does."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import EMPTY, Patch, dossier
from . import options


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    describe = commands.add_parser("describe", help="say what the model answers about an entity")
    describe.add_argument("entity", help='what is asked about, as in "The Eiffel Tower"')
    describe.add_argument("--patch", type=Path, help="a saved patch, to ask before and after it")
    describe.add_argument(
        "--answers", action="store_true", help="only the answers; no keys, features and neighbors"
    )
    describe.add_argument("--layers", help="where keys and features are read, such as 3,15")
    describe.add_argument("--json", type=Path, metavar="OUT", help="keep the table")
    options.model(describe)
    describe.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Ask all relations of the classroom about the entity; print answers, keys and features."""
    patch = Patch.load(given.patch) if given.patch else EMPTY
    lm = options.load(given)
    layers = options.numbers("--layers", given.layers, lm.n_layers) if given.layers else None
    found = dossier(lm, given.entity, patch, answers_only=given.answers, layers=layers)
    print(found)
    print("Answers in brackets differ between wordings, or other subjects get them as well.")
    table = found.table.astype(object).where(found.table.notna(), None)
    kept: dict[str, Any] = {"entity": found.entity, "lines": table.to_dict("records")}
    if found.inside is not None:
        kept["inside"] = asdict(found.inside)
    options.keep(given.json, kept)
