"""“Was this model edited?” as jobs: examine changed weights, remove the suspect, reveal the edit.

The weights are examined as in `lib.workbench.investigate`: without their base, and without the log
that names the edit. They contain either a secret edit made by the page or the visitor's own edits.
The solution is not sent to the browser until the end.
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import lib
from lib.data.facts import encode_target, fill
from lib.data.relations import relations
from lib.workbench.forensics.edited_prompts import TEMPLATES
from lib.workbench.forensics.investigation import THRESHOLD, examine
from lib.workbench.forensics.matched_filter import Suspect
from lib.workbench.forensics.reversal import removed

from .asking import MORE
from .findings import Findings, Place, Said, Told, Undone, Way
from .studio import Studio
from .subject_in_view import layers_of, listed
from .views import capital
from .visitors import Session
from .worker import Job, Trouble

OTHERS = 20  # other candidates tested after a reversal
ABOVE = 1.05  # a suspect's z is at least this many times the unedited model's largest z
ANSWER = 8  # tokens in an answer


@dataclass
class Trial:
    """Changed weights, their origin, and the findings.

    patch: only the weights, without a log.
    editor: the real editor's name on the page.
    facts: the facts that were really written.
    rewordings: other prompts for the first of these facts.
    findings: the result of the examination; None until it ends.
    spaces: {layer: the first suspect's directions}, for the reversal.
    """

    patch: lib.Patch
    editor: str
    facts: Sequence[lib.Fact]
    rewordings: tuple[str, ...] = ()
    findings: Findings | None = None
    spaces: dict[int, Tensor] | None = None


def secret(studio: Studio, session: Session, null: Sequence[float] = (), chance: Any = None) -> Job:
    """Make a secret edit by a random editor about a random fact, and examine it: Findings.

    null: the unedited model's largest z in each layer, if known. chance: picks the editor and the
        fact; None uses an unpredictable generator.
    """
    draw = chance or random.SystemRandom()
    known = studio.choices.editors
    editor = draw.choice(studio.choices.used("guessed"))
    case = draw.choice(list(studio.choices.cases.values()))

    def work(job: Job) -> Generator[None, None, Findings]:
        with job.counting(studio.lm, "Making a secret edit", 40, 0.0, 0.1):
            patch = studio.choices.writer(editor).edit([case.fact], check=False)
        trial = Trial(bare(patch), known[editor][0], [case.fact], case.paraphrases)
        yield
        return (yield from _examined(job, studio, session, trial, null))

    return session.submit(studio.worker, work, aside=True)


def mine(studio: Studio, session: Session, null: Sequence[float] = ()) -> Job:
    """Examine the visitor's live edits: Findings."""
    patch, known = session.patch, studio.choices.editors
    if not patch.weights:
        raise Trouble(
            "You have no live edit that changes weights. Make one in “Try”, for example with ROME."
        )
    names = dict.fromkeys(edit.editor for edit in patch.log)
    said = ", ".join(known[one][0] for one in names)
    trial = Trial(bare(patch), said, patch.facts)
    return session.submit(
        studio.worker, lambda job: _examined(job, studio, session, trial, null), aside=True
    )


def reverse(studio: Studio, session: Session) -> Job:
    """Remove the first suspect, without using the base, and measure the effect: Undone."""
    trial, found = _examined_trial(session)
    first = found.first
    if first is None or not trial.spaces:
        raise Trouble("No subject stands out, so there is nothing to remove.")
    return session.submit(
        studio.worker, lambda job: _undone(job, studio.lm, trial, first), aside=True
    )


def reveal(studio: Studio, session: Session) -> Job:
    """The real edit, compared with the findings: Told."""
    trial, found = _examined_trial(session)
    places = {one.name: place for place, one in enumerate(found.suspects, 1)}
    # among several of the visitor's edits, use the subject ranked highest in the list
    fact = min(trial.facts, key=lambda one: places.get(one.subject, math.inf))

    def work(job: Job) -> Told:
        lm, patch, first = studio.lm, trial.patch, found.first
        layers = layers_of(lm, patch)
        job.report(0.2, "Testing the edited fact")
        prompts = [fact.text, *trial.rewordings][:3]
        back = removed(lm, trial.spaces, patch) if trial.spaces else None
        return Told(
            trial.editor,
            len(trial.facts),
            fact.text,
            fact.target_new,
            listed(layers),
            places.get(fact.subject),
            None if first is None else set(first.layers) <= set(layers),
            _said(lm, prompts, patch, back, fact.target_new),
        )

    return session.submit(studio.worker, work, aside=True)


def bare(patch: lib.Patch) -> lib.Patch:
    """Only a patch's weights: no log, no editor state, no external memory."""
    return lib.Patch(patch.weights, base=patch.base)


def candidates() -> list[str]:
    """The subjects of the built-in facts."""
    known = [subject for relation in relations().values() for subject, _ in relation.answers]
    return list(dict.fromkeys(known))


def natural(lm: lib.LM) -> tuple[float, ...]:
    """The unedited model's largest z in each layer, among the built-in subjects."""
    found = lib.workbench.investigate(lm, candidates())
    return tuple(found.filtered.z.max(dim=1).values.tolist())


def _examined_trial(session: Session) -> tuple[Trial, Findings]:
    trial = session.trial
    if trial is None or trial.findings is None:
        raise Trouble("Nothing has been examined yet. Make a secret edit first.")
    return trial, trial.findings


def _examined(
    job: Job, studio: Studio, session: Session, trial: Trial, null: Sequence[float]
) -> Generator[None, None, Findings]:
    """Examine a trial's weights, and make the trial the visitor's."""
    names = candidates()
    # do not blame a name that stands out even in the unedited model
    least = round(max([THRESHOLD, *(ABOVE * z for z in null)]), 1)
    steps = examine(studio.lm, names, trial.patch, threshold=least)
    while True:
        try:
            share, words = next(steps)
        except StopIteration as end:
            found: lib.workbench.Investigation = end.value
            break
        job.report(0.1 + 0.9 * share, capital(words))
        yield
    places = []
    for layer, z in zip(found.filtered.layers, found.filtered.z, strict=True):
        best = int(z.argmax())
        usual = null[layer] if layer < len(null) else None
        places.append(Place(f"layer {layer}", z[best].item(), names[best], usual))
    trial.spaces = dict(found.spaces)
    trial.findings = Findings(
        found.verdict, tuple(places), found.suspects, len(names), found.threshold
    )
    session.trial = trial
    return trial.findings


def _undone(job: Job, lm: lib.LM, trial: Trial, first: Suspect) -> Generator[None, None, Undone]:
    """The reversal and its control, compared with the unedited model."""
    patch, about = trial.patch, [fill(template, first.name) for template in TEMPLATES]
    # do not count other edits as side effects
    own = {first.name, *(fact.subject for fact in trial.facts)}
    spread = [name for name in candidates() if name not in own]
    beside = [f"{name} is known for" for name in spread[:: max(1, len(spread) // OTHERS)][:OTHERS]]
    ways = {
        "edited weights, the same path": removed(lm, trial.spaces, patch, 0.0),
        "reversed": removed(lm, trial.spaces, patch),
    }
    tokens = []  # each prompt's next token: unedited, edited, reversed
    for i, one in enumerate((lib.EMPTY, *ways.values())):
        job.report(i / 4, "Testing the reversed weights, and the control")
        with lm.patched(one, only=True):
            tokens.append(lm.next_token([*about, *beside]).argmax(1))
        yield
    base, n = tokens[0], len(about)
    rows = []
    for (name, one), now in zip(ways.items(), tokens[1:], strict=True):
        same = (now == base).tolist()
        left = _left(lm, patch, one)
        rows.append(Way(name, sum(same[:n]), n, sum(same[n:]), len(beside), left))
    moved = (tokens[1] != base)[:n].tolist()
    shown = [prompt for prompt, other in zip(about, moved, strict=True) if other][:3]
    job.report(0.8, "Answering some prompts in full")
    said = _said(lm, shown, patch, ways["reversed"])
    return Undone(first.name, first.layers, tuple(rows), said)


def _left(lm: lib.LM, patch: lib.Patch, now: lib.Patch) -> float:
    """‖W − W₀‖_F over ‖ΔW‖_F, over all matrices that either patch changes."""
    modules = sorted(patch.weights.keys() | now.weights.keys())
    here, was = (
        math.hypot(*((lm.weight(one, of) - lm.weight(one)).norm().item() for one in modules))
        for of in (now, patch)
    )
    return here / was if was else 0.0


def _said(
    lm: lib.LM, prompts: list[str], patch: lib.Patch, back: lib.Patch | None, new: str = "a"
) -> tuple[Said, ...]:
    """The model's answers to prompts: unedited, edited and, if there is a reversal, reversed.

    new: an answer that must fit into the token limit.
    """
    answers, tokens = [], max(ANSWER, len(encode_target(lm.tokenizer, new)) + MORE)
    for one in (lib.EMPTY, patch, *([] if back is None else [back])):
        with lm.patched(one, only=True):
            answers.append([" ".join(text.split()) for text in lm.answer(prompts, tokens)])
    return tuple(Said(*row) for row in zip(prompts, *answers, strict=True))
