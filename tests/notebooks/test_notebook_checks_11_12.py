"""The checks of notebooks 11 and 12 name each mistake, and can be solved."""

from __future__ import annotations

import torch

import lib
from lib.editors.wise.merging import trim
from notebooks.support import checks_11_grace as checks_11
from notebooks.support import models


def rules(
    touch=lambda d, radius: d <= radius + 1,
    grow=lambda d, radius: max(radius, d),
    split=lambda d: (d / 2, d / 2 - 1e-5),
    first=1.0,
    same=lambda a, b: a == b,
):
    """An answer to 11's first exercise; each part can be spoiled."""

    def write(keys, radii, labels, q, label):
        if keys:
            i = min(range(len(keys)), key=lambda j: abs(keys[j] - q))
            d = abs(keys[i] - q)
            if touch(d, radii[i]):
                if same(labels[i], label):
                    radii[i] = grow(d, radii[i])
                    return keys, radii, labels
                new, old = split(d)
                radii[i] = radii[i] if old is None else old
                return [*keys, q], [*radii, new], [*labels, label]
        return [*keys, q], [*radii, first], [*labels, label]

    return write


WRITE = {
    "not attempted": lambda *given: "not attempted",
    "return keys": lambda keys, radii, labels, q, label: (keys, radii),
    "the balls would not touch": lambda keys, radii, labels, q, label: (
        (keys, radii, labels) if keys else ([q], [1.0], [label])
    ),
    "of its own": rules(same=lambda a, b: True),
    "no new key": rules(same=lambda a, b: False),
    "a new ball begins": rules(first=2.0),
    "no farther": rules(grow=lambda d, radius: radius + 1 if d > radius else radius),
    "covered already": rules(grow=lambda d, radius: d),
    "has to give way": rules(split=lambda d: (d / 2, None)),
    "leave a gap": rules(split=lambda d: (d / 2, d / 2)),
    "half of the distance": rules(split=lambda d: (d, d - 1e-5)),
    "solved": rules(),
}


TOWER = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", "Paris")
AGAIN = lib.Fact("the Eiffel Tower", "Tourists who want to see {} travel to the city of", "Rome")


def test_a_theft_has_to_be_fair_and_of_something_held():
    editor = lib.EDITORS["grace"](models.load("tiny"), eps_init=0.01)
    patch = editor.edit([TOWER])
    thief = lib.Fact(None, "The recipe for bread begins with", "salt")
    assert "not attempted" in checks_11.steal(editor, patch, TOWER, AGAIN.text, None)
    assert "too easy" in checks_11.steal(editor, patch, TOWER, AGAIN.text, AGAIN)
    assert "to begin with" in checks_11.steal(editor, patch, TOWER, AGAIN.text, thief)


def test_a_rewording_can_be_stolen(default_lm):
    editor = lib.EDITORS["grace"](default_lm, eps_init=16.0)
    patch = editor.edit([AGAIN], after=editor.edit([TOWER]))

    def steal(prompt: str) -> str:
        return checks_11.steal(editor, patch, TOWER, AGAIN.text, lib.Fact(None, prompt, "Berlin"))

    assert "it still answers" in steal("The recipe for bread begins with")
    assert steal("Tourists who want to see the Louvre travel to the city of").startswith("solved")


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
