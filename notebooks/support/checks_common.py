"""The checks of the exercises of notebooks 00 and 01, and what all notebooks' checks share.

A check returns a sentence that begins with "solved", or one that says what differs and the likely
reason. The checks are kept in files, and not in the notebooks' cells, because a check knows the
solution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import lib


def own_fact(editor: lib.Editor, fact: lib.Fact | None, prompt: str | None) -> str:
    """Notebook 00: the edit holds on the fact's own prompt and fails on another about the same."""
    if fact is None or prompt is None:
        return "not attempted: give a fact and a prompt in the cell above."
    if " ".join(prompt.split()) == " ".join(fact.text.split()):
        return "this is the edit's own prompt: ask for the same thing in other words."
    case = lib.Case(fact, paraphrases=[prompt])
    asked = {"events": ["generation"], "metrics": ["generalization"]}
    knows, text = _answers(lib.evaluate(editor.lm, case, **asked))["efficacy"]
    if knows:
        return f"the base model says {text!r} already: choose another new answer."
    after = _answers(lib.evaluate(editor.lm, case, editor.edit([fact]), **asked))
    (own, said), (other, says) = after["efficacy"], after["generalization"]
    if not own:
        return f"the edit itself did not hold, it says {said!r}: is the new answer short?"
    if other:
        return f"the edit holds there too, it says {says!r}: go further from its words."
    return f"solved: it says {said!r} on its own prompt, but {says!r} on yours."


def _answers(scores: lib.Scores) -> dict[str, tuple[bool, str]]:
    """Return {metric: (whether it is right, the text)}; each metric has one prompt."""
    rows = scores.rows[scores.rows["event"] == "generation"]
    return {row.metric: (bool(row.value), row.text) for row in rows.itertuples()}


def robust(function: Callable[[Tensor, Tensor, float], Tensor | str]) -> str:
    """Notebook 01: W with the smallest expected error when keys arrive with noise s."""
    K, V, s, n = normal(1, 6, 15), normal(2, 4, 15), 0.7, 15
    W = function(K, V, s)
    if W is None or isinstance(W, str):
        return "not attempted."
    if tuple(W.shape) != (4, 6):
        return f"W has shape {tuple(W.shape)}, not (4, 6): it takes a key to a value."

    def ridge(strength: float) -> Tensor:
        return torch.linalg.solve(K @ K.T + strength * torch.eye(6), K @ V.T).T

    def expected(W: Tensor) -> float:
        # Σ E‖W(k + ε) − v‖² = ‖WK − V‖² + n s² ‖W‖²
        return ((W @ K - V).norm() ** 2 + n * s**2 * W.norm() ** 2).item()

    likely = {
        0.0: "where is the noise?",
        s**2: "the noise comes with each of the n keys.",
        n * s: "the covariance of the noise is s², not s.",
    }
    for strength, reason in likely.items():
        if torch.allclose(W.double(), ridge(strength)):
            return f"this is ridge with λ = {strength:.3g}: {reason}"
    found, least = expected(W.double()), expected(ridge(n * s**2))
    if found > (1 + 1e-6) * least:
        return f"its expected error is {found:.3f}, {least:.3f} is possible: set the gradient to 0."
    return f"solved: expected error {found:.3f}, against {expected(ridge(0.0)):.3f} without care."


def twin(function: Callable[[Tensor, Tensor], Tensor | str | None]) -> str:
    """Notebook 01: another W with the same recall, None where there is none."""
    W = normal(3, 4, 6)
    flat = normal(4, 6, 2) @ normal(5, 2, 20)
    given = {
        "3 keys in 6 dimensions": (normal(6, 6, 3), False),
        "20 keys in 6 dimensions": (normal(7, 6, 20), True),
        "20 keys in a plane": (flat, False),
    }
    for what, (K, unique) in given.items():
        other = function(W.clone(), K.clone())
        if isinstance(other, str):
            return "not attempted."
        if other is None and not unique:
            return f"{what}: there is another W: is it the number of keys that counts?"
        if other is None:
            continue
        if (other - W).norm() < 1e-6 * W.norm():
            return f"{what}: this is W itself."
        if not torch.allclose(other @ K, W @ K):
            return f"{what}: the recall changed: the change H needs H k = 0 for every key."
    return "solved: W is unique exactly when the keys span the whole space."


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers in float64, the same for the same seed."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)
