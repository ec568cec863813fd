"""`python -m lib train`: which cases are learned from, which are kept apart, and the loop."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def arguments(commands: Any) -> argparse.ArgumentParser:
    """The parser of `train`, without what all commands share."""
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
    train.add_argument("--steps", type=int, default=1000, help="steps in all (default 1000)")
    train.add_argument(
        "--checkpoint",
        type=Path,
        help="the network's file; run again to go on (default: where the editor looks for it)",
    )
    train.add_argument(
        "--target", choices=("new", "true"), default="new", help="which answer is taught"
    )
    return train


def train(given: argparse.Namespace, settings: dict[str, Any], say: Callable[[str], None]) -> Path:
    """Run the command; what comes back is the network's file."""
    import lib

    editor_class = lib.EDITORS[given.editor]
    if not editor_class.trained:
        others = ", ".join(name for name, editor in lib.EDITORS.items() if editor.trained)
        raise ValueError(f"{given.editor} needs no training; there is a network in {others}")
    if given.steps < 0:
        raise ValueError(f"--steps should not be below 0, not {given.steps}")
    if given.data == "classroom":  # the odd ones are for reporting what was trained here
        cases = [case for case in lib.classroom() if case.id % 2 == 0][: given.cases]
    else:
        cases = lib.read_cases(given.data, limit=given.cases, target=given.target)
    cases = list({case.fact.text: case for case in cases}.values())  # none on both sides
    count = len(cases) // 10 if given.validation is None else given.validation
    if not 0 <= count < len(cases):
        raise ValueError(f"--validation {count} leaves nothing of {len(cases)} cases to train on")
    kept = set(range(0, len(cases), len(cases) // count)[:count]) if count else set()
    learned = [case for i, case in enumerate(cases) if i not in kept]
    lm = lib.load(given.model, given.dtype, given.device_map)
    say(f"{given.editor} on {lm.name}: {len(learned)} cases, {len(kept)} kept apart")
    editor = editor_class(lm, **settings)
    return editor.fit(learned, [cases[i] for i in sorted(kept)], given.checkpoint, given.steps, say)
