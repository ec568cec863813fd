"""The checks of notebook 04's exercises.

They return a sentence that begins with "solved", or one that says what differs and the likely
reason.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import lib


def two_keys(function: Callable[[Tensor, Tensor, Tensor], Tensor | str]) -> str:
    """Notebook 04: the cheapest Δ (d_out, d_in) that supplies R at both columns of K."""
    draw = torch.Generator().manual_seed(4)
    L, K, R = (torch.randn(*s, generator=draw).double() for s in ((9, 30), (9, 2), (5, 2)))
    C = L @ L.T / 30
    found = function(K.clone(), R.clone(), C.clone())
    if found is None or isinstance(found, str):
        return "not attempted."
    if tuple(found.shape) != (5, 9):
        return f"Δ has shape {tuple(found.shape)}, not (5, 9): it takes a key to a value."
    U = torch.linalg.solve(C, K)
    D = K.T @ U
    likely = {
        "the columns were written one by one, and each disturbs the other: invert all of KᵀC⁻¹K.": (
            R / D.diagonal()
        )
        @ U.T,
        "the second column was written after the first and disturbs it: invert all of KᵀC⁻¹K.": (
            torch.linalg.solve(D.triu(), R, left=False) @ U.T
        ),
        "this is written at the mean of both keys, so at neither.": torch.outer(
            R.mean(1), U.mean(1) / (K.mean(1) @ U.mean(1))
        ),
    }
    for reason, wrong in likely.items():
        if torch.allclose(found, wrong):
            return f"ΔK is not R: {reason}"
    away = (found @ K - R).norm() / R.norm()
    if away > 1e-6:
        return f"ΔK misses R by {100 * away:.0f} %: what does the constraint say about M?"
    cost, least = (found @ C * found).sum(), (R @ torch.linalg.inv(D) * R).sum()
    if cost > (1 + 1e-6) * least:
        plain = torch.allclose(found, R @ torch.linalg.pinv(K))
        reason = "where is C?" if plain else "is the mixed term zero for every H with HK = 0?"
        return f"ΔK = R, but it costs {cost / least:.2f} times the least: {reason}"
    return f"solved: ΔK = R at a cost of {least:.3f}."


def one_way(
    editor: lib.Editor, fact: lib.Fact | None, question: str | None, backward: str | None
) -> str:
    """Notebook 04: an edit holds in other words, and not from the answer back to the subject."""
    if fact is None or question is None or backward is None:
        return "not attempted: give a fact, a question and a backward question in the cell above."
    if fact.target_true is None:
        return "give the fact its target_true: the backward question is tried with it first."
    if " ".join(question.split()) == " ".join(fact.text.split()):
        return "this is the edit's own prompt: ask for the same thing in other words."
    name = fact.subject.removeprefix("The ").removeprefix("the ")
    if backward.count("{}") != 1 or name.lower() in backward.lower():
        return "the backward question has {} for the answer, and leaves the subject to the model."
    lm, old = editor.lm, backward.replace("{}", fact.target_true)
    said = lm.answer(old, 12)
    if name.lower() not in said.lower():
        return f"the base model does not know it backward: {old!r} gives {said!r}."
    case = lib.Case(fact, paraphrases=[question])
    asked = {"events": ["generation"], "metrics": ["generalization"]}
    if _answers(lib.evaluate(lm, case, **asked))["efficacy"][0]:
        return "the base model gives the new answer already: choose another."
    patch = editor.edit([fact])
    after = _answers(lib.evaluate(lm, case, patch, **asked))
    for metric, where in (("efficacy", "its own prompt"), ("generalization", "your question")):
        if not after[metric][0]:
            return f"the edit does not hold on {where}, it says {after[metric][1]!r}."
    new = backward.replace("{}", fact.target_new)
    with lm.patched(patch):
        says = lm.answer(new, 12)
    if name.lower() in says.lower():
        return f"it holds backward too: {new!r} gives {says!r}."
    return (
        f"solved: your question gives {after['generalization'][1]!r}, but {new!r} gives {says!r}."
    )


def _answers(scores: lib.Scores) -> dict[str, tuple[bool, str]]:
    """Return {metric: (whether it is right, the text)}; each metric has one prompt."""
    rows = scores.rows[scores.rows["event"] == "generation"]
    return {row.metric: (bool(row.value), row.text) for row in rows.itertuples()}
