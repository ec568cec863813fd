"""The long runs of notebook 05: the same facts in a row and at once, and one batch in one layer and
in five, with several strengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product

import torch
from torch import Tensor

import lib
from lib.keys_values import value_search as target_value

from . import runs_04_rome as runs_04
from . import stored_runs
from .score_tables import by_case

ROW_STRENGTHS = [0, 1000]
STRENGTHS = [30, 100, 300, 1000, 3000, 10_000]
ASKED = {"metrics": ["specificity"], "events": ["generation"]}
SHARES = {"written": "efficacy", "neighbors": "specificity"}


class Searched:
    """Before an editor of MEMIT's family: the value of a fact is searched once and then known.

    So another λ, or another editor, costs the solve alone. The values are those of the base model,
    for editors with the same last layer.
    """

    known: dict[lib.Fact, target_value.Target]

    def values(self, facts: list[lib.Fact], layer: int, templates: tuple[str, ...]) -> list:
        """The values of facts known already; the others are searched in one batch."""
        new = [fact for fact in facts if fact not in self.known]
        if new:
            settings = self.config.search()
            with self.lm.patched(lib.EMPTY, only=True):
                found = target_value.search(self.lm, new, layer, templates, settings, self.site)
            self.known |= dict(zip(new, found, strict=True))
        return [self.known[fact] for fact in facts]


class Memit(Searched, lib.EDITORS["memit"]):
    """MEMIT on values known."""


class AlphaEdit(Searched, lib.EDITORS["alphaedit"]):
    """AlphaEdit on values known."""


def mean_keys(found: Sequence[target_value.Target]) -> tuple[Tensor, Tensor]:
    """K (d_in, n) and V (d_out, n), float64: each fact's mean key, and its value."""
    pairs = [(one.keys.mean(0), one.v_star) for one in found]
    return tuple(torch.stack(part, 1).cpu().double() for part in zip(*pairs, strict=True))


def ways(editor: lib.Editor, draw: str, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """The facts of one draw in a row and in one batch, with each λ; one row per way.

    Each fact is written under its mean key, with a value that is searched once, on the unedited
    model. In the last way the values are searched again, each on the model as it has been edited so
    far. A row has `measured` of notebook 04, and

    missing  ‖V − W K‖ over ‖V − W₀ K‖
    cost     tr(ΔW C ΔWᵀ) over that of the batch with equality
    """
    lm, layer = editor.lm, editor.config.layer
    name, C, settings = lm.mlp_out(layer), editor.moment(layer), editor.config.search()
    W, templates = lm.weight(name).cpu().double(), editor.templates()

    def search(some: Sequence[lib.Case]) -> list[target_value.Target]:
        return target_value.search(lm, [case.fact for case in some], layer, templates, settings)

    def batch(found: Sequence[target_value.Target], strength: float) -> Tensor:
        A, B = lib.associative_memory.insert_many(W, *mean_keys(found), C, strength)
        return W + A @ B

    def in_a_row(strength: float, again: bool = False) -> tuple[Tensor, list]:
        now, found = W, []
        for case, value in zip(cases, known, strict=True):
            with lm.patched(lib.Patch(weights={name: now.float()})):
                found += search([case]) if again else [value]
            A, B = lib.associative_memory.insert_many(now, *mean_keys(found[-1:]), C, strength)
            now = now + A @ B
        return now, found

    known, base = search(cases), lib.baseline(lm, cases, **runs_04.ASKED)
    written = {"unedited": (W, known)}
    for strength in ROW_STRENGTHS:
        written[f"row, λ = {strength}"] = in_a_row(strength)
        written[f"batch, λ = {strength}"] = batch(known, strength), known
    written[f"row, searched again, λ = {strength}"] = in_a_row(strength, True)
    for way, (now, found) in written.items():
        (K, V), change, exact = mean_keys(found), now - W, batch(found, 0.0) - W
        row = {"draw": draw, "way": way}
        row["missing"] = ((V - now @ K).norm() / (V - W @ K).norm()).item()
        row["cost"] = ((change @ C.C * change).sum() / (exact @ C.C * exact).sum()).item()
        patch = lib.Patch(weights={name: now.float()})
        yield row | runs_04.measured(lm, cases, patch, base)


def spread(lm: lib.LM, draw: str, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """One batch of a draw with each λ, in the last of the preset's layers and in all of them.

    The base model's row comes first. A row has two shares for each case, by generation: is it
    written, and how many of its neighbors keep their answer.
    """
    facts, base, known = [case.fact for case in cases], lib.baseline(lm, cases, **ASKED), {}
    head = {"draw": draw, "facts": len(facts)}
    yield head | {"layers": [], "strength": None} | by_case(base.scores, SHARES)
    every = lib.EDITORS["memit"](lm).config.layers
    for layers, strength in product([every[-1:], every], STRENGTHS):
        editor = Memit(lm, layers=layers, strength=strength, templates=("{}",))
        editor.known = known
        scores = lib.evaluate(lm, cases, editor.edit(facts, check=False), base=base, **ASKED)
        yield head | {"layers": list(layers), "strength": strength} | by_case(scores, SHARES)


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Three draws of twenty facts: in a row and at once, and as one batch by MEMIT."""
    some, editor = runs_04.draws(), lib.EDITORS["rome"](lm)
    cases = {draw: [case.id for case in cases] for draw, cases in some.items()}
    return [
        stored_runs.long_run(
            lm,
            "05_ways",
            {"ROME": (lib.EDITORS["rome"], {})},
            {draw: partial(ways, editor, draw, own) for draw, own in some.items()},
            cases=cases,
            strengths=ROW_STRENGTHS,
        ),
        stored_runs.long_run(
            lm,
            "05_batch",
            {"MEMIT": (lib.EDITORS["memit"], {"templates": ("{}",)})},
            {draw: partial(spread, lm, draw, own) for draw, own in some.items()},
            cases=cases,
            strengths=STRENGTHS,
        ),
    ]
