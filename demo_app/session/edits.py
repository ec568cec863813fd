"""The plain values of a visitor's list of edits: one edit, and what was found under some of them.

They stand in a file of their own because three others need them: the session that holds the list
(visitors.py), the functions that change it (edit_list.py), and the HTML that shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import lib


@dataclass
class AppliedEdit:
    """One edit of a visitor's list, switched on or off.

    number: identifies the edit in its list; it is never given twice.
    line: the edit's entry in the log of its patch.
    name: the editor's name as the page writes it.
    seconds: how long the edit took; None for an edit that came from a file.
    on: whether the edit is applied.
    strength: by what the visitor multiplies what the edit adds to the weights.
    """

    number: int
    line: lib.Edit
    name: str
    seconds: float | None = None
    on: bool = True
    strength: float = 1.0

    @property
    def fact(self) -> lib.Fact | None:
        """Its (first) fact, or None where the log names a data file instead."""
        return self.line.facts[0] if self.line.facts else None


@dataclass
class Point:
    """What the model said with some of a visitor's edits applied.

    said: {number of an edit: (answer to its prompt, whether that is the new answer)}.
    perplexity: of a held-out text; None until it is measured.
    """

    said: dict[int, tuple[str, bool]] = field(default_factory=dict)
    perplexity: float | None = None


@dataclass(frozen=True)
class PastEdit:
    """One applied edit when the visitor looks back at some point of the list.

    place: its place in the list, from 1.
    fact: its fact; None where the log names a data file.
    count: how many facts the edit wrote.
    said: what the model answers to its prompt at that point; None if it was not asked.
    state: "right" (the new answer), "wrong", "not yet" (the edit comes later), or "replaced" (a
        later edit writes the same prompt).
    """

    place: int
    fact: lib.Fact | None
    count: int
    said: str | None
    state: str


@dataclass(frozen=True)
class LookBack:
    """The list of edits at one of its points: what the model said after `count` applied edits.

    count: how many of the applied edits were made by then.
    edits: all applied edits, each with its answer at that point.
    held: (size, right, asked) for each earlier and later point that was measured: after `size`
        edits, `right` of the `asked` edits that no later one replaced still gave the new answer.
    perplexity: of a held-out text at that point.
    base: the same for the unedited model.
    warning: a sentence where the model begins to break, else None.
    """

    count: int
    edits: tuple[PastEdit, ...] = ()
    held: tuple[tuple[int, int, int], ...] = ()
    perplexity: float | None = None
    base: float | None = None
    warning: str | None = None
