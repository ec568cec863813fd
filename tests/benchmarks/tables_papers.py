"""The tables of results/five_papers.md: the papers' claims, and what came out of them here."""

from __future__ import annotations

import statistics
from typing import Any

from lib.evaluation.intervals import SHARE
from notebooks.support import stored_runs
from notebooks.support.runs_14_lifelong import wide

from .measured import FIGURES, path_of
from .papers import lemoe, superposition, ultraedit, wilke, wise
from .papers.frame import CLAIMS
from .papers.streams import COLUMNS, cell
from .tables import Row, made, percents, table

KINDS = {
    superposition.FACTS: "known facts",
    superposition.THINGS: "everyday things",
    superposition.TEXT: "tokens of text",
    superposition.GAUSS: "draws from N(0, C)",
    superposition.RANDOM: "known facts, random weights",
}
SHOWN = {  # measure: how it is called
    "overlap": "rms, over chance",
    "mean/sd": "mean/sd",
    "kurtosis": "kurtosis",
    "common": "in common",
}
LAYERS = 4  # shown of each model, evenly spaced


def stored(name: str) -> dict[str, Any]:
    """A stored run of the papers."""
    return stored_runs.read(path_of(name))


def there(*names: str) -> list[str]:
    """Those runs of the papers whose rows are stored."""
    return [name for name in names if path_of(name).is_file()]


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a run of the papers, none before it is stored."""
    return stored(name)["rows"] if there(name) else []


LATER = there(lemoe.PARTS, lemoe.BATCH, wise.LENGTHS, wise.MERGING)


# long runs, each in the table as soon as tables.toml has it
LONG = [name for name in FIGURES if name.startswith(ultraedit.LONG)]
ROUNDS = [name for name in FIGURES if name.startswith((wilke.SIX, wilke.ROLLBACK))]
SHORT = (superposition.LAYERS, superposition.STREAM, ultraedit.SUSPECTS, "10_draws")


@made("five-papers", *SHORT, *LONG, *ROUNDS, *LATER)
def five_papers() -> str:
    """Every claim with its number, what was run here, what came out, and the verdict."""
    by_layer, stream = stored(superposition.LAYERS), stored(superposition.STREAM)
    found = {
        "superposition": superposition.outcomes(by_layer, stream),
        "ultraedit": ultraedit.outcomes(stored(ultraedit.SUSPECTS)),
        "wilke": wilke.outcomes([row for name in ROUNDS for row in stored(name)["rows"]]),
        "lemoe": lemoe.outcomes(rows(lemoe.PARTS), rows(lemoe.BATCH)),
        "wise": wise.outcomes(rows(wise.LENGTHS), rows(wise.MERGING)),
    }
    for name in LONG:
        found["ultraedit"] |= ultraedit.long_outcomes(stored(name)["rows"])
    lines = []
    for claim in CLAIMS["claims"]:
        paper = CLAIMS["papers"][claim["paper"]]
        said, verdict = found.get(claim["paper"], {}).get(claim["name"], ("–", "not run yet"))
        if "untestable" in claim:
            verdict = f"not testable here: {claim['untestable']}"
        by = "rows of page 10" if "rows" in claim else f"`--paper {claim['paper']}`"
        measure = f"{claim['measure']}: {by}" if "measure" in claim else "–"
        quoted = " (quoted by others)" if claim.get("second") else ""
        lines.append(
            (
                f"[{paper['title']}](https://arxiv.org/abs/{paper['id']})",
                f"{claim['claim']}{quoted}",
                f"{claim['model']}; {claim['data']}",
                measure,
                said,
                f"**{verdict}**" if verdict != "not run yet" else verdict,
            )
        )
    head = ("paper", "claim", "its model; data", "measured here", "came out", "verdict")
    return table(head, lines, left=len(head))


@made("superposition-sets", superposition.LAYERS)
def by_set() -> str:
    """Each claim's verdict for every model and set of subjects."""
    kinds: dict[tuple[str, str], list[Row]] = {}
    for row in stored(superposition.LAYERS)["rows"]:
        kinds.setdefault((row["model"], row["set"]), []).append(row)
    names = {
        "nonzero": "not zero",
        "zero_mean": "mean zero",
        "heavy_tails": "heavy tails",
        "of_knowledge": "heavier than text's",
        "depth": "fall with depth",
        "whitened": "90° after whitening",
    }
    lines = []
    for (model, kind), some in kinds.items():
        has = some[0]["measures"]
        cells = [
            "–"
            if name == "of_knowledge" and "kurtosis over text" not in has
            else superposition.outcome(name, some, [])[1]
            for name in names
        ]
        lines.append((model, KINDS[kind], *cells))
    return table(("model", "keys of", *names.values()), lines, left=2 + len(names))


@made("superposition-layers", superposition.LAYERS)
def by_depth() -> str:
    """Four measures of some layers, for every model and set of subjects."""
    rows = [row for row in stored(superposition.LAYERS)["rows"] if row["layer"] is not None]
    deepest = {row["model"]: row["layer"] for row in rows}
    lines = [
        (
            row["model"],
            KINDS[row["set"]],
            row["layer"],
            *(superposition.number(row["measures"][key]) for key in SHOWN),
        )
        for row in rows
        if row["layer"] in {round(i * deepest[row["model"]] / (LAYERS - 1)) for i in range(LAYERS)}
    ]
    return table(("model", "keys of", "layer", *SHOWN.values()), lines, left=2)


STREAMS = [name for name in ROUNDS if name.startswith(wilke.SIX)]


@made("wilke-streams", *STREAMS)
def wilke_streams() -> str:
    """KL at unrelated prompts after ten edits, and the largest rise by one edit, of each stream."""
    lines = []
    for arm in wilke.ARMS:
        cells = []
        for reading in (wilke.FRONT, wilke.BEHIND):
            own = [
                [row for row in rows(name) if (row["arm"], row["reading"]) == (arm, reading)]
                for name in STREAMS
            ]
            some = [(stream[-1]["kl"], max(wilke.rises(stream))) for stream in own if stream]
            cells.append(", ".join(f"{end:.3f} ({rise:.3f})" for end, rise in some) or "–")
        lines.append((arm, *cells))
    return table(("editor", "nothing prepended", "with the token"), lines, left=1)


ARMS = {
    ultraedit.UNEDITED: "the unedited model",
    ultraedit.PLAIN: "as published, at our step and layers",
    **dict.fromkeys(ultraedit.STEPS),
    ultraedit.MODULES: "gate and up of the last third",
    **{arm: f"the same, step {arm[-3:]}" for arm in ultraedit.SMALLER},
    ultraedit.TOKEN: "keys and gradients at the subject's last token",
    ultraedit.WIDER: "a second wording also written",
}


@made("ultraedit-suspects", ultraedit.SUSPECTS)
def suspects() -> str:
    """What follows where one suspect is changed alone: facts and rewordings by three events."""
    lines = []
    for row in stored(ultraedit.SUSPECTS)["rows"]:
        cells = [
            percents(row[name][event])
            for event in ultraedit.EVENTS
            for name in ("facts", "reworded")
        ]
        kl = sum(row["kl"]) / len(row["kl"])
        lines.append((ARMS[row["arm"]] or row["arm"], *cells, f"{kl:.3f}"))
    events = {"probability": "likelier", "teacher_forced": "token by token", "generation": "said"}
    head = [f"{what}, {events[e]}" for e in ultraedit.EVENTS for what in ("facts", "reworded")]
    return table(("changed", *head, "KL, nats"), lines)


@made("ultraedit-long", *LONG)
def long_streams() -> str:
    """Every way of standardizing in every step, after the last turn: means over streams."""
    lines = []
    some = [row for name in LONG for row in rows(name) if row["kind"] == "long"]
    streams = sorted({row["stream"] for row in some})
    for way in ultraedit.WAYS:
        own = [ultraedit.ends([r for r in some if r["stream"] == i], way) for i in streams]
        for scale in ultraedit.SCALES:
            last = [ends[scale] for ends in own]
            cells = [
                "{:.0f} [{:.0f}, {:.0f}]".format(*(100 * x for x in wide(values, SHARE)))
                for values in ([row[c] for row in last] for c in ("tokens", "reworded", "said"))
            ]
            kl = ", ".join(f"{statistics.mean(row['kl']):.2f}" for row in last)
            lines.append((way, f"{scale:g}", *cells, kl))
    head = ("moments", "step", "facts, token by token", "reworded, token by token", "facts, said")
    return table((*head, "KL of each stream, nats"), lines, left=2)


def by_arm(some: list[dict[str, Any]], *first: str) -> str:
    """A line per arm and number of edits: the four scores by both events, in percent."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in some:
        groups.setdefault(tuple(row[name] for name in first), []).append(row)
    lines = []
    for names, own in groups.items():
        events = [event for event in ("forced", "said") if event in own[0]]
        cells = [
            cell(own, own[0]["arm"], column, event) if column in own[0][event] else "–"
            for event in events
            for column in COLUMNS
        ]
        lines.append((*names, len(own), *cells, *["–"] * (2 * len(COLUMNS) - len(cells))))
    words = {"forced": "token by token", "said": "said"}
    head = [f"{column}, {word}" for word in words.values() for column in COLUMNS]
    return table((*first, "streams", *head), lines, left=len(first))


def parts() -> str:
    """LEMoE without each of its parts and in other orders, at the end of the streams."""
    return by_arm(rows(lemoe.PARTS), "arm")


def one_batch() -> str:
    """The streams, each written in one batch."""
    return by_arm(rows(lemoe.BATCH), "arm")


def lengths() -> str:
    """WISE and other editors after some lengths of a stream."""
    return by_arm(rows(wise.LENGTHS), "arm", "edits")


def merging() -> str:
    """Rules of merging, on the same trained shards."""
    return by_arm(rows(wise.MERGING), "arm", "edits")


# each in a table of its own as soon as its rows are stored
for _name, _run, _table in (
    ("lemoe-parts", lemoe.PARTS, parts),
    ("lemoe-batch", lemoe.BATCH, one_batch),
    ("wise-lengths", wise.LENGTHS, lengths),
    ("wise-merging", wise.MERGING, merging),
):
    if there(_run):
        made(_name, _run)(_table)
