"""`python -m demo_app.stored`: computes the finished examples of a model and writes their file.

About ten minutes on one core for the embedded model. Each example is written as soon as it is
there, and `--only race,trace` makes some of them again and leaves the others as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import lib
from lib.atomic_files import path_of

from ..lifelong import run as lifelong
from ..lifelong import stress_test
from ..session import consequences, dossiers, interference, layers, tracing
from ..session.choices import can_edit
from ..session.findings import Traced
from ..session.layers import Tried
from ..session.studio import Studio
from ..session.views import Column, Subject, tally
from ..session.visitors import Session
from . import examples
from .examples import Examples

EDITOR = "rome"  # of the edit that is looked into
RACE = (EDITOR, stress_test.BREAKS)
# side by side when the page opens; the first is kept
OPENING = tuple(name for name, editor in lib.EDITORS.items() if "opening" in editor.page)
EDITS = 24  # of the race, as in notebook 14

PARTS = ("layers", "forecast", "race", "natural", "traced", "dossier", "opening", "written")


def settings(lm: lib.LM) -> dict[str, dict[str, Any]]:
    """{editor: its preset for this model} of every editor that has a part in the examples."""
    named = dict.fromkeys((EDITOR, *stress_test.BASELINES, *RACE, *OPENING))
    able = [name for name in named if can_edit(lib.EDITORS[name], lm)]
    return {name: plain(vars(lib.EDITORS[name](lm).config)) for name in able}


def current(
    kept: Mapping[str, Mapping[str, Any]], wanted: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Settings of the wanted editors from a file of any version, with those added since."""
    return {
        name: plain(lib.EDITORS[name].current(of)) for name, of in kept.items() if name in wanted
    }


def plain(values: Any) -> Any:
    """Settings as a file of JSON gives them back."""
    return json.loads(json.dumps(values))


def blank(studio: Studio) -> Examples:
    """The examples of a model before any is made: what they will be made from."""
    lm, fact = studio.lm, studio.choices.ready_subject().case.fact
    cases = examples.digest(studio.choices.cases.values())
    return Examples(lm.name, lm.fingerprint, fact, EDITOR, settings(lm), cases)


def make(studio: Studio, part: str, natural: tuple[float, ...] | None = None) -> Any:
    """One of PARTS, computed as a visitor's own would be.

    natural: that part, where it was made; it stands beside what `traced` finds.
    """
    of_model = {"race": race, "natural": lambda _: tracing.natural(studio.lm), "layers": in_layers}
    if part in of_model:
        return of_model[part](studio)
    subject, session = studio.choices.ready_subject(), Session()
    if part == "opening":
        return opening(studio, session, subject)
    fact = studio.edit(session, subject, EDITOR, keep="any").outcome().subject.case.fact
    if part == "written":
        said = studio.answer(session, consequences.opening(fact), False, consequences.TOKENS)
        return said.outcome() | {"live": 0, "example": studio.choices.editors[EDITOR][0]}
    if part == "forecast":
        return interference.measure(studio, session).outcome()
    if part == "traced":
        return traced(studio, session, natural or ())
    return dossiers.asked(studio, session, subject.case.fact.subject).outcome()


def in_layers(studio: Studio) -> Tried | None:
    """The first of the page's examples that the editor does not write, in several layers.

    Where it writes all of them, the first in which a neighbor moved; None where none did.
    """
    spreading = None
    for label in studio.choices.examples:
        session = Session()
        view = studio.edit(session, studio.choices.ready_subject(label), EDITOR).outcome()
        kept, asked = tally(view.rows, "neighbor")
        if not view.kept or (kept < asked and spreading is None):
            spreading = session
        if not view.kept:
            break
    if spreading is None:
        return None
    found = layers.compare(studio, spreading).outcome()
    columns = tuple(map(plainly, found.view.columns))
    return replace(found, view=replace(found.view, rows=(), columns=columns, stored=True))


def plainly(column: Column) -> Column:
    """A column without its patch and the time that it took here."""
    return replace(column, patch=None, seconds=0.0)


def traced(studio: Studio, session: Session, natural: tuple[float, ...]) -> Traced:
    """The edit looked at without its base, taken out again, and told."""
    found = tracing.mine(studio, session, natural).outcome()
    undone = tracing.reverse(studio, session).outcome()
    return Traced(found, undone, tracing.reveal(studio, session).outcome())


def opening(studio: Studio, session: Session, subject: Subject) -> tuple[Column, ...]:
    """The fact written by several editors, each on the model as it came."""
    view = studio.edit(session, subject, OPENING, keep="none").outcome()
    return tuple(plainly(column) for column in view.columns if column.rows)


def race(studio: Studio) -> stress_test.Test:
    """The stress test; an editor that is too slow for a visitor's stream may have a part in it."""
    choices = studio.choices
    cases = stress_test.mixed(choices)[:EDITS]
    known = choices.editors
    names = [name for name in (*stress_test.BASELINES, *RACE) if name in known]
    lines = [stress_test.Line(name, known[name][0]) for name in names]
    test = stress_test.Test(cases, stress_test.BATCH, lines)
    job = Session().submit(studio.worker, lambda job: lifelong.run(job, studio.lm, test))
    return replace(job.outcome(), cases=[lib.Case(case.fact, id=case.id) for case in cases])


def main(arguments: list[str] | None = None) -> int:
    """Parse, compute what is asked for, and write it part by part."""
    parser = argparse.ArgumentParser(prog="python -m demo_app.stored", description=__doc__)
    parser.add_argument("--model", help="a hub id, a local folder, or gemma-3-270m")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--to", type=path_of, default=examples.FOLDER, help="another folder")
    asked = parser.parse_args(arguments)
    wanted = [part for part in PARTS if part in asked.only.split(",")]
    if unknown := set(asked.only.split(",")) - set(PARTS):
        print(f"--only: there is no example '{sorted(unknown)[0]}'.", file=sys.stderr)
        return 2
    try:
        studio = Studio(lib.load(asked.model))
    except lib.errors.EXPECTED as error:
        print(lib.errors.sentence(error), file=sys.stderr)
        return 2
    try:
        found, old = blank(studio), examples.of(studio.lm, asked.to)
        if old is not None and old.facts == found.facts:
            if current(old.settings, found.settings) == found.settings:
                found = replace(old, settings=found.settings)  # else it would not be made so today
        for part in wanted:
            found = replace(found, **{part: make(studio, part, found.natural)})
            print(f"\r{part}: written to {examples.write(found, asked.to)}\033[K")
    finally:
        studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
