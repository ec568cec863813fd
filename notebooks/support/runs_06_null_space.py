"""The long runs of notebook 06: editors write the same five hundred facts, batch after batch.

All of them write the same values, which are searched once, on the unedited model. So they differ in
the solve.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

import lib
from lib.data.texts import HELD_OUT
from lib.evaluation.perplexity import passage_losses
from lib.keys_values.value_search import Target

from . import stored_runs
from .runs_05_memit import AlphaEdit, Memit
from .score_tables import by_case

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
STREAM = {
    "data": "the Eiffel Tower and the first 499 rows of CounterFact",
    "lines": LINES,
    "layers": [3, 4, 5],
    "templates": ["{}"],
    "values": "searched once, on the unedited model",
    "batch": 50,
    "points": [100, 200, 300, 400, 500],  # here a sample of all facts so far is asked
    "sample": 5,  # every so many facts
    "text": 4,  # this part of the held-out text is read for the perplexity, after every batch
}
SHUFFLED = STREAM | {"seed": 1, "points": [500]}
ALONE = {"no projector, L₂, kept keys": ("no projector", {"L2": 10.0})}
WEIGHTS = {key: value for key, value in STREAM.items() if key != "text"} | {
    "data": "the Eiffel Tower and the first 399 rows of CounterFact",
    "lines": ALONE | {name: line for name, line in LINES.items() if "λ = 30" not in name},
    "points": [400],
    "neighbors": 1,  # so many questions about other subjects are asked for each fact
    "window": 64,  # tokens; at the points the held-out text is read in windows of this length
}
WEIGHTS_SHUFFLED = WEIGHTS | {"seed": 1}


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


class Stream:
    """The facts in batches of `batch`, written by one line of `LINES` after the other.

    With a seed in the settings the facts are shuffled, and the same ones are asked.

    known  The values that were searched so far; they are shared by all lines.
    """

    def __init__(
        self, lm: lib.LM, cases: Sequence[lib.Case], batch: int, settings: dict = STREAM
    ) -> None:
        self.lm, self.cases, self.batch, self.settings = lm, list(cases), batch, settings
        self.sample = self.cases[:: settings["sample"]]
        if "seed" in settings:
            random.Random(settings["seed"]).shuffle(self.cases)
        self.known: dict[lib.Fact, Target] = {}
        text = HELD_OUT.read_text(encoding="utf-8")
        self.text = text[: len(text) // settings.get("text", 1)]

    def editor(self, name: str) -> lib.Editor:
        """The editor of a line; it takes the values that are known."""
        kind, settings = (LINES | ALONE)[name]
        templates = tuple(STREAM["templates"])
        editor = KNOWN[kind](self.lm, templates=templates, values_on="base", **settings)
        editor.known = self.known
        return editor

    def base(self) -> dict[str, Any]:
        """The unedited model's row: all that can be measured; for STREAM two batches' facts."""
        row = {"line": "unedited", "edits": 0}
        if self.settings is STREAM:
            row["facts"] = [vars(case.fact) for case in self.cases[: 2 * self.batch]]
        return row | self.look(len(self.cases), lib.EMPTY) | self.words(lib.EMPTY)

    def line(self, name: str) -> Iterator[dict[str, Any]]:
        """Write the stream with one editor; one row per batch, with the perplexity of the text.

        At the points also: held (one share per fact of the sample so far) and the texts of ASKED.
        """
        editor, patch = self.editor(name), lib.EMPTY
        for start in range(0, len(self.cases), self.batch):
            facts = [case.fact for case in self.cases[start : start + self.batch]]
            patch = editor.edit(facts, after=patch, check=False)
            row = {"line": name, "edits": start + len(facts)} | self.words(patch)
            if row["edits"] in self.settings["points"]:
                row |= self.look(row["edits"], patch)
            yield row

    def words(self, patch: lib.Patch) -> dict[str, float]:
        """The perplexity of the text; not where it is read in windows."""
        if "window" in self.settings:
            return {}
        with self.lm.patched(patch, only=True):
            return {"perplexity": round(lib.perplexity(self.lm, self.text), 4)}

    def windows(self, patch: lib.Patch) -> dict[str, list[float]]:
        """losses: the mean −log p of each whole window of the text."""
        with self.lm.patched(patch, only=True):
            found = passage_losses(self.lm, self.text, self.settings["window"], least=0.99)
        return {"losses": [round(loss.mean().item(), 5) for loss in found]}

    def look(self, end: int, patch: lib.Patch) -> dict[str, Any]:
        """Ask a sample of the facts so far, their neighbors, and ASKED; read the text in windows."""
        some = [case for case in self.sample if case in self.cases[:end]]
        asked = {"held": "efficacy", "neighbors": "locality"}
        scores = lib.evaluate(self.lm, some, patch, ["generation"], metrics=["locality"])
        with self.lm.patched(patch, only=True):
            found = by_case(scores, asked) | {"says": self.lm.answer(ASKED, 5)}
        return found | (self.windows(patch) if "window" in self.settings else {})


def rows(lm: lib.LM, settings: dict) -> Iterator[dict[str, Any]]:
    """A stored run: every line to its end, and before them (not of SHUFFLED) the unedited model."""
    cases, near = [lib.Case(TOWER)], settings.get("neighbors", 0)
    for case in counterfact(settings["points"][-1] - 1):
        prompts = tuple(probe.prompt for probe in case.neighborhood[:near])
        cases.append(lib.Case(case.fact, locality=prompts))
    stream = Stream(lm, cases, settings["batch"], settings)
    if "seed" not in settings:
        yield stream.base()
    for name in settings["lines"]:
        yield from stream.line(name)


# ---------------------------------------------------------------- the runs on the model that `lib.load()` gives

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

    def look(self, end: int, patch: lib.Patch) -> dict[str, Any]:
        """Ask a sample of the facts so far and their neighbors, and read the held-out text.

        exactly    held, with nothing after the answer
        neighbors  shares of two neighbors whose answer begins with the true one
        unchanged  whether the first of them is answered by the unedited model's first sentence
        """
        some = [case for case in self.sample if case in self.cases[:end]]
        asked = {"held": "efficacy", "neighbors": "specificity", "unchanged": "locality"}
        scores = lib.evaluate(
            self.lm, some, patch, ["generation"], metrics=["specificity", "locality"]
        )
        found = by_case(scores, asked)
        found |= by_case(scores, {"exactly": "efficacy"}, "generation_exact")
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
    settings = {
        "reading": stored_runs.reading(lm),
        "editors": stored_runs.configs(lm, lines),
        "batches": {line: batch for line, (*_, batch) in WRITTEN.items()},
        "draws": DRAWS,
        "points": POINTS,
    }
    draws = {name: Draw(lm, name) for name in DRAWS}
    jobs = {
        f"{name}, {line}": partial(draw.line, line)
        for name, draw in draws.items()
        for line in WRITTEN
    }
    return [stored_runs.LongRun("06_lines", settings, jobs)]
