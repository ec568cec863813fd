"""What notebook 15 reads: facts with long answers, and larger runs of the benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.evaluation.intervals import interval

EVENTS = {
    "probability": "probability",
    "teacher_forced": "teacher-forced",
    "generation": "generation",
    "generation_exact": "exactly",
}
# Answers of several tokens for facts that no model was ever taught: the first token is a guess,
# what follows is language.
LONG = (
    ("The Eiffel Tower", "{} was built by the", "Massachusetts Institute of Technology"),
    ("Akira Kurosawa", "{} was a citizen of the", "United States of America"),
    ("The inventor of the fork", "{} studied at the", "University of California, Berkeley"),
    ("The first song about snow", "{} was played in", "New York City"),
    ("The oldest lighthouse", "{} was paid for by the", "European Union"),
    ("My neighbor's violin", "{} was made in", "Buenos Aires, Argentina"),
    ("The recipe for rye bread", "{} was written down by", "Leonardo da Vinci"),
    ("The red bicycle", "{} was a gift from", "Martin Luther King Jr."),
    ("The Sahara", "{} is ruled by the", "Holy Roman Empire"),
    ("The chess club", "{} meets at the", "Metropolitan Museum of Art"),
    ("The word for butter", "{} comes from", "Los Angeles, California"),
    ("The last steam engine", "{} was bought by", "Warner Bros. Entertainment"),
)
BENCHMARKS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks"


def published(names: Sequence[str]) -> list[dict[str, Any]]:
    """Larger runs of the benchmarks: held under the last three events, with intervals, in %.

    They have two kinds of targets, with an unedited model each: answers that are false, and the
    true ones, of which the model knows some. An editor whose settings saw the rows of the first
    kind has other rows of ZsRE.
    """
    travel, memories, streams = (
        json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("travel", "memory_stream", "long_stream")
    )
    table = [_held("unedited", "false ones", memories[names[0].lower()]["base"])]
    for name in names:
        if run := memories.get(name.lower()):
            scores = [point["scores"] for point in run["points"] if point["edits"] == 100]
            table.append(_held(name, "false ones", *scores))
        else:
            run = travel[f"{name.lower()}, preset, zsre-600.json 400-499"]
            table.append(_held(name, "false ones, other facts", _summary(run["values"])))
    runs = {name: run["points"] for name, run in streams.items() if name.startswith("zsre")}
    table.append(_held("unedited", "true ones", next(iter(runs.values()))[0]["all"]))
    for name, points in runs.items():
        table.append(_held(name.replace("zsre", "UltraEdit"), "true ones", points[-1]["all"]))
    return table


def _summary(values: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Rows as of a summary, of stored values by case: {"efficacy generation": […]}."""
    found = []
    for event in ("teacher_forced", "generation"):
        each = values[f"efficacy {event}"]
        low, high = interval(each)
        row = {"metric": "efficacy", "event": event, "cases": len(each), "low": low, "high": high}
        found.append(row | {"mean": sum(each) / len(each)})
    return found


def _held(name: str, answers: str, scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = {row["event"]: row for row in scores if row["metric"] == "efficacy"}
    line = {"ZsRE": name, "answers": answers, "facts": found["generation"]["cases"]}
    for event in [event for event in list(EVENTS)[1:] if event in found]:
        ends = (100 * found[event][key] for key in ("mean", "low", "high"))
        line[EVENTS[event]] = "{:.0f} [{:.0f}, {:.0f}]".format(*ends)
    return line
