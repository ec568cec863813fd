"""“Was this edited?” as jobs: put something on the table, examine it, reverse it, be told.

With the base at hand the weights are compared with it, matrix by matrix. Without it they are looked
at alone, as in `lib.investigate`; the page's own model then only judges the reversal. What is told
at the end is never sent to the browser before. Every job gives the model back every second or so.
Over 300 lines: the four jobs hand one state on to each other, and are read in their order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

import lib
from lib.data.facts import fill
from lib.forensics.candidates import BARE, MOST, PREFIX
from lib.forensics.difference import FEW, Difference, compare, stretched
from lib.forensics.investigation import PROMPT_THRESHOLD, THRESHOLD, examine, named
from lib.forensics.objects import TEMPLATES, objects
from lib.forensics.reversal import PREFIXES, removed, subject_space

from . import given, suspects
from .findings import Findings, Named, Place, Said, Told, Undone, Way, Word
from .long_run import ticking
from .studio import Studio
from .subject_in_view import layers_of, listed
from .suspects import NOTHING, Suspect
from .visitors import Session
from .worker import Job, Progress, Trouble

TEN = 10  # candidates that are shown
OTHERS = 20  # other candidates that are asked after a reversal
ELSE = "{} is known for"  # what they are asked
ANSWER = 8  # tokens of an answer
EARLY = 1 / 3  # of the layers are the early ones, where editors of facts write
MORE = 4_000  # characters of the visitor's own candidates
NOT_YET = "Nothing was examined yet: press Examine first."
OTHER_NOW = "Something else lies on the table meanwhile: press Examine again."
T = TypeVar("T")


@dataclass
class Trial:
    """What lies on a visitor's table, and what was found out about it.

    suspect: the changed weights.
    findings: of the last examination.
    spaces: {layer: directions of the first suspect}, for the reversal.
    undone: what the reversal reached.
    """

    suspect: Suspect
    findings: Findings | None = None
    spaces: dict[int, Tensor] | None = None
    undone: Undone | None = None


def draw(studio: Studio, session: Session, chance: Any = None) -> Job:
    """Put a blind edit on the table: the Suspect. `chance` is as in `suspects.blind`."""

    def work(job: Job) -> Suspect:
        words = "Making an edit that is not named"
        make, truth = suspects.blind(studio.lm, studio.choices, chance)
        with job.counting(studio.lm, words, 40, 0.0, 1.0):
            patch = make()
        return _laid(session, Suspect("a blind edit", patch, truth=truth))

    return session.submit(studio.worker, work)


def bring(studio: Studio, session: Session, path: str | Path, name: str) -> Job:
    """Put a file on the table: the Suspect."""

    def work(job: Job) -> Suspect:
        job.report(0.1, "Comparing the file with the model")
        try:
            return _laid(session, suspects.brought(studio.lm, studio.choices, path, name))
        except FileNotFoundError:
            raise Trouble(f"{name} is not here any more: please upload it again.") from None

    return session.submit(studio.worker, work)


def mine(studio: Studio, session: Session) -> Job:
    """Put the visitor's applied edits on the table: the Suspect."""
    return session.submit(
        studio.worker, lambda job: _laid(session, suspects.own(studio.choices, session))
    )


def candidates(more: Any = None) -> list[str]:
    """The classroom's subjects, and the visitor's own, one per line. Raises Trouble."""
    known = [subject for relation in lib.relations().values() for subject, _ in relation.answers]
    return list(dict.fromkeys([*known, *given.lines("list of candidates", more, MORE)]))[:MOST]


def asked(more: Any = None) -> list[str]:
    """The classroom's prompts, and the visitor's own, one per line. Raises Trouble."""
    known = [case.fact.text for case in lib.classroom()]
    return list(dict.fromkeys([*known, *given.lines("list of prompts", more, MORE)]))[:MOST]


def early(lm: lib.LM) -> list[int]:
    """The layers that are looked at first: the lower third."""
    return list(range(max(1, round(EARLY * lm.n_layers))))


def look(
    studio: Studio,
    session: Session,
    with_base: bool,
    everywhere: bool = True,
    more: Any = None,
    null: Sequence[float] = (),
    whole: bool = False,
    prompts: Any = None,
) -> Job:
    """Examine what lies on the table: Findings.

    with_base: compare it with the page's model, or look at the weights alone.
    everywhere: without the base, in all layers, or in the lower third.
    more: further subjects, one per line.
    null: the largest z of each layer of the unedited model, read in the same way, where known.
    whole: whether whole prompts are candidates as well, which takes half as long again.
    prompts: further whole prompts, one per line.
    """
    trial = _trial(session)
    with_base = given.flag("Comparing with the base", with_base)
    everywhere = given.flag("Looking at all layers", everywhere)
    names = candidates(more)
    some = asked(prompts) if given.flag("Asking whole prompts", whole) else []

    def work(job: Job) -> Generator[None, None, Findings]:
        began = time.monotonic()
        if with_base:
            found, spaces = yield from _compared(job, studio.lm, trial.suspect, names, some)
        else:
            layers = None if everywhere else early(studio.lm)
            own = names == candidates()  # the null is that of the classroom's subjects
            found, spaces = yield from _alone(
                job, studio.lm, trial.suspect, names, some, layers, null if own else ()
            )
        if session.trial is not trial:
            raise Trouble(OTHER_NOW)
        trial.findings = replace(found, seconds=time.monotonic() - began)
        trial.spaces, trial.undone = spaces, None
        return trial.findings

    return session.submit(studio.worker, work)


def reverse(studio: Studio, session: Session) -> Job:
    """Take the first suspect out, without the base, and say what that reached: Undone."""
    trial = _trial(session)
    found = _found(trial)
    first = found.first
    if first is None or not trial.spaces:
        raise Trouble("Nobody stands out, so there is nobody to take out.")
    spaces = trial.spaces

    def work(job: Job) -> Generator[None, None, Undone]:
        lm, patch = studio.lm, trial.suspect.patch
        undone = yield from _undone(job, lm, patch, first, spaces)
        if session.trial is not trial:
            raise Trouble(OTHER_NOW)
        trial.undone = undone
        return undone

    return session.submit(studio.worker, work)


def reveal(studio: Studio, session: Session) -> Job:
    """What the suspect really was, beside what was named: Told."""
    trial = _trial(session)
    found, truth = _found(trial), trial.suspect.truth
    if truth is None or truth.fact is None:
        raise Trouble("Nobody here knows what this was: the file does not say it.")
    fact = truth.fact

    def work(job: Job) -> Told:
        lm, patch, first = studio.lm, trial.suspect.patch, found.first
        layers = layers_of(lm, patch)
        job.report(0.2, "Asking what was edited")
        prompts = [fact.text, *truth.rewordings][:3]
        back = removed(lm, trial.spaces, patch) if trial.spaces else None
        right = [one.name == (fact.text if one.prompt else fact.subject) for one in found.suspects]
        start = fact.target_new.strip().casefold()
        hits = [
            i for i, word in enumerate(found.words, 1)
            if word.token.strip() and start.startswith(word.token.strip().casefold())
        ]  # fmt: skip
        return Told(
            truth.editor,
            truth.count,
            fact.subject or "",
            fact.text,
            fact.target_new,
            listed(layers),
            right.index(True) + 1 if True in right else None,
            None if first is None else set(first.layers) <= set(layers),
            hits[0] if hits else None,
            _said(lm, prompts, patch, back),
        )

    return session.submit(studio.worker, work)


def natural(lm: lib.LM) -> Generator[Progress, None, tuple[float, ...]]:
    """The largest z of each layer of the unedited model, among the classroom's subjects."""
    steps = examine(lm, candidates())
    while True:
        try:
            yield Progress(*next(steps))
        except StopIteration as end:
            return tuple(end.value.filtered.z.max(dim=1).values.tolist())


def _laid(session: Session, suspect: Suspect) -> Suspect:
    session.trial = Trial(suspect)
    return suspect


def _trial(session: Session) -> Trial:
    if session.trial is None:
        raise Trouble(NOTHING)
    return session.trial


def _found(trial: Trial) -> Findings:
    if trial.findings is None:
        raise Trouble(NOT_YET)
    return trial.findings


def _alone(
    job: Job,
    lm: lib.LM,
    suspect: Suspect,
    names: list[str],
    prompts: list[str],
    layers: list[int] | None,
    null: Sequence[float],
) -> Generator[None, None, tuple[Findings, dict[int, Tensor]]]:
    """The weights looked at without the base."""
    began = time.monotonic()
    steps = examine(
        lm,
        names,
        suspect.patch,
        layers=layers,
        prompts=prompts,
        threshold=THRESHOLD,
        prompt_threshold=PROMPT_THRESHOLD,
    )
    while True:
        try:
            share, words = next(steps)
        except StopIteration as end:
            found: lib.Investigation = end.value
            break
        left = (time.monotonic() - began) * (1 - share) / share if share > 0 else math.nan
        said = f", about {left:.0f} s more" if left < 3600 else ""
        job.report(share, f"{words[:1].upper()}{words[1:]}{said}")
        yield
    z = found.filtered.z
    places = []
    for i, layer in enumerate(found.filtered.layers):
        best = int(z[i].argmax())
        usual = null[layer] if layer < len(null) else None
        places.append(Place(f"layer {layer}", z[i, best].item(), names[best], usual))
    findings = Findings(
        False,
        found.verdict,
        tuple(places),
        tuple(Named(one.name, one.z, one.layers, prompt=one.prompt) for one in found.suspects),
        _words(found.answers),
        len(names),
        found.threshold,
        notes=suspect.notes,
        prompts=len(prompts),
        prompt_threshold=found.prompt_threshold,
    )
    return findings, dict(found.spaces)


def _compared(
    job: Job, lm: lib.LM, suspect: Suspect, names: list[str], prompts: list[str]
) -> Generator[None, None, tuple[Findings, dict[int, Tensor]]]:
    """The weights compared with the base's."""
    patch = suspect.patch
    where = {lm.mlp_out(layer): layer for layer in range(lm.n_layers)}
    layers = [where[module] for module in patch.weights if module in where]
    if 0 < len(layers) <= FEW:
        with ticking(job, lm, "Reading general text with the base model", 20, 0.0, 0.4):
            lib.second_moment(lm, layers[:1], among=layers)
        yield
    steps = compare(lm, patch=patch)
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            found: Difference = replace(end.value, elsewhere=suspect.elsewhere)
            break
        job.report(0.4 + 0.4 * share, f"Comparing {len(patch.weights)} matrices")
        yield
    spaces: dict[int, Tensor] = {}
    shown: tuple[Named, ...] = ()
    words: tuple[Word, ...] = ()
    ranked = _largest(found, where)
    if len(ranked.table):
        job.report(0.8, f"Comparing {len(names) + len(prompts)} candidates")
        at = tuple(sorted(where[module] for module in ranked.table.index))
        listed: list[Named] = []
        for some, prefix in ((names, PREFIX), (prompts, BARE)):
            rows = stretched(lm, ranked, some, prefix).head(TEN).itertuples() if some else ()
            listed += [Named(row.name, row.z, at, row.share, some is prompts) for row in rows]
            yield
        # a z compares a candidate with those of its own list, and a share with all
        listed.sort(key=lambda one: one.share or 0.0, reverse=True)
        shown = tuple(listed[:TEN])
        if shown[0].z >= THRESHOLD:
            job.report(0.9, "Asking what is said about the first")
            moments = lib.second_moment(lm, list(at))
            for layer in at:
                C = moments[layer].C.float()
                spaces[layer] = subject_space(
                    lm, layer, shown[0].name, C, patch, (BARE,) if shown[0].prompt else PREFIXES
                )
            words = _words(
                objects(
                    lm, shown[0].name, patch, templates=(BARE,) if shown[0].prompt else TEMPLATES
                )
            )
    verdict = found.signature
    if shown and not words:
        verdict += " Nobody among the candidates stands out."
    elif shown:
        verdict += f" Consistent with an edit of: {named(shown[0].name, shown[0].prompt)}."
    places = tuple(
        Place(
            name.removeprefix(f"{lm.arch.blocks}."),
            row.change,
            rank=int(row["rank"]),
            norm=row.norm,
            noise=row.noise,
        )
        for name, row in found.table.iterrows()
    )
    findings = Findings(
        True, verdict, places, shown, words, len(names), THRESHOLD, found.edits,
        notes=suspect.notes, prompts=len(prompts), prompt_threshold=THRESHOLD,
    )  # fmt: skip
    return findings, spaces


def _largest(found: Difference, where: dict[str, int]) -> Difference:
    """The changed output projections alone, and of many those that changed most."""
    mine = [name for name in found.table.index if name in where and found.table["rank"][name] > 0]
    table = found.table.loc[mine].sort_values("change", ascending=False).head(FEW)
    return replace(found, table=table, changes={name: found.changes[name] for name in table.index})


def _undone(
    job: Job, lm: lib.LM, patch: lib.Patch, first: Named, spaces: dict[int, Tensor]
) -> Generator[None, None, Undone]:
    """The reversal and its control, judged by the unedited model."""
    about = [first.name] if first.prompt else [fill(template, first.name) for template in TEMPLATES]
    spread = [name for name in candidates() if name != first.name]
    beside = [fill(ELSE, name) for name in spread[:: max(1, len(spread) // OTHERS)][:OTHERS]]
    prompts = [*about, *beside]
    ways = {
        "": lib.EMPTY,
        "edited weights, the same path": removed(lm, spaces, patch, 0.0),
        "reversed": removed(lm, spaces, patch),
    }
    tables: list[Tensor] = []
    for i, one in enumerate(ways.values()):
        job.report(i / 4, "Asking the reversed weights, and the same without reversal")
        with lm.patched(one, only=True):
            tables.append(lm.next_token(prompts))
        yield
    base, n, rows = tables[0], len(about), []
    for (name, one), table in list(zip(ways.items(), tables, strict=True))[1:]:
        same = (table.argmax(1) == base.argmax(1)).tolist()
        kl = (base.exp() * (base - table)).sum(1).clamp(min=0)
        rows.append(
            Way(
                name, sum(same[:n]), n, kl[:n].mean().item(),
                sum(same[n:]), len(beside), kl[n:].mean().item(), _left(lm, patch, one),
            )
        )  # fmt: skip
    moved = (tables[1].argmax(1) != base.argmax(1))[:n].tolist()
    shown = [prompt for prompt, other in zip(about, moved, strict=True) if other][:3]
    job.report(0.8, "Asking some prompts in full")
    said = _said(lm, shown, patch, ways["reversed"])
    return Undone(first.name, first.layers, tuple(rows), said)


def _left(lm: lib.LM, patch: lib.Patch, now: lib.Patch) -> float:
    """‖W − W₀‖_F over ‖ΔW‖_F, over all matrices that either patch changes."""
    here = was = 0.0
    for module in patch.weights.keys() | now.weights.keys():
        W0 = lm.weight(module)
        here += (lm.weight(module, now) - W0).square().sum().item()
        was += (lm.weight(module, patch) - W0).square().sum().item()
    return math.sqrt(here / was) if was else 0.0


def _said(
    lm: lib.LM, prompts: list[str], patch: lib.Patch, back: lib.Patch | None
) -> tuple[Said, ...]:
    """What the model answers to prompts: unedited, edited, reversed ("" where nothing was)."""
    if not prompts:
        return ()
    answers = []
    for one in (lib.EMPTY, patch, back):
        if one is None:
            answers.append([""] * len(prompts))
            continue
        with lm.patched(one, only=True):
            answers.append([" ".join(text.split()) for text in lm.answer(prompts, ANSWER)])
    return tuple(Said(*row) for row in zip(prompts, *answers, strict=True))


def _words(table: Any) -> tuple[Word, ...]:
    """The rows of `objects` as plain values."""
    return tuple(Word(row.token, row.kl, row.rise, row.p) for row in table.itertuples())
