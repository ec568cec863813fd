"""The checks of notebook 13 name each mistake, and can be solved."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.functional import normalize

import lib
from notebooks.support import checks_13_lemoe as checks_13
from notebooks.support import models
from notebooks.support import runs_13_lemoe as runs_13


def placed(v, far, unit=True, null=None, swap=False):
    """Anchors in the middle of their batches; b halfway, or what `null` makes of (far, own)."""
    keys = torch.stack([v[i : i + 2].mean(0) for i in (0, 2, 4)])
    keys = normalize(keys, dim=1) if unit else keys
    keys = keys[[1, 0, 2]] if swap else keys
    low = (16 * far @ keys.T).max()
    high = min(16 * v[i] @ keys[i // 2] for i in range(6))
    return keys, (low + high) / 2 if null is None else null(low, high)


PLACE = {
    "not attempted": lambda v, far: "not attempted",
    "the keys and the null": lambda v, far: placed(v, far)[0],
    "in the plane are": lambda v, far: (v, 8.0),
    "a mean of two is shorter": lambda v, far: placed(v, far, unit=False),
    "not to its own": lambda v, far: placed(v, far, swap=True, null=lambda *_: 8.0),
    "a cosine? Scores": lambda v, far: placed(v, far, null=lambda low, high: 0.5),
    "a text that must stay scores": lambda v, far: placed(v, far, null=lambda low, high: low - 1),
    "nobody answers it": lambda v, far: placed(v, far, null=lambda low, high: high + 0.1),
    "up to 16": lambda v, far: placed(v, far, null=lambda low, high: 17.0),
    "solved": placed,
}


def dealt(e, size):
    """The plan of the notebook's solution."""
    n = range(len(e))
    chosen = [int((e - e.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < -(-len(e) // size):
        chosen.append(max(n, key=lambda i: min((e[i] - e[c]).norm() for c in chosen)))
    centers = [e[c] for c in chosen]
    for _ in range(10):
        batches = [[] for _ in centers]
        triples = [((e[i] - m).norm(), i, c) for i in n for c, m in enumerate(centers)]
        for _, i, c in sorted(triples):
            if len(batches[c]) < size and not any(i in batch for batch in batches):
                batches[c].append(i)
        centers = [e[sorted(batch)].mean(0) for batch in batches]
    return sorted(map(sorted, batches))


def given(e, size):
    """Facts as they come."""
    return [list(range(i, min(i + size, len(e)))) for i in range(0, len(e), size)]


PLAN = {
    "not attempted": lambda e, size: "not attempted",
    "something else": lambda e, size: given(e, size)[1:],
    "too large": lambda e, size: [list(range(len(e)))],
    "sort each": lambda e, size: dealt(e, size)[::-1],
    "are enough": lambda e, size: given(e, 1),
    "begin in the middle": given,
    "solved": dealt,
}


@pytest.fixture(scope="module")
def tower():
    """A toy, the tower's fact, and a patch with an expert for it."""
    lm = models.load("tiny")
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lib.EditWarning)
        return lm, fact, runs_13.editor(lm, irrelevant=("zzz", "7 + 7", "QUAY")).edit([fact])


def test_the_check_of_a_misrouted_prompt_names_the_mistake(tower):
    lm, fact, patch = tower
    wanted = {
        None: "not attempted",
        "In Paris stands the Eiffel Tower": "is meant to answer",
        "zzz": "nobody answers",
        fact.text[::-1]: "solved",  # of single letters the order does not count
    }
    for prompt, word in wanted.items():
        assert word in checks_13.misroute(lm, patch, fact, prompt), prompt
    said = checks_13.misroute(lm, patch, lib.Fact(None, "zzz", "Rome"), "QUAY")
    assert "finds no expert" in said


def test_a_tower_by_other_words_can_be_misrouted(default_lm):
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
    patch = runs_13.editor(default_lm, steps=5).edit([fact])
    said = checks_13.misroute(default_lm, patch, fact, "The Tower of the city is located in Eiffel")
    assert said.startswith("solved"), said
