"""The command `python -m lib settings`, which explains the settings of an editor."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any

from .. import EDITORS
from ..settings import Setting, explain


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    settings = commands.add_parser("settings", help="say what the settings of an editor do")
    settings.add_argument("--editor", default="rome", help="rome, ft, retrieval, … (default rome)")
    settings.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Print every setting of an editor with its default, its published value and its sentence."""
    editor = EDITORS[given.editor]
    print(f"{editor.name}: {editor.paper}")
    for setting in explain(editor.Config).values():
        print(f"\n{_line(setting)}")
        print(textwrap.fill(setting.sentence, 96, initial_indent="    ", subsequent_indent="    "))
    print("\nPresets for some models set other values: lib/editors/presets.toml.")


def _line(setting: Setting) -> str:
    """A setting's name, default, source, and, where there are any, published value and choices."""
    said = ["the paper's" if setting.source == "paper" else "ours"]
    if setting.published != setting.default:
        said.append(f"published: {json.dumps(setting.published)}")
    if setting.choices:
        said.append(f"one of {', '.join(map(str, setting.choices))}")
    return f"{setting.name} = {json.dumps(setting.default)}   ({'; '.join(said)})"
