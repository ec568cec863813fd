"""What a sink token in front of every text changes: each editor, and the base model.

    python -m tests.benchmarks.sink --minutes 30         # goes on where the last run stopped
    python -m tests.benchmarks.sink --cells "rome *"     # a pattern of the cells' names

Without the sink a subject of one token that begins a prompt (an *opener*) stands in the attention
sink. With it, the default since these cells, the tokenizer puts `<|endoftext|>`, the document
separator, in front of every text (`lib.load(sink=)`).

A cell is an editor, a form of its settings, one fact at a time or fifty in a row, with or without.
Its facts stand in sink.json with the settings and commits of their measurement: those alone one by
one, a row when it has ended (its journal is in the folder for temporary files). Facts alone are all
openers and as many others with odd ids; a row is the first fifty odd ids. The form "preset" is what
was tuned without the sink and "searched" what was tuned with it, both on even ids.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import lib
from lib.atomic_files import whole_file
from lib.data.facts import lookup
from lib.data.texts import HELD_OUT
from lib.evaluation.answers import begins
from lib.evaluation.asked_together import Base
from lib.model import scoring
from lib.workbench.instruments import abilities
from tests.benchmarks import command
from tests.benchmarks.rows import classroom

OUT = Path(__file__).with_suffix(".json")
HERE = OUT.parent
TOKEN = "<|endoftext|>"
BOUND = {"keys": "mean", "clamp": 4.0}  # the preset with the published key (R-ROME's) and bound
FORMS = {name: ("preset", "bound", "published") for name in ("rome", "wilke")}
FIRST = ("rome", "memit", "alphaedit")
SEARCHED = (*FIRST, "ft_m", "grace", "emmet")
LATER = ("emmet", "pmet", "ultraedit", "grace", "wilke", "wise")
METRICS = ("efficacy", "generalization", "specificity", "locality")
ROW = 50
TOKENS = 8  # of an answer to a fact that nobody chose
WINDOW = 255  # tokens of a passage; one more stands in front with the sink


class Cell(NamedTuple):
    editor: str  # or "base"
    form: str
    mode: str  # "alone" or "row"
    sink: str  # "without" or "with"


def _cells(names: Iterable[str], mode: str) -> list[Cell]:
    return [
        Cell(name, form, mode, sink)
        for name in names
        for form in FORMS.get(name, ("preset", "published"))
        for sink in ("without", "with")
    ]


CELLS = [
    *_cells(FIRST, "alone"),
    *(Cell("base", "", "", sink) for sink in ("without", "with")),
    *_cells(FIRST, "row"),
    *_cells(LATER, "alone"),
    *_cells(LATER, "row"),
    *(Cell(name, "searched", mode, "with") for mode in ("alone", "row") for name in SEARCHED),
]


@cache
def model(sink: str) -> tuple[lib.LM, Base]:
    """The model, and the place for its base answers, which every cell of this sink shares."""
    lm = lib.load(dtype="float32", sink=TOKEN if sink == "with" else None)
    return lm, Base(lm.identity)


@cache
def openers() -> frozenset[int]:
    """The classroom's cases whose subject is one token at position 0."""
    lm, cases = model("without")[0], classroom("all")
    return frozenset(case.id for case in cases if lookup(lm.tokenizer, case.fact)[1] == 0)


def facts(mode: str) -> list[lib.Case]:
    """The cases of a cell; openers and others take turns, so that an unfinished cell has both.

    Neighbors are asked once more as prompts that should be left alone, word for word.
    """
    odd = classroom("tables")
    if mode == "row":
        found = odd[:ROW]
    else:
        some = [case for case in classroom("all") if case.id in openers()]
        others = [case for case in odd if case.id not in openers()]
        found = [case for pair in zip(some, others, strict=False) for case in pair]
    near = {case.id: tuple(probe.prompt for probe in case.neighborhood) for case in found}
    return [replace(case, locality=(*case.locality, *near[case.id])) for case in found]


def recorded(case: lib.Case, scores: lib.Scores) -> dict[str, Any]:
    """Of one fact the values of each of its prompts; all but `nats` are judged by generation."""
    rows = scores.rows[scores.rows["case"] == case.id]
    near = rows["prompt"].isin([probe.prompt for probe in case.neighborhood])
    left = rows["metric"] == "locality"
    parts = {
        "written": rows["metric"] == "efficacy",
        "held": rows["metric"] == "retention",
        "rewordings": rows["metric"] == "generalization",
        "neighbors": rows["metric"] == "specificity",
        "word for word": left & near,
        "unrelated": left & ~near,
    }
    said, kl = rows["event"] == "generation", rows["event"] == "kl_nats"
    found: dict[str, Any] = {"opener": case.id in openers()}
    found |= {name: rows[part & said]["value"].astype(int).tolist() for name, part in parts.items()}
    nats = rows[parts["unrelated"] & kl]["value"]
    return {**found, "nats": [round(value, 5) for value in nats]}


def base_model(lm: lib.LM, entry: dict[str, Any], unchosen: Path | None) -> None:
    """What the base model says, knows and expects. Passages are scored on the same tokens.

    unchosen  known-1000.json, true facts that were chosen for another model, if they are asked too
    """
    if unchosen is not None:
        rows = json.loads(unchosen.read_text("utf-8"))
        texts = lm.answer([row["prompt"] for row in rows], TOKENS)
        said = zip(texts, rows, strict=True)
        entry["unchosen"] = [int(begins(text, row["attribute"])) for text, row in said]
    cases, items = classroom("all"), abilities.items()
    known = {case.id for case in lib.known(lm, cases)}
    some = {"metrics": ("specificity",), "events": ("generation",)}
    near = lib.baseline(lm, cases, **some).scores.rows.query("metric == 'specificity'")
    near = near[near["event"] == "generation"]
    entry["facts"] = {
        str(case.id): {
            "known": [int(case.id in known)],
            "neighbors": near[near["case"] == case.id]["value"].astype(int).tolist(),
        }
        for case in cases
    }
    ids = lm.tokenizer(HELD_OUT.read_text("utf-8"), add_special_tokens=False).input_ids
    rows = [ids[start : start + WINDOW] for start in range(0, len(ids) - WINDOW, WINDOW)]
    lead = [] if lm.leading_bos is None else [lm.leading_bos]
    losses = scoring.score(lm, [[*lead, row[0]] for row in rows], [row[1:] for row in rows])
    entry["passages"] = [round(-loss.log_probs.mean().item(), 5) for loss in losses]
    entry["perplexity as lib.perplexity"] = lib.perplexity(lm)
    right = lib.workbench.abilities(lm, some=items).before[0]
    entry["abilities"] = [[item.kind, int(ok)] for item, ok in zip(items, right, strict=True)]


def in_a_row(editor: lib.Editor, base: Base, cell: Cell, entry: dict, end: float) -> bool:
    """Fifty facts, one after another; whether the row has ended in time."""
    cases, work = facts("row"), Path(tempfile.gettempdir()) / f"sink-{'-'.join(cell)}"
    asked = {"metrics": (*METRICS, "perplexity"), "events": ("generation",)}
    run = lib.stream(editor.lm, editor, cases, evaluate_with=asked, journal=work)
    for _ in run:
        if run.edits < ROW and time.monotonic() > end:
            return False
    entry["facts"] = {str(case.id): recorded(case, run.scores[ROW]) for case in cases}
    entry["perplexity"] = [run.scores[point].perplexity for point in (0, ROW)]
    shutil.rmtree(work)
    return True


def measured(
    cell: Cell, entry: dict[str, Any], end: float, unchosen: Path | None = None
) -> Iterable[dict[str, Any]]:
    """The cell's entry each time that something was added to it; it is `done` or time is over."""
    lm, base = model(cell.sink)
    settings = None
    if cell.editor != "base":
        kind = lib.EDITORS[cell.editor]
        config = kind(model("without")[0], **(BOUND if cell.form == "bound" else {})).config
        if cell.form in ("published", "searched"):
            config = kind.published(lm) if cell.form == "published" else kind(lm).config
        editor = kind(lm, config)
        settings = json.loads(json.dumps(asdict(editor.config)))
    if entry.get("settings") != settings or "facts" not in entry:
        entry = {"settings": settings, "commits": [], "seconds": 0.0, "facts": {}}
    entry["commits"] = sorted({*entry["commits"], commit()})
    cases = facts(cell.mode) if cell.mode == "alone" else []
    begun = time.monotonic()
    try:
        if cell.editor == "base":
            base_model(lm, entry, unchosen)
        elif cell.mode == "row" and not in_a_row(editor, base, cell, entry, end):
            return
        for case in [case for case in cases if str(case.id) not in entry["facts"]]:
            if time.monotonic() > end:
                return
            some = {"metrics": METRICS, "events": ("generation",), "progress": False}
            scores = lib.singly(editor, [case], base=base, **some)
            entry["facts"][str(case.id)] = recorded(case, scores)
            entry["seconds"] += time.monotonic() - begun
            begun = time.monotonic()
            yield entry
    except lib.errors.EditError as error:
        entry["error"] = str(error)  # the published settings need not run on this model
    entry["seconds"] += time.monotonic() - begun
    yield {**entry, "n": len(entry["facts"]), "date": time.strftime("%Y-%m-%d"), "done": True}


def commit() -> str:
    """The commit of this checkout, with a plus where `lib` differs from it."""
    git = ["git", "-C", str(HERE)]
    changed = subprocess.run([*git, "status", "--porcelain", "../../lib"], capture_output=True)
    shown = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return shown.stdout.strip() + "+" * bool(changed.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="*", help="a pattern, as 'rome preset alone *'")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--unchosen", type=Path, help="known-1000.json, for the base model")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    for cell in CELLS:
        name = " ".join(filter(None, cell))
        wanted = fnmatch(name, given.cells) and not kept.get(name, {}).get("done")
        if wanted and time.monotonic() < end:
            for entry in measured(cell, kept.get(name, {}), end, given.unchosen):
                kept[name] = entry
                lines = [f"{json.dumps(key)}: {json.dumps(kept[key])}" for key in kept]
                with whole_file(given.out) as part:
                    part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
            print(f"{name}: {'done' if kept.get(name, {}).get('done') else 'not done'}", flush=True)


if __name__ == "__main__":
    command(main)
