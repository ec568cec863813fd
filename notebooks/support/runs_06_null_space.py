"""The long run of notebook 06: nine editors write the same five hundred facts, batch after batch.

All of them write the same values, which are searched once, on the unedited model. So they differ in
the solve, or in what is done to its result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import lib
from lib.data.texts import HELD_OUT
from lib.interpret import damage
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


def cases(rows: Sequence[lib.Case]) -> list[lib.Case]:
    """The tower, then the rows; what a row asks about neighbors is asked as the base answers it."""
    stream = [lib.Case(TOWER, locality=[ASKED[1]], id=-1)]
    for case in rows:
        prompts = [probe.prompt for probe in case.neighborhood]
        stream.append(lib.Case(case.fact, locality=prompts, id=case.id))
    return stream


class Stream:
    """The facts in batches of `batch`, written by one line of `LINES` after the other.

    known  The values that were searched so far; they are shared by all lines.
    """

    def __init__(self, lm: lib.LM, cases: Sequence[lib.Case], batch: int) -> None:
        self.lm, self.cases, self.batch = lm, list(cases), batch
        self.known: dict[lib.Fact, Target] = {}
        self.text = ""
        if HELD_OUT.exists():
            text = HELD_OUT.read_text(encoding="utf-8")
            self.text = text[: len(text) // STREAM["text"]]

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
        """Write the stream with one editor; one row per batch.

        change, size, sigma  Largest ‖ΔW‖/‖W₀‖, ‖W‖/‖W₀‖ and σ_max(W)/σ_max(W₀) of the matrices.
        perplexity           Of a part of the held-out text.

        At the points also: held (one share per fact of the sample so far), the texts of ASKED, and
        at the last of them neighbors (one share per fact, of prompts that keep their answer).
        """
        editor, patch = self.editor(name), lib.EMPTY
        for start in range(0, len(self.cases), self.batch):
            facts = [case.fact for case in self.cases[start : start + self.batch]]
            patch = editor.edit(facts, after=patch)
            end = start + len(facts)
            row = {"line": name, "edits": end} | self.norms(patch) | self.words(patch)
            if end in STREAM["points"]:
                row |= self.look(end, patch)
            yield row

    def norms(self, patch: lib.Patch) -> dict[str, float]:
        """How far the edited matrices have moved, in three norms; of the layers the largest."""
        found = damage.early_warning(self.lm, patch)
        sizes = [self.lm.weight(module).norm().item() for module in found.module]
        return {
            "change": round(float((found.change / sizes).max()), 4),
            "size": round(float(found.norm_ratio.max()), 4),
            "sigma": round(float(found.sigma_ratio.max()), 4),
        }

    def words(self, patch: lib.Patch) -> dict[str, float]:
        """The perplexity of the text, where it comes along."""
        with self.lm.patched(patch, only=True):
            return {"perplexity": round(lib.perplexity(self.lm, self.text), 4)} if self.text else {}

    def look(self, end: int, patch: lib.Patch) -> dict[str, Any]:
        """Ask a sample of all facts so far, the prompts of ASKED, and at the end the neighbors."""
        some = self.cases[: end : STREAM["sample"]]
        last = end == len(self.cases)
        found = self.shares(some, patch, ("locality",) if last else ())
        with self.lm.patched(patch, only=True):
            row = {"held": found["efficacy"], "says": self.lm.answer(ASKED, 5)}
        return row | ({"neighbors": found["locality"]} if last else {})

    def shares(
        self, some: Sequence[lib.Case], patch: lib.Patch, metrics: Sequence[str]
    ) -> dict[str, list[float]]:
        """{metric: one share per case}, by generation."""
        scores = lib.evaluate(self.lm, some, patch, ["generation"], metrics=metrics, kl_prompts=1)
        return by_case(scores, {metric: metric for metric in ("efficacy", *metrics)})


def rows(lm: lib.LM, facts: Sequence[lib.Case]) -> Iterator[dict[str, Any]]:
    """The stored run: the unedited model, then every line to its end."""
    stream = Stream(lm, cases(facts), STREAM["batch"])
    yield stream.base()
    for name in LINES:
        yield from stream.line(name)
