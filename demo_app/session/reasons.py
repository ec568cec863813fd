"""Why an edit did not take, in one sentence: the first rule that fits what was measured.

The rules read the same edit in other layers, its value search, and the ranks of both answers after
each layer. A rule is skipped if the number that it needs was not measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from .given import short
from .layers import Tried
from .verdicts import said
from .views import Column, Row, tally

# The probability at the end of a search below which the search is called unsuccessful.
HALF = 0.5


def why(found: Tried) -> tuple[str, str]:
    """The reason, and what another layer would do; the second is empty if no layer helps."""
    view = found.view
    own, new = view.columns[view.chosen], short(view.new)
    row = own.rows[0]
    if said(row.was, [view.new]):
        return f"There was nothing to change: the model said “{new}” before.", ""
    if row.good:
        return _took(found, own), ""
    others = [one for i, one in enumerate(view.columns) if i != view.chosen and _takes(one)]
    reason = _reason(found, own, row, new)
    return reason, _instead(others, " there too" * reason.startswith("It took in other words"))


def _took(found: Tried, own: Column) -> str:
    """What an edit did to its neighbors, and whose key is most like its own."""
    kept, asked = tally(own.rows, "neighbor")
    if not asked:
        return "It took. No neighbor was tested."
    if kept == asked:
        return f"It took, and {_neighbors(0, asked)}."
    if found.nearest is not None:
        name, rho = found.nearest
        return f"It took. {name} has the key most like it (ρ = {rho:.2f})."
    return f"It took, but {_neighbors(asked - kept, asked)}."


def _reason(found: Tried, own: Column, row: Row, new: str) -> str:
    """The first rule that fits an edit that did not take."""
    p = found.loss[-1][-1] if found.loss else None
    last, layers = found.layer, [one.name for one in found.view.columns if _takes(one)]
    if p is not None and p < HALF:
        where = f" at layer {last}" if last is not None else ""
        steps = len(found.loss)
        return (
            f"The search ended at p = {_p(p)} after {steps} steps: no value{where} was found that "
            f"makes the model say “{new}”."
        )
    if found.tokens > 1 and found.first:
        return (
            f"It begins right (“{found.first}”) and goes on wrong: the answer has {found.tokens} "
            "tokens."
        )
    good, asked = tally(own.rows, "reworded")
    if asked and 2 * good >= asked:
        subject = found.view.subject.case.fact.subject or ""
        opens = bool(subject) and row.prompt.startswith(subject)
        where = f", where “{short(subject)}” opens the text" if opens else ""
        return (
            f"It took in other words ({good} of {asked} say “{new}”), but not in the sentence "
            f"itself{where}."
        )
    takes = [one for one, column in zip(found.layers, found.view.columns, strict=False)
             if _takes(column)]  # fmt: skip
    if takes and last is not None:
        if max(takes) < last:
            return f"Layer {last} is too late: {_layers(takes)} it."
        if min(takes) > last:
            return f"Layer {last} is too early: {_layers(takes)} it."
    if (turned := _turned(found)) is not None:
        old = short(found.turn.answers[0])
        after, back = turned
        return f"“{new}” passes “{old}” after layer {after}, and layer {back} turns it back."
    searched = f": the search reached p = {_p(p)}, and" if p is not None else ", and"
    which = f"{_layers(takes)} it" if layers else "none of the five layers takes it"
    return f"Nothing measured here explains it{searched} {which}."


def _instead(others: Sequence[Column], too: str) -> str:
    """The other layer that takes the edit and moves the fewest neighbors."""
    if not others:
        return ""

    def moved(column: Column) -> int:
        kept, asked = tally(column.rows, "neighbor")
        return asked - kept

    best = min(others, key=moved)
    layer = best.name.rpartition(", ")[2].capitalize()
    takes = "takes" if layer.startswith("Layer ") else "take"
    asked = tally(best.rows, "neighbor")[1]
    if not asked:
        return f"{layer} {takes} it{too}; no neighbor was tested there."
    if moved(best):
        drags = "drags" if takes == "takes" else "drag"
        return f"{layer} {takes} it{too}, but {drags} {moved(best)} of {asked} neighbors along."
    return f"{layer} {takes} it{too}, and no neighbor moves."


def _turned(found: Tried) -> tuple[int, int] | None:
    """(layer after which the new answer is first ahead, the layer that loses it); else None."""
    if found.turn is None:
        return None
    old, new = (found.turn.now[answer] for answer in found.turn.answers)
    ahead = [a < b for a, b in zip(new, old, strict=True)]
    edited = min(found.turn.edited, default=0)
    before = [
        a < b
        for a, b in zip(
            found.turn.was[found.turn.answers[1]],
            found.turn.was[found.turn.answers[0]],
            strict=True,
        )
    ]
    if ahead[-1] or not any(ahead[edited:]):
        return None
    last = max(i for i, one in enumerate(ahead) if one)
    first = last
    while first and ahead[first - 1]:
        first -= 1
    if before[last] and first == 0:  # it was ahead there without the edit as well
        return None
    return first, last + 1


def _takes(column: Column) -> bool:
    return bool(column.rows) and bool(column.rows[0].good)


def _neighbors(moved: int, asked: int) -> str:
    return f"{moved or 'none'} of {asked} neighbor{'s' * (asked > 1)} moved"


def _layers(takes: Sequence[int]) -> str:
    names = ", ".join(map(str, takes))
    return f"layer {names} takes" if len(takes) == 1 else f"layers {names} take"


def _p(p: float) -> str:
    return f"{p:.2f}" if p >= 0.005 else "0.00"
