"""The model's answers before and after an edit, as plain values.

A subject is a fact with its test prompts. Each prompt gives a row, comparing the base model with
one editor's patch. A view is a table of such rows: one column of rows per editor, plus the rows of
the chosen column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

import lib
from lib.data.negation import negate
from lib.evaluation.answers import END, begins, plain
from lib.evaluation.own_facts import overlap

from . import questions

Ask = tuple[str, bool]  # a prompt, and whether to use the chat template

# groups of prompts whose answers should stay; "other" prompts ask a different question
STAY = ("neighbor", "other", "unrelated")
UNASKED = "…"  # the answer to a prompt that has not been run yet
EDITS = 20  # maximum number of one visitor's live edits

SMALL = frozenset("a an and are at by for from in is it its of on or that the to was".split())
_WORD = re.compile(r"[^\W_][\w'’-]*")


@dataclass(frozen=True)
class Answer:
    """An answer to a prompt.

    text: the generated text.
    next_token (vocabulary,): log-probabilities of the token after the prompt.
    ids: the token ids of the text.
    """

    text: str
    next_token: Tensor
    ids: Sequence[int] = ()

    @property
    def shown(self) -> str:
        """Its first sentence; an unfinished sentence ends in "…"."""
        return first_sentence(self.text)


@dataclass(frozen=True)
class Row:
    """One prompt, answered by the base model and under an edit, with the verdict on it.

    Before an edit, `after`, `p_after`, `kl` and `good` are None, and so is `p_before` until it is
    computed. `verdicts.judged` sets `good` and `word`.

    group: the kind of prompt, e.g. "neighbor".
    prompt: its text.
    before: the base model's text.
    p_before: the base model's probability of the new answer.
    after: the edited model's text.
    p_after: the edited model's probability of the new answer.
    kl: KL(base ‖ edited) of the next token, in nats.
    good: whether the result is as desired; None if the row is not counted.
    word: the verdict in words.
    old: the base model's probability of the old answer or, for a neighbor, of its own answer, which
        is the clause of `before`; None if there is no such answer.
    old_after: the edited model's probability of that answer.
    earlier: the text under the visitor's earlier edits; None without such edits.
    """

    group: str
    prompt: str
    before: str
    p_before: float | None
    after: str | None = None
    p_after: float | None = None
    kl: float | None = None
    good: bool | None = None
    word: str = ""
    old: float | None = None
    old_after: float | None = None
    earlier: str | None = None

    @property
    def was(self) -> str:
        """The answer just before the edit, which the verdict compares with."""
        return self.before if self.earlier is None else self.earlier


@dataclass(frozen=True)
class Subject:
    """A fact with all the prompts that test an edit of it.

    case: the fact with its test prompts.
    own: the visitor's own prompts.
    typed: whether the fact is not an example, so that the model has to choose its test prompts.
    """

    case: lib.Case
    own: tuple[str, ...] = ()
    typed: bool = False

    @property
    def by_model(self) -> bool:
        """Return whether the model itself chose the test prompts (the relation is unknown)."""
        return self.typed and self.case.relation is None

    def same(self, prompt: str) -> bool:
        """Return whether a prompt asks the fact's question, about any subject."""
        wanted = re.escape(self.case.fact.prompt).replace(r"\{\}", ".+")
        return re.fullmatch(wanted, prompt, re.IGNORECASE) is not None

    @property
    def prompts(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(group, prompt, right answers); the group "chat" uses the chat template.

        Leaves out a neighbor if its right answer is the new answer, because it says nothing about
        the edit.
        """
        case = self.case
        stay = [p for p in case.neighborhood if not overlap(p.target, case.fact.target_new)]
        named = {probe.prompt for probe in stay}
        other = {prompt for prompt in named if self.by_model and not self.same(prompt)}
        return [
            ("edit", case.fact.text, ()),
            *(("reworded", prompt, ()) for prompt in case.paraphrases),
            *(("chat", question, ()) for question in filter(None, [questions.chat(case)])),
            *(("own", prompt, ()) for prompt in self.own if prompt not in named),
            *(("neighbor", p.prompt, (p.target,)) for p in stay if p.prompt not in other),
            *(("other", p.prompt, (p.target,)) for p in stay if p.prompt in other),
            # a question cannot be negated
            *([] if case.fact.text.endswith("?") else [("negation", negate(case.fact), ())]),
            *(("unrelated", prompt, ()) for prompt in case.locality),
            *(("follows", p.prompt, (p.target, *p.aliases)) for p in case.portability),
        ]


@dataclass(frozen=True)
class Column:
    """One editor's result for the fact: a patch and its rows, or the reason that there is none.

    editor: its name in lib.EDITORS.
    name: its name on the page.
    rows: the rows under its patch.
    patch: the patch containing the edit; None if the editor rejected the fact.
    seconds: the time that the edit took.
    error: the editor's reason for rejecting the fact.
    stored: whether it was written earlier, for another visitor or before the page opened; `seconds`
        refers to that time.
    """

    editor: str
    name: str
    rows: tuple[Row, ...] = ()
    patch: Any = None  # a lib.Patch, whose type a stored example's file cannot represent
    seconds: float = 0.0
    error: str | None = None
    stored: bool = False


@dataclass(frozen=True)
class View:
    """A table of rows, and its origin.

    subject: the subject of the prompts.
    rows: the rows of the chosen column.
    live: the number of live edits.
    undone: the result of checking an undo; None if the view doesn't result from an undo.
    columns: one per editor that was used.
    chosen: the index of the column in view.
    kept: whether this column is the visitor's last edit.
    old: the old answer, if known.
    stored: whether it was computed before the page opened, and belongs to no visitor.
    again: whether it replaces the visitor's last edit, which wrote the same fact.
    already: whether the unedited model gives the new answer, so that nothing was written.
    """

    subject: Subject
    rows: tuple[Row, ...]
    live: int = 0
    undone: str | None = None
    columns: tuple[Column, ...] = ()
    chosen: int = 0
    kept: bool = False
    old: str | None = None
    stored: bool = False
    again: bool = False
    already: bool = False

    @property
    def column(self) -> Column | None:
        """The chosen column, or None if the view doesn't show an editor's result."""
        return self.columns[self.chosen] if self.columns else None

    @property
    def new(self) -> str:
        """The new answer."""
        return self.subject.case.fact.target_new

    @property
    def asked(self) -> dict[int, Column]:
        """{index: column} of the columns with rows; without any, the view's own rows as a nameless
        column.
        """
        found = {i: column for i, column in enumerate(self.columns) if column.rows}
        return found or {0: Column("", "", self.rows)}

    def show(self, chosen: int) -> View:
        """The same view, showing another column."""
        return replace(self, rows=self.columns[chosen].rows, chosen=chosen)

    def by(self, editors: Sequence[str]) -> View | None:
        """The same view, showing the first of these editors, or None if any of them is missing."""
        held = [column.editor for column in self.columns]
        if not set(editors) <= set(held):
            return None
        return self.show(held.index(editors[0]) if editors else self.chosen)

    def keep(self, chosen: int) -> View:
        """The same view, with that column as the visitor's last edit."""
        return replace(self.show(chosen), live=self.live + (not self.kept), kept=True)


def tally(rows: Sequence[Row], group: str) -> tuple[int, int]:
    """(rows that are as desired, rows that count) in a group."""
    found = [row.good for row in rows if row.group == group and row.good is not None]
    return sum(found), len(found)


def moved(rows: Sequence[Row]) -> float | None:
    """Mean KL on the unrelated prompts, in nats."""
    values = [row.kl for row in rows if row.group == "unrelated" and row.kl is not None]
    return sum(values) / len(values) if values else None


def first_sentence(text: str, answer: str = "") -> str:
    """The first sentence or line: " Rome. It is" -> "Rome."; unfinished, "a cat" -> "a cat …".

    answer: do not cut inside it if the text begins with it: "Yes! We can" -> "Yes! We can …"
    """
    line = text.strip().split("\n", 1)[0]
    given = begins(line, answer) and line.casefold().find(plain(answer)) + len(plain(answer))
    found = END.search(f"{line} ", max(0, given - 1))
    sentence = line[: found.end()] if found else line
    finished = sentence != text.strip() or line.endswith((".", "!", "?")) or not line
    return sentence if finished else f"{sentence} …"


def capital(text: str) -> str:
    """The text with its first letter capitalized, and the rest unchanged."""
    return text[:1].upper() + text[1:]


def clause(text: str) -> str:
    """An answer up to its first meaningful word: " the Romans to" -> "the Romans".

    Continues after a title or an initial: " St. Louis is" -> "St. Louis". "" if the first line has
    none.
    """
    words = first_sentence(text).split()
    for end, word in enumerate(words, 1):
        more = words[end : end + 1] and words[end][0].isupper()
        goes_on = more and word.endswith(".") and not END.search(f"{word} ")
        if _WORD.search(word) and word.strip(",;:.!?").casefold() not in SMALL and not goes_on:
            return " ".join(words[:end]).strip(",;:.!?…")
    return ""
