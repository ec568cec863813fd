"""The long run of notebook 05: one batch of facts, written with several strengths and layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

import lib
from lib.keys_values import target_value

GROUPS = "generalization", "specificity", "locality"
EVENTS = ["probability", "generation"]
MANY = {
    "editor": "memit",
    "cases": "twelve with odd ids, then all",
    "templates": ["{}"],
    "grid": [  # layers, and every λ with them
        [[5], [30, 100, 300, 1000, 3000, 10_000]],
        [[3, 4, 5], [30, 100, 300, 1000, 3000]],
    ],
}


class Searched:
    """Before an editor of MEMIT's family: the value of a fact is searched once and then known.

    So another λ, or another editor, costs the solve alone. The values are those of the base model,
    for editors with the same last layer.
    """

    known: dict[lib.Fact, torch.Tensor]

    def values(self, facts: list[lib.Fact], templates: tuple[str, ...]) -> tuple:
        """z (d_out, n) of facts known already; the others are searched in one batch."""
        new = [fact for fact in facts if fact not in self.known]
        if new:
            layer = self.config.layers[-1]
            with self.lm.patched(lib.EMPTY, only=True):
                found = target_value.search(
                    self.lm, new, layer, templates, self.settings(), self.place
                )
            self.known |= {fact: t.v_star.cpu() for fact, t in zip(new, found, strict=True)}
        return torch.stack([self.known[fact] for fact in facts], 1), {}


class Memit(Searched, lib.EDITORS["memit"]):
    """MEMIT on values known."""


class AlphaEdit(Searched, lib.EDITORS["alphaedit"]):
    """AlphaEdit on values known."""


def look(lm: lib.LM, facts: Sequence[lib.Fact], layer: int, top: int) -> tuple:
    """Return keys K (d_in, n) at a layer and states h (d_out, n) after `top`, as patched now."""
    seen = lm.at_subjects(facts, [lm.mlp_out(layer), lm.above(top)])
    return seen[lm.mlp_out(layer)][0].T.cpu().double(), seen[lm.above(top)][0].T.cpu()


def strengths(
    lm: lib.LM,
    cases: Sequence[lib.Case],
    grid: Sequence[tuple[Sequence[int], Sequence[float]]],
    known: dict[lib.Fact, torch.Tensor],
) -> Iterator[dict]:
    """Write all cases as one batch for each choice of layers and λ, one row each.

    The base model's row comes first. A row has shares of cases by event and the mean KL at
    unrelated prompts in nats. `known` holds the values that were searched already; new ones are added to it.
    """
    facts, asked = [case.fact for case in cases], {"metrics": GROUPS, "events": EVENTS}
    base = lib.baseline(lm, cases, **asked)
    yield {"facts": len(facts), "layers": [], "strength": None} | row(base.scores.json())
    for layers, some in grid:
        for strength in some:
            editor = Memit(lm, layers=tuple(layers), strength=strength, templates=("{}",))
            editor.known = known
            found = lib.evaluate(lm, cases, editor.edit(facts), base=base, **asked).json()
            yield {"facts": len(facts), "layers": list(layers), "strength": strength} | row(found)


def row(found: Mapping[str, Any]) -> dict[str, float]:
    """Return {"efficacy, generation": share, …, "kl": nats}."""
    shares = {
        f"{metric}, {event}": found[metric][event]
        for metric in ("efficacy", "generalization", "specificity")
        for event in EVENTS
    }
    return shares | {"kl": found["locality"]["kl_nats"]}


def both(lm: lib.LM, few: Sequence[lib.Case], cases: Sequence[lib.Case]) -> Iterator[dict]:
    """The stored run: a few facts at λ = 1000 as a notebook can repeat them, then all."""
    known: dict[lib.Fact, torch.Tensor] = {}
    yield from strengths(lm, few, [(layers, [1000]) for layers, _ in MANY["grid"]], known)
    yield from strengths(lm, cases, MANY["grid"], known)


def curves(rows: Sequence[Mapping]) -> tuple[dict, dict, dict]:
    """Return x, y and KL for the figure, by names such as "written, 1 layer".

    x holds λ, y shares in % by generation, and the last dict {"1 layer": KL at λ = 1000}.
    """
    x, y, kl = {}, {}, {}
    for what, column in {"written": "efficacy", "neighbors": "specificity"}.items():
        for layers, grid in MANY["grid"]:
            name = f"{len(layers)} layer{'s' * (len(layers) > 1)}"
            own = [row for row in rows if row["layers"] == layers]
            x[f"{what}, {name}"] = grid
            y[f"{what}, {name}"] = [100 * row[f"{column}, generation"] for row in own]
            kl[name] = own[grid.index(1000)]["kl"]
    return x, y, kl
