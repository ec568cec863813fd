"""The command `python -m lib edit`, which writes one fact and prints answers before and after."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import EDITORS, EMPTY, Fact, Patch
from . import options


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    edit = commands.add_parser("edit", help="write one fact, print the answers before and after")
    edit.add_argument("--subject", help="what the fact is about, as it stands in the prompt")
    edit.add_argument("--prompt", required=True, help='with {} or the subject itself: "{} is in"')
    edit.add_argument("--target", required=True, help="the new answer")
    edit.add_argument(
        "--ask", action="append", default=[], metavar="PROMPT", help="ask this too (repeatable)"
    )
    edit.add_argument("--after", type=Path, help="a saved patch to go on from")
    edit.add_argument("--save", type=Path, help="keep the result as a patch file")
    options.common(edit)
    edit.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Write one fact, and print the answers before and after."""
    editor_class = EDITORS[given.editor]
    if given.subject is None:
        fact = Fact(None, given.prompt, given.target)
    else:
        fact = Fact.find(given.prompt, given.subject, given.target)
    after = Patch.load(given.after) if given.after else EMPTY
    lm = options.load(given)
    editor = editor_class(lm, **options.settings(given.set))
    prompts = [fact.text, *given.ask]
    before = lm.answer(prompts)
    patch = editor.edit([fact], after=after)
    with lm.patched(patch):
        answers = lm.answer(prompts)
    for prompt, old, new in zip(prompts, before, answers, strict=True):
        print(f"{prompt}\n  before: {_line(old)}\n  after:  {_line(new)}")
    if given.save:
        print(f"saved: {patch.save(given.save)}")


def _line(text: str) -> str:
    """An answer on one line."""
    return " ".join(text.split())
