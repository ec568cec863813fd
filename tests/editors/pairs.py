"""Writes the reference page listing editors that can't be combined on the default model.

    python -m tests.editors.pairs    writes notebooks/reference/editors_together.md

The page depends only on the presets: for each pair of editors, it checks whether the second can
follow the first, without running a model. tests/editors/test_pairs.py tests pairs on a random
model.
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
TEXT = """# Combining editors

<!-- python -m tests.editors.pairs writes this page from the presets -->

A patch can contain edits by several editors, one after the other: `rome.edit(facts, after=patch)`.
Two editors can't be combined if both need the same matrix and at least one of them adds a memory to
it instead of changing its weights. Such an edit is rejected before anything is computed. To check
in advance, call `editor.refusal(patch)`, which returns `None` if the edit is possible, or an
explanation such as:

> {sentence}

By choosing another layer (`lib.EDITORS[name](lm, layer=20)`), you can combine any two editors, and
an editor can always follow itself. The table uses the presets of the default model; other models
have other layers.

| editor | matrices edited or extended | can't be combined with |
| --- | --- | --- |
"""


def written(editor: lib.Editor) -> lib.Patch:
    """A patch with entries at all places where the editor may write; it cannot be applied."""
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
    """An editor's places as text: each module's name within its block, with its layers."""
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
    """Names as a cell of the table."""
    return ", ".join(f"`{name}`" for name in names) or "–"


if __name__ == "__main__":
    PAGE.write_text(page(lib.load(dtype="float32")), encoding="utf-8")
