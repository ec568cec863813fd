"""`python -m demo_app.stored`: computes the finished examples of a model and writes their file.

About half an hour on one core for the embedded model. Each example is written as soon as it is
there, and `--only race traced` makes some of them again and leaves the others as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from operator import lt
from typing import Any

import lib
from lib.atomic_files import path_of

from ..editor_roles import used
from ..lifelong import run as lifelong
from ..lifelong import stress_test
from ..session import consequences, dossiers, interference, lasting, layers, tracing
from ..session.choices import can_edit
from ..session.editor_settings import preset
from ..session.findings import Traced
from ..session.studio import Studio
from ..session.views import Column, View, tally
from ..session.visitors import Session
from . import examples
from .examples import Examples

EDITOR = "rome"  # of the edit that is looked into
RACE = (EDITOR, stress_test.BREAKS)
# side by side when the page opens; the first is kept
OPENING = used("opening")
EDITS = stress_test.SLOW_EDITS  # of the race, which a visitor may run as well

PARTS = ("layers", "forecast", "race", "natural", "traced", "dossier", "opening", "written",
         "lasts")  # fmt: skip


def settings(lm: lib.LM) -> dict[str, dict[str, Any]]:
    """{editor: its preset for this model} of every editor that has a part in the examples."""
    named = dict.fromkeys((EDITOR, *stress_test.BASELINES, *RACE, *OPENING))
    able = [name for name in named if can_edit(lib.EDITORS[name], lm)]
    return {name: plain(vars(preset(lm, name))) for name in able}


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
    if part == "natural":
        return tracing.natural(studio.lm)
    whole = dict(layers=in_layers, forecast=forecasts, race=race, opening=opening, written=goes_on)
    if part in whole:
        return whole[part](studio)
    subject, session = studio.choices.ready_subject(), Session()
    studio.edit(session, subject, EDITOR, keep="any").outcome()
    if part == "lasts":
        return lasting.train_on(studio, session).outcome()
    if part == "traced":
        return traced(studio, session, natural or ())
    return dossiers.asked(studio, session, subject.case.fact.subject).outcome()


def written(studio: Studio, keep: str) -> Iterator[tuple[View, Session]]:
    """Each of the page's examples as the editor writes it, and the visitor whose edit that is."""
    for label in studio.choices.examples:
        session, subject = Session(), studio.choices.ready_subject(label)
        yield studio.edit(session, subject, EDITOR, keep=keep).outcome(), session


def in_layers(studio: Studio) -> layers.Tried | None:
    """The first of the page's examples that the editor does not write, in several layers.

    Where it writes all of them, the first in which a neighbor moved; None where none did.
    """
    made = list(written(studio, "said"))
    lost = [session for view, session in made if not view.kept]
    lost += [session for view, session in made if lt(*tally(view.rows, "neighbor"))]
    if not lost:
        return None
    found = layers.compare(studio, lost[0]).outcome()
    columns = tuple(map(plainly, found.view.columns))
    return replace(found, view=replace(found.view, rows=(), columns=columns, stored=True))


def forecasts(studio: Studio) -> tuple[interference.Prediction, ...] | None:
    """Of the page's examples that changed other answers, one that foretold which, and one not.

    That is: with the largest share of these answers in the third for which most was foretold, and
    with the smallest; of equals, that which changed more, then the first. None where none did.
    """
    made = (interference.measure(studio, one).outcome() for _, one in written(studio, "any"))
    found = sorted((one for one in made if one.changed[0]), key=lambda one: -one.changed[0])
    told = [hits / changed for changed, hits, _ in (one.changed for one in found)]
    ends = dict.fromkeys((told.index(max(told)), told.index(min(told)))) if told else ()
    return tuple(found[i] for i in ends) or None


def plainly(column: Column) -> Column:
    """A column without its patch and the time that it took here."""
    return replace(column, patch=None, seconds=0.0, stored=False)


def traced(studio: Studio, session: Session, natural: tuple[float, ...]) -> Traced:
    """The edit looked at without its base, taken out again, and told."""
    found = tracing.mine(studio, session, natural).outcome()
    undone = tracing.reverse(studio, session).outcome()
    return Traced(found, undone, tracing.reveal(studio, session).outcome())


def opening(studio: Studio) -> dict[str, tuple[Column, ...]]:
    """Each of the page's examples written by several editors, each on the model as it came."""
    found = {}
    for subject in map(studio.choices.ready_subject, studio.choices.examples):
        view = studio.edit(Session(), subject, OPENING, keep="none").outcome()
        columns = tuple(replace(plainly(one), stored=True) for one in view.columns if one.rows)
        found[examples.key(subject.case.fact)] = columns
    return found


def goes_on(studio: Studio) -> dict[str, dict[str, Any]]:
    """How the page's text about each of its examples goes on, before the edit and after it."""
    found, name = {}, studio.choices.editors[EDITOR][0]
    for view, session in written(studio, "any"):
        text = consequences.opening(fact := view.subject.case.fact)
        said = studio.answer(session, text, False, consequences.TOKENS).outcome()
        found[examples.key(fact)] = said | {"live": 0, "example": name}
    return found


def race(studio: Studio) -> stress_test.Test:
    """The stress test; an editor that is too slow for a visitor's stream may have a part in it."""
    cases, known = stress_test.mixed(studio.choices)[:EDITS], studio.choices.editors
    names = [name for name in (*stress_test.BASELINES, *RACE) if name in known]
    lines = [stress_test.Line(name, known[name][0]) for name in names]
    test = stress_test.Test(cases, stress_test.BATCH, lines)
    job = Session().submit(studio.worker, lambda job: lifelong.run(job, studio.lm, test))
    return replace(job.outcome(), cases=[lib.Case(case.fact, id=case.id) for case in cases])


def main(arguments: list[str] | None = None) -> int:
    """Parse, compute what is asked for, and write it part by part."""
    parser = argparse.ArgumentParser(prog="python -m demo_app.stored", description=__doc__)
    parser.add_argument("--model", help="a hub id, a local folder, or gemma-3-270m")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some of them")
    parser.add_argument("--to", type=path_of, default=examples.FOLDER, help="another folder")
    asked = parser.parse_args(arguments)
    try:
        studio = Studio(lib.load(asked.model))
    except lib.errors.EXPECTED as error:
        print(lib.errors.sentence(error), file=sys.stderr)
        return 2
    try:
        found, old = blank(studio), examples.of(studio.lm, asked.to)
        if old is not None and old.facts == found.facts:
            if {name: old.settings.get(name) for name in found.settings} == found.settings:
                found = replace(old, settings=found.settings)  # else it would not be made so today
        for part in sorted(asked.only, key=PARTS.index):
            found = replace(found, **{part: make(studio, part, found.natural)})
            print(f"\r{part}: written to {examples.write(found, asked.to)}\033[K")
    finally:
        studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
