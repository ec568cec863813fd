"""The tables of RESULTS.md about facts in conversation, made from conversation.json."""

from __future__ import annotations

from typing import Any

from lib import EDITORS
from lib.evaluation.intervals import DIFFERENCE, interval

from .tables import made, percent, read, table

NAMED, BEGINS = "generation_named", "generation"
# the columns: head, metric, event
COLUMNS = (
    ("prompt", "efficacy", BEGINS),
    ("rewordings", "generalization", BEGINS),
    ("chat", "chat", NAMED),
    ("question", "question", NAMED),
    ("after two turns", "after_two_turns", NAMED),
    ("neighbors", "specificity", BEGINS),
    ("neighbors, chat", "chat_neighbors", NAMED),
)
Cases = dict[str, dict[str, Any]]


def entries() -> dict[str, Cases]:
    """{name of an entry: its cases}, without those that were used for choosing."""
    return {
        name: entry["cases"]
        for name, entry in read("conversation").items()
        if not name.endswith(" even")
    }


def cell(cases: Cases, metric: str, event: str) -> str:
    """ "80 [70, 88]": the mean over cases of a metric and event, a dash where there is none."""
    values = [case[metric][event] for case in cases.values() if metric in case]
    if not values:
        return "–"
    low, high = interval(values)
    return f"{percent(sum(values) / len(values))} [{percent(low)}, {percent(high)}]"


def own(metric: str) -> str:
    """The line of the unedited model's own answers beside a metric of a conversation."""
    return metric if metric in ("efficacy", "specificity") else f"{metric} (base model)"


def order(name: str) -> tuple[int, str]:
    """Rows stand in the order of the editors."""
    names = [*EDITORS]
    return names.index(name.split(",")[0]), name


@made("conversation")
def conversation() -> str:
    """Every editor's fact in every form, and the unedited model's own answers."""
    found, rows = entries(), []
    base = found["base"]
    first = ["–", *(cell(base, own(metric), event) for _, metric, event in COLUMNS[1:])]
    rows.append(("*unedited model, its own answers*", len(base), *first))
    for name in sorted(found.keys() - {"base", "languages"}, key=order):
        cells = [cell(found[name], metric, event) for _, metric, event in COLUMNS]
        label = f"`{name.split(',')[0]}`" + ("" if "," not in name else "," + name.split(",")[1])
        rows.append((label, len(found[name]), *cells))
    return table(("editor", "n", *(head for head, *_ in COLUMNS)), rows)


@made("conversation-forms")
def conversation_forms() -> str:
    """What the option changes: paired differences on the cases that both have."""
    found, rows = entries(), []
    for name in sorted((n for n in found if "," in n), key=order):
        plain = found.get(name.split(",")[0], {})
        same = sorted(plain.keys() & found[name].keys(), key=int)
        if not same:
            continue
        cells = [_difference(found[name], plain, same, m, e) for _, m, e in COLUMNS]
        rows.append((f"`{name.split(',')[0]}`", len(same), *cells))
    return table(("editor", "n", *(head for head, *_ in COLUMNS)), rows)


def _difference(a: Cases, b: Cases, same: list[str], metric: str, event: str) -> str:
    """ "+40 [25, 55]": the mean paired difference in points."""
    both = [i for i in same if metric in a[i] and metric in b[i]]
    values = [a[i][metric][event] - b[i][metric][event] for i in both]
    if not values:
        return "–"
    low, high = interval(values, DIFFERENCE)
    mean = round(100 * sum(values) / len(values))
    return f"{mean:+d} [{100 * low:.0f}, {100 * high:.0f}]"
