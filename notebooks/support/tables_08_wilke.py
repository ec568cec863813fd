"""The tables of notebook 08, from the rows of its stored runs: shares in % with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lib.evaluation.intervals import DIFFERENCE, interval
from lib.interpret.damage import flash

from . import published_08_wilke as paper
from .runs_04_rome import percent

ASKED = {"written": "written", "retention": "kept", "specificity": "neighbors"}


def by_layer(rows: Sequence[Mapping]) -> list[dict]:
    """One line per kind of subject and layer, from the rows of `runs_08_wilke.layers`."""
    lines = []
    for (opens, layer), part in pd.DataFrame(rows).groupby(["opens", "layer"]):
        line = {"subject": "opens its prompt" if opens else "elsewhere", "layer": str(layer)}
        line |= {"s": part["s"].mean(), "KL (10⁻³ nats)": 1000 * part["kl"].mean()}
        line["written"] = f"{part['written'].sum():.0f} of {len(part)}"
        for column in ("reworded", "neighbors"):
            line[f"{column} (%)"] = percent(part[column].tolist())
        lines.append(line)
    return lines


def flashes(alone: pd.DataFrame) -> list[dict]:
    """How many edits are flashes, for each choice of keys and each measure of size.

    "one at a time": one opener among the others, since many flashes hide each other.
    """
    found = []
    for keys, part in alone.groupby("keys", sort=False):
        for column, scale in (("s", 1.0), ("kl", 1000.0)):
            first, rest = (part[column][part["opens"] == side].tolist() for side in (True, False))
            flagged = flash([*first, *rest])
            single = sum(flash([size, *rest])[:1] == [0] for size in first)
            written = part["written"][part["opens"]].sum()
            found.append(
                {
                    "keys": keys,
                    "openers written": f"{written:.0f} of {len(first)}",
                    "size by": "s" if column == "s" else "KL (10⁻³ nats)",
                    "median, openers": f"{scale * part[column][part['opens']].median():,.2f}",
                    "median, others": f"{scale * part[column][~part['opens']].median():,.2f}",
                    "flashes, one at a time": f"{single} of {len(first)}",
                    "flashes, all together": f"{sum(i < len(first) for i in flagged)}"
                    f" of {len(first)}",
                    "of the others": f"{sum(i >= len(first) for i in flagged)} of {len(rest)}",
                }
            )
    return found


def values(run: Sequence[Mapping], metric: str, edits: int) -> pd.Series:
    """One value per fact of every stream: "written" right after its edit, else after `edits`."""
    found = {}
    for row in run:
        if metric == "written" and row["edit"] <= edits:
            found[row["stream"], str(row["case"])] = row[metric]
        elif metric != "written" and row["edit"] == edits:
            found |= {(row["stream"], case): share for case, share in row[metric].items()}
    return pd.Series(found, dtype=float)


def summary(runs: Mapping[str, Sequence[Mapping]]) -> list[dict]:
    """One line per editor, at the end of its streams; the base model first."""
    base = [share for run in runs.values() for row in run for share in row.get("base", {}).values()]
    lines: list[dict] = [{"run": "unedited", "facts": "", "written (%)": "", "kept (%)": ""}]
    lines[0] |= {"neighbors (%)": percent(base), "KL (nats)": 0.0, "by openers (nats)": 0.0}
    for name, run in runs.items():
        end = max(row["edit"] for row in run)
        line: dict = {"run": name, "facts": f"{len(run) // end} × {end}"}
        for metric, label in ASKED.items():
            line[f"{label} (%)"] = percent(values(run, metric, end).tolist())
        table = pd.DataFrame(run)
        count, added = table["stream"].nunique(), table.groupby("stream")["kl"].diff()
        added = added.fillna(table["kl"])  # the first edit starts from the base model, at 0
        line["KL (nats)"] = table["kl"][table["edit"] == end].mean()
        line["by openers (nats)"] = added[table["opens"]].sum() / count
        lines.append(line)
    return lines


def flashed(run: Sequence[Mapping]) -> list[Mapping]:
    """The edits of an editor, over all its streams, whose relative step is a flash."""
    return [run[i] for i in flash([min(row["scores"].values()) for row in run])]


def difference(
    runs: Mapping[str, Sequence[Mapping]], a: str, b: str, edits: int | None = None
) -> dict:
    """Paired a − b in points, with its 95 % interval over facts, metric by metric."""
    edits = edits or max(row["edit"] for row in runs[a])
    line: dict = {"difference": f"{a} − {b}"}
    for metric, label in ASKED.items():
        one, other = (values(runs[name], metric, edits) for name in (a, b))
        paired = (one - other).dropna()  # facts that both have
        found = (100 * x for x in (paired.mean(), *interval(paired, DIFFERENCE)))
        line[label] = "{:+.0f} [{:+.0f}, {:+.0f}]".format(*found)
    line["facts"] = len(paired)
    return line


def curves(
    runs: Mapping[str, Sequence[Mapping]], metric: str, points: Sequence[int]
) -> tuple[dict, dict, dict]:
    """x, y and bands for `plot.lines`: the mean over facts, in %, with its 95 % interval."""
    x, y, bands = {}, {}, {}
    for name, run in runs.items():
        x[name] = [point for point in points if any(row["edit"] == point for row in run)]
        own = [values(run, metric, point) for point in x[name]]
        y[name] = [100 * one.mean() for one in own]
        edges = [interval(one) for one in own]
        bands[name] = tuple([100 * edge[side] for edge in edges] for side in (0, 1))
    return x, y, bands


def by_stream(runs: Mapping[str, Sequence[Mapping]], a: str, b: str, metric: str) -> list[float]:
    """The mean difference a − b at the end of each stream, in points."""
    end = max(row["edit"] for row in runs[a])
    paired = values(runs[a], metric, end) - values(runs[b], metric, end)
    return (100 * paired.groupby(level=0).mean()).tolist()


def published() -> list[dict]:
    """The scores that are stored with the authors' program, in %: one line per time and editor."""
    return [
        {"edits": f"{edits:,}", "editor": editor}
        | {f"{name} (%)": float(x) for name, x in zip(paper.COLUMNS, scores, strict=True)}
        for edits, found in paper.PUBLISHED.items()
        for editor, scores in found.items()
    ]


def neighbors(
    runs: Mapping[str, Sequence[Mapping]], points: Sequence[int]
) -> dict[str, tuple[list, list]]:
    """{run: (edits, neighbors kept in %)} at the points that a run has."""
    x, y, _ = curves(runs, "specificity", points)
    return {name: (x[name], y[name]) for name in runs}


def some_streams(
    runs: Mapping[str, Sequence[Mapping]], names: Sequence[str], numbers: Sequence[int]
) -> dict[str, list[Mapping]]:
    """The rows of some runs in some streams only."""
    return {name: [row for row in runs[name] if row["stream"] in numbers] for name in names}
