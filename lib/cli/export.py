"""The command `python -m lib export`: a saved patch becomes a PEFT adapter or a whole model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import Patch, export_model, export_peft
from ..export.export import refuse
from . import options


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    export = commands.add_parser("export", help="write a patch as a PEFT adapter or a whole model")
    export.add_argument("--patch", type=Path, required=True, help="a saved patch")
    export.add_argument("--to", type=Path, required=True, help="folder to write: new, or empty")
    export.add_argument(
        "--as", dest="kind", choices=("peft", "model"), required=True, help="adapter or model"
    )
    export.add_argument(
        "--rank",
        type=int,
        help="the most that a module of an adapter gets (default: exact, dense changes 64)",
    )
    options.model(export)
    export.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Write the patch, and print what was written."""
    if given.rank is not None and given.kind == "model":
        raise ValueError("--rank is for --as peft: a whole model is written exactly")
    patch = Patch.load(given.patch)
    refuse(patch)  # now, because loading a model takes time
    lm = options.load(given)
    if given.kind == "peft":
        done = export_peft(lm, patch, given.to, given.rank)
    else:
        done = export_model(lm, patch, given.to)
    print(f"saved: {done}")
