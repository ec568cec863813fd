"""The results of an arena in compact form: one file per model, from which the tables are drawn.

    python -m tests.benchmarks.arena --to FOLDER
    python -m tests.benchmarks.arena_store FOLDER

Every finished cell of the folder goes into arena/MODEL.json beside this file, the mean of each
case, metric and event as it is, in the order of the cases. What the file holds of other cells
stays, so several folders of one model add up.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lib.atomic_files import whole_file
from lib.evaluation.scores import COLUMNS, Scores
from lib.patch.patch import parted
from tests.benchmarks import command, measured

FOLDER = Path(__file__).with_name("arena")


class Cell(NamedTuple):
    """One editor, one set of facts by its name, and the length of the stream (1: single edits).

    name  of its file and of its journal's folder
    """

    editor: str
    data: str
    edits: int

    @property
    def name(self) -> str:
        return f"{self.data}-{self.edits}-{self.editor}"


@dataclass(eq=False)
class Result:
    """What is kept of a cell.

    scores     one row per case, metric and event: the mean over the case's prompts
    seconds    of one edit, in the mean; None for the unedited model
    peak       bytes of memory above what the process held before the cell, None where unknown
    abilities  `Abilities.json` after the last edit, None where it was not asked
    ability    whether each item that the unedited model has right is still right
    made       all settings of the editor and the commit; or "presets of COMMIT" for settings, where
               a cell of before they were kept cannot be shown to have had the presets that it has;
               "cpu", seconds of all threads for the edits and every question, where it was counted
    """

    scores: Scores
    seconds: float | None = None
    peak: int | None = None
    abilities: dict[str, Any] | None = None
    ability: Sequence[bool] = ()
    made: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        for line in self.scores.rows.itertuples():
            events = table.setdefault(line.metric, {})
            events.setdefault(line.event, {})[str(line.case)] = round(float(line.value), 6)
        state = {
            "title": self.scores.title, "values": table, "perplexity": self.scores.perplexity,
            "seconds": self.seconds, "peak": self.peak, "abilities": self.abilities,
            "ability": "".join("01"[bool(right)] for right in self.ability), **self.made,
        }  # fmt: skip
        with whole_file(path) as part:
            part.write_text(json.dumps(state, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Result:
        """A result that `save` wrote."""
        state = json.loads(path.read_text(encoding="utf-8"))
        lines = [
            (case, metric, event, case, float(value), None, None)
            for metric, events in state["values"].items()
            for event, values in events.items()
            for case, value in values.items()
        ]
        asked = [(m, e) for m, events in state["values"].items() for e in events]
        table = pd.DataFrame(lines, columns=COLUMNS)
        scores = Scores(table, asked, state["title"], state["perplexity"])
        right = [mark == "1" for mark in state["ability"]]
        return cls(
            scores, state["seconds"], state["peak"], state["abilities"], right, made_in(state)
        )


def made_in(state: Mapping[str, Any]) -> dict[str, Any]:
    """`Result.made` of a stored cell."""
    return {key: state[key] for key in ("settings", "commit", "cpu") if key in state}


def cell_of(path: Path) -> Cell:
    """The cell whose result a file holds: "zsre-100-ft_m.json"."""
    parts = path.stem.split("-", 2)
    if len(parts) != 3 or not parts[1].isdigit():
        raise ValueError(f"{path} is not named as a cell of an arena is: DATA-EDITS-EDITOR.json")
    return Cell(parts[2], parts[0], int(parts[1]))


def compact(result: Result, cases: list[str]) -> dict[str, Any]:
    """A result with its values in the order of the cases; a case that is new is added to them."""
    values: dict[str, dict[str, list[float | None]]] = {}
    for row in result.scores.rows.itertuples():
        if row.case not in cases:
            cases.append(row.case)
        line = values.setdefault(row.metric, {}).setdefault(row.event, [])
        place = cases.index(row.case)
        line += [None] * (place + 1 - len(line))
        value = round(row.value, 4)
        line[place] = int(value) if value == int(value) else value
    return {
        "title": result.scores.title, "perplexity": result.scores.perplexity,
        "seconds": result.seconds, "peak": result.peak, "abilities": result.abilities,
        "ability": "".join("01"[right] for right in result.ability), **result.made,
        "values": values,
    }  # fmt: skip


def joined(known: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The marks of two arenas together; ValueError where facts of one name differ."""
    found = {name: dict(of) for name, of in known.items()}
    for name, of in more.items():
        before = found.setdefault(name, {})
        if any(before.get(count, mark) != mark for count, mark in of.items()):
            raise ValueError(f"{name} has other facts than before")
        found[name] = {**before, **of}
    return found


def store(folder: Path, to: Path = FOLDER) -> Path:
    """Write the finished cells of an arena's folder beside those that are stored; the file's path.

    Raises ValueError for a folder without an arena, and where the stored cells are of another one:
    other facts or metrics under the same name.
    """
    try:
        header = json.loads((folder / "arena.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"{folder} holds no arena: there is no arena.json to read") from None
    name = header["model"].split()[0] + "-behind" * (parted(header["model"])[1] is not None)
    path = to / f"{name}.json"
    state: dict[str, Any] = {**header, "cases": {}, "cells": {}}
    if path.exists():
        state = json.loads(path.read_text(encoding="utf-8"))
        try:
            state["data"] = joined(state["data"], header["data"])
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
        for key in ("model", "dtype", "metrics", "settings"):
            if state[key] != header[key]:
                raise ValueError(f"{path.name} was made with another '{key}'")
    for file in sorted(folder.glob("*.json")):
        if file.name != "arena.json":
            cases = state["cases"].setdefault(cell_of(file).data, [])
            state["cells"][f"{file.stem}.json"] = compact(Result.load(file), cases)
    cells = [
        f"  {json.dumps(name)}: {json.dumps(state['cells'][name], separators=(',', ':'))}"
        for name in sorted(state["cells"])
    ]
    head = {key: value for key, value in state.items() if key != "cells"}
    text = json.dumps(head, ensure_ascii=False).removesuffix("}")
    text += ', "cells": {\n' + ",\n".join(cells) + "\n}}\n"
    to.mkdir(exist_ok=True)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    path = store(given.folder)
    measured.record(path, "in the cells")
    cells = len(json.loads(path.read_text(encoding="utf-8"))["cells"])
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {cells} cells")


if __name__ == "__main__":
    command(main)
