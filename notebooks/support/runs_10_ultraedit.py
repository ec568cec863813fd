"""The long run of notebook 10: UltraEdit on one stream, whole and with its moments taken away.

The moments are taken away in three ways; each way is a small subclass of the editor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

import lib
from lib import memory, plot
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import KeyGradientMoments

from . import runs_06_null_space as runs_06
from .runs_06_null_space import counterfact as counterfact

# The one place for the editor's settings: change them, then `--long 10` again.
SETTINGS = {"down": [18, 19, 20], "step": 0.4, "ridge": 1.0, "repeat": 1, "warmup": "none"}
# The published method; the preset of the embedded model has more (see the end of the notebook).
PUBLISHED = {"strength": 0.0, "keep_keys": False, "reduction": "group_mean", "few": None}
UltraEdit = lib.EDITORS["ultraedit"]


class PerTurn(UltraEdit):
    """Every turn is standardized with its own moments: nothing is remembered."""

    def start(self, state: Mapping[str, Any]) -> dict[tuple[int, int], KeyGradientMoments]:
        """Nothing seen yet, always."""
        return super().start({})


class FirstTurn(UltraEdit):
    """The moments of the first turn serve for ever."""

    def start(self, state: Mapping[str, Any]) -> dict[tuple[int, int], KeyGradientMoments]:
        """Moments that stay as they are, once there are any."""
        found = super().start(state).items()
        return {
            shape: Fixed(both.keys, both.grads) if both.count else both for shape, both in found
        }


@dataclass(frozen=True)
class Fixed(KeyGradientMoments):
    """Moments that learn nothing."""

    def merge(self, parts: Iterable[answer_gradients.KeyGradients]) -> KeyGradientMoments:
        """Themselves."""
        return self


class Plain(UltraEdit):
    """Raw keys and gradients, v = −c ‖k‖² g; c is fitted once, to UltraEdit's median first step."""

    def __init__(self, lm: lib.LM, config: Any = None, **settings: Any) -> None:
        super().__init__(lm, config, **settings)
        self.calls, self.scale = 0, {}  # c by place of the module in a turn

    def solve(
        self, pair: answer_gradients.KeyGradients, moments: KeyGradientMoments, *more: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same regression for another V."""
        place, self.calls = self.calls % len(self.modules()), self.calls + 1
        V, B = super().solve(pair, moments, *more)
        raw = (-pair.K.double().square().sum(0) * pair.G.double()).to(V)
        if place not in self.scale:
            self.scale[place] = (V.norm(dim=0).median() / raw.norm(dim=0).median()).item()
        return self.scale[place] * raw, B


LINES = {"lifelong": UltraEdit, "per turn": PerTurn, "first turn": FirstTurn, "none": Plain}
COLORS = *plot.CYCLE[:3], plot.BASE
STREAM = {
    "data": "CounterFact, first 1000 rows",
    "editor": SETTINGS,
    "lines": list(LINES),
    "batch": 100,
    "points": [200, 400, 700, 1000],
    "sample": 5,  # every fifth fact so far is asked
    "kl": 60,
}


class Lifelong(runs_06.Lifelong):
    """Notebook 06's stream with these editors."""

    def editor(self, name: str) -> lib.Editor:
        """The editor of a line."""
        settings = {key: _tuple(value) for key, value in self.settings["editor"].items()}
        if max(settings["down"]) >= self.lm.n_layers:  # a toy: the editor's own choice
            del settings["down"]
        return LINES[name](self.lm, **PUBLISHED, **settings)

    @cached_property
    def base(self) -> dict[str, Any]:
        """The base model's row, and the facts of the first two turns."""
        facts = [vars(case.fact) for case in self.cases[: 2 * self.settings["batch"]]]
        return super().base | {"facts": facts}

    def look(self, end: int, patch: lib.Patch) -> dict[str, Any]:
        """As in notebook 06, and what the facts of the first turn give now."""
        first = self.cases[: self.settings["batch"]]
        found = lib.evaluate(self.lm, first, patch, ["teacher_forced"], metrics=()).json()
        return super().look(end, patch) | {"first": found["efficacy"]["teacher_forced"]}


def one_turn(
    found: Mapping[str, answer_gradients.KeyGradients],
    seen: KeyGradientMoments,
    step: float,
    ridge: float,
) -> lib.Patch:
    """UltraEdit's first turn from features that were read already."""
    weights = {}
    for name, pair in found.items():
        K, (k_hat, g_hat) = pair.K.double(), seen.standardize(pair)
        V = -step / len(K) * k_hat.square().sum(0) * g_hat  # (d_out, n)
        B = memory.reach(K, None, ridge)  # (n, d_in)
        weights[name] = lib.LowRank(((V.float(), B.float()),))
    return lib.Patch(weights=weights)


def change(lm: lib.LM, patch: lib.Patch) -> float:
    """‖ΔW‖/‖W‖ of all edited matrices together."""
    moved = size = 0.0
    for name in patch.weights:
        W0 = lm.weight(name)
        moved += (lm.weight(name, patch) - W0).square().sum().item()
        size += W0.square().sum().item()
    return (moved / size) ** 0.5 if size else 0.0


def replay(lm: lib.LM, name: str, facts: Sequence[lib.Fact], size: int) -> Iterator[dict[str, Any]]:
    """The first rows of a line without any questions: edits, and how far every matrix has moved."""
    editor, patch = Lifelong(lm, (), STREAM).editor(name), lib.EMPTY
    for end in range(size, len(facts) + 1, size):
        patch = editor.edit(facts[end - size : end], after=patch)
        moved = [change(lm, lib.Patch(weights={at: W})) for at, W in patch.weights.items()]
        yield {"edits": end, "change": moved}


def settling(
    sides: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
) -> tuple[list[int], dict[str, list[float]]]:
    """Return n and, by name, how far deviations of the first n columns are from those of others.

    sides is {name: (columns (d, n) in their order, other columns)}. Distances are in %, medians
    over the coordinates. Beside them is what independent Gaussians would give.
    """
    n, N = (min(side[i].shape[1] for side in sides.values()) for i in (0, 1))
    at = [m for m in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 100, 120) if m <= n]
    off = {name: [] for name in sides}
    for name, (mine, others) in sides.items():
        wanted = others.double().std(1)
        for m in at:
            ratio = mine[:, torch.arange(m)].double().std(1) / wanted
            off[name].append(100 * (ratio - 1).abs().median().item())
    # the relative error of a deviation has variance 1/2n; 0.674 is the median of |N(0, 1)|
    off["a Gaussian"] = [67.4 * (0.5 / m + 0.5 / N) ** 0.5 for m in at]
    return at, off


def spent(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, list], dict[str, list]]:
    """Return numbers of edits and KL(base ‖ edited) at unrelated prompts then, in nats, by line."""
    x, kl = {}, {}
    for name in LINES:
        own = [row for row in rows if row["line"] == name and "perplexity" in row]
        x[name] = [0, *(row["edits"] for row in own)]
        kl[name] = [0.0, *(row["kl"] for row in own)]
    return x, kl


def ends(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The last row of every line, for a table: shares in %, perplexity over the base's."""
    last = {row["line"]: row for row in rows if "perplexity" in row}
    base, table = last["base"]["perplexity"], []
    for name, row in last.items():
        line = {"moments": name, "edits": row["edits"]}
        line["tokens right"] = 100 * row["retention"]["teacher_forced"]
        line["held, p"] = 100 * row["retention"]["probability"]
        line["reworded, p"] = 100 * row["generalization"]["probability"]
        line["neighbors, p"] = 100 * row["specificity"]["probability"]
        table.append(line | {"KL": row["kl"], "perplexity / base": row["perplexity"] / base})
    return table


def filling(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[dict, dict]:
    """Return x and y of one line: numbers of edits, and three curves in % by name.

    The curves are how far the weights are from the base model's, how far orthogonal turns would be,
    and the share of answer tokens of the first turn's facts that are right.
    """
    own = [row for row in rows if row["line"] == name]
    some = [row for row in own if "first" in row]
    edits = [row["edits"] for row in own]
    moved = [100 * sum(row["change"]) / len(row["change"]) for row in own]
    written = own[0]["written"]["teacher_forced"]
    x = dict.fromkeys(("‖ΔW‖/‖W₀‖", "orthogonal turns"), edits)
    x["first 100 facts, right"] = [edits[0], *(row["edits"] for row in some)]
    y = {"‖ΔW‖/‖W₀‖": moved, "orthogonal turns": [moved[0] * (e / edits[0]) ** 0.5 for e in edits]}
    y["first 100 facts, right"] = [100 * v for v in (written, *(row["first"] for row in some))]
    return x, y


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
