"""The check of notebook 04's exercise.

It returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

import lib


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
