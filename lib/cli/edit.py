"""The command `python -m lib edit`, which writes one fact and prints answers before and after."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import EDITORS, EMPTY, LM, Case, Fact, Patch, case_for, matches
from ..errors import FactError
from . import options

NONE = "none"  # as a relation: no test prompts


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    edit = commands.add_parser("edit", help="write one fact, print the answers before and after")
    edit.add_argument("--subject", help="what the fact is about, as it stands in the prompt")
    edit.add_argument("--prompt", required=True, help='with {} or the subject itself: "{} is in"')
    edit.add_argument("--target", required=True, help="the new answer")
    edit.add_argument(
        "--ask", action="append", default=[], metavar="PROMPT", help="ask this too (repeatable)"
    )
    edit.add_argument(
        "--relation",
        help="classroom relation whose rewordings and neighbors are asked as well; by default the "
        f"one that the prompt means, if any; '{NONE}' asks none",
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
    if fact.subject is None and given.relation not in (None, NONE):
        raise FactError("--relation needs --subject: its prompts are asked about the subject")
    after = Patch.load(given.after) if given.after else EMPTY
    lm = options.load(given)
    editor = editor_class(lm, **options.settings(given.set))
    case, remark = _case(lm, fact, given.relation)
    groups = {"": [fact.text, *given.ask]}
    if case is not None:
        groups["reworded, should give the new answer"] = list(case.paraphrases)
        groups["neighbors, should stay"] = [probe.prompt for probe in case.neighborhood]
    prompts = [prompt for some in groups.values() for prompt in some]
    before = dict(zip(prompts, lm.answer(prompts), strict=True))
    patch = editor.edit([fact], after=after)
    with lm.patched(patch):
        now = dict(zip(prompts, lm.answer(prompts), strict=True))
    for title, some in groups.items():
        if title and some:
            print(f"\n{title}:")
        for prompt in some:
            print(f"{prompt}\n  before: {_line(before[prompt])}\n  after:  {_line(now[prompt])}")
    if remark:
        print(f"\n{remark}")
    if given.save:
        print(f"saved: {patch.save(given.save)}")


def _case(lm: LM, fact: Fact, relation: str | None) -> tuple[Case | None, str]:
    """The fact with test prompts, and a sentence that says where they come from."""
    if fact.subject is None or relation == NONE:
        return None, ""
    ranked = [] if relation else matches(lm, fact)
    if ranked and ranked[0].fits:
        relation = ranked[0].relation.name
    if relation:
        said = f"Rewordings and neighbors are those of the relation “{relation}”."
        return case_for(lm, fact, relation), said
    nearest = [match.relation.name for match in ranked[:3]]
    return None, (
        "No relation of the classroom fits this prompt, so no rewordings and neighbors were "
        f"asked. Nearest: {', '.join(nearest)}; choose one with --relation."
    )


def _line(text: str) -> str:
    """An answer on one line."""
    return " ".join(text.split())
