"""The checks of notebook 13's exercises.

Each returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

import lib
from lib.editors.lemoe.clusters import cluster_facts

KAPPA = 16.0
BATCHES = torch.tensor([0, 0, 1, 1, 2, 2])  # six facts, two of a batch


def place(function: Callable[[Tensor, Tensor], tuple[Tensor, float] | str | None]) -> str:
    """Notebook 13: three anchors and a null score for six facts and three texts that must stay."""
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        turn = 360 * torch.rand(1, generator=draw)
        centers = turn + torch.tensor([0.0, 115.0, 235.0])
        spread = 22 * (2 * torch.rand(6, generator=draw) - 1)
        far = _unit(turn + torch.tensor([57.0, 175.0, 298.0]))
        v = _unit(centers[BATCHES] + spread)
        found = function(v.clone(), far.clone())
        if found is None or isinstance(found, str):
            return "not attempted."
        if not isinstance(found, tuple | list) or len(found) != 2:
            return "return the keys and the null anchor's score."
        keys, null = torch.as_tensor(found[0]), float(found[1])
        if keys.shape != (3, 2):
            return f"keys have shape {tuple(keys.shape)}: three anchors in the plane are (3, 2)."
        said = _wrong(keys, null, v, far)
        if said:
            return said
    return "solved: every fact has its own expert, and nobody answers the rest."


def _unit(degrees: Tensor) -> Tensor:
    angle = degrees * math.pi / 180
    return torch.stack([angle.cos(), angle.sin()], 1)


def _wrong(keys: Tensor, null: float, v: Tensor, far: Tensor) -> str | None:
    if not torch.allclose(keys.norm(dim=1), torch.ones(3), atol=1e-3):
        lengths = ", ".join(f"{n:.2f}" for n in keys.norm(dim=1))
        return f"keys are unit vectors, these are {lengths} long: a mean of two is shorter."
    scores, others = KAPPA * v @ keys.T, KAPPA * far @ keys.T
    own = scores[torch.arange(6), BATCHES]
    for i in range(6):
        if scores[i].argmax() != BATCHES[i]:
            cos = scores[i] / KAPPA
            return (
                f"fact {i} goes to anchor {int(cos.argmax())}, not to its own: cosines "
                f"{', '.join(f'{c:.2f}' for c in cos)}. Where is the middle of its batch?"
            )
    low, high = others.max().item(), own.min().item()
    if null >= high:
        less = " Scores are κ cos, up to 16." if null >= KAPPA else ""
        return f"a fact scores {high:.1f}, the null anchor {null:.1f}: nobody answers it.{less}"
    if null < low:
        more = " A cosine? Scores are κ cos." if null <= 1 else ""
        return f"a text that must stay scores {low:.1f}, the null anchor {null:.1f}.{more}"
    return None


def plan(function: Callable[[Tensor, int], list[list[int]] | str | None]) -> str:
    """Notebook 13: facts dealt into batches of limited room, alike inside a batch."""
    draw = torch.Generator().manual_seed(1)
    for n, size in ((4, 2), (7, 4), (12, 4), (20, 4), (9, 5)):
        e = torch.randn(n, 3, generator=draw, dtype=torch.float64)
        found = function(e.clone(), size)
        if found is None or isinstance(found, str):
            return "not attempted."
        found = [[int(i) for i in batch] for batch in found]
        where = f"{n} facts, batches of {size}: "
        if sorted(i for batch in found for i in batch) != list(range(n)):
            return f"{where}every fact belongs into one batch, and {found} is something else."
        if max(map(len, found)) > size:
            return f"{where}a batch of {max(map(len, found))} is too large."
        wanted = cluster_facts(e, size)
        if found == wanted:
            continue
        if sorted(map(sorted, found)) == wanted:
            return f"{where}the batches are right; sort each, and then by their first facts."
        if len(found) != len(wanted):
            return f"{where}{len(wanted)} batches are enough, not {len(found)}."
        return f"{where}{wanted} is wanted, not {found}: begin in the middle, then the farthest."
    return "solved: no chance is involved, the same facts give the same plan."


def misroute(lm: lib.LM, patch: lib.Patch, fact: lib.Fact, prompt: str | None) -> str:
    """Notebook 13: a prompt about something else that the fact's own expert answers."""
    if not prompt:
        return "not attempted."
    if (fact.subject or fact.text).casefold() in prompt.casefold():
        return f"that is about {fact.subject or fact.text}: its expert is meant to answer."
    with lm.patched(patch, only=True):
        (told, notes) = lm.answer([fact.text, prompt], 4, explain=True)
    (own,), (got,) = notes
    if own["entry"] < 0:
        return "the fact itself finds no expert: take a patch that holds it."
    who = "nobody" if got["entry"] < 0 else f"expert {got['entry'] + 1}"
    best = f"the best anchor scores {got['score']:.1f}, the null anchor {got['threshold']:.1f}"
    if got["entry"] != own["entry"]:
        return f"{who} answers: {best}. Which words does the fact's own prompt consist of?"
    return f"solved: {best}, and expert {own['entry'] + 1} makes it say '{told[1].strip()}'."
