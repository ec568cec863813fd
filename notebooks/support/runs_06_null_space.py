"""The long run of notebook 06: nine editors write the same five hundred facts, batch after batch.

All of them write the same values, which are searched once, on the unedited model. So they differ in
the solve, or in what is done to its result.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import lib
from lib.data.texts import HELD_OUT
from lib.keys_values.target_value import Target

from .runs_05_memit import AlphaEdit, Memit
from .score_tables import by_case

TOWER = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
ASKED = [TOWER.text, "The Louvre is located in the city of", "The opposite of hot is"]
SOFT, HARD = {"strength": 1000.0}, {"strength": 30.0}
NULL = {"L2": 10.0, "quantile": 0.8}
LINES = {  # name: (editor, its settings, what is done to every batch's change)
    "MEMIT": ("memit", SOFT, None),
    "MEMIT, kept keys": ("memit", {**SOFT, "keep_keys": True}, None),
    "AlphaEdit, projector only": ("alphaedit", {**NULL, "keep_keys": False}, None),
    "AlphaEdit": ("alphaedit", NULL, None),
    "MEMIT, λ = 30": ("memit", HARD, None),
    "MEMIT, λ = 30, kept keys": ("memit", {**HARD, "keep_keys": True}, None),
    "RECT, λ = 30": ("memit", HARD, "rect"),
    "PRUNE, λ = 30": ("memit", HARD, "prune"),
    "MEMIT, λ = 30, 3/4": ("memit", HARD, "three quarters"),
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
KNOWN = {"memit": Memit, "alphaedit": AlphaEdit}


class ThreeQuarters(lib.EDITORS["rect"]):
    """The plainest brake: of every batch's change three quarters are written."""

    def write(self, facts: list[lib.Fact], after: lib.Patch) -> lib.Patch:
        """W + ¾ Δ for every module that the inner editor has changed by Δ."""
        patch = self.wrapped.write(facts, after)
        new = {}
        for module, value in patch.weights.items():
            if value is not after.weights.get(module):
                W = self.lm.weight(module, after).cpu()
                new[module] = W + 0.75 * (self.lm.weight(module, patch).cpu() - W)
        return patch.with_weights(new)


BRAKES = {
    "rect": lib.EDITORS["rect"],
    "prune": lib.EDITORS["prune"],
    "three quarters": ThreeQuarters,
}


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
        self.text = ""
        if HELD_OUT.exists():
            text = HELD_OUT.read_text(encoding="utf-8")
            self.text = text[: len(text) // settings["text"]]

    def editor(self, name: str) -> lib.Editor:
        """The editor of a line; it takes the values that are known."""
        kind, settings, brake = LINES[name]
        templates = tuple(STREAM["templates"])
        editor = KNOWN[kind](self.lm, templates=templates, values_on="base", **settings)
        editor.known = self.known
        return editor if brake is None else BRAKES[brake](self.lm, inner=editor)

    def base(self) -> dict[str, Any]:
        """The unedited model's row: the facts of the first batch, and all that can be measured."""
        facts = [vars(case.fact) for case in self.cases[: self.batch]]
        row = {"line": "unedited", "edits": 0, "facts": facts}
        return row | self.look(len(self.cases), lib.EMPTY) | self.words(lib.EMPTY)

    def line(self, name: str) -> Iterator[dict[str, Any]]:
        """Write the stream with one editor; one row per batch, with the perplexity of the text.

        At the points also: held (one share per fact of the sample so far) and the texts of ASKED.
        """
        editor, patch = self.editor(name), lib.EMPTY
        for start in range(0, len(self.cases), self.batch):
            facts = [case.fact for case in self.cases[start : start + self.batch]]
            patch = editor.edit(facts, after=patch)
            row = {"line": name, "edits": start + len(facts)} | self.words(patch)
            if row["edits"] in self.settings["points"]:
                row |= self.look(row["edits"], patch)
            yield row

    def words(self, patch: lib.Patch) -> dict[str, float]:
        """The perplexity of the text, where it comes along."""
        with self.lm.patched(patch, only=True):
            return {"perplexity": round(lib.perplexity(self.lm, self.text), 4)} if self.text else {}

    def look(self, end: int, patch: lib.Patch) -> dict[str, Any]:
        """Ask a sample of all facts so far, and the prompts of ASKED."""
        some = [case for case in self.sample if case in self.cases[:end]]
        scores = lib.evaluate(self.lm, some, patch, ["generation"], metrics=(), kl_prompts=1)
        with self.lm.patched(patch, only=True):
            return by_case(scores, {"held": "efficacy"}) | {"says": self.lm.answer(ASKED, 5)}


def rows(lm: lib.LM, settings: dict) -> Iterator[dict[str, Any]]:
    """A stored run: every line to its end, and before those of STREAM the unedited model."""
    cases = [lib.Case(TOWER), *(lib.Case(case.fact) for case in counterfact(499))]
    stream = Stream(lm, cases, settings["batch"], settings)
    if settings is STREAM:
        yield stream.base()
    for name in settings["lines"]:
        yield from stream.line(name)
