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

from . import stored_runs
from .dealt import dealt
from .score_tables import by_case

NAMES = "first", "second", "third", "fourth", "fifth"
STRENGTH = 1000.0  # of a row or a batch that is weighed
STRENGTHS = [100, 1000, 3000, 10_000]
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


def ways(lm: lib.LM, draw: str, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """The facts of one stream in a row, in one batch, and as a part of the batch; one row per way.

    All go into the last of MEMIT's layers, with values that are searched once, on the unedited
    model. The part is (1 − m) of the batch with equality, m what the batch with λ leaves missing:
    as much is written of R, and nothing is weighed. A row has one share per case of `SHARES`, the
    mean KL divergence at unrelated prompts in nats as "kl", and

    missing  ‖ΔK − R‖ over ‖R‖
    cost     tr(Δ C Δᵀ) over that of the batch with equality
    """
    facts, asked = [case.fact for case in cases], ASKED | {"metrics": ["specificity", "locality"]}
    editor = Memit(lm, templates=("{}",))
    layer, editor.known = editor.config.layers[-1], {}
    name, C = lm.mlp_out(layer), lib.second_moment(lm, [layer])[layer]
    W, found = lm.weight(name).cpu().double(), editor.values(facts, layer, ("{}",))
    K = torch.stack([one.keys[0] for one in found], 1).cpu().double()
    R = torch.stack([one.delta for one in found], 1).cpu().double()
    nothing = torch.zeros_like(W)

    def batch(strength: float) -> Tensor:
        return torch.mm(*lib.associative_memory.insert_many(nothing, K, R, C, strength))

    def row(strength: float) -> Tensor:
        change = nothing
        for k, r in zip(K.split(1, 1), R.split(1, 1), strict=True):
            A, B = lib.associative_memory.insert_many(change, k, r, C, strength)
            change = change + A @ B
        return change

    def missing(change: Tensor) -> float:
        return ((change @ K - R).norm() / R.norm()).item()

    exact, soft = batch(0.0), batch(STRENGTH)
    written = {
        "unedited": nothing,
        "row": row(0.0),
        "batch": exact,
        "row, λ": row(STRENGTH),
        "batch, λ": soft,
        "part of the batch": (1 - missing(soft)) * exact,
    }
    base = lib.baseline(lm, cases, **asked)
    for way, change in written.items():
        patch = lib.Patch(weights={name: (W + change).float()})
        scores = lib.evaluate(lm, cases, patch, base=base, **asked)
        kl = scores.by_case()["locality", "kl_nats"]["mean"].mean()
        yield {
            "draw": draw,
            "way": way,
            "missing": missing(change),
            "cost": ((change @ C.C * change).sum() / (exact @ C.C * exact).sum()).item(),
            **by_case(scores, {"held": "efficacy", "neighbors": "specificity"}),
            "kl": round(float(kl), 5),
        }


def spread(lm: lib.LM, draw: str, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """One batch of a stream with each λ, in the last of the preset's layers and in all of them.

    The base model's row comes first, and last the middle layer alone with `STRENGTH`, for values
    that are searched there. A row has two shares for each case, by generation: is it written, and
    how many of its neighbors keep their answer.
    """
    facts, base = [case.fact for case in cases], lib.baseline(lm, cases, **ASKED)
    head, known = {"draw": draw, "facts": len(facts)}, {}
    yield head | {"layers": [], "strength": None} | by_case(base.scores, SHARES)
    every = lib.EDITORS["memit"](lm).config.layers
    middle = every[len(every) // 2 : len(every) // 2 + 1], STRENGTH
    for layers, strength in [*product([every[-1:], every], STRENGTHS), middle]:
        editor = Memit(lm, layers=layers, strength=strength, templates=("{}",))
        editor.known = known.setdefault(layers[-1], {})
        scores = lib.evaluate(lm, cases, editor.edit(facts, check=False), base=base, **ASKED)
        yield head | {"layers": list(layers), "strength": strength} | by_case(scores, SHARES)


def streams() -> dict[str, list[lib.Case]]:
    """{name: twenty facts}, of which no two share one."""
    return dict(zip(NAMES, dealt(len(NAMES), 20), strict=True))


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Five streams of twenty facts: in a row and at once, and as one batch by MEMIT."""
    some = streams()
    cases = {draw: [case.id for case in cases] for draw, cases in some.items()}
    memit = {"MEMIT": (lib.EDITORS["memit"], {"templates": ("{}",)})}
    return [
        stored_runs.long_run(
            lm,
            name,
            memit,
            {draw: partial(rows, lm, draw, own) for draw, own in some.items()},
            cases=cases,
            strengths=strengths,
        )
        for name, rows, strengths in (
            ("05_ways", ways, [0, STRENGTH]),
            ("05_batch", spread, STRENGTHS),
        )
    ]
