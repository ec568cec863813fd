"""The tables of notebook 08, from the rows of its stored runs: shares in % with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lib.interpret.damage import flash

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
