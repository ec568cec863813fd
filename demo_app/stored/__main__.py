"""`python -m demo_app.stored`: compute a model's examples and write their file.

This takes about half an hour on one core for the default model. Each example is written as soon as
it is finished. Use `--only race traced` to compute some of them again, leaving the others
unchanged.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import lt
from typing import Any

import lib
from lib.atomic_files import path_of
from lib.evaluation.answers import contains

from ..editor_roles import used
from ..lifelong import run as lifelong
from ..lifelong import stress_test
from ..session import consequences, dossiers, interference, lasting, layers, questions, tracing
from ..session.choices import can_edit
from ..session.editor_settings import preset
from ..session.findings import Traced
from ..session.studio import Studio
from ..session.views import Column, Subject, View, tally
from ..session.visitors import Session
from ..session.worker import Job
from . import examples
from .examples import Examples, Opening

EDITOR = "rome"  # editor of the edit that is examined
RACE = (EDITOR, stress_test.BREAKS)
# side by side when the page opens; the first is kept
OPENING = used("opening")
EDITS = stress_test.SLOW_EDITS  # in the race, as many as a visitor can run

PARTS = ("layers", "forecast", "race", "natural", "traced", "dossier", "opening", "lasts")


def settings(lm: lib.LM) -> dict[str, dict[str, Any]]:
    """{editor: its preset for this model}, for every editor used in the examples."""
    named = dict.fromkeys((EDITOR, *stress_test.BASELINES, *RACE, *OPENING))
    able = [name for name in named if can_edit(lib.EDITORS[name], lm)]
    return {name: plain(vars(preset(lm, name))) for name in able}


def plain(values: Any) -> Any:
    """Convert settings to the form in which JSON returns them."""
    return json.loads(json.dumps(values))


def blank(studio: Studio) -> Examples:
    """The model's examples before any is computed: the inputs they will be made from."""
    lm, fact = studio.lm, looked_into(studio).case.fact
    cases = examples.digest(studio.choices.cases.values())
    return Examples(lm.name, lm.fingerprint, fact, EDITOR, settings(lm), cases)


def looked_into(studio: Studio) -> Subject:
    """The fact used for the dossier and the trace: the tower."""
    choices = studio.choices
    return choices.ready_subject(choices.label(choices.cases[0].fact))


def make(studio: Studio, part: str, natural: tuple[float, ...] | None = None) -> Any:
    """One of PARTS, computed in the same way as a visitor's own.

    natural: that part, if it has been computed; `traced` shows it for comparison.
    """
    if part == "natural":
        return tracing.natural(studio.lm)
    whole = dict(layers=in_layers, forecast=forecasts, race=race, opening=opening)
    if part in whole:
        return whole[part](studio)
    subject, session = looked_into(studio), Session()
    studio.edit(session, subject, EDITOR, keep="any").outcome()
    if part == "lasts":
        return lasting.train_on(studio, session).outcome()
    if part == "traced":
        return traced(studio, session, natural or ())
    return dossiers.asked(studio, session, subject.case.fact.subject).outcome()


def written(studio: Studio, keep: str) -> Iterator[tuple[View, Session]]:
    """Write each of the page's examples with the editor, yielding its view and the visitor who owns
    the edit.
    """
    for label in studio.choices.examples:
        session, subject = Session(), studio.choices.ready_subject(label)
        yield studio.edit(session, subject, EDITOR, keep=keep).outcome(), session


def in_layers(studio: Studio) -> layers.Tried | None:
    """The first of the page's examples that the editor fails to write, in several layers.

    If it writes all of them, use the first that moved a neighbor, or None if there is not one.
    """
    made = list(written(studio, "said"))
    lost = [session for view, session in made if not view.kept]
    lost += [session for view, session in made if lt(*tally(view.rows, "neighbor"))]
    if not lost:
        return None
    found = layers.compare(studio, lost[0]).outcome()
    columns = tuple(map(without_patch, found.view.columns))
    return replace(found, view=replace(found.view, rows=(), columns=columns, stored=True))


def forecasts(studio: Studio) -> tuple[interference.Prediction, ...] | None:
    """Two of the page's examples that changed other answers, with the best and the worst
    predictions.

    The best has the largest fraction of its changed answers in the third with the largest
    predictions, and the worst has the smallest. Ties go to the one that changed more answers, then
    to the first. Returns None if no example changed any.
    """
    made = (interference.measure(studio, one).outcome() for _, one in written(studio, "any"))
    found = sorted((one for one in made if one.changed[0]), key=lambda one: -one.changed[0])
    told = [hits / changed for changed, hits, _ in (one.changed for one in found)]
    ends = dict.fromkeys((told.index(max(told)), told.index(min(told)))) if told else ()
    return tuple(found[i] for i in ends) or None


def without_patch(column: Column) -> Column:
    """A column without its patch and its local timing."""
    return replace(column, patch=None, seconds=0.0, stored=False)


def traced(studio: Studio, session: Session, natural: tuple[float, ...]) -> Traced:
    """An edit examined without its base, removed again, and revealed."""
    found = tracing.mine(studio, session, natural).outcome()
    undone = tracing.reverse(studio, session).outcome()
    return Traced(found, undone, tracing.reveal(studio, session).outcome())


def opening(studio: Studio) -> dict[str, Opening]:
    """Each of the page's examples written by several editors, each starting from the unedited
    model.
    """
    found = {}
    for label in studio.choices.examples:
        session, subject = Session(), studio.choices.ready_subject(label)
        view = studio.edit(session, subject, OPENING, keep="none").outcome()
        made = [one for one in view.columns if one.rows]
        text, said = continuations(studio, session, subject.case, [one.patch for one in made])
        columns = tuple(replace(without_patch(one), stored=True) for one in made)
        found[examples.key(subject.case.fact)] = Opening(columns, text, tuple(said))
    return found


def continuations(
    studio: Studio, session: Session, case: lib.Case, patches: Sequence[lib.Patch]
) -> tuple[str, list[str]]:
    """A text about a fact, with its continuations without an edit and under each patch.

    Uses the first text that contains the new answer under the first patch but not without it, or
    the last text if there is none.
    """
    texts = list(filter(None, [questions.text_to_continue(case), consequences.opening(case.fact)]))

    def written(patch: lib.Patch, text: str) -> str:
        def work(_: Job) -> str:
            with studio.lm.patched(patch, only=True):
                return studio.lm.answer(text, consequences.TOKENS)

        return session.submit(studio.worker, work).outcome()

    for text in texts:
        pair = [written(patch, text) for patch in (lib.EMPTY, patches[0])]
        if [contains(one, case.fact.target_new) for one in pair] == [False, True]:
            break
    return text, [*pair, *(written(patch, text) for patch in patches[1:])]


def race(studio: Studio) -> stress_test.Test:
    """The stress test, including editors that are too slow for a visitor's own."""
    cases, known = stress_test.mixed(studio.choices)[:EDITS], studio.choices.editors
    names = [name for name in (*stress_test.BASELINES, *RACE) if name in known]
    lines = [stress_test.Line(name, known[name][0]) for name in names]
    test = stress_test.Test(cases, stress_test.BATCH, lines)
    job = Session().submit(studio.worker, lambda job: lifelong.run(job, studio.lm, test))
    return replace(job.outcome(), cases=[lib.Case(case.fact, id=case.id) for case in cases])


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, compute the requested parts, and write them one by one."""
    parser = argparse.ArgumentParser(prog="python -m demo_app.stored", description=__doc__)
    parser.add_argument("--model", help="a hub id, a local folder, or gemma-3-270m")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, help="compute only some of them"
    )
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
                # otherwise it would come out differently today
                found = replace(old, settings=found.settings)
        for part in sorted(asked.only, key=PARTS.index):
            found = replace(found, **{part: make(studio, part, found.natural)})
            print(f"\r{part}: written to {examples.write(found, asked.to)}\033[K")
    finally:
        studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
