"""The check of notebook 03's exercise.

It returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

import lib
from lib.interpret.causal_trace import trace


def synonym(
    lm: lib.LM, sigma: float, one: tuple[str, str] | None, other: tuple[str, str] | None
) -> str:
    """Notebook 03: (prompt, subject) twice, the same answer, but no single early state holds it."""
    if one is None or other is None:
        return "not attempted: give two prompts, each with its subject, in the cell above."
    if one[1].lower() == other[1].lower():
        return "this is the same subject: call it by another name."
    found, layers = [], range(2, max(3, lm.n_layers // 2), 4)
    for prompt, subject in (one, other):
        try:
            result = trace(
                lm, prompt, subject, kinds=["hidden"], layers=layers, samples=5, deviation=sigma
            )
        except ValueError as error:
            return f"{prompt!r} cannot be traced: {error}."
        if result.p_clean < 0.05 or result.total_effect < result.p_clean / 2:
            return f"the model does not know that {prompt!r} goes on with {result.answer!r}."
        first, last = result.subject
        effect = result.indirect("hidden")[first : last + 1].max().item()
        found.append((result.answer, effect / result.total_effect))
    (answer, before), (another, after) = found
    if answer != another:
        return f"one prompt gives {answer!r}, the other {another!r}: it should be the same thing."
    share = f"{100 * after:.0f} % comes back, {100 * before:.0f} % with the first name"
    if before < 0.3:
        return f"{share}: the first trace has no peak that could be broken."
    if after > before / 2:
        return f"{share}: still more than half. Try a name the model has seen less often."
    return f"solved: {share}."
