"""The long run of notebook 13: LEMoE, MEMoE, and LEMoE without each of its parts.

All of them write the same facts, some of them in several orders.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lib

# The one place for the settings: change them, then `--long 13` again.
WITHOUT = {
    "insertion": {"insert": False, "experts": 4},
    "anchors": {"routing": "hidden"},
    "order": {"order": "given"},
}
MEMOE = {**WITHOUT["insertion"], **WITHOUT["anchors"], **WITHOUT["order"], "gate": "softmax"}
STREAM = {
    "data": "classroom()[1::2]",
    "edits": 40,
    "lemoe": {"batch_size": 5, "steps": 20, "templates": ["{}"]},
    "lines": {
        "LEMoE": {},
        **{f"without {part}": settings for part, settings in WITHOUT.items()},
        "MEMoE": MEMOE,
        "no anchors, no order": {**WITHOUT["anchors"], **WITHOUT["order"]},
    },
    "orders": {"lines": ["LEMoE", "without order", "MEMoE"], "shuffles": 3},
}
METRICS = {
    "held": "efficacy",
    "reworded": "generalization",
    "neighbors": "specificity",
    "unrelated": "locality",
}


def cases(count: int | None = None) -> list[lib.Case]:
    """The facts, every second case of the classroom, as fixed as the shipped file."""
    return lib.classroom()[1::2][: count or STREAM["edits"]]


def editor(lm: lib.LM, **settings: Any) -> lib.Editor:
    """LEMoE with the settings above and these; in a toy at the toy's own layer."""
    chosen = {**STREAM["lemoe"], **settings}
    chosen["templates"] = tuple(chosen["templates"])
    return lib.EDITORS["lemoe"](lm, **chosen)


def chosen(patch: lib.Patch) -> list[int]:
    """Which expert every stored prompt is routed to now, -1: none."""
    state, (route,) = patch.memory["lemoe"], patch.routes.values()
    if "hidden" not in state:
        return route.router.choose(state["e"][state["prompt"]]).tolist()
    rows = [state["rows"][i] for i in state["row"].tolist()]
    return route.router.choose(route.router.features(state["hidden"], rows)).tolist()


def written(
    lm: lib.LM, facts: Sequence[lib.Fact], settings: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], lib.Patch]]:
    """After each call: edits, who answers which prompt, and the patch.

    Without order planning every batch is a call; with it all facts are one.
    """
    made, patch = editor(lm, **settings), lib.EMPTY
    size = made.config.batch_size if settings.get("order") == "given" else len(facts)
    for start in range(0, len(facts), size):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lib.EditWarning)  # misrouted facts are counted here
            patch = made.edit(facts[start : start + size], after=patch)
        yield {"edits": start + len(facts[start : start + size]), "expert": chosen(patch)}, patch


def every(lm: lib.LM) -> Iterator[list[dict[str, Any]]]:
    """All rows so far, after each line: base, calls, the end with differences from LEMoE, orders."""
    some, lines = cases(), STREAM["lines"]
    asked = {
        "events": ["teacher_forced", "probability"],
        "metrics": ["generalization", "specificity", "locality"],
    }
    base = shares(lib.evaluate(lm, some, lib.EMPTY, **asked))
    rows: list[dict[str, Any]] = [{"line": "base", "edits": 0, **base}]
    first: lib.Scores | None = None
    for name, settings in lines.items():
        calls = list(written(lm, [case.fact for case in some], settings))
        rows += [{"line": name, **row} for row, _ in calls]
        scores = lib.evaluate(lm, some, calls[-1][1], **asked)
        rows[-1] |= shares(scores)
        first = first or scores
        if scores is not first:
            rows[-1]["minus"] = minus(scores, first)
        yield rows
    for seed in range(1, STREAM["orders"]["shuffles"] + 1):
        for name in STREAM["orders"]["lines"]:
            shuffled = random.Random(seed).sample(some, len(some))
            *_, (row, patch) = written(lm, [case.fact for case in shuffled], lines[name])
            found = lib.evaluate(
                lm, shuffled, patch, ["teacher_forced"], metrics=["generalization"]
            )
            found = {
                name: round(found.json()[m]["teacher_forced"], 4)
                for name, m in METRICS.items()
                if m in found.json()
            }
            rows.append({"line": name, "order": seed, "edits": row["edits"], **found})
            yield rows


def shares(scores: lib.Scores) -> dict[str, float]:
    """Tokens right of facts and rewordings, neighbors whose true answer stays ahead, next words at
    unrelated prompts unchanged; KL there, in nats.
    """
    found = scores.json()
    kept = {
        name: found[m]["probability" if name == "neighbors" else "teacher_forced"]
        for name, m in METRICS.items()
    }
    return {**kept, "kl": found["locality"]["kl_nats"]}


def minus(a: lib.Scores, b: lib.Scores) -> list[dict[str, Any]]:
    """Paired a − b of the shares, with 95 % intervals."""
    events = {
        (m, "probability" if name == "neighbors" else "teacher_forced"): name
        for name, m in METRICS.items()
    }
    return [
        {
            "what": events[row["metric"], row["event"]],
            **{k: row[k] for k in ("difference", "low", "high")},
        }
        for row in lib.compare(a, b).round(4).to_dict("records")
        if (row["metric"], row["event"]) in events
    ]


Rows = Sequence[Mapping[str, Any]]
ROUTERS = {  # of the lines that were written call by call
    "without order": "anchors, new experts (LEMoE)",
    "MEMoE": "hidden states, four experts (MEMoE)",
    "no anchors, no order": "hidden states, new experts",
}


def routed(rows: Rows) -> tuple[dict[str, list[int]], dict[str, list[float]]]:
    """Return numbers of edits and, by router, the share (%) of prompts that go where they went.

    All prompts written so far are counted, each against the expert that first answered it.
    """
    x: dict[str, list[int]] = {}
    y: dict[str, list[float]] = {}
    for line, name in ROUTERS.items():
        own, first = [row for row in rows if row["line"] == line and "expert" in row], []
        for row in own:
            first += row["expert"][len(first) :]
            same = [a == b for a, b in zip(row["expert"], first, strict=True)]
            x.setdefault(name, []).append(row["edits"])
            y.setdefault(name, []).append(100 * sum(same) / len(same))
    return x, y


def ends(rows: Rows) -> tuple[list[str], list[list[float]]]:
    """The lines, and held, reworded, neighbors, unrelated at their ends, in %."""
    last = [row for row in rows if "kl" in row]
    return [row["line"] for row in last], [[100 * row[name] for name in METRICS] for row in last]


def differences(rows: Rows) -> list[dict[str, Any]]:
    """For a table: every line minus LEMoE in points, with the 95 % interval."""
    table = []
    for row in rows:
        if "minus" in row:
            line = {"minus LEMoE": row["line"]}
            for part in row["minus"]:
                d, low, high = (round(100 * part[key]) for key in ("difference", "low", "high"))
                line[part["what"]] = f"{d:+d} [{low:+d}, {high:+d}]"
            table.append(line)
    return table


def orders(rows: Rows, what: str) -> tuple[list[int], dict[str, list[float]]]:
    """Numbers of the orders, 0 as given; by line, a share in % after each."""
    y: dict[str, list[float]] = {}
    for name in STREAM["orders"]["lines"]:
        own = [row for row in rows if row["line"] == name and what in row]
        y[name] = [100 * row[what] for row in own]
    return list(range(len(y[name]))), y
