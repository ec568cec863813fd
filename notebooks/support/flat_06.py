"""What notebook 06 says about CrispEdit: the rows of tests/benchmarks/flat_directions.json.

The same facts were written in draws by arms that differ in the directions they may move in, each
until nine of ten facts were generated. An arm is compared with another over the same cases, and
over the same windows of held-out text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.evaluation.intervals import DIFFERENCE, interval

FILE = Path(__file__).resolve().parents[2] / "tests" / "benchmarks" / "flat_directions.json"
ARMS = (
    "all directions",
    "inputs",
    "inputs and outputs",
    "turned",
    "AlphaEdit",
    "AlphaEdit, outputs weighed",
    "MEMIT",
    "MEMIT, outputs weighed",
)


def read() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The stored rows, and their settings."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    return found["rows"], found["settings"]


def joined(
    rows: Sequence[Mapping], arm: str, what: str, draws: Sequence[int] | None = None
) -> list[float]:
    """One value per case, or per window of text, of an arm's draws (None: all), in their order."""
    own = [row for row in rows if row["arm"] == arm and (draws is None or row["draw"] in draws)]
    if what == "text":  # at full strength
        return [x for row in own for x in row["text"][-1]]
    return [x for row in own for x in row[what]]


def written(rows: Sequence[Mapping], but: str) -> list[str]:
    """The arms that have rows, without one of them."""
    found = {row["arm"] for row in rows}
    return [arm for arm in ARMS if arm in found and arm != but]


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


def shown(values: Sequence[float], ends: tuple | None = (0.0, 1.0)) -> str:
    """The mean with its 95 % interval: shares in %, values without ends in thousandths."""
    low, high = interval(values, ends)
    middle, low, high = ((100 if ends else 1000) * x for x in (mean(values), low, high))
    digits = 0 if ends else 1
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(rows: Sequence[Mapping]) -> list[dict[str, Any]]:
    """One line per arm: how far it went, and what it cost; the unedited model first."""
    base = {what: shown(joined(rows, "unedited", what)) for what in ("rewordings", "neighbors")}
    lines = [
        {
            "arm": "unedited model",
            "facts": str(len(joined(rows, "unedited", "neighbors"))),
            "steps": "–",
            "written (%)": "0",
            "rewordings (%)": base["rewordings"],
            "neighbors (%)": base["neighbors"],
            "KL on text (millinats)": "0",
        }
    ]
    for arm in ARMS:
        own = [row for row in rows if row["arm"] == arm]
        if not own:
            continue
        lines.append(
            {
                "arm": arm,
                "facts": str(len(joined(rows, arm, "held"))),
                "steps": ", ".join(f"{row['steps']:g}" for row in own),
                "written (%)": shown(joined(rows, arm, "held")),
                "rewordings (%)": shown(joined(rows, arm, "rewordings")),
                "neighbors (%)": shown(joined(rows, arm, "neighbors")),
                "KL on text (millinats)": shown(joined(rows, arm, "text"), None),
            }
        )
    return lines


def paired(rows: Sequence[Mapping], one: str, other: str, what: str) -> str:
    """The mean difference of two arms over the same cases or windows, with its 95 % interval.

    Of the draws that both have written.
    """
    both = sorted(
        {row["draw"] for row in rows if row["arm"] == one}
        & {row["draw"] for row in rows if row["arm"] == other}
    )
    sides = (joined(rows, arm, what, both) for arm in (one, other))
    found = [a - b for a, b in zip(*sides, strict=True)]
    ends = None if what == "text" else DIFFERENCE
    low, high = interval(found, ends)
    scale, unit = (1000, "millinats") if ends is None else (100, "points")
    digits = 1 if ends is None else 0
    values = (f"{scale * x:+.{digits}f}" for x in (mean(found), low, high))
    return "{} {unit} (95 %: {} to {})".format(*values, unit=unit)


def spread(
    rows: Sequence[Mapping], settings: Mapping[str, Any]
) -> dict[str, tuple[Tensor, Tensor]]:
    """{arm: predicted and measured nats per token (draws, strengths)} on text, where predicted."""
    found = {}
    for arm in ARMS:
        own = [row for row in rows if row["arm"] == arm and row["predicted"] is not None]
        if not own:
            continue
        squares = torch.tensor(settings["strengths"]).double().square()
        predicted = torch.tensor([row["predicted"] for row in own]).double()[:, None] * squares
        measured = [
            [float(torch.tensor(line) @ weight(row)) for line in row["text"]] for row in own
        ]
        found[arm] = predicted, torch.tensor(measured).double()
    return found


def weight(row: Mapping) -> Tensor:
    """The share of each window in the tokens."""
    tokens = torch.tensor(row["tokens"]).float()
    return tokens / tokens.sum()


def theory(rows: Sequence[Mapping], settings: Mapping[str, Any]) -> dict[str, float]:
    """How the prediction does: slope over strengths, rank correlation over edits, and the factor.

    slope   of log measured over log strength, mean over edits; the theory says 2
    rank    Spearman's correlation of predicted and measured at full strength
    factor  median of measured over predicted at full strength, and its least and largest
    """
    points = spread(rows, settings)
    x = torch.tensor(settings["strengths"]).double().log()
    y = torch.cat([measured for _, measured in points.values()]).log()
    slope = ((x - x.mean()) * (y - y.mean(1, keepdim=True))).sum(1) / (x - x.mean()).square().sum()
    full = torch.stack([torch.cat([side[i][:, -1] for side in points.values()]) for i in (0, 1)])
    rank = torch.corrcoef(full.argsort(1).argsort(1).double())[0, 1]
    ratio = full[1] / full[0]
    return {
        "edits": float(full.shape[1]),
        "slope": float(slope.mean()),
        "rank": float(rank),
        "factor": float(ratio.median()),
        "least": float(ratio.min()),
        "largest": float(ratio.max()),
    }
