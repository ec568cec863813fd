"""The checks of notebook 12 name each mistake, and can be solved."""

from __future__ import annotations

import torch

from lib.editors.wise.merging import trim


def routed(delta=lambda moved, prompt: moved[:prompt].norm(dim=1).mean(), pick=max, keep=None):
    """An answer to 12's first exercise; each part can be spoiled."""

    def forward(W, memories, a, prompt):
        deltas = [delta(a @ tau.T, prompt) for tau, _ in memories]
        passed = [(d, i) for i, d in enumerate(deltas) if d >= memories[i][1]]
        if not passed:
            return a @ W.T
        moved = a @ memories[pick(passed)[1]][0].T
        return a @ W.T + (moved if keep is None else keep(moved, prompt))

    return forward


def zero(moved, here):
    moved[here] = 0
    return moved


FORWARD = {
    "not attempted": lambda W, memories, a, prompt: "not attempted",
    "at each of": lambda W, memories, a, prompt: (a @ W.T)[:prompt],
    "do not count": routed(lambda moved, prompt: moved.norm(dim=1).mean()),
    "a sum over tokens": routed(lambda moved, prompt: moved[:prompt].norm(dim=1).sum()),
    "mean of lengths": routed(lambda moved, prompt: moved[:prompt].mean(0).norm()),
    "not the first": routed(pick=lambda passed: passed[0]),
    "must not block": lambda W, memories, a, prompt: (
        a @ W.T
        if max(delta := [(a[:prompt] @ tau.T).norm(dim=1).mean() for tau, _ in memories])
        < memories[(best := delta.index(max(delta)))][1]
        else a @ (W + memories[best][0]).T
    ),
    "not at each token": lambda W, memories, a, prompt: torch.cat(
        [routed()(W, memories, row[None], 1) for row in a]
    ),
    "of the prompt pass": routed(keep=lambda moved, prompt: zero(moved, slice(0, prompt))),
    "of the answer pass": routed(keep=lambda moved, prompt: zero(moved, slice(prompt, None))),
    "is W + τ": lambda W, memories, a, prompt: (
        out if torch.equal(out := routed()(W, memories, a, prompt), a @ W.T) else out - a @ W.T
    ),
    "gets another output": routed(keep=lambda moved, prompt: 2 * moved),
    "solved": routed(),
}


BY_HAND = {
    "not attempted": None,
    "four numbers": [1, 2],
    "without the trim": [-1.75, -3, 0.5667, -5],
    "divided by three": [-0.1667, -2, 0, -1.6667],
    "that is the sum": [-3.5, -6, 0, -5],
    "where fewer vote": [-1.1667, -2, 0, -1.6667],
    "goes to the largest": [3, -4, 0, -5],
    "after the trim the three are": [0, -3, 0, -5],
    "solved": [-1.75, -3, 0, -5],
}


def torn(density=None, zero=False, strict=False):
    """An answer to 12's second exercise."""

    def conflict(taus, share):
        kept = torch.stack([trim(tau, density or share) for tau in taus])
        low = (kept <= 0) if zero else (kept < -1.0) if strict else (kept < 0)
        return ((kept > 0).any(0) & low.any(0)).nonzero()[:, 0].tolist()

    return conflict


CONFLICT = {
    "not attempted": lambda taus, share: None,
    "trim first": torn(density=1.0),
    "is 0 a sign": torn(zero=True),
    "that is a conflict": torn(strict=True),
    "solved": torn(),
}
