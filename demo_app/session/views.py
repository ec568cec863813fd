"""What the model says before and after: all prompts of one case as rows, plain values.

A row compares the base model with one editor's patch; a view holds one column of rows per editor,
and the rows of the column that is live.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from torch import Tensor

import lib
from lib.data.facts import negate

_SENTENCE = re.compile(r".*?[.!?](?=\s|$)|[^\n]*", re.S)
_WORD = re.compile(r"[^\W_][\w'’-]*")


@dataclass(frozen=True)
class Answer:
    """An answer to a prompt: text, and log-probabilities (vocabulary,) of the next token."""

    text: str
    next_token: Tensor

    @property
    def shown(self) -> str:
        """Its first sentence, or what there is of it with "…"."""
        return first_sentence(self.text)


@dataclass(frozen=True)
class Row:
    """One prompt. p: probability of the new answer; kl: KL(base ‖ edited) of the next token, nats.

    old, old_after: probability of the old answer, None where none is known. good: whether the row
    is as one would wish, None where there is nothing to wish; word says it. Before an edit `after`,
    `p_after`, `kl` and `good` are None.
    """

    group: str
    prompt: str
    before: Answer
    p_before: float
    after: Answer | None = None
    p_after: float | None = None
    kl: float | None = None
    good: bool | None = None
    word: str = ""
    old: float | None = None
    old_after: float | None = None


@dataclass(frozen=True)
class Subject:
    """What is looked at: a case, who lent its test prompts, and the visitor's own prompts."""

    case: lib.Case
    borrowed: str | None = None  # subject of the example that lent neighbors and unrelated prompts
    own: tuple[str, ...] = ()

    @property
    def prompts(self) -> list[tuple[str, str, str | None]]:
        """(group, prompt, reference answer); the group "chat" is asked through the template."""
        case = self.case
        return [
            ("edit", case.fact.text, None),
            *(("reworded", prompt, None) for prompt in case.paraphrases),
            ("chat", case.fact.text, None),
            *(("own", prompt, None) for prompt in self.own),
            *(("neighbor", probe.prompt, probe.target) for probe in case.neighborhood),
            ("negation", negate(case.fact), None),
            *(("unrelated", prompt, None) for prompt in case.locality),
            *(("follows", probe.prompt, probe.target) for probe in case.portability),
        ]


@dataclass(frozen=True)
class Column:
    """What one editor made of the fact: a patch and its rows, or the sentence why there is none."""

    editor: str  # its name in lib.EDITORS
    name: str
    rows: tuple[Row, ...] = ()
    patch: lib.Patch | None = None
    seconds: float = 0.0
    error: str | None = None

    def tally(self, group: str) -> tuple[int, int]:
        """(rows as one would wish, rows) of a group."""
        return tally(self.rows, group)

    @property
    def moved(self) -> float | None:
        """Mean KL of the unrelated prompts, nats."""
        return moved(self.rows)


@dataclass(frozen=True)
class View:
    """A table: rows, and how they came about. live: edits in force; seconds: of the edit.

    columns: one per editor that was asked to edit, and chosen which of them is kept.
    """

    subject: Subject
    rows: tuple[Row, ...]
    live: int = 0
    editor: str | None = None
    seconds: float | None = None
    note: str | None = None  # a remark: a warning, or what an undo has verified
    undone: bool = False
    columns: tuple[Column, ...] = ()
    chosen: int = 0
    old: str | None = None  # the answer so far, where one is known

    def tally(self, group: str) -> tuple[int, int]:
        """(rows as one would wish, rows) of a group."""
        return tally(self.rows, group)

    @property
    def moved(self) -> float | None:
        """Mean KL of the unrelated prompts, nats."""
        return moved(self.rows)

    @property
    def new(self) -> str:
        """The new answer."""
        return self.subject.case.fact.target_new

    def keep(self, chosen: int) -> View:
        """The same with another column as the one that is live."""
        column = self.columns[chosen]
        return replace(self, rows=column.rows, editor=column.name, seconds=column.seconds,
                       chosen=chosen)  # fmt: skip


def tally(rows: tuple[Row, ...], group: str) -> tuple[int, int]:
    """(rows as one would wish, rows) of a group."""
    found = [row for row in rows if row.group == group]
    return sum(row.good is True for row in found), len(found)


def moved(rows: tuple[Row, ...]) -> float | None:
    """Mean KL of the unrelated prompts, nats."""
    values = [row.kl for row in rows if row.group == "unrelated" and row.kl is not None]
    return sum(values) / len(values) if values else None


def first_sentence(text: str) -> str:
    """The first sentence or line: " Rome. It is" -> "Rome."; unfinished, "a cat" -> "a cat …"."""
    text = text.strip()
    found = _SENTENCE.match(text.split("\n", 1)[0])
    sentence = found.group().strip() if found else ""
    finished = sentence != text or text.endswith((".", "!", "?")) or not text
    return sentence if finished else f"{text} …"


def first_word(text: str) -> str | None:
    """The first word of an answer, None without one: " Paris, France" -> "Paris"."""
    found = _WORD.search(text)
    return found.group() if found else None
