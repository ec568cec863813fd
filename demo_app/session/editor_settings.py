"""All settings of an editor: their values for this model, their meanings, and changes to them.

The page writes with `preset="ours"`, which has the short searches and the bounds that an answer
within seconds needs.

A visitor changes settings line by line; a setting that names a file, or that makes work unbounded,
cannot be changed here.
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

from . import given
from .worker import Trouble

CHARACTERS = 2400  # of all lines of settings
STEPS = ("steps", "epochs", "n_iter")  # what editors call the length of their search
NONE = "none"  # how a value that is not set is written
LARGEST = 10_000  # of a number: what a visitor may make the machine do
NUMBER = msgspec.Meta(ge=-LARGEST, le=LARGEST)
SHORT = msgspec.Meta(max_length=40)
One = Annotated[int, NUMBER] | Annotated[float, NUMBER] | Annotated[str, SHORT] | bool | None
Value: Any = One | Annotated[tuple[One, ...], SHORT]  # what a setting may be
OWN = " This is not in the paper."
PATHS = ("network", "text", "inner", "source", "contexts", "irrelevant")  # files, or work unbounded


def preset(lm: lib.LM, editor: str) -> lib.Config:
    """The settings with which the page writes."""
    return lib.EDITORS[editor].Config.preset(lm, editor, preset="ours")


def of_ours(lm: lib.LM, editor: str) -> bool:
    """Whether these are our form of a method whose default is the paper's."""
    return preset(lm, editor) != lib.EDITORS[editor].Config.preset(lm, editor)


def shown(lm: lib.LM, editor: str) -> dict[str, Any]:
    """{name: value} of the settings that may be changed, as the preset has them for this model."""
    config = asdict(preset(lm, editor))
    return {name: value for name, value in config.items() if name not in PATHS}


def listed(lm: lib.LM, editor: str) -> list[dict[str, Any]]:
    """What the library says of every setting that may be changed, with its value for this model."""
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
    """HTML: every setting with its value here, the published one, and what it does."""
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
    """The settings of an edit that are not its editor's own for this model."""
    own = vars(preset(lm, edit.editor))
    return {n: v for n, v in edit.settings.items() if n in own and v != own[n]}


def lines_of(lm: lib.LM, edit: lib.Edit) -> list[str]:
    """An edit's changed settings as the lines that `of_each` reads."""
    own = changed(lm, edit).items()
    return [f"{edit.editor}.{name} = {_written(v)}" for name, v in own if name not in PATHS]


def of_each(lm: lib.LM, editors: Sequence[str], text: str) -> dict[str, dict[str, Any]]:
    """{editor: its settings}: a line rome.layer = 4 is of ROME alone, one without a name of all."""
    lines = given.lines("list of settings", text, most=CHARACTERS)
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
    """Settings from lines `name = value`, values as in JSON. Raises Trouble in one sentence."""
    known, found = shown(lm, editor), {}
    for line in lines:
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not value:
            raise Trouble(f"“{line[:60]}” is no setting: write name = value.")
        if name not in known:
            tick = "take the line out, or tick the editor that has it"
            raise Trouble(f"{editor} has no setting “{name[:40]}” to change here: {tick}.")
        try:
            found[name] = msgspec.json.decode("null" if value == NONE else value, type=Value)
        except msgspec.MsgspecError:
            raise Trouble(
                f"The value of {name} should be a number, true, false, {NONE}, a “word” or a list "
                "of numbers."
            ) from None
        here = known[name]
        if here is not None and isinstance(here, bool) != isinstance(found[name], bool):
            raise Trouble(f"{name} is {_written(here)} here: give a value of that kind.")
        count = isinstance(found[name], int) and 1 <= found[name] <= 100
        if name in (*STEPS, "documents") and not count:
            raise Trouble(f"{value} {name} cannot be taken: 1 to 100 can.")
    return found


def _written(value: Any) -> str:
    """A value as a visitor reads and writes it."""
    return NONE if value is None else json.dumps(value)
