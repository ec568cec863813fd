"""The arena: editors on the same facts of one model, cell by cell, each with its interval.

    python -m tests.benchmarks.arena --to FOLDER --lengths 1,10,100 --budget 3600
    python -m tests.benchmarks.arena_store FOLDER

A cell is one editor on one set of facts for one number of edits in a row; 1 stands for fifty single
edits, each on the unedited model. Its result is a small file: the mean of each case, metric and
event, from which every interval and every paired difference follows. The same call goes on where it
was stopped: a stream's cell has a journal, and a finished cell is not run again. `arena_store` puts
the results beside this file; page 14 and `tables` show some of them. Of a file the facts are the
rows that rows.toml has for the arena under its NAME.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import lib
from lib.atomic_files import whole_file
from lib.evaluation.scores import COLUMNS, Scores
from tests.benchmarks import command, measured
from tests.benchmarks.abilities import abilities
from tests.benchmarks.arena_store import Cell, Result, joined
from tests.benchmarks.rows import classroom, of_file

BASE = "base"  # the row of the unedited model
FIRST = (BASE, "retrieval", "ft")  # rows that every arena has: what an editor has to be better than
SINGLES = 50  # separate edits that stand for a stream of length 1
METRICS = (
    "efficacy", "generalization", "specificity", "locality", "portability",
    "same_subject", "same_relation", "negation_leak",
)  # fmt: skip


def plan(editors: Iterable[str], data: Iterable[str], lengths: Iterable[int]) -> list[Cell]:
    """All cells: short streams before long ones, and in each the base model and baselines first."""
    names = list(dict.fromkeys((*FIRST, *editors)))
    sets = list(data)
    return [Cell(e, d, n) for n in sorted(set(lengths)) for d in sets for e in names]


def condensed(scores: Scores) -> Scores:
    """The same scores with one row per case, metric and event."""
    rows = scores.rows.assign(case=scores.rows["case"].astype(str))
    means = rows.groupby(["metric", "event", "case"], sort=False)["value"].mean().reset_index()
    means = means.assign(prompt=means["case"], text=None, answer=None)
    found = set(zip(means["metric"], means["event"], strict=True))
    asked = [pair for pair in scores.asked if pair in found]
    return Scores(means[COLUMNS], asked, scores.title, scores.perplexity)


def marks(cases: Sequence[lib.Case], lengths: Iterable[int]) -> dict[str, str]:
    """{count: digest of the first so many cases}, by which two arenas see whether facts are equal.

    Longer streams and further sets may come later, so there is no digest of the whole alone: the
    lengths of this arena are marked, and 1, 10, 100, … as far as there are cases.
    """
    counts = {SINGLES if n == 1 else n for n in lengths}
    counts |= {10**power for power in range(len(str(len(cases))))}
    texts = [repr(case).encode() for case in cases]
    return {str(n): hashlib.sha256(b"".join(texts[:n])).hexdigest() for n in sorted(counts)}


def claim(folder: Path, header: dict[str, Any]) -> None:
    """Write down which arena a folder holds; ValueError where it holds another one already."""
    path = folder / "arena.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        for key in ("model", "dtype", "metrics", "settings"):
            if known.get(key) != header[key]:
                raise ValueError(f"{folder} holds an arena with another '{key}'")
        header = {**header, "data": joined(known["data"], header["data"])}
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


def run(
    lm: lib.LM,
    data: Mapping[str, Sequence[lib.Case]],
    folder: Path,
    lengths: Collection[int] = (1, 10, 100),
    editors: Iterable[str] = tuple(lib.EDITORS),
    budget: float = math.inf,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[Cell, Result | str]:
    """Run the cells that are not done; {cell: its result, or why it has none}.

    budget    seconds; a later call with the same folder goes on
    settings  {editor: settings} where the preset is not wanted
    """
    settings = {name: dict(some) for name, some in (settings or {}).items()}
    editors = list(editors)
    for editor in (*editors, *settings):
        if editor not in lib.EDITORS:
            raise ValueError(f"there is no editor '{editor}'; there are {', '.join(lib.EDITORS)}")
    for name, cases in data.items():
        most = max(SINGLES if n == 1 else n for n in lengths)
        if len(cases) < most:
            raise ValueError(f"{name} has {len(cases)} facts, where {most} are needed")
    facts = {name: marks(cases, lengths) for name, cases in data.items()}
    claim(folder, {
        "model": lm.identity, "dtype": str(lm.dtype), "data": facts, "metrics": sorted(METRICS),
        "settings": settings,
    })  # fmt: skip
    found: dict[Cell, Result | str] = {}
    until, unedited = time.monotonic() + budget, None
    for cell in plan(editors, data, lengths):
        path = folder / f"{cell.name}.json"
        if not path.exists() and time.monotonic() > until:
            found[cell] = "the budget was spent"
            continue
        try:
            if not path.exists():
                cases = list(data[cell.data])[: SINGLES if cell.edits == 1 else cell.edits]
                whole = not (folder / cell.name).exists()  # a stream that goes on has lost its time
                before, start = _peak(lm, reset=True), time.process_time()
                scores, seconds, patch = _scores(lm, cell, cases, folder, settings, until)
                now = _peak(lm)
                peak = None if now is None or before is None or seconds is None else now - before
                result = Result(condensed(scores), seconds, peak)
                result.made = {"settings": used(lm, cell, settings), "commit": measured.commit()}
                if patch is not None:  # fifty single edits are fifty models, which are not asked
                    able = abilities(lm, patch, base=unedited)
                    unedited = unedited or able
                    result.abilities, result.ability = able.json(), able.rows["right"].tolist()
                if whole:
                    result.made["cpu"] = round(time.process_time() - start, 1)
                result.save(path)
            found[cell] = Result.load(path)
        except (
            lib.errors.EditError,
            TimeoutError,
        ) as error:  # others go on
            found[cell] = str(error)
        print(f"{cell.name}: {'done' if isinstance(found[cell], Result) else found[cell]}")
    return found


def made(lm: lib.LM, cell: Cell, settings: Mapping) -> lib.Editor:
    """A cell's editor in our form, as the stored cells have it, unless it is told otherwise."""
    return lib.EDITORS[cell.editor](lm, **{"preset": "ours", **settings.get(cell.editor, {})})


def used(lm: lib.LM, cell: Cell, settings: Mapping) -> dict[str, Any]:
    """All settings of a cell's editor, none for the unedited model."""
    if cell.editor == BASE:
        return {}
    return made(lm, cell, settings).settings_dict()


def _scores(
    lm: lib.LM, cell: Cell, cases: list[lib.Case], folder: Path, settings: Mapping, until: float
) -> tuple[Scores, float | None, lib.Patch | None]:
    """(scores, seconds of one edit, the last patch where abilities are asked with it)."""
    if cell.editor == BASE:
        return lib.evaluate(lm, cases, metrics=METRICS), None, lib.EMPTY
    editor = made(lm, cell, settings)
    if cell.edits == 1:
        scores = lib.singly(editor, cases, metrics=METRICS, progress=False)
        return scores, sum(scores.seconds) / len(scores.seconds), None
    stream = lib.stream(
        lm, editor, cases, eval_at=(cell.edits,), evaluate_with={"metrics": set(METRICS)},
        journal=folder / cell.name, save_every=max(1, cell.edits // 20), progress=False,
    )  # fmt: skip
    for _ in stream:
        if time.monotonic() > until and stream.edits < cell.edits:
            stream.journal.close()
            raise TimeoutError("the budget was spent")
    return stream.scores[cell.edits], stream.seconds["edit"] / cell.edits, stream.patch


def _peak(lm: lib.LM, reset: bool = False) -> int | None:
    """The highest memory of the card or of this process in bytes, None where nothing says it."""
    if lm.device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats(lm.device)
        return torch.cuda.max_memory_allocated(lm.device)
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the highest so far
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="folder of results")
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--lengths", default="1,10,100", help="edits in a row; 1: 50 single edits")
    parser.add_argument("--editors", default=",".join(lib.EDITORS), help="names, with commas")
    parser.add_argument("--budget", type=float, default=math.inf, help="seconds")
    parser.add_argument("--model", help="hub id or local folder; default: the embedded model")
    given = parser.parse_args()
    lengths = [int(n) for n in given.lengths.split(",")]
    files = dict(pair.split("=", 1) for pair in given.data)
    most = max(SINGLES, *lengths)
    data = {name: of_file(name, "arena", Path(f), most) for name, f in files.items()}
    data = data or {"classroom": classroom("tables", given.model)}
    lm = lib.load(given.model)
    run(lm, data, given.to, lengths, given.editors.split(","), given.budget)


if __name__ == "__main__":
    command(main)
