"""The long runs of notebook 05: the same fifty facts in a row and at once, and one batch of a
hundred, written with several strengths and layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

import lib
from lib.evaluation.intervals import wilson
from lib.keys_values import target_value

from . import runs_04_rome as runs_04
from .score_tables import by_case, gap

EVENTS = ["probability", "generation"]
ASKED = {"metrics": ["generalization", "specificity", "locality"], "events": EVENTS}
FEW = {"metrics": ["specificity"], "events": ["generation"]}
MANY = {
    "editor": "memit",
    "cases": "twelve with odd ids, then all",
    "templates": ["{}"],
    "grid": [  # layers, and every λ with them
        [[5], [30, 100, 300, 1000, 3000, 10_000]],
        [[3, 4, 5], [30, 100, 300, 1000, 3000]],
    ],
}
EACH = {
    "editor": "memit",
    "cases": "twelve with odd ids, then all",
    "templates": ["{}"],
    "grid": [[[5], [10_000]], [[3, 4, 5], [1000, 10_000]]],
}
FIFTY = {
    "editor": "rome",
    "layer": 3,
    "cases": "classroom()[1::4][:50]",
    "values": "searched once, on the unedited model",
    "sweeps": [1, 10],
    "strengths": [0, 1000],
    "solved": [1, 10, 100, 1000],  # sweeps that are computed, but not asked of the model
}
WEIGHED = {
    "editor": "rome",
    "layer": 3,
    "cases": "classroom()[1::4][:50]",
    "strength": 1000,
    "values": ["searched once, on the unedited model", "searched again before each edit"],
}


def overlaps(K: Tensor, C: lib.memory.Moment, width: int = 2) -> tuple[Tensor, Tensor]:
    """D = KᵀC⁻¹K (n, n), and its upper part, which an insert after the other leaves of it.

    width  The number of columns that are written at once: two keys for each fact.
    """
    D = K.T @ C.solve(K)
    D = (D + D.T) / 2
    turn = torch.arange(len(D)) // width  # in which insert a column is written
    return D, D * (turn[:, None] <= turn[None])


def swept(R: Tensor, D: Tensor, upper: Tensor, sweeps: int) -> Tensor:
    """X (d_out, n) of the change ΔW = X KᵀC⁻¹ that so many sweeps of single inserts make.

    Every sweep writes what is still missing at all keys, R − X D, one insert after the other.
    """
    X, step = torch.zeros_like(R), torch.linalg.inv(upper)
    for _ in range(sweeps):
        X = X + (R - X @ D) @ step
    return X


def fifty(lm: lib.LM, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """Write the same facts in a row, in repeated sweeps and in one batch; one row per way.

    All ways write the same values under the same keys, ROME's two of each fact, and differ in the
    solve alone. It is done twice: with all facts, and without those that open their prompt. A row
    has `measured` of notebook 04 over the facts that were written, and

    missing  ‖V − W K‖ over ‖V − W₀ K‖
    cost     tr(ΔW C ΔWᵀ) over that of the batch with equality

    Rows with "solved", a number of sweeps, follow: what is missing after them, and how far their
    change is away from that of the batch, as a share of it in the same measure as the cost.
    """
    editor = lib.EDITORS["rome"](lm)
    layer, name = editor.config.layer, lm.mlp_out(editor.config.layer)
    W, C = lm.weight(name).cpu().double(), editor.moment(layer)
    facts = [case.fact for case in cases]
    found = target_value.search(lm, facts, layer, editor.templates(), editor.config.search())
    first = {case.id for case in runs_04.openers(lm, cases)}
    base = lib.baseline(lm, cases, **runs_04.ASKED)
    for stream in ("as it comes", "without openers"):
        some = [i for i, c in enumerate(cases) if stream == "as it comes" or c.id not in first]
        K, V = columns([found[i] for i in some])
        R, (D, upper) = V - W @ K, overlaps(K, C)
        exact = torch.linalg.solve(D, R, left=False)
        ways = {f"{n} sweep{'s' * (n > 1)}": swept(R, D, upper, n) for n in FIFTY["sweeps"]}
        one = torch.eye(len(D)).to(D)
        ways |= {
            f"batch, λ = {s}": torch.linalg.solve(D + s * one, R, left=False)
            for s in FIFTY["strengths"]
        }
        if stream == "as it comes":
            ways = {"unedited": torch.zeros_like(R), **ways}
        for way, X in ways.items():
            patch = lib.Patch(weights={name: lib.LowRank(((X.float(), C.solve(K).T.float()),))})
            row = {"stream": stream, "way": way}
            row["missing"] = ((R - X @ D).norm() / R.norm()).item()
            row["cost"] = ((X @ D * X).sum() / (exact @ D * exact).sum()).item()
            yield row | runs_04.measured(lm, [cases[i] for i in some], patch, base)
        for n in FIFTY["solved"]:
            X = swept(R, D, upper, n)
            away = X - exact
            yield {
                "stream": stream,
                "solved": n,
                "missing": ((R - X @ D).norm() / R.norm()).item(),
                "away": ((away @ D * away).sum() / (exact @ D * exact).sum()).sqrt().item(),
            }


def weighed(lm: lib.LM, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """The same facts in a row, every insert with λ; rows as those of `fifty`.

    First with the values that are searched once, then with values that are searched again, each on
    the model as it has been edited so far, and last without openers and with values searched once.
    """
    editor, strength = lib.EDITORS["rome"](lm), WEIGHED["strength"]
    layer, name = editor.config.layer, lm.mlp_out(editor.config.layer)
    W, C, settings = lm.weight(name).cpu().double(), editor.moment(layer), editor.config.search()
    first = {case.id for case in runs_04.openers(lm, cases)}
    base = lib.baseline(lm, cases, **runs_04.ASKED)

    def search(facts: list[lib.Fact]) -> list[target_value.Target]:
        return target_value.search(lm, facts, layer, editor.templates(), settings)

    known = dict(zip((c.id for c in cases), search([c.fact for c in cases]), strict=True))
    for stream, again in (
        ("as it comes", ""),
        ("as it comes", ", searched again"),
        ("without openers", ""),
    ):
        some = [case for case in cases if stream == "as it comes" or case.id not in first]
        now, found = W, []
        for case in some:
            with lm.patched(lib.Patch(weights={name: now.float()})):
                found += search([case.fact]) if again else [known[case.id]]
            A, B = lib.memory.insert_many(now, *columns(found[-1:]), C, strength)
            now = now + A @ B
        (K, V), change = columns(found), now - W
        D, _ = overlaps(K, C)
        exact = torch.linalg.solve(D, V - W @ K, left=False)
        yield {
            "stream": stream,
            "way": f"row{again}, λ = {strength}",
            "missing": ((V - now @ K).norm() / (V - W @ K).norm()).item(),
            "cost": ((change @ C.C * change).sum() / (exact @ D * exact).sum()).item(),
        } | runs_04.measured(lm, some, lib.Patch(weights={name: now.float()}), base)


def columns(found: Sequence[target_value.Target]) -> tuple[Tensor, Tensor]:
    """K (d_in, 2n) and V (d_out, 2n), float64: each fact's bare and mean key, both to its value."""
    keys = [key for one in found for key in (one.keys[0], one.keys.mean(0))]
    values = [one.v_star for one in found for _ in range(2)]
    return tuple(torch.stack(part, 1).cpu().double() for part in (keys, values))


def fifty_table(rows: Sequence[Mapping], stream: str) -> list[dict]:
    """One line per way: shares in % with 95 % intervals, what is missing, cost, perplexity."""
    lines = []
    for row in rows:
        if row["stream"] == stream:
            shares = {f"{c} (%)": runs_04.percent(row[c]) for c in runs_04.MEASURED}
            numbers = {"missing (%)": 100.0 * row["missing"], "cost": float(row["cost"])}
            lines.append(
                {"way": row["way"], **shares, **numbers, "perplexity": float(row["perplexity"])}
            )
    return lines


def paired(rows: Sequence[Mapping], stream: str, one: str, other: str, what: str) -> str:
    """The mean over the facts of one way's share less the other's, and its 95 % interval."""
    by_way = {row["way"]: row[what] for row in rows if row["stream"] == stream}
    change = gap(by_way[one], by_way[other])
    return "{:+.0f} points (95 %: {:+.0f} to {:+.0f})".format(*change)


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


def batches(
    lm: lib.LM,
    cases: Sequence[lib.Case],
    grid: Sequence[tuple[Sequence[int], Sequence[float]]],
    known: dict[lib.Fact, target_value.Target],
    each: bool = True,
) -> Iterator[dict]:
    """Write all cases as one batch for each choice of layers and λ, one row each.

    The base model's row comes first. `known` holds the values that were searched already; new ones
    are added to it.

    each  A row has one share per case instead of means: is it written, are neighbors kept.
    """
    facts, asked = [case.fact for case in cases], FEW if each else ASKED
    base = lib.baseline(lm, cases, **asked)
    read = shares if each else means
    yield {"facts": len(facts), "layers": [], "strength": None} | read(base.scores)
    for layers, some in grid:
        for strength in some:
            editor = Memit(lm, layers=tuple(layers), strength=strength, templates=("{}",))
            editor.known = known
            found = read(lib.evaluate(lm, cases, editor.edit(facts), base=base, **asked))
            yield {"facts": len(facts), "layers": list(layers), "strength": strength} | found


def means(scores: lib.Scores) -> dict[str, float]:
    """{"efficacy, generation": share, …, "kl": nats}."""
    found, metrics = scores.json(), ("efficacy", "generalization", "specificity")
    shares = {f"{m}, {event}": found[m][event] for m in metrics for event in EVENTS}
    return shares | {"kl": found["locality"]["kl_nats"]}


def shares(scores: lib.Scores) -> dict[str, list[float]]:
    """{"written": one share per case, "neighbors": the same}, by generation."""
    return by_case(scores, {"written": "efficacy", "neighbors": "specificity"})


def both(lm: lib.LM, few: Sequence[lib.Case], cases: Sequence[lib.Case]) -> Iterator[dict]:
    """The stored run: a few facts at λ = 1000 as a notebook can repeat them, then all."""
    known: dict[lib.Fact, target_value.Target] = {}
    start = [(layers, [1000]) for layers, _ in MANY["grid"]]
    yield from batches(lm, few, start, known, each=False)
    yield from batches(lm, cases, MANY["grid"], known, each=False)


def few_and_all(lm: lib.LM, few: Sequence[lib.Case], cases: Sequence[lib.Case]) -> Iterator[dict]:
    """The second stored run: the same with one share per case, for its own strengths."""
    known: dict[lib.Fact, target_value.Target] = {}
    start = [(layers, [1000]) for layers, _ in EACH["grid"]]
    yield from batches(lm, few, start, known)
    yield from batches(lm, cases, EACH["grid"], known)


each = batches  # as the notebook repeats the second run


def curves(rows: Sequence[Mapping], more: Sequence[Mapping]) -> tuple[dict, dict, dict]:
    """x, y and bands in % for the figure, by names such as "written, 1 layer".

    rows  Means of the first stored run. Their bands are Wilson's, as if every case were right or
          wrong as a whole.
    more  Rows of the second, for strengths that the first one lacks.
    """
    x, y, bands = {}, {}, {}
    for what, column in {"written": "efficacy", "neighbors": "specificity"}.items():
        for layers, _ in MANY["grid"]:
            points = {
                row["strength"]: (row[f"{column}, generation"], row["facts"])
                for row in rows
                if row["layers"] == layers
            }
            for row in more:
                if row["layers"] == layers and row["strength"] not in points:
                    points[row["strength"]] = sum(row[what]) / row["facts"], row["facts"]
            name = f"{what}, {len(layers)} layer{'s' * (len(layers) > 1)}"
            ends = [wilson(share * n, n) for share, n in points.values()]
            x[name] = list(points)
            y[name] = [100 * share for share, _ in points.values()]
            bands[name] = tuple([100 * end[side] for end in ends] for side in (0, 1))
    return x, y, bands


def spared(rows: Sequence[Mapping]) -> list[dict]:
    """One line per layers and λ: what is written, and the neighbors of the facts that are, in %."""
    lines = []
    for row in rows:
        written = [bool(value) for value in row["written"]]
        kept = [n for n, done in zip(row["neighbors"], written, strict=True) if done]
        line = {"layers": "unedited" if not row["layers"] else str(len(row["layers"]))}
        line["λ"] = "" if row["strength"] is None else f"{row['strength']:,}"
        line["written"] = f"{sum(written)} of {len(written)}"
        line["neighbors (%)"] = runs_04.percent(row["neighbors"])
        line["of what is written (%)"] = runs_04.percent(kept) if kept else "–"
        lines.append(line)
    return lines
