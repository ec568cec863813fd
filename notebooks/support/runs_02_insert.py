"""The long run of notebook 02: what one edit changes for the facts that were edited before it.

Beside it are the small computations of the page: which facts have something in common, and how much
of the damage a line explains, with an interval.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

import lib


def groups(facts: Sequence[lib.Fact], question: Mapping) -> dict[str, torch.Tensor]:
    """Return {what they share: (n, n) matrix, True for the pairs that share it}.

    Each pair stands in the first group that fits.
    """
    ways = {
        "three letters": [fact.subject.lower().split()[-1][:3] for fact in facts],
        "the question": [question[fact] for fact in facts],
        "the answer": [fact.target_true for fact in facts],
        "nothing of these": [None] * len(facts),
    }
    left, found = ~torch.eye(len(facts), dtype=torch.bool), {}
    for way, values in ways.items():
        same = torch.tensor([[a == b for b in values] for a in values])
        found[way], left = left & same, left & ~same
    return found


def look(lm: lib.LM, name: str, fact: lib.Fact) -> tuple[torch.Tensor, ...]:
    """At the fact's prompt: a module's inputs and outputs, one column per token, and log p of what
    comes next.
    """
    run = lm.run(fact.text, watch=[name])
    inputs, outputs = (part[0].float().cpu().T for part in run.seen[name])
    return inputs, outputs, run.logits[0, -1].log_softmax(-1)


def stream(editor: lib.Editor, number: int, edits: int, facts: int = 30) -> Iterator[dict]:
    """Write odd classroom facts, drawn with this seed, one after another; one row per edit t.

    lands   |ρ(t, j)|·‖δ_t‖ for every fact j of the stream, with δ_t as it arrives at its own key
    change  change of log p of fact j's new answer by this edit, in nats
    """
    lm, layer = editor.lm, editor.config.layer
    cases = random.Random(number).sample([c for c in lib.classroom() if c.id % 2], facts)
    texts, answers = [c.fact.text for c in cases], [c.fact.target_new for c in cases]
    K = lm.keys([c.fact for c in cases], layer).cpu().double()
    rho = lib.interference(K, lib.second_moment(lm, [layer])[layer])
    patch, name, before = lib.EMPTY, lm.mlp_out(layer), lm.score(texts, answers)
    old = lm.weight(name).cpu().double()
    for t in range(edits):
        patch = editor.edit([cases[t].fact], after=patch)
        W = lm.weight(name, patch).cpu().double()
        size, old = ((W - old) @ K[:, t]).norm(), W
        with lm.patched(patch):
            now = lm.score(texts, answers)
        change = [(a.sum() - b.sum()).item() for a, b in zip(now, before, strict=True)]
        before = now
        yield {
            "stream": number,
            "edit": t,
            "case": cases[t].id,
            "first word": lib.data.facts.lookup(lm.tokenizer, cases[t].fact)[1] == 0,
            "lands": [round(x, 4) for x in (size * rho[t].abs()).tolist()],
            "change": [round(x, 4) for x in change],
        }


def earlier(rows: Sequence[dict]) -> list[tuple[int, float, float, bool]]:
    """(fact, lands, change, by a first word) of each edit and each fact that was written before."""
    return [
        (1000 * row["stream"] + j, row["lands"][j], row["change"][j], row["first word"])
        for row in rows
        for j in range(row["edit"])
    ]


def explained(x: Sequence, y: Sequence, units: Sequence) -> tuple[float, float, float]:
    """R², the share of y's variance that a line in x explains, and its 95 % interval.

    The interval is a bootstrap over the units (pairs of one unit stay together), seed 0.
    """
    _, unit = np.unique(units, return_inverse=True)
    count, draw = unit.max() + 1, np.random.default_rng(0)

    def r2(weights: np.ndarray | None = None) -> float:
        cov = np.cov(x, y, fweights=weights)
        return float(cov[0, 1] ** 2 / (cov[0, 0] * cov[1, 1]))

    picks = draw.integers(0, count, (2000, count))
    low, high = np.percentile(
        [r2(np.bincount(p, minlength=count)[unit]) for p in picks], (2.5, 97.5)
    )
    return r2(), float(low), float(high)
