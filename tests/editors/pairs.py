"""Which editors cannot stand together on the embedded model: a page of the notebooks' reference.

    python -m tests.editors.pairs    writes notebooks/reference/editors_together.md

The page follows from the presets alone: each editor is asked whether it can follow each other one,
which runs no model. tests/editors/test_pairs.py tries pairs on a random model.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lib
from lib.patch.patch import Edit

PAGE = Path(__file__).parents[2] / "notebooks" / "reference" / "editors_together.md"
TEXT = """# Editors that cannot stand together

<!-- python -m tests.editors.pairs writes this page from the presets -->

A patch can hold the edits of several editors, one after the other: `rome.edit(facts, after=patch)`.
Two of them cannot stand together where both need the same matrix, and one changes its weights while
the other puts a memory beside it, or both put one there. Such an edit is refused before anything is
computed, and `editor.refusal(patch)` says beforehand whether it would be: it gives
`None`, or a sentence as this one:

> {sentence}

With another layer (`lib.EDITORS[name](lm, layer=20)`) any two can stand together, and an editor can
always follow itself. The table is for the presets of the embedded model; another model has other
layers.

| editor | what it changes, or where its memory stands | cannot stand together with |
| --- | --- | --- |
"""


def written(editor: lib.Editor) -> lib.Patch:
    """A patch with something at all places where the editor may write; it cannot be entered."""
    line = Edit(editor.name, editor.settings_dict())
    first, *_ = places = [*editor.modules(), ""]
    if editor.writes == "routes":
        route: Any = SimpleNamespace(kind=editor.name)
        return lib.Patch(routes={first: route}, log=(line,))
    some: Any = dict.fromkeys(places[:-1])
    return lib.Patch(weights=some, log=(line,))


def refused(lm: lib.LM) -> dict[str, dict[str, str]]:
    """{first editor: {an editor that cannot follow it: the sentence}}, with presets."""
    editors = {name: kind(lm) for name, kind in lib.EDITORS.items()}
    return {
        name: {
            other: sentence
            for other, its in editors.items()
            if (sentence := its.refusal(written(one)))
        }
        for name, one in editors.items()
    }


def page(lm: lib.LM) -> str:
    """The page's text."""
    found = refused(lm)
    sentence = found["wise"].get("memoir") or next(
        said for row in found.values() for said in row.values()
    )
    rows = [
        f"| `{name}` | {where(lib.EDITORS[name](lm))} | {listed(others)} |\n"
        for name, others in found.items()
    ]
    return TEXT.format(sentence=sentence) + "".join(rows)


def where(editor: lib.Editor) -> str:
    """The places of an editor in words: a module's name in its block, and layers."""
    blocks = f"{editor.lm.arch.blocks}."
    inside = [
        name.removeprefix(blocks).split(".", 1)
        for name in editor.modules()
        if name.startswith(blocks)
    ]
    layers: dict[str, list[int]] = {}
    for layer, name in inside:
        layers.setdefault(name, []).append(int(layer))
    said = [f"`{name}` of {spans(sorted(numbers))}" for name, numbers in layers.items()]
    return "; ".join(said) or "the text before the prompt"


def spans(numbers: list[int]) -> str:
    """3, 4, 5, 9 -> 3–5, 9"""
    runs = groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)


def listed(names: Collection[str]) -> str:
    """Names as they stand in a cell."""
    return ", ".join(f"`{name}`" for name in names) or "–"


if __name__ == "__main__":
    PAGE.write_text(page(lib.load(dtype="float32")), encoding="utf-8")
