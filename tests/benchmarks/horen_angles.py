"""Whom a codebook would answer by angle or by radius: the sweep behind HoReN's preset.

    python -m tests.benchmarks.horen_angles --cases 24 --json OUT.json

Only keys are read, nothing is trained. The facts are even-numbered classroom cases, each with two
rewordings and two neighbors, and pieces of general text are the strangers. Four arms, per layer and
share of the prompt that a query is the mean of:

    radius       GRACE's key, the module's input at the last token, by distance
    mean radius  the mean of the inputs, by distance
    cosine       the mean's direction, by cosine
    hopfield     the same after one damped Hopfield step (HoReN)

auc_neighbors and auc_general say how often a rewording's score with its own entry is above that of
a neighbor's, or a stranger's, with any entry; a rewording that falls to another entry counts as the
lowest. own_5 is the share of rewordings that reach their entry at the threshold that lets 5 % of
the neighbors through, own_general that at the 99.9 % quantile of strangers, as HoReN calibrates it,
and neighbors_general the share of neighbors that this lets through. crowded: the same with all
strangers stored as further keys. mu and sigma are mean and spread of the cosines between keys.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import lib
from lib.editors.horen.calibration import LENGTHS
from lib.editors.horen.hopfield import Dynamics, Query
from lib.keys_values.second_moment import general_text
from lib.model import activations, batching
from tests.benchmarks import command
from tests.sweep import even

LAYERS = (8, 12, 16, 20, 23, 25, 27)
SHARES = (0.01, 0.25, 0.5, 0.75, 1.0)
STRANGERS = 256
STEP = Dynamics(20.0, 0.1, 1)


def read(lm: lib.LM, rows: list[list[int]], layers=LAYERS) -> dict[int, dict[float, Tensor]]:
    """{layer: {share: means (n, d_in) of the inputs, before they are made of length one}}."""
    modules = {layer: lm.mlp_out(layer) for layer in layers}
    found: dict[int, dict[float, list]] = {
        layer: {share: [None] * len(rows) for share in SHARES} for layer in layers
    }
    for group in batching.batches(rows, limit=1024):
        seqs = batching.sequences(lm, [rows[i] for i in group])
        seen = activations.padded_inputs(lm, seqs, list(modules.values()))
        for layer, module in modules.items():
            for share in SHARES:
                places = Query(share, True, "inputs").places(seqs.prompt)
                for place, i in enumerate(group):
                    found[layer][share][i] = seen[module][place, places[place]].float().mean(0)
    return {
        layer: {share: torch.stack(some) for share, some in of.items()}
        for layer, of in found.items()
    }


def auc(own: Tensor, strangers: Tensor) -> float:
    """The share of pairs in which the own score is larger; equal ones count one half."""
    above = own[:, None] > strangers
    same = own[:, None] == strangers
    return float((above.double() + 0.5 * same.double()).mean())


def scores(arm: str, K: Tensor, Q: Tensor) -> Tensor:
    """Scores (m, n) of queries with keys, larger for nearer ones; both are rows of means."""
    if arm.endswith("radius"):
        return -torch.cdist(Q, K)
    K, Q = (torch.nn.functional.normalize(side, dim=1) for side in (K, Q))
    return STEP.cosines(K.T, Q) if arm == "hopfield" else Q @ K.T


def rows(lm: lib.LM, cases: list[lib.Case], layers=LAYERS) -> Iterator[dict]:
    """One row per layer, share and arm."""
    parts = {
        "edit": [case.fact.text for case in cases],
        "reworded": [text for case in cases for text in case.paraphrases[:2]],
        "neighbor": [probe.prompt for case in cases for probe in case.neighborhood[:2]],
    }
    owner = torch.tensor([i for i, case in enumerate(cases) for _ in case.paraphrases[:2]])
    ids, starts = [], {}
    for name, texts in parts.items():
        starts[name] = range(len(ids), len(ids) + len(texts))
        ids += lm.rows(texts)[0]
    source = lm.tokenizer(general_text(None), add_special_tokens=False)["input_ids"]
    lead = [] if lm.leading_bos is None else [lm.leading_bos]
    first, size, step = len(ids), LENGTHS[0], LENGTHS[1] - LENGTHS[0]
    starts["general"] = range(first, first + STRANGERS)
    for number in range(STRANGERS):  # pieces of all lengths in turn
        ids.append(lead + source[24 * number : 24 * number + size + number % step])
    found = read(lm, ids, layers)
    for layer in layers:
        for share in SHARES:
            means = {name: found[layer][share][list(span)] for name, span in starts.items()}
            K = means["edit"]
            unit = torch.nn.functional.normalize(K, dim=1)
            between = (unit @ unit.T)[~torch.eye(len(K), dtype=torch.bool)]
            arms = ("cosine", "hopfield", "mean radius") if share > 0.01 else ("radius", "cosine")
            for arm in arms:
                row = {"layer": layer, "share": share, "arm": arm}
                for crowd, keys in (("", K), ("crowded_", torch.cat([K, means["general"]]))):
                    got = scores(arm, keys, means["reworded"])
                    best, entry = got.max(1)
                    right = entry == owner
                    own = torch.where(right, best, torch.full_like(best, -torch.inf))
                    near = scores(arm, keys, means["neighbor"]).max(1).values
                    row[crowd + "auc_neighbors"] = round(auc(own, near), 4)
                    row[crowd + "own_entry"] = round(float(right.double().mean()), 4)
                    if crowd:
                        continue
                    far = scores(arm, keys, means["general"]).max(1).values
                    tau = near.quantile(0.95, interpolation="higher")
                    wide = far.quantile(0.999, interpolation="higher")
                    row |= {
                        "auc_general": round(auc(own, far), 4),
                        "own_5": round(float((own > tau).double().mean()), 4),
                        "tau_general": round(float(wide), 4),
                        "own_general": round(float((own > wide).double().mean()), 4),
                        "neighbors_general": round(float((near > wide).double().mean()), 4),
                        "mu": round(float(between.mean()), 3),
                        "sigma": round(float(between.std()), 3),
                    }
                yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lm, cases = lib.load(dtype="float32"), even(given.cases)
    table = []
    for row in rows(lm, cases):
        table.append(row)
        print(json.dumps(row), flush=True)
    if given.json:
        made = {"command": f"python -m tests.benchmarks.horen_angles --cases {given.cases}",
                "model": lm.identity, "cases": [c.id for c in cases], "rows": table,
                "date": time.strftime("%Y-%m-%d")}  # fmt: skip
        given.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
