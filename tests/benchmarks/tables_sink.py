"""The tables of the sink token: each editor and the base model, without it and with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lib.evaluation.intervals import DIFFERENCE

from .tables import made, number, percent, percents, read, table

PARTS = ("written", "rewordings", "neighbors", "word for word", "unrelated")
ROW_PARTS = ("held", "rewordings", "neighbors", "word for word", "unrelated")
GROUPS = {"openers": True, "others": False}

Facts = dict[str, dict[str, Any]]


def mean(values: Sequence[float]) -> float:
    """The mean of a fact's prompts."""
    return sum(values) / len(values)


def shared(before: Facts, after: Facts, part: str, opener: bool | None) -> list[tuple]:
    """(before, after) for each fact of both, of openers or others, whose prompts have this part.

    Neighbors of the classroom were chosen because the model says their true answers without the
    token. Here those count that it says with the token as well.
    """
    found = []
    for case, row in before.items():
        if opener not in (None, row.get("opener")) or not row.get(part):
            continue
        pairs = list(zip(row[part], after.get(case, {}).get(part, ()), strict=False))
        if part == "neighbors":
            said = read("sink")["base with"]["facts"][case]["neighbors"]
            pairs = [pair for pair, known in zip(pairs, said, strict=False) if known]
        if pairs:
            found.append(tuple(mean(values) for values in zip(*pairs, strict=True)))
    return found


def change(pairs: Sequence[tuple[float, float]]) -> str:
    """ "59 → 91 (+32 [14, 50])", paired over facts."""
    if not pairs:
        return "–"
    before, after = (percent(mean(values)) for values in zip(*pairs, strict=True))
    return f"{before} → {after} ({percents([two - one for one, two in pairs], DIFFERENCE)})"


def compared(before: str, after: str, parts: Sequence[str], opener: bool | None) -> list[str]:
    """The columns of one row of a table: facts, then the change of each part."""
    cells = read("sink")
    one, two = (cells.get(name, {}).get("facts", {}) for name in (before, after))
    pairs = {part: shared(one, two, part, opener) for part in parts}
    return [str(len(pairs[parts[0]])), *(change(found) for found in pairs.values())]


def measured_pairs(mode: str) -> Iterator[tuple[str, str]]:
    """(editor, form) of the cells of a mode that are done without the token and with it."""
    done = {name for name, cell in read("sink").items() if cell.get("done")}
    for name in sorted(done, key=list(read("sink")).index):
        editor, *rest = name.split()
        if rest[1:] == [mode, "without"] and " ".join((editor, rest[0], mode, "with")) in done:
            yield editor, rest[0]


def single(title: str, before: str, editor: str, form: str) -> list[tuple[str, ...]]:
    """The rows of an editor's single edits, openers and others: a form without, another with."""
    cells = f"{editor} {before} alone without", f"{editor} {form} alone with"
    return [(title, group, *compared(*cells, PARTS, who)) for group, who in GROUPS.items()]


@made("sink-alone", "sink")
def alone() -> str:
    """Single edits without the token and with it, openers and others."""
    pairs = measured_pairs("alone")
    lines = [row for one, form in pairs for row in single(f"`{one}`, {form}", form, one, form)]
    return table(("editor", "subjects", "facts", *PARTS), lines, left=2)


def other_forms(mode: str) -> Iterator[tuple[str, str]]:
    """(editor, form) of the cells of a mode with the token, where the preset's has no token."""
    done = [name.split() for name, cell in read("sink").items() if cell.get("done")]
    for editor, form, *rest in (words for words in done if words[0] != "base"):
        others = form != "preset" and rest == [mode, "with"]
        if others and [editor, "preset", mode, "without"] in done:
            yield editor, form


@made("sink-forms", "sink")
def forms() -> str:
    """The preset of the model without the token against other forms with it."""
    lines = [
        row
        for one, form in other_forms("alone")
        for row in single(f"`{one}`, preset without → {form} with", "preset", one, form)
    ]
    return table(("from → to", "subjects", "facts", *PARTS), lines, left=2)


@made("sink-row", "sink")
def row() -> str:
    """Fifty facts one after another, without the token and with it."""
    cells, lines = read("sink"), []
    ways = [(f"`{e}`, {form}", f"{e} {form}", f"{e} {form}") for e, form in measured_pairs("row")]
    for e, form in other_forms("row"):
        ways.append((f"`{e}`, preset without → {form} with", f"{e} preset", f"{e} {form}"))
    pairs = [(title, f"{one} row without", f"{two} row with") for title, one, two in ways]
    pairs.append(
        ("`rome`, bound → searched, both with", "rome bound row with", "rome searched row with")
    )
    for title, *names in pairs:
        perplexity = " → ".join(number(cells[name]["perplexity"][1], 1) for name in names)
        lines.append((title, *compared(*names, ROW_PARTS, None), perplexity))
    return table(("editor", "facts", *ROW_PARTS, "perplexity after"), lines)


@made("sink-base", "sink")
def base() -> str:
    """The base model: facts that it says, neighbors, passages and abilities."""
    cells = read("sink")
    one, two = (cells[f"base {sink}"] for sink in ("without", "with"))
    lines = [
        (
            "facts that were chosen for GPT-2 XL",
            len(one["unchosen"]),
            change(list(zip(one["unchosen"], two["unchosen"], strict=True))),
        ),
        ("facts of the classroom", *compared("base without", "base with", ["known"], None)),
    ]
    for kind in dict.fromkeys(kind for kind, _ in one["abilities"]):
        pairs = [
            (before, after)
            for (of, before), (_, after) in zip(one["abilities"], two["abilities"], strict=True)
            if of == kind
        ]
        lines.append((f"abilities: {kind}", len(pairs), change(pairs)))
    gaps = [two - one for one, two in zip(one["passages"], two["passages"], strict=True)]
    nats = f"{mean(one['passages']):.3f} → {mean(two['passages']):.3f} nats a token"
    lines.append(("passages of held-out text", len(gaps), f"{nats} ({number(mean(gaps), 3)})"))
    return table(("what", "n", "without → with"), lines)
