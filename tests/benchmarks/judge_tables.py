"""The tables of the judge: consequences of single edits.

They are tables like those of `tables.py`, which `results.py` puts on the pages.
"""

from __future__ import annotations

from typing import Any

from lib import EDITORS
from lib.evaluation.intervals import DIFFERENCE

from .tables import Row, called, made, number, percents, read, table

KINDS = ("one-hop", "alias", "reverse")


# --- consequences


def drawn(run: dict[str, Any], rows: dict[str, Row], kind: str | None = None) -> dict[str, float]:
    """{fact: share of its questions, or of those of a kind, that were answered rightly}."""
    found = {}
    for case, row in rows.items():
        pairs = zip(run["questions"][case], row["follows"], strict=True)
        hits = [hit for (of, *_), hit in pairs if kind in (None, of)]
        if hits:
            found[case] = sum(hits) / len(hits)
    return found


MODEL = "SmolLM2-135M-Instruct behind <|endoftext|>"  # whose editors the paired table compares


@made("consequences", "consequences")
def consequences() -> str:
    """Single edits: the fact itself, and what follows from it, kind by kind."""
    parts, every = [], read("consequences")
    for model, run in every.items():
        lines = []
        for name in ("base", *(name for name in EDITORS if name in run["editors"])):
            rows = run["base"] if name == "base" else run["editors"][name]["facts"]
            if not rows:
                continue
            found = {kind: drawn(run, rows, kind) for kind in KINDS}
            base = drawn(run, run["base"], "one-hop")
            gaps = [value - base[case] for case, value in found["one-hop"].items()]
            cpu = [row["cpu"] for row in rows.values() if "cpu" in row]
            one_on, *others = (percents(list(values.values())) for values in found.values())
            lines.append(
                (
                    "unedited model" if name == "base" else called(name),
                    len(rows),
                    percents([row["edit"] for row in rows.values()]),
                    one_on,
                    "–" if name == "base" else percents(gaps, DIFFERENCE),
                    *others,
                    number(sum(cpu) / len(cpu), 1) if cpu else "–",
                )
            )
        head = (
            "editor", "facts", "the fact itself", "one-hop", "more than unedited", *KINDS[1:],
            "CPU s per edit",
        )  # fmt: skip
        parts.append((f"### {model}\n\n" if len(every) > 1 else "") + table(head, lines))
    return "\n".join(parts)


FIRST = "rome"  # with which the paired table compares the others


@made("consequences-paired", "consequences")
def consequences_paired() -> str:
    """`rome` minus every other editor on the one-hop questions of the facts that both wrote."""
    run = read("consequences")[MODEL]
    runs = {name: drawn(run, run["editors"][name]["facts"], "one-hop") for name in run["editors"]}
    first, lines = runs[FIRST], []
    for name in (name for name in EDITORS if name in runs and name != FIRST):
        gaps = [value - runs[name][case] for case, value in first.items() if case in runs[name]]
        if gaps:
            lines.append((called(name), len(gaps), percents(gaps, DIFFERENCE)))
    return table((f"`{FIRST}` minus", "facts with one-hop questions", "points"), lines)
