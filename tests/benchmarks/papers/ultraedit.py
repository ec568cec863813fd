"""UltraEdit (Gu et al. 2025): do rewordings follow, and if not, what keeps them from it?

Facts are written in one turn and one pass, as published but for the step and the layers, which are
of the model's size. One rewording of each is asked by all three events. Then four suspects are
changed alone: the event, the modules (gate and up of the last third, as published for Llama), the
step, and the token at which keys and gradients are read (the subject's last in place of the
answer's); last, a second wording is written beside the fact's own.

With `--data FOLDER` the facts are those of counterfact.json there that the model knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import torch

import lib
from lib.atomic_files import sha256
from lib.data.facts import Fact, lookup
from lib.editors import UltraEdit
from lib.evaluation.intervals import DIFFERENCE, interval
from lib.evaluation.known_facts import known
from lib.keys_values import answer_gradients
from notebooks.support import long_runs, moved, stored_runs
from notebooks.support import runs_14_lifelong as runs_14
from tests.benchmarks.rows import classroom

from .frame import CLAIMS, Experiment, Given, Row, Speed, weights
from .superposition import called, published
from .verdicts import judged

SUSPECTS = "ultraedit_suspects"
FACTS = {"tiny": 4, "default": 60, "paper": 100}
UNRELATED = {"tiny": 2, "default": 15, "paper": 15}  # prompts
EVENTS = ("probability", "teacher_forced", "generation")
PUBLISHED = {
    "strength": 0.0, "keep_keys": False, "reduction": "group_mean", "few": None, "repeat": 1,
    "warmup": "none", "step": 1.6,
}  # fmt: skip
PLAIN, MODULES, TOKEN, WIDER = "plain", "modules", "subject's token", "two wordings"
STEPS = {"step × ¼": 0.25, "step × ½": 0.5, "step × 2": 2.0, "step × 4": 4.0}
UNEDITED = "unedited"
SMALLER = {f"{MODULES} × ¼": 0.25, f"{MODULES} × ½": 0.5}  # so that they write as little as PLAIN
ARMS = (PLAIN, *STEPS, MODULES, *SMALLER, TOKEN, WIDER)
DOWN = (18, 19, 20)  # where page 10's rows are written
LATE = 0.7  # of the depth, where the published layers of gate and up begin


def experiments(given: Given) -> list[Experiment]:
    """All arms and the unedited model, the first of those given."""
    lm = given.lm(given.models[0])
    count, token = FACTS[given.scale], Speed.of(lm).token
    settings: dict[str, Any] = {
        "scale": given.scale,
        "model": lm.identity,
        "facts": count,
        "unrelated": UNRELATED[given.scale],
        "arms": {arm: editor(lm, arm).settings_dict() for arm in ARMS},
    }
    if given.data is not None:
        settings["data"] = sha256(published(given.data))
    jobs = {arm: partial(written, given, arm) for arm in (UNEDITED, *ARMS)}
    # of each fact: writing it, two prompts by three events, and up to 32 tokens of each answer
    seconds = len(ARMS) * count * 400 * token
    command = "python -m tests.benchmarks.papers --paper ultraedit"
    run = stored_runs.LongRun(SUSPECTS, settings, jobs, command)
    return [Experiment(run, seconds, 2 * weights(lm))]


def editor(lm: lib.LM, arm: str) -> UltraEdit:
    """The editor of an arm."""
    step = (STEPS | SMALLER).get(arm, 1.0) * PUBLISHED["step"]
    changed: dict[str, Any] = {**PUBLISHED, "step": step}
    if lm.n_layers > max(DOWN):  # else the editor's own choice
        changed["down"] = DOWN
    if arm in (MODULES, *SMALLER):
        late = tuple(range(round(LATE * lm.n_layers), lm.n_layers))
        gate = late if len(lm.arch.mlp_in) > 1 else ()
        # the same step in all, shared among more matrices
        changed["step"] *= len(DOWN) / (len(gate) + len(late))
        changed |= {"down": (), "gate": gate, "up": late}
        if lm.arch.fused_in:  # gate and up are one matrix there: only the layers move
            changed |= {"down": late, "gate": (), "up": ()}
    return UltraEdit(lm, **changed)


def cases_of(given: Given, lm: lib.LM) -> list[lib.Case]:
    """Known facts with two rewordings, the second of which is asked of every arm."""
    count = FACTS[given.scale]
    if given.data is not None:
        found = known(lm, lib.read_cases(published(given.data), limit=20 * count))
    else:
        found = classroom("tables", lm.name)
    some = [case for case in found if len(case.paraphrases) > 1 and case.fact.subject][:count]
    if len(some) < count:
        raise ValueError(f"{lm.name} knows {len(some)} facts of {count} that are wanted")
    return some


def at_subjects(read: Any) -> AbstractContextManager[Any]:
    """In the body, keys and gradients are those at each subject's last token."""

    def subjects(lm: lib.LM, facts: Sequence[Fact], *more: Any, **named: Any) -> Any:
        found = read(lm, facts, *more, **named, everywhere=True)
        # one column for each token but the last of each row, the longest row first
        rows = answer_gradients.answer_rows(lm, facts)
        order = sorted(range(len(rows)), key=lambda i: -len(rows.ids[i]))
        lengths = [len(rows.prompts[i]) + len(rows.answers[i]) - 1 for i in order]
        starts = [sum(lengths[:i]) for i in range(len(order))]
        places = [lookup(lm.tokenizer, facts[i])[1] for i in order]
        at = torch.tensor([a + b for a, b in zip(starts, places, strict=True)])
        return {
            name: answer_gradients.KeyGradients(
                pair.K[:, at.to(pair.K.device)], pair.G[:, at.to(pair.G.device)], pair.group[at]
            )
            for name, pair in found.items()
        }

    return mock.patch.object(answer_gradients, "read", subjects)


def written(given: Given, arm: str) -> Iterator[Row]:
    """The row of one arm.

    facts, reworded  {event: a share per fact} of its own prompt, and of its second rewording
    kl               per unrelated prompt, in nats over four tokens
    """
    lm = given.lm(given.models[0])
    cases = cases_of(given, lm)
    some = [case.fact for case in cases]
    if arm == WIDER:
        more = [Fact(None, case.paraphrases[0], case.fact.target_new) for case in cases]
        some = [*some, *more]
    with at_subjects(answer_gradients.read) if arm == TOKEN else nullcontext():
        patch = lib.EMPTY if arm == UNEDITED else editor(lm, arm).edit(some, check=False)
    asked = [replace(case, paraphrases=case.paraphrases[1:2]) for case in cases]
    scores = lib.evaluate(lm, asked, patch, metrics=["generalization"], events=list(EVENTS))
    found = scores.by_case()
    spread = dict.fromkeys(prompt for case in lib.classroom() for prompt in case.locality)
    kl = moved.answers(lm, list(spread)[: UNRELATED[given.scale]], patch)
    yield {
        "model": called(lm),
        "arm": arm,
        **{
            name: {
                event: [round(float(x), 4) for x in found[metric, event]["mean"]]
                for event in EVENTS
            }
            for name, metric in {"facts": "efficacy", "reworded": "generalization"}.items()
        },
        "kl": [round(x, 5) for x in kl],
    }


def percent(values: Sequence[float], ends: tuple[float, float] = (0.0, 1.0)) -> str:
    """ "80 [70, 88] %"."""
    low, high = interval(values, ends)
    mean = sum(values) / len(values)
    return "{:.0f} [{:.0f}, {:.0f}] %".format(*(100 * x for x in (mean, low, high)))


def shown(row: Row) -> str:
    """One line for a row, with the paper's figure."""
    cells = [
        f"{event.replace('_', '-')} {percent(row['facts'][event])}, reworded "
        f"{percent(row['reworded'][event])}"
        for event in EVENTS
    ]
    said = "; ".join(cells)
    paper = "paper, Llama 3 8B after 20,000 of ZsRE, teacher-forced: 90, reworded 87"
    return f"{row['model']}, {row['arm']}: {said} ({paper})"


def outcomes(suspects: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """{claim: (what came out, verdict)} from the stored arms, and from page 10's rows."""
    (plain,) = (row for row in suspects["rows"] if row["arm"] == PLAIN)
    rules = {c["name"]: c for c in CLAIMS["claims"] if c["paper"] == "ultraedit" and "same" in c}
    found = {}
    for name, event in {"rewordings": "teacher_forced", "rewordings_said": "generation"}.items():
        own, other = plain["facts"][event], plain["reworded"][event]
        gaps = [b - a / 2 for a, b in zip(own, other, strict=True)]
        said = f"{len(own)} facts: {percent(own)}, reworded {percent(other)}"
        found[name] = judged(said, interval(gaps, DIFFERENCE), rules[name])
    rows = long_runs.rows("10_draws")
    for name, way in {"normalization": "none", "frozen": "first turn"}.items():
        arms = [
            [row["tokens"] for row in rows if (row["way"], row["scale"]) == (one, 4.0)]
            for one in ("lifelong", way)
        ]
        middle, *ends = runs_14.ahead(*arms)
        said = "{} streams of {} facts: {:+.0f} [{:+.0f}, {:+.0f}] points".format(
            len(arms[0]), len(arms[0][0]), *(100 * x for x in (middle, *ends))
        )
        found[name] = judged(said.replace("-", "−"), ends, rules[name])
    return found
