"""A probe of truth, judging whether a statement's states look like a true statement's states.

A linear probe is trained on statements of the unedited model, true ones and false ones of the same
relations. It is tested on relations not used for training, and rejected if the accuracy there is
below ACCURACY: a probe that cannot distinguish truths from falsehoods shows nothing about an edit.

It reads the residual stream at the last token of a statement's answer. Linear probes of this kind
were used by Marks and Tegmark, The Geometry of Truth (2023, arXiv:2310.06824). It has not been
shown that the model treats a state looking true to such a probe as true.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data import as_facts
from ...errors import ProbeError
from ...evaluation.intervals import interval
from ...model import activations
from ...model.batching import grouped
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch

ACCURACY = 0.80  # on relations not used for training the probe
# Fraction of the model's blocks below the states that are read, and ridge penalty for each training
# statement. We looked at both on the classroom's even half: blocks 12 to 20 of 30, and 100 to
# 10,000 for 196 statements, are within 4 points of each other there.
DEPTH = 0.7
RIDGE = 5.0


@dataclass(frozen=True, eq=False)
class TruthProbe:
    """A trained probe.

    block       the block before which it reads
    weight      (d,) of the scaled states; `mean` and `scale` (d,) bring states to that scale
    accuracy    fraction of statements of held-out relations that it judges correctly, with `low`
                and `high` (95% over facts, each with its two statements)
    statements  the number of statements
    """

    block: int
    weight: Tensor
    mean: Tensor
    scale: Tensor
    accuracy: float
    low: float
    high: float
    statements: int

    def scores(self, lm: LM, pairs: Sequence[tuple[str, str]], patch: Patch = EMPTY) -> list[float]:
        """Return a number for each (prompt, answer), above 0 if the statement looks true.

        Raises ProbeError for a patch writing only at or above this block: the states that the
        probe reads cannot show it.
        """
        places = [*patch.weights, *patch.routes]
        if places and all(_block(lm, name) >= self.block for name in places):
            raise ProbeError(
                f"the patch writes in no block below {self.block}, before which the probe reads, "
                "so the probe cannot see it"
            )
        states = _states(lm, pairs, self.block, patch)
        return (((states - self.mean) / self.scale) @ self.weight).tolist()


def truth_probe(lm: LM, cases: as_facts.Given, without: as_facts.Given = ()) -> TruthProbe:
    """Return a probe trained on true and false statements of the cases, read by the unedited model.

    Each case gives its prompt with its true answer, and with another case's of its relation.

    without  cases that do not give statements, by their subjects: the edited ones

    Raises ProbeError if held-out relations give less than ACCURACY, or there are not two.
    """
    cases = as_facts.cases(cases)
    edited = {fact.subject for fact in as_facts.facts(without)}
    pairs, relations, draw = [], [], random.Random(0)
    answers = grouped((case.relation, case.fact.target_true or "") for case in cases)
    for case in cases:
        true = case.fact.target_true
        others = sorted({*answers[case.relation]} - {true, ""})
        if true and others and case.fact.subject not in edited:
            pairs += [(case.fact.text, true), (case.fact.text, draw.choice(others))]
            relations.append(case.relation)
    if len(set(relations)) < 2:
        raise ProbeError("A probe of truth needs known facts of at least two relations. Add facts.")
    block = min(max(1, round(DEPTH * lm.n_layers)), lm.n_layers - 1)
    X = _states(lm, pairs, block, EMPTY)
    mean, scale = X.mean(0), X.std(0).clamp(min=1e-6)
    X, y = (X - mean) / scale, torch.tensor([0.5, -0.5] * len(relations), dtype=X.dtype)
    right = torch.zeros(len(y), dtype=X.dtype)
    for relation in dict.fromkeys(relations):
        held = torch.tensor([one == relation for one in relations]).repeat_interleave(2)
        right[held] = ((X[held] @ _ridge(X[~held], y[~held])) * y[held] > 0).to(X.dtype)
    by_fact = right.view(-1, 2).mean(1).numpy()
    accuracy = float(by_fact.mean())
    if accuracy < ACCURACY:
        raise ProbeError(
            f"On held-out relations, the probe of truth is right for {accuracy:.0%} of the "
            f"statements of {lm.name}, but {ACCURACY:.0%} are required, so it is not used."
        )
    return TruthProbe(block, _ridge(X, y), mean, scale, accuracy, *interval(by_fact), len(y))


def _ridge(X: Tensor, y: Tensor) -> Tensor:
    """Return the weights (d,) of ridge regression from X (n, d) to y (n,), without an intercept."""
    penalty = RIDGE * len(X) * torch.eye(X.shape[1], dtype=X.dtype)
    return torch.linalg.solve(X.T @ X + penalty, X.T @ y)


def _states(lm: LM, pairs: Sequence[tuple[str, str]], block: int, patch: Patch) -> Tensor:
    """Return states (n, d) before a block at the last token of each (prompt, answer), float64."""
    texts = [f"{prompt} {answer}" for prompt, answer in pairs]
    with lm.patched(patch, only=True):
        return activations.states_at_ends(lm, texts, block).double().cpu()


def _block(lm: LM, module: str) -> int:
    """Return the number of the block containing a module; −1 for one outside the blocks."""
    rest = module.removeprefix(f"{lm.arch.blocks}.")
    return int(rest.split(".")[0]) if rest != module else -1
