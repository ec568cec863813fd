"""The commands that run an editor over many facts: `stream`, `tune` and `train`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from ... import EDITORS, Case, Scores, classroom, distributed, evaluate, read_cases, stream
from ...atomic_files import path_of
from ...errors import ArgumentError
from ...evaluation.metrics import METRICS, TABLE
from ...evaluation.results import Table
from ...lifelong.run import Run
from ...setting_fields import at_least, shown
from .. import tune
from . import options
from .options import EDITING, JSON, PLACEMENT, TARGET, command, option


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line of progress immediately, even into a pipe whose reader may have left."""
    with suppress(BrokenPipeError):
        print(line, file=file, flush=True)


# ---- many facts, one batch after another ---------------------------------------------------------


@command(
    "stream --editor rome --data FILE --edits 100 --journal FOLDER --json OUT.json",
    "writes many facts one batch after another, measuring before and after or at given points, "
    "and resumes from its journal after a kill; with `torchrun --nproc-per-node 2 -m lib stream "
    "…`, several processes share the reading of a batch",
    option("--data", type=path_of, help="a file in a known format (default: the classroom)"),
    option("--edits", type=int, help="how many facts (default: all)"),
    option(
        "--batch",
        dest="batch_size",
        type=int,
        default=1,
        help="facts per call of the editor (default 1)",
    ),
    option(
        "--eval-at",
        help="numbers of edits after which to measure, such as 0,100,1000, or none (default: 0, "
        "which is the unedited model, and the end)",
    ),
    option(
        "--metrics",
        default="generalization,specificity,locality",
        help="what to measure besides efficacy and retention, or all (default: %(default)s)",
    ),
    option(
        "--events",
        default="generation",
        help="the criterion for an answer: probability,teacher_forced,generation, or all (default: "
        "%(default)s)",
    ),
    TARGET,
    option("--journal", type=path_of, help="folder for saving the run, and resuming it"),
    option("--save-every", type=int, default=1, help="batches per saved patch"),
    option("--sample", type=int, help="measure at most this many old, recent and other facts"),
    option("--skip-unusable", action="store_true", help="leave out rows that cannot be edited"),
    option("--save", type=path_of, help="save the final patch"),
    JSON,
    *EDITING,
)
def run_stream(given: argparse.Namespace) -> None:
    """Run the stream, in this process or in several, and print its table of scores."""
    with distributed.started() as device_map:
        _stream(given, device_map)


def _stream(given: argparse.Namespace, device_map: Any) -> None:
    """Run the stream in this process, placing its model using `device_map`."""
    editor_class = options.editor(given.editor)
    at_least(1, edits=given.edits)
    cases = (
        read_cases(given.data, limit=given.edits, target=given.target)
        if given.data
        else classroom(given.model)[: given.edits]
    )
    if given.edits and len(cases) < given.edits:
        raise ArgumentError(
            f"{given.data or 'the classroom'} has {len(cases)} facts, not {given.edits}. Use "
            "fewer edits."
        )
    # a range may be as long as the stream
    points = (
        () if given.eval_at == "none" else options.numbers("--eval-at", given.eval_at, len(cases))
    )
    lm = options.load(given, device_map)
    run = stream(
        lm,
        editor_class(lm, **options.settings(given.set)),
        cases,
        given.batch_size,
        points,
        {
            name: options.names(f"--{name}", getattr(given, name))
            for name in ("metrics", "events")
            if getattr(given, name) != "all"
        },
        journal=given.journal,
        save_every=given.save_every,
        sample=given.sample,
        skip_unusable=given.skip_unusable,
    )
    _forecast(run)
    run.finish()
    if distributed.rank():  # every process has the same result, but only the first prints it
        return
    result = run.json()
    said = f"{result['editor']} on {result['model']}, {result['edits']} edits\n{_table(run.scores)}"
    try:
        if given.save:
            run.patch.save(given.save)
    finally:  # a patch that cannot be written does not lose any score
        options.report(said, given.json, result)


def _forecast(run: Run) -> None:
    """Print the estimated duration of the remaining measurements, using the first four cases."""
    facts = sum(
        min(count, 3 * (run.sample or count))
        for point in run.eval_at
        if point not in run.scores
        for count in [point or len(run.cases)]
    )
    if facts > 50 and not distributed.rank():  # fewer are quickly measured
        begin = time.perf_counter()
        # without the perplexity, taking equally long for any number of facts
        metrics = {*run.settings.get("metrics", METRICS)} - {"perplexity"}
        evaluate(run.lm, run.cases[:4], **{**run.settings, "metrics": metrics})
        say(
            f"measuring {facts:,} facts will take about "
            f"{(time.perf_counter() - begin) / 4 * facts / 60:.2g} minutes; use --sample, "
            "--eval-at, --metrics and --events to reduce it",
            sys.stderr,
        )


def _table(scores: Mapping[int, Scores]) -> str:
    """Return a table with a row per metric, by generation if requested, and a column per point."""
    cells = {
        f"after {point}": {
            metric: one.cell(event != "kl_nats")
            for (metric, event), one in sorted(
                found.estimates().items(), key=lambda pair: pair[0][1] == "generation"
            )
            if metric in TABLE  # the additional lines are in the JSON
        }
        for point, found in scores.items()
    }
    return f"{Table(cells)!r}\n% of facts, with 95% intervals; --json writes every number"


# ---- presets for a model without tuned ones -----------------------------------------------------


@command(
    "tune MODEL --editors rome,ultraedit --minutes 30 --to presets.toml",
    "searches presets for a model without tuned ones and measures them on facts kept apart; use "
    "them with `--presets presets.toml`",
    option("model", help="hub id, local folder, or gemma-3-270m"),
    option(
        "--editors", default="rome,ultraedit", help="for which editors (default rome,ultraedit)"
    ),
    option("--minutes", type=options.positive, default=30.0, help="for all of them (default 30)"),
    option("--to", type=path_of, default=Path("presets.toml"), help="default: presets.toml"),
    option(
        "--data",
        dest="cases",
        type=path_of,
        help="facts with true answers, in any supported format (default: the classroom)",
    ),
    TARGET,
    *PLACEMENT,
)
def run_tune(given: argparse.Namespace) -> None:
    """Search and measure according to the options; print the places of presets and page."""
    cases = read_cases(given.cases, target=given.target) if given.cases else None
    editors = options.names("--editors", given.editors)
    found = tune(options.load(given), editors, cases, given.minutes, given.to, say=say)
    print(found.presets.read_text(encoding="utf-8"), end="")
    print(f"\nsaved: {found.presets}, and how it was found: {found.page}")


# ---- the network of a trained editor ------------------------------------------------------------


def span(text: str) -> tuple[int, int]:
    """Return the first and last row, both included: "2000-9999" -> (2000, 9999)."""
    first, _, last = text.partition("-")
    try:
        found = int(first), int(last)
    except ValueError:
        found = -1, -1
    if not 0 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"expected rows as FIRST-LAST, not {shown(text)}")
    return found


@command(
    "train --editor mend --data FILE --steps 1000",
    "trains the network of an editor that has one, on some facts, keeping others apart",
    option(
        "--data",
        default="classroom",
        help="a file in a known format (default: even cases of the classroom)",
    ),
    option("--cases", type=int, help="how many to use, in the file's order"),
    option("--validation", type=int, help="how many of them to keep apart (default: a tenth)"),
    option("--rows", type=span, help="learn only from these rows of the file, e.g. 2000-9999"),
    option("--validation-rows", type=span, help="keep these rows apart instead, e.g. 1500-1599"),
    option("--steps", type=int, default=1000, help="steps in all (default 1000)"),
    option(
        "--checkpoint",
        type=path_of,
        help="the network's file; run again to continue (default: where the editor looks for it)",
    ),
    TARGET,
    *EDITING,
)
def run_train(given: argparse.Namespace) -> None:
    """Train according to the options; print the progress and the path of the network's file."""
    editor_class = options.editor(given.editor)
    if not editor_class.trained:
        others = ", ".join(name for name, editor in EDITORS.items() if editor.trained)
        raise ArgumentError(
            f"{given.editor} does not need training. These editors have a network: {others}"
        )
    at_least(0, steps=given.steps)
    at_least(1, cases=given.cases)
    training, validation = _divided(given)
    lm = options.load(given)
    say(f"{given.editor} on {lm.name}: {len(training)} cases, {len(validation)} kept apart")
    editor: Any = editor_class(lm, **options.settings(given.set))
    data = {
        "file": Path(given.data).name,
        "target": given.target,
        "cases": len(training),
        "rows": given.rows,
        "validation": len(validation),
        "validation_rows": given.validation_rows,
    }
    path = editor.fit(training, validation, given.checkpoint, given.steps, say, data)
    print(f"saved: {path}")


def _divided(given: argparse.Namespace) -> tuple[list[Case], list[Case]]:
    """Return (the cases for learning, the cases for measuring), sharing no edit prompt."""
    cases = _read(given)
    training = _distinct(_rows(cases, given.rows)[: given.cases])
    if given.validation_rows is None:
        return _split(training, given.validation)
    if given.validation is not None:
        raise ArgumentError(
            "--validation and --validation-rows exclude each other. Use only one of them."
        )
    validation = _distinct(_rows(cases, given.validation_rows))
    texts = {case.fact.text for case in validation}
    return [case for case in training if case.fact.text not in texts], validation


def _read(given: argparse.Namespace) -> Sequence[Case]:
    """Return the cases of the file up to the last row given in the options."""
    if given.data == "classroom":
        # the odd ones are for measuring what is trained here
        return [case for case in classroom(given.model) if case.id % 2 == 0]
    spans = [given.rows, given.validation_rows]
    if spans == [None, None]:
        limit = given.cases
    elif None in spans:  # one side uses all rows of the file
        limit = None
    else:
        limit = max(last for _, last in spans) + 1
    return read_cases(given.data, limit=limit, target=given.target)


def _rows(cases: Sequence[Case], span: tuple[int, int] | None) -> Sequence[Case]:
    """Return the cases from the first to the last row of a span; ValueError if too few."""
    if span is None:
        return cases
    if span[1] >= len(cases):
        raise ArgumentError(
            f"Rows {span[0]}-{span[1]} were requested, but the file has {len(cases)}."
        )
    return cases[span[0] : span[1] + 1]


def _distinct(cases: Sequence[Case]) -> list[Case]:
    """Return one case for each edit prompt: the last case having it."""
    return list({case.fact.text: case for case in cases}.values())


def _split(cases: list[Case], count: int | None) -> tuple[list[Case], list[Case]]:
    """Return the cases without `count` of them (default: a tenth), spread evenly; and those."""
    count = len(cases) // 10 if count is None else count
    if not 0 <= count < len(cases):
        raise ArgumentError(
            f"--validation {count} leaves nothing of {len(cases)} cases to train on. Use fewer."
        )
    chosen = range(0, len(cases), len(cases) // count)[:count] if count else ()
    return [c for i, c in enumerate(cases) if i not in chosen], [cases[i] for i in chosen]
