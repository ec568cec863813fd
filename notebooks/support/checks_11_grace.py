"""The checks of notebook 11's exercises.

Each returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

import lib
from lib.editors.grace.codebook import GAP, Codebook

Line = tuple[list[float], list[float], list[str]]  # keys, radii, labels


def write(function: Callable[..., Line | str | None]) -> str:
    """Notebook 11: keys, radii and labels on a line after one fact more, by the published rules."""
    draw = torch.Generator().manual_seed(0)
    kinds = set()
    for _ in range(30):
        book = Codebook.empty(1, 1)
        for step in range(8):
            q = round(6 * torch.rand(1, generator=draw).item(), 2)
            label = "AB"[torch.randint(2, (1,), generator=draw).item()]
            line = _line(book)
            (event,) = book.write(
                torch.tensor([[q]]), [label], torch.zeros(1, 1), [step], eps_init=1.0, strict=False
            )
            kinds.add(event.kind)
            found = function(*map(list, line), q, label)
            if found is None or isinstance(found, str):
                return "not attempted."
            said = _differs(found, line, _line(book), event, q, label)
            if said:
                return said
    return f"solved: {', '.join(sorted(kinds))}, as the library does it."


def _line(book: Codebook) -> Line:
    return book.K[0].tolist(), book.eps.tolist(), list(book.labels)


def _differs(found: Line, before: Line, after: Line, event, q: float, label: str) -> str | None:
    keys, radii, labels = before
    held = ", ".join(f"{k:.2f} ± {r:.2f} {a}" for k, r, a in zip(keys, radii, labels, strict=True))
    where = f"[{held or 'nothing'}] and then {q:.2f} {label}: "
    if len(found) != 3 or len({len(part) for part in found}) != 1:
        return f"{where}return keys, radii and labels, one of each per entry."
    i, d, n = event.nearest, event.distance, len(found[0])
    if n != len(after[0]):
        if event.kind == "add" and n == len(keys):
            return f"{where}the balls would not touch, d = {d:.2f}: that is a new key."
        if event.kind == "split":
            return f"{where}another answer inside reach: it needs a key of its own."
        if event.kind in ("expand", "cover"):
            reach = f"d = {d:.2f} is within {radii[i]:.2f} + 1"
            return f"{where}the nearest key has this answer and {reach}: no new key."
        return f"{where}{n} keys, not {len(after[0])}."
    if not _close(found[0], after[0]) or list(found[2]) != after[2]:
        return f"{where}keys stay where they are, and a new one stands behind them."
    if _close(found[1], after[1]):
        return None
    wrong = next(j for j in range(n) if not _close(found[1][j : j + 1], after[1][j : j + 1]))
    got = f"{where}radius {wrong + 1} is {found[1][wrong]:.4g}, not {after[1][wrong]:.4g}: "
    if event.kind == "expand":
        return got + "a ball grows until it holds the new prompt, no farther."
    if event.kind == "cover":
        return got + "the prompt is covered already."
    if event.kind == "add":
        return got + "a new ball begins with 1."
    if wrong == i and abs(found[1][wrong] - radii[i]) < 1e-6:
        return got + "the old ball has to give way, or it overlaps the new one."
    if abs(found[1][wrong] - after[1][wrong]) < 2 * GAP:
        return got + "leave a gap of 1e-5: on the border there would be two answers."
    return got + "a split gives each ball half of the distance."


def _close(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(
        abs(x - y) < GAP / 10 * max(1.0, abs(y)) for x, y in zip(a, b, strict=True)
    )


def steal(
    editor: lib.Editor, patch: lib.Patch, kept: lib.Fact, reworded: str, thief: lib.Fact | None
) -> str:
    """Notebook 11: a fact about something else, after which a covered rewording is lost."""
    if not isinstance(thief, lib.Fact):
        return "not attempted: give a lib.Fact."
    lm = editor.lm
    (name,) = patch.routes
    fair = {kept.text, reworded}
    if thief.text in fair or (kept.subject or "").casefold() in thief.text.casefold():
        return "too easy: the new fact should be about something else."
    before = _asked(lm, patch, reworded)
    if before["entry"] != 0:
        return "the codebook does not answer the rewording to begin with."
    more = editor.edit([thief], patch)
    after, own = _asked(lm, more, reworded), _asked(lm, more, kept.text)
    if after["entry"] == before["entry"]:
        return (
            f"it still answers: distance {after['score']:.1f}, radius {after['threshold']:.1f} "
            f"(before {before['threshold']:.1f}). Which prompt ends closer to the rewording?"
        )
    whom = "the model itself" if after["entry"] < 0 else f"entry {after['entry'] + 1}, a new one"
    held = "is still held" if own["entry"] == 0 else "is lost, too"
    return f"solved: the rewording now goes to {whom}; the edit itself {held}."


def _asked(lm: lib.LM, patch: lib.Patch, prompt: str) -> dict:
    with lm.patched(patch, only=True):
        _, notes = lm.answer(prompt, 1, explain=True)
    return notes[0]
