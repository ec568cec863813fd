"""The long runs of notebook 04: four keys, ROME without one of its parts, edits alone and in a row.

A row keeps the share of every case, not the mean, so that the page can show how many of how many,
name the fact that fails, and draw intervals.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import lib
from lib.editors import rome

from . import models, stored_runs
from .runs_02_insert import openers
from .score_tables import MEASURED as EVERY
from .score_tables import by_case

ASKED = {
    "events": ["generation"],
    "metrics": ["generalization", "specificity", "locality", "perplexity"],
}
MEASURED = {name: EVERY[name] for name in ("held", "reworded", "neighbors")}
STREAMED = MEASURED | {"held": "retention"}
KEYS = "mean", "prompt", "mixed", "both"
POINTS = (1, 10, 20)
STREAM = {"v_lr": 0.25}  # the rate that was measured better for a row of edits
WAYS = {
    "as set": {},
    "no KL": {"kl_factor": 0.0},
    "C = I": {"second_moment": False},
    "no templates": {"templates": ["{}"]},
    "KL at weight 1": {"kl_factor": 1.0},
}


def draws(edits: int = POINTS[-1]) -> dict[str, list[lib.Case]]:
    """{draw: facts with odd ids}: two that share no fact, and one of both."""
    every = lib.classroom()
    mixed = [case for case in every if case.id % 2]
    random.Random(0).shuffle(mixed)
    found = {"first": every[1::4], "second": every[3::4], "mixed": mixed}
    return {name: cases[:edits] for name, cases in found.items()}


def measured(lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch, base: Any) -> dict:
    """Shares of each case's prompts that answer as wanted, by generation, under a patch.

    `base` is what `lib.baseline` gave for these cases. The columns are:

    held, reworded, neighbors  One share per case, in the order of the cases.
    kl                         The mean KL divergence at unrelated prompts, in nats.
    perplexity                 That of held-out text.
    """
    scores = lib.evaluate(lm, cases, patch, base=base, **ASKED)
    return {
        "cases": [case.id for case in cases],
        **by_case(scores, MEASURED),
        "kl": round(float(scores.by_case()["locality", "kl_nats"]["mean"].mean()), 5),
        "perplexity": round(scores.perplexity, 3),
    }


def by_key(editor: lib.Editor, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """Each fact alone: unedited, then written under each of the four keys; one row for each.

    All four write the same value, which is searched once. A row has the shares of `measured`.
    """
    lm, layer = editor.lm, editor.config.layer
    name, C = lm.mlp_out(layer), editor.moment(layer)
    W = lm.weight(name).cpu()
    asked = {"events": ["generation"], "metrics": ["generalization", "specificity"]}
    base = lib.baseline(lm, cases, **asked)
    for case in cases:
        _, found = editor.update(case.fact)
        for key in ("unedited", *KEYS):
            patch = lib.EMPTY
            if key != "unedited":
                patch = lib.Patch(weights={name: lib.LowRank((rome.insert(W, found, C, key),))})
            said = lib.evaluate(lm, case, patch, base=base, **asked).json()
            shares = {what: said[metric]["generation"] for what, metric in MEASURED.items()}
            yield {"case": case.id, "key": key, **shares}


def without(editor: lib.Editor, case: lib.Case) -> Iterator[dict]:
    """ROME without one of its parts on one fact, each time on the base model; one row per part."""
    lm = editor.lm
    asked = {"events": ["generation"], "metrics": ["generalization", "specificity", "locality"]}
    base = lib.baseline(lm, case, **asked)
    for part, changes in WAYS.items():
        made = type(editor)(lm, **{"templates": editor.templates(), **changes})
        patch = made.edit([case.fact], check=False)
        found = lib.evaluate(lm, case, patch, base=base, **asked).json()
        shares = {name: found[metric]["generation"] for name, metric in MEASURED.items()}
        yield {"case": case.id, "part": part, **shares, "kl": found["locality"]["kl_nats"]}


def alone(editor: lib.Editor, draw: str, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """The facts of one draw, each written by itself on the base model; one row."""
    asked = {"events": ["generation"], "metrics": ["generalization", "specificity"]}
    scores = lib.singly(editor, cases, progress=False, **asked)
    yield {"draw": draw, "cases": [case.id for case in cases], **by_case(scores, MEASURED)}


def in_a_row(editor: lib.Editor, draw: str, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """The unedited model, and one row per edit with the probabilities of all new answers so far.

    At the points a row has one share per fact so far.
    """
    lm, facts = editor.lm, [case.fact for case in cases]
    base = lib.baseline(lm, cases, **ASKED)
    yield {"draw": draw, "edits": 0, **measured(lm, cases, lib.EMPTY, base)}
    asked = {"events": ["generation"], "metrics": ["generalization", "specificity", "perplexity"]}
    at = [n for n in POINTS if n <= len(cases)]
    run = lib.stream(lm, editor, cases, eval_at=at, evaluate_with=asked)
    for row in run:
        so_far = facts[: row["edits"]]
        with lm.patched(run.patch):
            p = lm.score([one.text for one in so_far], [one.target_new for one in so_far])
        p = [round(x.sum().exp().item(), 4) for x in p]
        seen = {"draw": draw, "edits": row["edits"]}
        seen["each"] = {"subject": so_far[-1].subject, "p": p}
        if row["edits"] in run.scores:
            scores = run.scores[row["edits"]]
            seen |= by_case(scores, STREAMED) | {"perplexity": round(scores.perplexity, 3)}
        yield seen


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Four keys, ROME without its parts, and three draws of twenty edits, alone and in a row.

    One more row is without the token in front of the texts.
    """
    plain, kind = models.load("small"), lib.EDITORS["rome"]
    editor, even = kind(lm), [case for case in lib.classroom() if case.id % 2 == 0]
    first = openers(plain, even)
    keyed = [*first[:6], *[case for case in even if case not in first][::9][:6]]
    taken = [case for case in draws(100)["mixed"] if case not in openers(plain, [case])][:6]
    run, one, found = partial(stored_runs.long_run, lm), {"ROME": (kind, {})}, []
    jobs = {str(case.id): partial(by_key, editor, [case]) for case in keyed}
    found.append(run("04_keys", one, jobs, cases=[case.id for case in keyed]))
    jobs = {str(case.id): partial(without, editor, case) for case in taken}
    found.append(run("04_parts", one, jobs, cases=[case.id for case in taken], parts=WAYS))
    for name, model in {"04_rows": lm, "04_rows_plain": plain}.items():
        made = kind(model, kind(lm, **STREAM).config)
        some = draws() if model is lm else {"first": draws()["first"]}
        cases = {draw: [case.id for case in facts] for draw, facts in some.items()}
        stream, reads = {"ROME": (kind, STREAM)}, stored_runs.reading(model)
        jobs = {draw: partial(in_a_row, made, draw, facts) for draw, facts in some.items()}
        found.append(run(name, stream, jobs, cases=cases, points=POINTS, reading=reads))
        if name == "04_rows":
            jobs = {draw: partial(alone, made, draw, facts) for draw, facts in some.items()}
            found.append(run("04_alone", stream, jobs, cases=cases))
    return found
