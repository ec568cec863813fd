"""Notebook 17's keys of candidates, and its tables of stored rows.

The rows are those of `python -m tests.benchmarks.forensics`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lib
from lib.forensics.candidates import PREFIX, keys, rows_of
from lib.forensics.investigation import THRESHOLD

from .score_tables import percent

ROWS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks" / "forensics.json"
WAYS = {
    "edited": "the edited model",
    "control": "control",
    "published, k = 1": "1 largest dropped",
    "published, k = 11": "11 largest dropped",
    "16 prefixes, damping 1": "16 prefixes",
}
FAMILIES = {
    "ROME, WilKE, EMMET": ("rome", "wilke", "emmet"),
    "MEMIT and its kin": ("memit", "norm_anchor", "alphaedit", "pmet", "rect", "prune"),
}
OTHERS = "trained, UltraEdit"  # all other editors


def keys_of(
    lm: lib.LM, names: Sequence[str], layer: int, prefixes: Sequence[str] = (PREFIX,)
) -> Tensor:
    """Keys (n · prefixes, d_in) of candidates behind prefixes, in the unedited model."""
    rows = [row for prefix in prefixes for row in rows_of(lm, names, prefix)]
    K = torch.empty(len(rows), lm.weight(lm.mlp_out(layer)).shape[1])
    for part, read in keys(lm, rows, [layer]):
        K[part] = read[layer]
    return K


def stored() -> dict[str, Any]:
    """The rows of `python -m tests.benchmarks.forensics`."""
    return json.loads(ROWS.read_text(encoding="utf-8"))


def groups(
    found: Mapping[str, Any], half: str | None = "odd"
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """{(editor, facts in a suspect): rows} of odd cases; settings were chosen on even ones.

    half  None takes all cases, as the tables of RESULTS do

    Suspects that were read in whole are left out. Few facts come first, and of as many facts the
    editors in the library's order.
    """
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for key, row in found["suspects"].items():
        editor, size, *rest = key.split()
        if len(rest) == 1 and half in (None, row["half"]):
            rows.setdefault((editor, int(size)), []).append(row)
    order = list(lib.EDITORS)
    return dict(sorted(rows.items(), key=lambda one: (one[0][1], order.index(one[0][0]))))


def named(found: Mapping[str, Any], bounds: Sequence[float] = (THRESHOLD,)) -> list[dict[str, Any]]:
    """By family and number of facts: facts named or above a threshold (in turns), and others."""
    rows: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for (editor, size), some in groups(found).items():
        family = next((name for name, them in FAMILIES.items() if editor in them), OTHERS)
        rows.setdefault((size, family), []).extend(some)
    table = []
    for (size, family), some in rows.items():
        first, over, wrong = [], [], []
        for row, bound in zip(some, [*bounds] * len(some), strict=False):
            most = row["other"]["z"] if row["other"] else float("-inf")
            hits = [own["z"] > most and own["in_edited"] for own in row["own"]]
            first.append(sum(hits) / len(hits))
            over.append(sum(own["z"] >= bound for own in row["own"]) / len(hits))
            wrong.append(most >= bound)
        table.append(
            {
                "editors": family,
                "facts": size,
                "suspects": len(some),
                "named (%)": percent(first),
                "above the threshold, in sample (%)": percent(over),
                "another accused": f"{sum(wrong)} of {len(some)}",
                "another accused (%)": percent(wrong),
            }
        )
    return table


def single(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each way out did to each single ROME edit of odd cases: {way: shares}."""
    rows = groups(found).get(("rome", 1), [])
    return [one["ways"] for row in rows for one in row.get("reversal", ())]


def pairs(found: Mapping[str, Any]) -> str:
    """How often only one of two ways gives the edit's prompt its old next token."""
    ways = "published, k = 11", "16 prefixes, damping 1"
    both = [[one[way]["edit"] for way in ways] for one in single(found)]
    one, two = (sum(pair[i] > pair[1 - i] for pair in both) for i in (0, 1))
    return f"of {len(both)} suspects: only {WAYS[ways[0]]} {one}, only {WAYS[ways[1]]} {two}"


def taken_out(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Single ROME edits of odd cases: next tokens that are the base model's again, by way."""
    every = single(found)
    parts = {
        "edit": "the edit's prompt (%)",
        "reworded": "reworded (%)",
        "neighbors": "neighbors (%)",
        "unrelated": "unrelated (%)",
        "still_edited": "edited answer still there (%)",
    }
    table = []
    for way, words in WAYS.items():
        some = [one[way] for one in every if way in one]
        shares = {title: percent([one[part] for one in some]) for part, title in parts.items()}
        table.append({"what is taken out": words, "edits": len(some)} | shares)
    return table
