"""The command `python -m lib stream`, which writes facts in batches and measures in between."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import EDITORS, classroom, distributed, read_cases
from .. import stream as run_of
from . import options


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    stream = commands.add_parser(
        "stream", help="write many facts in batches, measure at given points"
    )
    stream.add_argument(
        "--data", type=Path, help="JSON or JSONL in a known format (default: the classroom)"
    )
    stream.add_argument("--edits", type=int, help="how many facts (default: all)")
    stream.add_argument(
        "--batch", type=int, default=1, help="facts per call of the editor (default 1)"
    )
    stream.add_argument(
        "--eval-at", default="", help="numbers of edits after which to measure: 0,100,1000"
    )
    stream.add_argument(
        "--target", choices=("new", "true"), default="new", help="which answer is taught"
    )
    stream.add_argument("--journal", type=Path, help="folder to keep the run in, and go on from")
    stream.add_argument("--save-every", type=int, default=1, help="batches per patch kept there")
    stream.add_argument("--sample", type=int, help="measure so many old, recent and other facts")
    stream.add_argument(
        "--lazy", action="store_true", help="read a case when it is edited: for JSONL of millions"
    )
    stream.add_argument("--save", type=Path, help="keep the final patch")
    stream.add_argument("--json", type=Path, dest="out", help="write the scores here")
    options.keep_base(stream)
    options.common(stream)
    stream.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Make the run, in this process or in several, and print its table of scores."""
    with distributed.started() as device_map:
        _stream(given, device_map)


def _stream(given: argparse.Namespace, device_map: Any) -> None:
    """The run in this process, whose model goes where `device_map` says."""
    editor_class = EDITORS[given.editor]
    if given.edits is not None and given.edits < 1:
        raise ValueError(f"--edits should be at least 1, not {given.edits}")
    if given.lazy and not given.data:
        raise ValueError("--lazy reads a file: name it with --data")
    cases = (
        read_cases(given.data, limit=given.edits, target=given.target, lazy=given.lazy)
        if given.data
        else classroom(given.model)[: given.edits]
    )
    if given.edits and len(cases) < given.edits:
        raise ValueError(
            f"{given.data or 'the classroom'} has {len(cases)} facts, not {given.edits}"
        )
    # a range may be as long as the stream
    points = options.numbers("--eval-at", given.eval_at, len(cases)) if given.eval_at else []
    lm = options.load(given, device_map)
    editor = editor_class(lm, **options.settings(given.set))
    run = run_of(
        lm,
        editor,
        cases,
        given.batch,
        points,
        journal=given.journal,
        save_every=given.save_every,
        sample=given.sample,
        keep_base=given.keep_base,
    ).finish()
    if distributed.rank():  # every process has the same result, and the first one prints it
        return
    if given.save:
        run.patch.save(given.save)
    result = run.json()
    options.keep(given.out, result)
    print(_table(result))


def _table(result: dict[str, Any]) -> str:
    """The scores as a small table: one row per metric and event, one column per point."""
    points = list(result["scores"])
    rows: dict[str, list[str]] = {}
    for column, point in enumerate(points):
        for metric, events in result["scores"][point].items():
            if metric == "groups":  # the parts of a sample stand in the JSON only
                continue
            for event, value in events.items() if isinstance(events, dict) else [("", events)]:
                row = rows.setdefault(f"{metric} {event}".strip(), ["–"] * len(points))
                if value is not None:
                    row[column] = f"{value:.3g}"
    wide = max([len(name) for name in rows] + [5])
    title = f"{result['editor']} on {result['model']}, {result['edits']} edits"
    head = " " * wide + "".join(f"{point:>10}" for point in points)
    lines = [
        f"{name:<{wide}}" + "".join(f"{v:>10}" for v in values) for name, values in rows.items()
    ]
    return "\n".join([title, head, *lines])
