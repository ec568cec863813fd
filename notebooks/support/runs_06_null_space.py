"""The long run of notebook 06: editors write the same two hundred and fifty facts, batch by batch.

All of them write the same values, which are searched once, on the unedited model. So they differ in
the solve.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any

import torch

import lib
from lib.data.texts import HELD_OUT
from lib.evaluation.perplexity import passage_losses
from lib.keys_values.value_search import Target

from . import stored_runs
from .runs_05_memit import AlphaEdit, Memit
from .runs_17_was_it_edited import rounding
from .score_tables import by_case, by_stream

TOWER = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
ASKED = [TOWER.text, "The Louvre is located in the city of", "The opposite of hot is"]
SOFT, HARD = {"strength": 1000.0}, {"strength": 30.0}
NULL = {"L2": 10.0, "quantile": 0.8}
LINES = {  # name: (editor, its settings)
    "MEMIT": ("memit", SOFT),
    "MEMIT, kept keys": ("memit", {**SOFT, "keep_keys": True}),
    "AlphaEdit, projector only": ("alphaedit", {**NULL, "keep_keys": False}),
    "AlphaEdit": ("alphaedit", NULL),
    "MEMIT, λ = 30": ("memit", HARD),
    "MEMIT, λ = 30, kept keys": ("memit", {**HARD, "keep_keys": True}),
}


class NoProjector(AlphaEdit):
    """AlphaEdit where every direction belongs to the null space: P = I, and L₂ is left."""

    def null_space(self, layer: int) -> lib.associative_memory.NullSpace:
        """All directions of the layer."""
        width = self.lm.weight(self.lm.mlp_out(layer)).shape[1]
        return lib.associative_memory.NullSpace(torch.eye(width).double(), float("inf"), 1.0)


KNOWN = {"memit": Memit, "alphaedit": AlphaEdit, "no projector": NoProjector}


def counterfact(count: int) -> list[lib.Case]:
    """The first rows of the CounterFact file that EDIT_DATA names."""
    path = os.environ.get("EDIT_DATA")
    if path is None:
        raise ValueError(
            "this run edits CounterFact, which is not shipped: get counterfact.json and run "
            "`EDIT_DATA=/path/counterfact.json python -m notebooks.build --long 06`"
        )
    return lib.read_cases(path, limit=count)


DRAWS = {"first": 0, "second": 7262, "third": 8500}  # the first of the rows that follow the tower
FACTS = 250
ONE_LAYER = {"layers": (4,)}  # the last of the preset's, so the values are the same
WRITTEN = {  # name: (editor, its settings, facts in a call)
    **{name: (*line, 50) for name, line in LINES.items()},
    "one batch": ("memit", SOFT, FACTS),
    "one batch, λ = 30": ("memit", HARD, FACTS),
    "one layer, kept keys": ("memit", {**SOFT, **ONE_LAYER, "keep_keys": True}, 50),
    "one layer, λ = 30, kept keys": ("memit", {**HARD, **ONE_LAYER, "keep_keys": True}, 50),
    "no projector, L₂, kept keys": ("no projector", {"L2": 10.0}, 50),
}
POINTS = (50, FACTS)
BITS = "8 bits, per row"


class Draw:
    """The tower and rows of CounterFact; the lines share the values that were searched."""

    def __init__(self, lm: lib.LM, name: str) -> None:
        self.lm, self.name, first = lm, name, DRAWS[name]
        rows = counterfact(first + FACTS - 1)[first:]
        near = [
            replace(c, neighborhood=c.neighborhood[:2], locality=(c.neighborhood[0].prompt,))
            for c in rows
        ]
        self.cases = [lib.Case(TOWER), *near]
        self.sample = self.cases[::5]
        self.known: dict[lib.Fact, Target] = {}

    def line(self, line: str) -> Iterator[dict[str, Any]]:
        """Write all facts by one line; a row at each of the points, the unedited model first."""
        kind, settings, batch = WRITTEN[line]
        settings = {"templates": ("{}",), "values_on": "base", **settings}
        editor, patch = KNOWN[kind](self.lm, **settings), lib.EMPTY
        editor.known = self.known
        head = {"draw": self.name, "line": line}
        if line == next(iter(WRITTEN)):
            yield {"draw": self.name, "line": "unedited", "edits": 0, **self.look(FACTS, patch)}
        for start in range(0, FACTS, batch):
            facts = [case.fact for case in self.cases[start : start + batch]]
            patch, end = editor.edit(facts, after=patch, check=False), start + len(facts)
            if end in POINTS:
                yield {**head, "edits": end, **self.look(end, patch)}

    def rounded(self) -> Iterator[dict[str, Any]]:
        """The unedited model with 8 bits for each weight, a scale for each row: a harmless change."""
        seen = self.look(FACTS, rounding(BITS, self.lm, lib.EMPTY))
        yield {"draw": self.name, "line": BITS, "unchanged": seen["unchanged"]}

    def look(self, end: int, patch: lib.Patch) -> dict[str, Any]:
        """Ask a sample of the facts so far and their neighbors, and read the held-out text.

        neighbors  shares of two neighbors whose answer begins with the true one
        unchanged  whether the first of them is answered by the unedited model's first sentence
        """
        some = [case for case in self.sample if case in self.cases[:end]]
        asked = {"held": "efficacy", "neighbors": "specificity", "unchanged": "locality"}
        scores = lib.evaluate(
            self.lm, some, patch, ["generation"], metrics=["specificity", "locality"]
        )
        found = by_case(scores, asked)
        text = HELD_OUT.read_text(encoding="utf-8")
        with self.lm.patched(patch, only=True):
            losses = passage_losses(self.lm, text, 64, least=0.99)
            says = self.lm.answer(ASKED, 5)
        return found | {"says": says, "losses": [round(x.mean().item(), 5) for x in losses]}


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Two hundred and fifty facts by every line, for three draws of facts."""
    lines = {
        line: (KNOWN[kind], {"templates": ("{}",), **settings})
        for line, (kind, settings, _) in WRITTEN.items()
    }
    draws = {name: Draw(lm, name) for name in DRAWS}
    jobs = {
        f"{name}, {line}": partial(draw.line, line)
        for name, draw in draws.items()
        for line in WRITTEN
    }
    batches = {line: batch for line, (*_, batch) in WRITTEN.items()}
    more = {"batches": batches, "draws": DRAWS, "points": POINTS}
    bits = {name: draw.rounded for name, draw in draws.items()}
    return [
        stored_runs.long_run(lm, "06_lines", lines, jobs, **more),
        stored_runs.long_run(lm, "06_rounded", {}, bits, draws=DRAWS, bits=BITS),
    ]


def ends(rows: Sequence[Mapping[str, Any]], line: str) -> dict[str, list[float]]:
    """{what was measured: one value per draw, in %} of a line after its last edit."""
    base = {row["draw"]: mean(row["losses"]) for row in rows if row["line"] == "unedited"}
    own = [row for row in rows if row["line"] == line and row["edits"] == FACTS]
    same = [[x for x in row["unchanged"] if x is not None] for row in own]
    return {
        "facts held (%)": [100 * mean(row["held"]) for row in own],
        "increase in perplexity (%)": [
            100 * math.expm1(mean(row["losses"]) - base[row["draw"]]) for row in own
        ],
        "neighbors unchanged (%)": [100 * mean(shares) for shares in same],
    }


def apart(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """The mean difference, draw by draw, and the ends of Student's 95 % interval."""
    return by_stream([a - b for a, b in zip(one, other, strict=True)])
