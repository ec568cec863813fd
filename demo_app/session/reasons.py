"""Explains in one sentence why an edit failed, using the first rule that fits the measurements.

The rules use the same edit in other layers, its value search, and the ranks of both answers after
each layer. A rule is skipped if its number was not measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from .checks import short
from .layers import Tried
from .verdicts import said
from .views import Column, Row, tally

# If a search ends with a lower probability of the new answer, no value was found. Among 24 facts
# for tuning that ROME wrote into the default model, with 2 to 20 search steps, the model gave none
# of the 6 new answers that ended below 0.1, and all of the 18 that ended above 0.25.
FOUND = 0.2


def why(found: Tried) -> tuple[str, str]:
    """The reason, and the effect of another layer; the second is empty if no layer helps."""
    view = found.view
    own, new = view.columns[view.chosen], short(view.new)
    if not own.rows:
        return f"{(own.error or 'The edit failed').rstrip('.')}.", ""
    row = own.rows[0]
    if said(row.was, [view.new]):
        return f"There was nothing to change: the model already said “{new}”.", ""
    if row.good:
        return _took(found, own), ""
    others = [one for i, one in enumerate(view.columns) if i != view.chosen and _takes(one)]
    reason = _reason(found, own, row, new)
    return reason, _instead(others, " there too" * reason.startswith("It took in other words"))


def _took(found: Tried, own: Column) -> str:
    """The effect on an edit's neighbors, and the neighbor with the most similar key."""
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
    if found.loss and (p := found.loss[-1][-1]) < FOUND:
        steps = f"{len(found.loss)} step{'s' * (len(found.loss) > 1)}"
        return (
            f"The search ended at p = {p:.2f} after {steps}: no value at layer {found.layer} was "
            f"found that makes the model say “{new}”."
        )
    if found.tokens > 1 and found.first:
        return (
            f"It begins right (“{found.first}”) and then goes wrong: the answer has {found.tokens} "
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
    last, columns = found.layer, found.view.columns
    takes = [one for one, column in zip(found.layers, columns, strict=True) if _takes(column)]
    if takes and max(takes) < last:
        return f"Layer {last} is too late: {_layers(takes)} it."
    if takes and min(takes) > last:
        return f"Layer {last} is too early: {_layers(takes)} it."
    if (turned := _turned(found)) is not None:
        old, (after, back) = short(found.turn.answers[0]), turned
        return f"“{new}” passes “{old}” after layer {after}, and layer {back} turns it back."
    reached = f": the search reached p = {found.loss[-1][-1]:.2f}, and" if found.loss else ", and"
    which = f"{_layers(takes)} it" if takes else f"none of the {len(columns)} layers takes it"
    return f"Nothing measured here explains it{reached} {which}."


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
    """(layer after which the new answer first leads, layer where it loses the lead), or None."""
    if found.turn is None:
        return None
    old, new = found.turn.answers
    now, was = (
        [ranks[new][i] < ranks[old][i] for i in range(len(ranks[new]))]
        for ranks in (found.turn.now, found.turn.was)
    )
    ahead = [i for i, one in enumerate(now) if one and not was[i]]  # because of the edit
    if now[-1] or not ahead:
        return None
    last = max(ahead)
    first = next(i for i in range(last, -1, -1) if i == 0 or not now[i - 1])
    return first, next(i for i in range(last, len(now)) if not now[i])


def _takes(column: Column) -> bool:
    return bool(column.rows) and bool(column.rows[0].good)


def _neighbors(moved: int, asked: int) -> str:
    return f"{moved or 'none'} of {asked} neighbor{'s' * (asked > 1)} moved"


def _layers(takes: Sequence[int]) -> str:
    names = ", ".join(map(str, takes))
    return f"layer {names} takes" if len(takes) == 1 else f"layers {names} take"
