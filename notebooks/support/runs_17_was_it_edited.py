"""Notebook 17's keys of candidates, its long run, and its tables of stored rows.

The run hides edits from one defender and shows them to others. The other rows are those of
`python -m tests.benchmarks.forensics`.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

import lib
from lessons.l9_4_hide import hide as solution
from lib.data.facts import encode_prompt
from lib.data.texts import HELD_OUT
from lib.evaluation.intervals import bootstrap
from lib.workbench.forensics.candidates import PREFIX, key_moments, keys, rows_of
from lib.workbench.forensics.investigation import THRESHOLD
from lib.workbench.forensics.matched_filter import DAMPING, robust_z

from . import long_runs, stored_runs
from .score_tables import gap, percent

ROWS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks" / "forensics.json"
WAYS = {
    "edited": "the edited model",
    "published, k = 1": "1 largest dropped",
    "published, k = 11": "11 largest dropped",
    "16 prefixes, damping 1": "16 prefixes",
}
FAMILIES = {
    "ROME, WilKE, EMMET": ("rome", "wilke", "emmet"),
    "MEMIT and its kin": ("memit", "norm_anchor", "alphaedit", "pmet", "rect", "prune"),
}
OTHERS = "trained, UltraEdit"  # all other editors
SHARES = "ranked first (%)", "detected (%)", "false alarm (%)"
MATRICES = ("unedited", "cheapest", "hidden")
DEFENDERS = {  # whose text C is of, and the prefix of his candidates; the first one is asked
    "asked": ("held out", PREFIX),
    "other prefix": ("held out", "News: {}"),
    "other text": ("the editor's", PREFIX),
}
COLUMNS = {
    who: f"detected, {text} text, {prefix.split()[0]} (%)"
    for who, (text, prefix) in DEFENDERS.items()
}
HIDDEN = {
    "facts": "of the classroom; the prompt begins with the subject, which has several tokens",
    "left out": "cases that the benchmark has edited alone, and those of the page",
    "page": [0, 57, 101, 34, 26, 35],
    "defenders": DEFENDERS,
    "threshold": THRESHOLD,
    "seed": 0,  # of their order
    "cases": 24,
}


def keys_of(
    lm: lib.LM, names: Sequence[str], layer: int, prefixes: Sequence[str] = (PREFIX,)
) -> Tensor:
    """Keys (n · prefixes, d_in) of candidates behind prefixes, in the unedited model."""
    rows = [row for prefix in prefixes for row in rows_of(lm, names, prefix)]
    K = torch.empty(len(rows), lm.weight(lm.mlp_out(layer)).shape[1])
    for part, read in keys(lm, rows, [layer]):
        K[part] = read[layer]
    return K


def candidates() -> list[str]:
    """The subjects of the classroom, each once."""
    subjects = [case.fact.subject for case in lib.classroom()]
    return list(dict.fromkeys(str(subject) for subject in subjects if subject))


def directions(C: Tensor, K: Tensor) -> Tensor:
    """Û (d_in, n), along which a defender looks: of keys K (n, d_in), with the moment C, damped."""
    C = C.double()
    damped = C + DAMPING * C.diagonal().mean() * torch.eye(len(C))
    U = torch.linalg.solve(damped, K.T.double())
    return U / U.norm(dim=0)


def places(lm: lib.LM) -> list[int]:
    """The cases of `HIDDEN` as drawn, each subject once: their prompts read the bare name's key."""
    singles = [key.split() for key in stored()["suspects"]]
    seen = {int(case) for _, size, case, *_ in singles if size == "1"} | {*HIDDEN["page"]}
    found: dict[str, int] = {}
    for place, case in enumerate(lib.classroom()):
        name = str(case.fact.subject)
        ids = encode_prompt(lm.tokenizer, name)
        opens = encode_prompt(lm.tokenizer, case.fact.text)[: len(ids)] == ids
        if opens and len(ids) > 1 and place not in seen:
            found.setdefault(name, place)
    drawn = list(found.values())
    random.Random(HIDDEN["seed"]).shuffle(drawn)
    return drawn[: HIDDEN["cases"]]


def hidden(
    lm: lib.LM, hide: Callable[..., Tensor], some: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """One row per case: what ROME has at the bare name's key is written there by each of MATRICES.

    hide  the solution of exercise 9.4; for a threshold of -∞ it writes nothing along û, t = 1

    "cheapest, asked" and the like are the subject's own z, for each of DEFENDERS; first: whose z is
    the largest for the one who is asked; along: his largest z at five t; price: how far outputs on
    general text move, over that of the cheapest change; says: five tokens after the prompt.
    """
    cases, rome = lib.classroom(), lib.EDITORS["rome"](lm)
    layer, module = rome.config.layer, lm.mlp_out(rome.config.layer)
    names = candidates()
    W0, C = lm.weight(module).cpu().double(), lib.second_moment(lm, [layer])[layer].C.double()
    texts = {"the editor's": C}
    texts["held out"] = key_moments(lm, [layer], lib.EMPTY, HELD_OUT)[layer].double()
    looks = {}
    for who, (text, prefix) in DEFENDERS.items():
        looks[who] = directions(texts[text], keys_of(lm, names, layer, [prefix]))

    def z(W: Tensor, who: str = "asked") -> Tensor:
        return robust_z((W @ looks[who]).norm(dim=0))

    def asked(W: Tensor) -> float:
        return z(W).max().item()

    for place in some:
        fact = cases[place].fact
        row = {"case": place, "subject": str(fact.subject), "new": fact.target_new}
        k = keys_of(lm, [row["subject"]], layer, ["{}"])[0].double()
        v = lm.weight(module, rome.edit([fact], check=False)).cpu().double() @ k
        u = torch.linalg.solve(C, k)
        ends = W0 + torch.outer(v - W0 @ k, u) / (u @ k), hide(W0, k, v, C, float("-inf"), asked)
        row["along"] = [round(asked(ends[0].lerp(ends[1], t / 4)), 2) for t in range(5)]
        made = [W0, ends[0], hide(W0, k, v, C, THRESHOLD, asked)]
        cost = [(((W - W0) @ C) * (W - W0)).sum().item() for W in made]
        row["price"] = [round(one / cost[1], 3) for one in cost]
        row["first"] = [names[int(z(W).argmax())] for W in made]
        row["says"] = []
        for what, W in zip(MATRICES, made, strict=True):
            with lm.patched(lib.Patch(weights={module: W.float()})):
                row["says"].append(lm.answer(fact.text, 5))
            for who in looks:
                row[f"{what}, {who}"] = round(z(W, who)[names.index(row["subject"])].item(), 2)
        yield row


def hiding(name: str, lm: lib.LM, hide: Callable[..., Tensor]) -> list[dict[str, str]]:
    """The table of a stored run, whose first row is made again: see `table_of`."""
    rows = long_runs.stored(name, HIDDEN, lambda: hidden(lm, hide, places(lm)))
    same, first = ["case", "cheapest, asked", "cheapest, other text"], [rows[0]["case"]]
    long_runs.repeats(rows, lambda: hidden(lm, lambda W, *_: W, first), same, tolerance=0.1)
    return table_of(rows)


def table_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Shares of edits written openly and hidden, their paired differences in points, and the price.

    Only cases count whose cheapest change the asked defender ranks first and detects, and for the
    price (a geometric mean) only those that are hidden from him.
    """
    seen = [
        row
        for row in rows
        if row["cheapest, asked"] > THRESHOLD and row["first"][1] == row["subject"]
    ]
    shares: list[dict[str, list[float]]] = []
    for i, what in enumerate(MATRICES[1:3], 1):
        said = [float(row["says"][i].strip().startswith(row["new"])) for row in seen]
        shares.append({"new answer (%)": said})
        for who, title in COLUMNS.items():
            # hide stops less than the rounding below the threshold, so 8.0 itself is not above it
            shares[-1][title] = [float(row[f"{what}, {who}"] > THRESHOLD) for row in seen]
    openly, hidden = shares
    heading = f"{len(rows)} other facts"
    table = [
        {
            heading: title,
            "n": len(seen),
            "cheapest": percent(openly[title]),
            "hidden": percent(hidden[title]),
            "hidden − cheapest, in pairs": signed(hidden[title], openly[title]),
        }
        for title in openly
    ]
    logs = [math.log(row["price"][2]) for row in seen if row["hidden, asked"] <= THRESHOLD]
    ends = [math.exp(x) for x in (sum(logs) / max(1, len(logs)), *bootstrap(logs))]
    price = "{:.1f} [{:.1f}, {:.1f}]".format(*ends)
    always = {
        heading: "detected at each of five t (%)",
        "n": len(seen),
        "cheapest": "–",
        "hidden": percent(float(min(row["along"]) > THRESHOLD) for row in seen),
    }
    line = {heading: "price", "n": len(logs), "cheapest": "1", "hidden": price}
    return [*table, *(one | {"hidden − cheapest, in pairs": "–"} for one in (always, line))]


def stored() -> dict[str, Any]:
    """The rows of `python -m tests.benchmarks.forensics`."""
    return json.loads(ROWS.read_text(encoding="utf-8"))


def singles(found: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """{editor: rows of suspects with one edited fact} of odd cases; settings were chosen on even.

    Suspects that were read in whole are left out. Editors come in the library's order.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for key, row in found["suspects"].items():
        editor, size, *rest = key.split()
        if size == "1" and len(rest) == 1 and row["half"] == "odd":
            rows.setdefault(editor, []).append(row)
    return {editor: rows[editor] for editor in lib.EDITORS if editor in rows}


def detected(
    found: Mapping[str, Any], bounds: Sequence[float] = (THRESHOLD,)
) -> list[dict[str, Any]]:
    """By family: edited facts that are ranked first and detected, and suspects with a false alarm.

    bounds  thresholds, which the suspects have in turns

    Several editors have edited the same facts: each counts once, with the mean over its suspects.
    The last line has the paired differences of two families over the facts that both have edited.
    """
    facts: dict[str, dict[str, list[tuple[bool, ...]]]] = {}
    every = [(editor, row) for editor, some in singles(found).items() for row in some]
    for (editor, row), bound in zip(every, cycle(bounds), strict=False):
        family = next((name for name, them in FAMILIES.items() if editor in them), OTHERS)
        own, most = row["own"][0], row["other"]["z"] if row["other"] else float("-inf")
        hits = own["z"] > most and own["in_edited"], own["z"] >= bound, most >= bound
        facts.setdefault(family, {}).setdefault(own["name"], []).append(hits)
    shares, table = {}, []
    for family, some in facts.items():
        means = {fact: [*map(fmean, zip(*rows, strict=True))] for fact, rows in some.items()}
        line = {"editors": family, "suspects": sum(map(len, some.values())), "n": len(means)}
        columns = zip(*means.values(), strict=True)
        table.append(line | dict(zip(SHARES, map(percent, columns), strict=True)))
        shares[family] = means
    one, two = (shares[family] for family in FAMILIES)
    both = [fact for fact in one if fact in two]
    line = {"editors": "first − second, in pairs", "suspects": "–", "n": len(both)}
    for i, title in enumerate(SHARES):
        line[title] = signed([one[fact][i] for fact in both], [two[fact][i] for fact in both])
    return [*table, line]


def signed(one: Sequence[float], other: Sequence[float]) -> str:
    """The paired difference of two lists of shares in points: "+21 [-10, +51]"."""
    return "{:+.0f} [{:+.0f}, {:+.0f}]".format(*gap(one, other))


def taken_out(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Single ROME edits of odd cases: next tokens that are the base model's again, by way.

    The last line has the paired differences of the last two ways.
    """
    parts = {
        "edit": "prompt (%)",
        "reworded": "reworded (%)",
        "neighbors": "neighbors (%)",
        "unrelated": "unrelated (%)",
    }
    rows = singles(found).get("rome", [])
    every = [one["ways"] for row in rows for one in row.get("reversal", ())]
    shares = {
        words: {title: [one[way][part] for one in every] for part, title in parts.items()}
        for way, words in WAYS.items()
    }
    table = [
        {"what is taken out": words, "n": len(every)} | {x: percent(y) for x, y in some.items()}
        for words, some in shares.items()
    ]
    before, last = list(shares)[-2:]
    line = {"what is taken out": f"{last} − {before}", "n": len(every)}
    both = {title: signed(shares[last][title], shares[before][title]) for title in parts.values()}
    return [*table, line | both]


# ---------------------------------------------------------------- the runs on the model that `lib.load()` gives

SEEDS = range(12)


def mystery(lm: lib.LM, seed: int) -> Iterator[dict[str, Any]]:
    """The unedited model and three facts of a seed, each edited alone by ROME; a row for each.

    z is the subject's own, first the candidate with the largest z, which is `most`.
    """
    rome = lib.EDITORS["rome"](lm)
    layer, names = rome.config.layer, candidates()
    C = key_moments(lm, [layer], lib.EMPTY, HELD_OUT)[layer]
    U = directions(C, keys_of(lm, names, layer))
    facts = [case.fact for case in random.Random(seed).sample(lib.classroom(), 3)]
    for fact in [None, *facts]:
        patch = rome.edit([fact], check=False) if fact else lib.EMPTY
        W = lm.weight(lm.mlp_out(layer), patch).cpu().double()
        z = robust_z((W @ U).norm(dim=0))
        row = {"seed": seed, "first": names[int(z.argmax())], "most": round(z.max().item(), 2)}
        if fact:
            row["subject"] = str(fact.subject)
            row["z"] = round(z[names.index(str(fact.subject))].item(), 2)
        yield row


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Four models of each of several seeds, and facts that are hidden from one defender."""
    settings = {"reading": stored_runs.reading(lm)}
    settings["editors"] = stored_runs.configs(lm, {"ROME": (lib.EDITORS["rome"], {})})
    drawn = places(lm)
    return [
        stored_runs.LongRun(
            "17_seeds",
            settings | {"threshold": THRESHOLD, "prefix": PREFIX, "seeds": SEEDS},
            {str(seed): partial(mystery, lm, seed) for seed in SEEDS},
        ),
        stored_runs.LongRun(
            "17_hidden",
            settings | HIDDEN | {"drawn": drawn},
            {
                f"from {first}": partial(hidden, lm, solution, drawn[first : first + 6])
                for first in range(0, len(drawn), 6)
            },
        ),
    ]
