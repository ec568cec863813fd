"""The command `python -m lib train`, which trains the network of an editor that has one.

The cases of a data file are divided: the network learns from some, and others are kept apart to
measure it. No edit prompt is on both sides.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import EDITORS, Case, classroom, read_cases
from . import options


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    train = commands.add_parser("train", help="train the network of mend, malmen or rledit")
    train.add_argument(
        "--data",
        default="classroom",
        help="JSON or JSONL in a known format (default: even cases of the classroom)",
    )
    train.add_argument("--cases", type=int, help="how many to use, in the file's order")
    train.add_argument(
        "--validation", type=int, help="how many of them to keep apart (default: a tenth)"
    )
    train.add_argument(
        "--rows", type=span, help="learn from these rows of the file only, e.g. 2000-9999"
    )
    train.add_argument(
        "--validation-rows", type=span, help="keep these rows apart instead, e.g. 1500-1599"
    )
    train.add_argument("--steps", type=int, default=1000, help="steps in all (default 1000)")
    train.add_argument(
        "--checkpoint",
        type=Path,
        help="the network's file; run again to go on (default: where the editor looks for it)",
    )
    train.add_argument(
        "--target", choices=("new", "true"), default="new", help="which answer is taught"
    )
    options.common(train)
    train.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Train as the options say; print the progress and the path of the network's file."""

    def say(line: str) -> None:
        print(line, flush=True)

    editor_class = EDITORS[given.editor]
    if not editor_class.trained:
        others = ", ".join(name for name, editor in EDITORS.items() if editor.trained)
        raise ValueError(f"{given.editor} needs no training; there is a network in {others}")
    if given.steps < 0:
        raise ValueError(f"--steps should not be below 0, not {given.steps}")
    if given.cases is not None and given.cases < 1:
        raise ValueError(f"--cases should be at least 1, not {given.cases}")
    cases = _read(given)
    learned = _rows(cases, given.rows)[: given.cases]
    kept = _rows(cases, given.validation_rows)
    if given.validation_rows is None:
        learned, kept = _apart(_different(learned), given.validation)
    elif given.validation is not None:
        raise ValueError("--validation and --validation-rows exclude each other")
    else:
        kept = _different(kept)
        texts = {case.fact.text for case in kept}  # edit prompts that must not be learned from
        learned = [case for case in _different(learned) if case.fact.text not in texts]
    lm = options.load(given)
    say(f"{given.editor} on {lm.name}: {len(learned)} cases, {len(kept)} kept apart")
    editor: Any = editor_class(lm, **options.settings(given.set))
    data = {
        "file": Path(given.data).name,
        "target": given.target,
        "cases": len(learned),
        "rows": given.rows,
        "validation": len(kept),
        "validation_rows": given.validation_rows,
    }
    path = editor.fit(learned, kept, given.checkpoint, given.steps, say, data)
    print(f"saved: {path}")


def span(text: str) -> tuple[int, int]:
    """First and last row, both included: "2000-9999" -> (2000, 9999)."""
    first, _, last = text.partition("-")
    wanted = f"rows are given as FIRST-LAST, not '{options.shortened(text)}'"
    try:
        found = int(first), int(last)
    except ValueError:
        raise argparse.ArgumentTypeError(wanted) from None
    if not 0 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(wanted)
    return found


def _read(given: argparse.Namespace) -> Sequence[Case]:
    """The cases of the file up to the last row that the options name."""
    if given.data == "classroom":
        # odd cases stay unseen, so that a network trained here can be measured on them
        return [case for case in classroom(given.model) if case.id % 2 == 0]
    spans = [given.rows, given.validation_rows]
    if spans == [None, None]:
        limit = given.cases
    elif None in spans:  # one side takes all rows of the file
        limit = None
    else:
        limit = max(last for _, last in spans) + 1
    return read_cases(given.data, limit=limit, target=given.target)


def _rows(cases: Sequence[Case], span: tuple[int, int] | None) -> Sequence[Case]:
    """The cases from the first to the last row of a span; ValueError if the file has too few."""
    if span is None:
        return cases
    if span[1] >= len(cases):
        raise ValueError(f"rows {span[0]}-{span[1]} were asked for, the file has {len(cases)}")
    return cases[span[0] : span[1] + 1]


def _different(cases: Sequence[Case]) -> list[Case]:
    """One case for each edit prompt: the last one that has it."""
    return list({case.fact.text: case for case in cases}.values())


def _apart(cases: list[Case], count: int | None) -> tuple[list[Case], list[Case]]:
    """The cases to learn from, and `count` cases to keep apart (default: a tenth).

    Those kept apart are spread evenly over the list.
    """
    count = len(cases) // 10 if count is None else count
    if not 0 <= count < len(cases):
        raise ValueError(f"--validation {count} leaves nothing of {len(cases)} cases to train on")
    if not count:
        return cases, []
    kept = range(0, len(cases), len(cases) // count)[:count]
    return [c for i, c in enumerate(cases) if i not in kept], [cases[i] for i in kept]
