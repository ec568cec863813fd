"""Finds the rows for a shared edit's link: stored rows, or rows that this page has computed.

A link can contain anything, so we check every value, turning each problem into one sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from . import checks, links
from .choices import Choices
from .first_edits import FirstEdits
from .views import Row, Subject, View
from .worker import Trouble

KEYS = ("example", "subject", "prompt", "target", "editor", "saw")
ROWS = 40  # maximum number of rows that a visitor can predict


@dataclass(frozen=True)
class Shared:
    """One edit to show.

    subject: the fact.
    editor: the editor's name in lib.EDITORS.
    rows: its rows; if the page hasn't computed it, only the edit without answers.
    score: how many rows the visitor predicted, and out of how many; None without a guess.
    """

    subject: Subject
    editor: str
    rows: tuple[Row, ...]
    score: tuple[int, int] | None = None


def shared(
    choices: Choices,
    made: FirstEdits,
    stored: Callable[[Subject], View | None],
    query: Mapping[str, str],
) -> Shared:
    """The edit named in an address, without running a model. Raises Trouble with one sentence."""
    values = {key: query.get(key, "") for key in KEYS}
    fact = _fact(choices, values)
    editor = query.get("editor") or query.get("editors", "").partition(",")[0] or "rome"
    if editor not in choices.editors:
        raise Trouble(f"Unknown editor “{checks.short(editor)}”.")
    view = stored(fact)
    rows = next((c.rows for c in view.columns if c.editor == editor), ()) if view else ()
    if not rows and (found := made.made.get((editor, fact.case.fact, ()))) and found.look:
        rows = found.look[1]
    blank = Row("edit", fact.case.fact.text, fact.case.fact.target_true or "", None)
    return Shared(fact, editor, tuple(rows) or (blank,), score(values["saw"]))


def score(text: str) -> tuple[int, int] | None:
    """("5-6") -> (5, 6): predicted five out of six; None for "". Raises Trouble."""
    if not text:
        return None
    good, dash, every = text.partition("-")
    digits = all(part.isascii() and part.isdigit() and len(part) <= 3 for part in (good, every))
    if not (dash and digits and int(good) <= int(every) and 1 <= int(every) <= ROWS):
        shown = f"two numbers such as 5-6, up to {ROWS}-{ROWS}"
        raise Trouble(f"The score “{checks.short(text)}” should be {shown}.")
    return int(good), int(every)


def invitation(score: tuple[int, int] | None) -> str:
    """The sender's score as a question to the reader."""
    if score is None:
        return "What else would you expect to move?"
    good, every = score
    return f"I saw {f'all {every}' if good == every else f'{good} of {every}'} coming. Would you?"


def addresses(choices: Choices, found: Shared) -> tuple[str, str]:
    """(link to the page, link to the picture), both relative to the page's address."""
    fact = found.subject.case.fact
    query = {"subject": fact.subject, "prompt": fact.prompt, "target": fact.target_new}
    if choices.example_of(fact):
        query = {"example": links.slug(fact.subject)}
    saw = {"saw": "-".join(map(str, found.score))} if found.score else {}
    return (
        "?" + urlencode({**query, "editors": found.editor, **saw}),
        "share.png?" + urlencode({**query, "editor": found.editor, **saw}),
    )


def _fact(choices: Choices, values: Mapping[str, str]) -> Subject:
    name = values["example"]
    if name:
        for label in choices.examples:
            fact = choices.example(label).fact
            if name in (links.slug(fact.subject), links.slug(label)):
                return choices.ready_subject(label)
        raise Trouble(f"Unknown example “{checks.short(name)}”.")
    return choices.subject(*(values[key] for key in ("subject", "prompt", "target")))
