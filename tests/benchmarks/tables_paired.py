"""The tables of trained editors on rows that no choice of theirs has seen.

They are tables like those of `tables.py`, drawn from what `paired` stored.
"""

from __future__ import annotations

from collections.abc import Iterator

from .tables import EVENTS, Row, called, made, pick, read, share, table

# metric and event of a short table's rows, or columns
TRAINED = (
    ("efficacy", "generation"),
    ("generalization", "probability"),
    ("generalization", "generation"),
    ("specificity", "probability"),
    ("locality", "kl_nats"),
)


def changed(row: Row | None) -> str:
    """A paired difference with its interval: "+8 [2, 15]", bold where the first is better."""
    if row is None:
        return "–"
    points = [row[name] for name in ("difference", "low", "high")]
    shown = [f"{value:+.2f}" for value in points]
    if row["event"] != "kl_nats":
        shown = [f"{100 * value:+.0f}" for value in points]
        shown = ["0" if text in ("+0", "-0") else text for text in shown]
    first, *ends = shown
    said = f"{first} [{', '.join(end.removeprefix('+') for end in ends)}]".replace("-", "−")
    return f"**{said}**" if row["better"] == "a" else said


def pairs() -> Iterator[tuple[str, str, list[list[Row]], list[Row]]]:
    """Of each run of a trained editor: its name, how it was run, the scores of the base model, of
    what it is compared with and of itself, and the differences."""
    stored = read("paired")
    for label, entry in stored.items():
        if entry["differences"]:
            name, run = label.split(", ", 1)
            labels = (f"base, {run}", f"{entry['against']}, {run}", label)
            scores = [stored[one]["scores"] for one in labels]
            yield name, run.split(", ", 1)[1], scores, entry["differences"]


@made("trained", "paired")
def trained() -> str:
    """The trained editors against fine-tuning, the numbers that say most."""
    lines = []
    for name, run, scores, differences in pairs():
        label = f"{called(name)}, {run}"
        for metric, event in TRAINED:
            found = [pick(one, metric, event) for one in scores]
            cells = [share(row and {**row, "low": None}) for row in found]
            lines.append(
                (label, metric, EVENTS[event], *cells, changed(pick(differences, metric, event)))
            )
            label = ""
    return table(("", "metric", "event", "base", "`ft`", "trained", "difference"), lines, left=3)
