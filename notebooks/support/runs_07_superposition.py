"""The long run of notebook 07, fifty edits in a row, and what is read off its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import lib
from lib.data.facts import lookup
from lib.evaluation.answers import begins
from lib.interpret.superposition import Superposition, kurtosis, superposition

from .runs_02_insert import rank_correlation

SETTINGS = {"editor": "rome", "cases": "classroom()[1::2]", "edits": 50, "tokens": 8}
NAMES = """Michael Jordan, the river Jordan, George Washington, the state of Washington, New York,
the Duke of York, the Pacific Ocean, Frank Ocean, Freddie Mercury, the planet Mercury, Jack London,
the Tower of London, Kevin Bacon, Francis Bacon, the car maker Lincoln, Abraham Lincoln"""
RESAMPLES = 1000


def in_a_row(lm: lib.LM, edits: int) -> Iterator[dict[str, Any]]:
    """Write facts by ROME one after another; one row per edit.

    residual  The length of what the edit adds to the layer's output at its own key.
    rho       ρ(t, j) for the facts j that were written before it, from the unedited model.
    held, p   For these and the new one: whether the model begins with the answer, and its
              probability.
    """
    facts = [case.fact for case in lib.classroom()[1::2][:edits]]
    editor, new = lib.EDITORS["rome"](lm), [fact.target_new for fact in facts]
    layer, patch = editor.config.layer, lib.EMPTY
    K, rho = lm.keys(facts, layer).cpu(), superposition(lm, facts, layer).rho
    for n, fact in enumerate(facts):
        patch = editor.edit([fact], after=patch)
        a, b = patch.weights[lm.mlp_out(layer)].chunks[-1]  # ΔW = a b
        asked = [one.text for one in facts[: n + 1]]
        with lm.patched(patch):
            said = lm.answer(asked, SETTINGS["tokens"])
            p = [round(x.sum().exp().item(), 4) for x in lm.score(asked, new[: n + 1])]
        yield {
            "subject": fact.subject,
            "residual": (a @ (b @ K[:, n])).norm().item(),
            "rho": [round(r, 4) for r in rho[n, :n].tolist()],
            "held": [int(begins(*both)) for both in zip(said, new, strict=False)],
            "p": p,
        }


def opens(lm: lib.LM, facts: Sequence[lib.Fact]) -> list[bool]:
    """For each fact whether its subject is one token that opens the prompt."""
    return [lookup(lm.tokenizer, fact)[1] == 0 for fact in facts]


def square(rows: Sequence[Mapping]) -> Tensor:
    """The ρ of the stored rows as a matrix (n, n), zero on and above the diagonal."""
    n = len(rows)
    return torch.tensor([row["rho"] + [0.0] * (n - len(row["rho"])) for row in rows])


def falls(rows: Sequence[Mapping], which: Sequence[bool]) -> np.ndarray:
    """For each fact, by how much these edits together lowered the probability of its answer."""
    found = np.zeros(len(rows))
    for t in range(1, len(rows)):
        if which[t]:
            for j in range(t):
                found[j] += rows[t - 1]["p"][j] - rows[t]["p"][j]
    return found


def forecasts(rows: Sequence[Mapping], opener: Sequence[bool]) -> list[dict[str, Any]]:
    """How well √Σ ρ(i, j)² over the later edits i, and age, order the facts by their fall of p.

    Three lines: all edits, those of openers, and all others. Rank correlations with 95 % intervals.
    """
    rho, first = square(rows).numpy(), np.array(opener)
    groups = {"all": first | ~first, "openers": first, "all but openers": ~first}
    table = []
    for name, which in groups.items():
        if not which.any():
            continue
        fall = pd.Series(falls(rows, which))
        guesses = {"ρ": np.sqrt((rho[which] ** 2).sum(0)), "age": -np.arange(len(rows))}
        line = {"edits": name, "n": int(which[: len(rows)].sum()), "fall of p, sum": fall.sum()}
        for guess, values in guesses.items():
            r, low, high = rank_correlation(pd.Series(values), fall)
            line[f"rank correlation, {guess}"] = f"{r:.2f} [{low:.2f}, {high:.2f}]"
        table.append(line)
    return table


def meetings(rows: Sequence[Mapping], opener: Sequence[bool]) -> list[dict[str, Any]]:
    """Every held fact and every later edit: |ρ|, whether an opener is among them, and the loss."""
    return [
        {
            "fact": rows[j]["subject"],
            "edit": t + 1,
            "by": rows[t]["subject"],
            "|ρ|": abs(rows[t]["rho"][j]),
            "an opener": "yes" if opener[t] or opener[j] else "no",
            "lost": not rows[t]["held"][j],
        }
        for t in range(1, len(rows))
        for j in range(t)
        if rows[t - 1]["held"][j]
    ]


def pair_groups(
    lm: lib.LM, names: Sequence[str], sentence: str, kind: Mapping[str, str]
) -> dict[str, Tensor]:
    """{group: (n, n) booleans}: pairs of names with one last token, of one relation, or neither."""
    end = [lookup(lm.tokenizer, lib.Fact(name, sentence, "?"))[0][-1] for name in names]
    ends = torch.tensor(end)
    kinds = [kind.get(name, name) for name in names]
    kin = torch.tensor([[a == b for b in kinds] for a in kinds])
    same = ends[:, None] == ends[None]
    return {"same last token": same, "same relation": kin & ~same, "neither": ~kin & ~same}


def mean_cosines(
    layers: Sequence[Superposition], group: Tensor
) -> tuple[list[float], tuple[list[float], list[float]]]:
    """The mean cosine of a group's pairs in each layer, and its 95 % intervals.

    The interval is a bootstrap over the names, since pairs that share a name are not independent.
    """
    upper = group.triu(1)
    cosines = torch.stack([one.cosines for one in layers]).numpy()  # (layers, n, n)
    i, j = (side.numpy() for side in upper.nonzero().T)
    draw, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        times = np.bincount(draw.integers(0, len(group), len(group)), minlength=len(group))
        weight = times[i] * times[j]
        if weight.sum():
            found.append((cosines[:, i, j] * weight).sum(1) / weight.sum())
    low, high = np.percentile(found, (2.5, 97.5), axis=0)
    return cosines[:, i, j].mean(1).tolist(), (low.tolist(), high.tolist())


def without_largest(one: Superposition, pairs: int) -> float:
    """The kurtosis of ρ off the diagonal without the entries of the pairs that overlap most."""
    entries = one.off_diagonal()
    return kurtosis(entries[entries.abs().argsort()[: len(entries) - 2 * pairs]])


def parts(
    lm: lib.LM, facts: Sequence[lib.Fact], layers: Sequence[int], shares: Sequence[int]
) -> list[dict[str, Any]]:
    """Overlaps when only one in so many of a layer's neurons is kept (drawn at random, seed 0)."""
    keys, moments = lm.keys(facts, list(layers)), lib.second_moment(lm, list(layers))
    order = torch.randperm(len(keys[layers[0]]), generator=torch.Generator().manual_seed(0))
    table = []
    for share in shares:
        some = order[: len(order) // share]
        line = {"neurons": f"1/{share}" if share > 1 else "all", "random keys": len(some) ** -0.5}
        for layer in layers:
            C = moments[layer].C[some][:, some]
            row = Superposition.of(keys[layer][some], C, layer=layer).statistics()
            line[f"rms, layer {layer}"] = row["rms"]
            line[f"kurtosis, layer {layer}"] = row["kurtosis"]
        table.append(line)
    return table
