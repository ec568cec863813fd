"""An editor's settings: their values for this model, their meanings, and changes to them.

The page edits with `preset="ours"`, which uses short searches and limits in order to answer within
seconds.

Visitors change settings line by line, except for settings that name a file or could cause unbounded
work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import Annotated, Any

import msgspec

import lib
from lib.setting_fields import explain

from . import checks
from .worker import Trouble

CHARACTERS = 2400  # maximum length of all settings lines together
STEPS = ("steps", "epochs", "n_iter")  # the editors' names for the length of their search
NONE = "none"  # notation for an unset value
LARGEST = 10_000  # limit on numbers, to bound the work that a visitor can start
NUMBER = msgspec.Meta(ge=-LARGEST, le=LARGEST)
SHORT = msgspec.Meta(max_length=40)
One = Annotated[int, NUMBER] | Annotated[float, NUMBER] | Annotated[str, SHORT] | bool | None
Value: Any = One | Annotated[tuple[One, ...], SHORT]  # the possible values of a setting
OWN = " Not part of the paper."
# names of files, or unbounded work
PATHS = ("network", "text", "inner", "source", "contexts", "irrelevant")


def preset(lm: lib.LM, editor: str) -> lib.Config:
    """The settings that the page edits with."""
    return lib.EDITORS[editor].Config.preset(lm, editor, preset="ours")


def of_ours(lm: lib.LM, editor: str) -> bool:
    """Return whether the page's settings differ from the method's default, the paper's."""
    return preset(lm, editor) != lib.EDITORS[editor].Config.preset(lm, editor)


def shown(lm: lib.LM, editor: str) -> dict[str, Any]:
    """{name: value} of the settings that can be changed, with this model's preset values."""
    config = asdict(preset(lm, editor))
    return {name: value for name, value in config.items() if name not in PATHS}


def listed(lm: lib.LM, editor: str) -> list[dict[str, Any]]:
    """The library's description of every setting that can be changed, with its value for this
    model.
    """
    known = explain(lib.EDITORS[editor].Config)
    return [
        {
            "name": name,
            "value": value,
            "published": known[name].published,
            "choices": list(known[name].choices),
            "sentence": known[name].sentence,
            "source": known[name].source,
        }
        for name, value in shown(lm, editor).items()
    ]


def table(lm: lib.LM, editor: str) -> str:
    """HTML: every setting with its value here, its published value, and its effect."""
    rows = ""
    for row in sorted(listed(lm, editor), key=lambda one: not one["name"].startswith("layer")):
        said = row["sentence"] + OWN * (row["source"] == "ours")
        rows += (
            f"<tr><td>{escape(row['name'])}<small>{escape(said)}</small></td>"
            f"<td>{escape(_written(row['value']))}</td>"
            f"<td>{escape(_written(row['published']))}</td></tr>"
        )
    return (
        f'<table class="options"><caption>Settings of {escape(editor)}</caption><tr>'
        "<th>setting</th><th>for this model</th><th>as published</th></tr>"
        f"{rows}</table><p>{escape(lib.EDITORS[editor].paper)}</p>"
    )


def changed(lm: lib.LM, edit: lib.Edit) -> dict[str, Any]:
    """The settings of an edit that differ from its editor's preset for this model."""
    own = vars(preset(lm, edit.editor))
    return {n: v for n, v in edit.settings.items() if n in own and v != own[n]}


def lines_of(lm: lib.LM, edit: lib.Edit) -> list[str]:
    """An edit's changed settings as lines that `of_each` can read."""
    own = changed(lm, edit).items()
    return [f"{edit.editor}.{name} = {_written(v)}" for name, v in own if name not in PATHS]


def of_each(lm: lib.LM, editors: Sequence[str], text: str) -> dict[str, dict[str, Any]]:
    """{editor: its settings}. The line rome.layer = 4 applies only to ROME, unprefixed lines to
    every editor.
    """
    lines = checks.lines("list of settings", text, most=CHARACTERS)
    named = [line.partition("=")[0].partition(".")[0].strip() for line in lines]
    found = {}
    for editor in editors:
        mine = [
            line.strip().removeprefix(f"{editor}.") or line
            for line, name in zip(lines, named, strict=True)
            if name == editor or name not in editors
        ]
        found[editor] = changes(lm, editor, mine)
    return found


def changes(lm: lib.LM, editor: str, lines: Sequence[str]) -> dict[str, Any]:
    """Parse settings from lines `name = value`, with values as in JSON. Raises Trouble with one
    sentence.
    """
    known, found = shown(lm, editor), {}
    for line in lines:
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not value:
            raise Trouble(f"“{line[:60]}” is not a setting. Write name = value.")
        if name not in known:
            tick = "Remove the line, or tick the editor that has it"
            raise Trouble(f"{editor} has no setting “{name[:40]}” to change here. {tick}.")
        try:
            found[name] = msgspec.json.decode("null" if value == NONE else value, type=Value)
        except msgspec.MsgspecError:
            raise Trouble(
                f"The value of {name} should be a number, true, false, {NONE}, a “word” or a list "
                "of numbers."
            ) from None
        here = known[name]
        if here is not None and isinstance(here, bool) != isinstance(found[name], bool):
            raise Trouble(f"{name} is {_written(here)} here. Give a value of the same kind.")
        count = isinstance(found[name], int) and 1 <= found[name] <= 100
        if name in (*STEPS, "documents") and not count:
            raise Trouble(f"{value} {name} are not possible here. Choose 1 to 100.")
    return found


def _written(value: Any) -> str:
    """Format a value as visitors read and write it."""
    return NONE if value is None else json.dumps(value)
