"""Does averaging help a codebook to know its prompts, and does HoReN's step (HoReN's two claims)?

    python -m tests.benchmarks.horen_roc --data counterfact-flat-10000.json --crowd 100,1000,10000

Only keys are read, nothing is trained. The facts are the odd-numbered classroom cases, each with
its rewordings and neighbors; pieces of general text are the strangers; the crowd are the prompts of
other facts, stored as further keys. Where the crowd is larger than --prompts, the rest of it are
beginnings of these prompts, of four tokens or more, which cost no further run of the model. Five
ways to look up an entry, all at one module:

    last, distance    GRACE's: the module's input at the last token, by distance
    last, angle       the same by cosine
    mean, distance    the mean over the last share of the prompt, by distance
    mean, angle       the mean's direction, by cosine
    mean, one step    the same after one damped Hopfield step (HoReN)

A row has, for a way and a number of keys in the crowd, per case: the share of rewordings whose
nearest entry is their own and nearer than the threshold that lets 1 % of the strangers through
("at_general"), and the one that lets 5 and 20 % of the neighbors through ("at_neighbors_5", "_20").
"roc" is that share over all rewordings where 0, 5, … 100 % of the neighbors, or of the strangers,
get an answer. For "mean, one step" a row also has the crowding rule beside what was measured. The
own key keeps the mass of the softmax if β(s − μ) > ln n + β²σ²/2, with μ and σ the mean and spread
of the cosines between different keys: "rule" is the share of rewordings for which that is so,
"mass" the one in which the own key holds more than half, and "agree" the share in which both are,
or neither is.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

import lib
from lib.atomic_files import whole_file
from lib.editors.horen.calibration import LENGTHS
from lib.editors.horen.hopfield import Dynamics, Query
from lib.keys_values.second_moment import general_text
from lib.model import activations, batching
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
WAYS = ("last, distance", "last, angle", "mean, distance", "mean, angle", "mean, one step")
STEP = Dynamics(20.0, 0.1, 1)
STRANGERS = 256
RATES = [i / 20 for i in range(21)]
POINTS = {"at_general": ("general", 0.01), "at_neighbors_5": ("neighbor", 0.05),
          "at_neighbors_20": ("neighbor", 0.2)}  # fmt: skip
BETWEEN = 2000  # keys whose cosines give μ and σ


def read(lm: lib.LM, rows: Sequence[list[int]], module: str, share: float) -> dict[str, Tensor]:
    """{"last" and "mean": (n, d_in)}: inputs of the module at the prompts' ends, and their means.

    The mean is over the last `share` of a prompt without its first token.
    """
    query = Query(share, True, "inputs")
    found: dict[str, list] = {"last": [None] * len(rows), "mean": [None] * len(rows)}
    for group in batching.batches(rows, limit=1024):
        seqs = batching.sequences(lm, [rows[i] for i in group])
        seen = activations.padded_inputs(lm, seqs, [module])[module]
        places = query.places(seqs.prompt)
        for at, i in enumerate(group):  # padded on the left
            found["last"][i] = seen[at, -1].float().cpu()
            found["mean"][i] = seen[at, places[at]].float().mean(0).cpu()
    return {kind: torch.stack(some) for kind, some in found.items()}


def beginnings(
    lm: lib.LM, rows: Sequence[list[int]], module: str, share: float, least: int = 4
) -> dict[str, Tensor]:
    """What `read` gives for all proper beginnings of the rows of at least so many tokens.

    The model is causal, so what a module reads at a beginning is there in the whole row already.
    """
    found: dict[str, list] = {"last": [], "mean": []}
    for group in batching.batches(rows, limit=1024):
        seqs = batching.sequences(lm, [rows[i] for i in group])
        seen = activations.padded_inputs(lm, seqs, [module])[module].float().cpu()
        for at, i in enumerate(group):
            own = seen[at, -len(rows[i]) :]  # (tokens, d_in), padded on the left
            sums = own.cumsum(0)
            for size in range(least, len(own)):
                first = max(1, size - math.ceil(share * size - 1e-9))
                found["last"].append(own[size - 1])
                found["mean"].append((sums[size - 1] - sums[first - 1]) / (size - first))
    return {kind: torch.stack(some) for kind, some in found.items()}


def pieces(lm: lib.LM, count: int) -> list[list[int]]:
    """Token ids of pieces of general text, of all of the calibration's lengths in turn."""
    source = lm.tokenizer(general_text(None), add_special_tokens=False)["input_ids"]
    lead = [] if lm.leading_bos is None else [lm.leading_bos]
    least, most = LENGTHS
    return [lead + source[most * n : most * n + least + n % (most - least)] for n in range(count)]


def scores(way: str, K: dict[str, Tensor], Q: dict[str, Tensor]) -> Tensor:
    """Scores (m, n) of queries with keys, larger for nearer ones."""
    kind, how = way.split(", ")
    keys, queries = K[kind], Q[kind]
    if how == "distance":
        return -torch.cdist(queries, keys)
    keys, queries = normalize(keys, dim=1), normalize(queries, dim=1)
    return STEP.cosines(keys.T, queries) if how == "one step" else queries @ keys.T


def over(own: Tensor, strangers: Tensor, rate: float) -> Tensor:
    """Whether each own score is above the threshold that at most this share of strangers exceed."""
    order = strangers.sort(descending=True).values
    let = int(rate * len(order) + 1e-9)
    return own > order[let] if let < len(order) else own > -torch.inf


def per_case(hits: Tensor, owner: Tensor) -> list[float]:
    """The mean of the hits of each case."""
    return [round(float(hits[owner == i].double().mean()), 4) for i in owner.unique()]


def rule(K: Tensor, Q: Tensor, owner: Tensor) -> dict[str, float]:
    """The crowding rule and the softmax mass that own keys hold; K (n, d_in), Q (m, d_in)."""
    K, Q = normalize(K, dim=1), normalize(Q, dim=1)
    some = K[torch.randperm(len(K), generator=torch.Generator().manual_seed(0))[:BETWEEN]]
    between = (some @ some.T)[~torch.eye(len(some), dtype=torch.bool)].double()
    mu, sigma, beta = float(between.mean()), float(between.std()), STEP.beta
    cosines = (Q @ K.T).double()
    own = cosines.gather(1, owner[:, None])[:, 0]
    # β(s − μ) > ln n + β²σ²/2
    kept = beta * (own - mu) > math.log(len(K)) + (beta * sigma) ** 2 / 2
    mass = (beta * cosines).softmax(1).gather(1, owner[:, None])[:, 0]
    found = {"mu": mu, "sigma": sigma, "least_s": mu + math.log(len(K)) / beta}
    found["least_s"] += beta * sigma**2 / 2
    found |= {"median_s": own.median().item(), "median_mass": mass.median().item()}
    found |= {"rule": kept.double().mean().item(), "mass": (mass > 0.5).double().mean().item()}
    found["agree"] = (kept == (mass > 0.5)).double().mean().item()
    return {name: round(value, 4) for name, value in found.items()}


def rows(
    lm: lib.LM,
    cases: Sequence[lib.Case],
    crowd: Sequence[str],
    sizes: Sequence[int],
    layer: int,
    share: float,
) -> Iterator[dict[str, Any]]:
    """One row per number of keys in the crowd and way of looking up."""
    texts = {
        "edit": [case.fact.text for case in cases],
        "rewording": [text for case in cases for text in case.paraphrases],
        "neighbor": [probe.prompt for case in cases for probe in case.neighborhood],
        "crowd": list(crowd)[: max(sizes)],
    }
    more = max(sizes) - len(texts["crowd"])
    owner = torch.tensor([i for i, case in enumerate(cases) for _ in case.paraphrases])
    ids = {name: lm.rows(some)[0] for name, some in texts.items() if some}
    ids["general"] = pieces(lm, STRANGERS)
    module = lm.mlp_out(layer)
    flat = read(lm, [row for some in ids.values() for row in some], module, share)
    seen, start = {}, 0
    for name, some in ids.items():
        seen[name] = {kind: x[start : start + len(some)] for kind, x in flat.items()}
        start += len(some)
    if more > 0:
        short = beginnings(lm, ids["crowd"], module, share)
        order = torch.randperm(len(short["last"]), generator=torch.Generator().manual_seed(0))[
            :more
        ]
        for kind, some in short.items():
            seen["crowd"][kind] = torch.cat([seen["crowd"][kind], some[order]])
    for size in sizes:
        keys = dict(seen["edit"])
        if size:
            keys = {kind: torch.cat([K, seen["crowd"][kind][:size]]) for kind, K in keys.items()}
        for way in WAYS:
            best, entry = scores(way, keys, seen["rewording"]).max(1)
            own = torch.where(entry == owner, best, torch.full_like(best, -torch.inf))
            others = {
                name: scores(way, keys, seen[name]).max(1).values
                for name in ("neighbor", "general")
            }
            row: dict[str, Any] = {"way": way, "crowd": size, "layer": layer, "share": share}
            row["own_entry"] = per_case(entry == owner, owner)
            for name, (group, rate) in POINTS.items():
                row[name] = per_case(over(own, others[group], rate), owner)
            row["roc"] = {
                name: [round(float(over(own, some, rate).double().mean()), 4) for rate in RATES]
                for name, some in others.items()
            }
            if way == "mean, one step":
                row |= rule(keys["mean"], seen["rewording"]["mean"], owner)
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="cases whose prompts are the crowd")
    parser.add_argument("--crowd", default="0", help="numbers of further keys")
    parser.add_argument("--prompts", type=int, default=1700, help="of the crowd, read at most")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--share", type=float)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    lm = lib.load(dtype="float32")
    config = lib.EDITORS["horen"](lm).config
    layer = config.layer if given.layer is None else given.layer
    share = config.share if given.share is None else given.share
    sizes = sorted({0, *(int(n) for n in given.crowd.split(","))})
    crowd = []
    if given.data:
        crowd = [
            case.fact.text
            for case in lib.read_cases(given.data, limit=min(given.prompts, max(sizes)))
        ]
    cases = [case for case in lib.classroom() if case.id % 2]
    found = list(rows(lm, cases, crowd, sizes, layer, share))
    made = {
        "command": f"python -m tests.benchmarks.horen_roc --crowd {given.crowd} --layer {layer}"
        f" --share {share}" + (f" --data {given.data.name}" if given.data else ""),
        "model": lm.identity,
        "date": time.strftime("%Y-%m-%d"),
        "cases": [case.id for case in cases],
        "crowd": len(crowd),
        "rates": RATES,
        "rows": found,
    }
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    with whole_file(given.out) as part:
        text = json.dumps({**kept, f"layer {layer}, share {share:g}": made}) + "\n"
        part.write_text(text, encoding="utf-8")
    for row in found:
        means = {n: sum(row[n]) / len(row[n]) for n in ("own_entry", *POINTS)}
        print(row["crowd"], row["way"], {n: round(x, 3) for n, x in means.items()}, flush=True)


if __name__ == "__main__":
    command(main)
