"""What the model says before and after an edit, as plain values.

A subject is what is asked about: a fact with its test prompts. Each prompt gives a row, which
compares the base model with one editor's patch. A view is a table of such rows: one column of rows
per editor that was asked, and the rows of the chosen column.
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

Ask = tuple[str, bool]  # a prompt, and whether it is asked in chat form

# groups of prompts whose answers should stay; "other" asks something else than the fact
STAY = ("neighbor", "other", "unrelated")
UNASKED = "…"  # the answer to a prompt that nobody was asked yet
EDITS = 20  # edits that one visitor may have applied at once

SMALL = frozenset("a an and are at by for from in is it its of on or that the to was".split())
_WORD = re.compile(r"[^\W_][\w'’-]*")


@dataclass(frozen=True)
class Answer:
    """An answer to a prompt.

    text: what the model writes.
    next_token (vocabulary,): log-probabilities of the token after the prompt.
    ids: the token ids of the text.
    """

    text: str
    next_token: Tensor
    ids: Sequence[int] = ()

    @property
    def shown(self) -> str:
        """Its first sentence; an unfinished one ends in "…"."""
        return first_sentence(self.text)


@dataclass(frozen=True)
class Row:
    """One prompt, answered by the base model and under an edit, with the verdict on it.

    Before an edit `after`, `p_after`, `kl` and `good` are None, and `p_before` until it is asked.
    `verdicts.judged` gives `good` and `word`.

    group: the kind of prompt, e.g. "neighbor".
    prompt: its text.
    before: what the base model writes.
    p_before: the base model's probability of the new answer.
    after: what the edited model writes.
    p_after: the edited model's probability of the new answer.
    kl: KL(base ‖ edited) of the next token, in nats.
    good: whether the row is as one would wish; None where it is not counted.
    word: the verdict in words.
    old: the base model's probability of the old answer, or of a neighbor's own, which is the clause
        of `before`; None where none is known.
    old_after: the edited model's probability of that answer.
    earlier: what the visitor's earlier edits make the model write; None without such edits.
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
        """The answer just before the edit, with which the verdict compares."""
        return self.before if self.earlier is None else self.earlier


@dataclass(frozen=True)
class Subject:
    """What is looked at: a fact with all prompts that test an edit of it.

    case: the fact with its test prompts.
    own: the visitor's own prompts.
    typed: whether the fact is no example, so that the model has to say which prompts test it.
    """

    case: lib.Case
    own: tuple[str, ...] = ()
    typed: bool = False

    @property
    def by_model(self) -> bool:
        """Whether the model itself was asked for the test prompts: it is of no known relation."""
        return self.typed and self.case.relation is None

    def same(self, prompt: str) -> bool:
        """Whether a prompt asks the fact's question, of whatever subject."""
        wanted = re.escape(self.case.fact.prompt).replace(r"\{\}", ".+")
        return re.fullmatch(wanted, prompt, re.IGNORECASE) is not None

    @property
    def prompts(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(group, prompt, right answers); the group "chat" is asked through the template.

        A neighbor whose right answer is the new one is left out: it says nothing about the edit.
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
            # of a question there is no denial
            *([] if case.fact.text.endswith("?") else [("negation", negate(case.fact), ())]),
            *(("unrelated", prompt, ()) for prompt in case.locality),
            *(("follows", p.prompt, (p.target, *p.aliases)) for p in case.portability),
        ]


@dataclass(frozen=True)
class Column:
    """What one editor made of the fact: a patch and its rows, or the reason why there is none.

    editor: its name in lib.EDITORS.
    name: its name as the page writes it.
    rows: the rows under its patch.
    patch: the patch that holds the edit; None where the editor refused.
    seconds: how long the edit took.
    error: the sentence with which the editor refused.
    stored: whether it was written before, for somebody else or before the page was asked; its
        seconds are those that it took then.
    """

    editor: str
    name: str
    rows: tuple[Row, ...] = ()
    patch: Any = None  # a lib.Patch; its own types cannot be read from a stored example's file
    seconds: float = 0.0
    error: str | None = None
    stored: bool = False


@dataclass(frozen=True)
class View:
    """A table of rows, and how they came about.

    subject: what was asked about.
    rows: the rows of the chosen column.
    live: how many edits are applied.
    undone: what an undo has verified; None where the view is not the result of one.
    columns: one per editor that was asked to edit.
    chosen: the index of the column in view.
    kept: whether that is the visitor's last edit.
    old: the answer so far, where one is known.
    stored: whether it was computed before the page opened, and is nobody's edit.
    again: whether it was made in the place of the visitor's last edit, which wrote the same fact.
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
        """The chosen column; None where the view shows no editor's work."""
        return self.columns[self.chosen] if self.columns else None

    @property
    def new(self) -> str:
        """The new answer."""
        return self.subject.case.fact.target_new

    @property
    def asked(self) -> dict[int, Column]:
        """{place: column} of those that have rows; what is live is one without a name where none
        was asked.
        """
        found = {i: column for i, column in enumerate(self.columns) if column.rows}
        return found or {0: Column("", "", self.rows)}

    def show(self, chosen: int) -> View:
        """The same view with another column in it."""
        return replace(self, rows=self.columns[chosen].rows, chosen=chosen)

    def by(self, editors: Sequence[str]) -> View | None:
        """The same view with the first of these editors in it; None where one is not there."""
        held = [column.editor for column in self.columns]
        if not set(editors) <= set(held):
            return None
        return self.show(held.index(editors[0]) if editors else self.chosen)

    def keep(self, chosen: int) -> View:
        """The same view with that column as the visitor's last edit."""
        return replace(self.show(chosen), live=self.live + (not self.kept), kept=True)


def tally(rows: Sequence[Row], group: str) -> tuple[int, int]:
    """(rows as one would wish, rows that count) of a group."""
    found = [row.good for row in rows if row.group == group and row.good is not None]
    return sum(found), len(found)


def moved(rows: Sequence[Row]) -> float | None:
    """Mean KL of the unrelated prompts, nats."""
    values = [row.kl for row in rows if row.group == "unrelated" and row.kl is not None]
    return sum(values) / len(values) if values else None


def first_sentence(text: str, answer: str = "") -> str:
    """The first sentence or line: " Rome. It is" -> "Rome."; unfinished, "a cat" -> "a cat …".

    answer: where the text begins with it, it is not cut: "Yes! We can" -> "Yes! We can …"
    """
    line = text.strip().split("\n", 1)[0]
    given = begins(line, answer) and line.casefold().find(plain(answer)) + len(plain(answer))
    found = END.search(f"{line} ", max(0, given - 1))
    sentence = line[: found.end()] if found else line
    finished = sentence != text.strip() or line.endswith((".", "!", "?")) or not line
    return sentence if finished else f"{sentence} …"


def capital(text: str) -> str:
    """The text with a capital at its beginning; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def clause(text: str) -> str:
    """An answer up to its first word that says something: " the Romans to" -> "the Romans".

    A title or an initial goes on: " St. Louis is" -> "St. Louis". "" where the first line has none.
    """
    words = first_sentence(text).split()
    for end, word in enumerate(words, 1):
        more = words[end : end + 1] and words[end][0].isupper()
        goes_on = more and word.endswith(".") and not END.search(f"{word} ")
        if _WORD.search(word) and word.strip(",;:.!?").casefold() not in SMALL and not goes_on:
            return " ".join(words[:end]).strip(",;:.!?…")
    return ""
