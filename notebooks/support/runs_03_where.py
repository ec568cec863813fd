"""The long runs of notebook 03: traces of several facts, and the same facts written at many layers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

import lib
from lib.editors import rome
from lib.keys_values import value_search
from lib.workbench.interpret import causal_trace, corrupted_runs

from . import models, stored_runs
from .runs_02_insert import rome_settings

SEVERAL, SINGLE, SEED = 7, 2, 0  # facts whose subject has several tokens, or one
ASKED = {"samples": 3, "noise": 3.0}  # draws of the noise, and its size in σ
EVERY = 3  # layers
WINDOWS = 10, 1  # modules that are restored at once
LAYERS = 11, 8, 20, 24, 2  # at which facts are written
LATE = 22, 28  # of a further run
KEYS = 0, 2, 8, 11, 16, 20, 22, 24, 28  # whose keys are compared
TRACED, WRITTEN = [0, 2], 3  # of every three facts these are traced, and the first is written
FRONT = {"C": None, "C without first positions": True}  # what `skip_first` is


def cases(lm: lib.LM) -> list[lib.Case]:
    """The Eiffel Tower and, drawn with this seed, known facts with subjects of several tokens, then
    of a single one; no subject and no answer to a relation twice, something between subject and end.
    """
    every = lib.classroom()
    drawn = every[:1] + random.Random(SEED).sample(every[1:], len(every) - 1)
    firsts = [lib.data.facts.encode_target(lm.tokenizer, c.fact.target_true)[0] for c in drawn]
    knows = lm.next_token([c.fact.text for c in drawn]).argmax(1).tolist()
    found, seen = {True: [], False: []}, set()
    for case, first, said in zip(drawn, firsts, knows, strict=True):
        ids, begin, end = corrupted_runs.span(lm, case.fact)
        group = found[end > begin]
        asked = {(case.fact.subject,), (case.relation, case.fact.target_true)}
        room = len(group) < (SEVERAL if end > begin else SINGLE)
        if room and first == said and end < len(ids) - 2 and not asked & seen:
            group.append(case)
            seen |= asked
    return found[True] + found[False]


def effect(lm: lib.LM, case: lib.Case, window: int, sigma: float) -> Iterator[dict[str, Any]]:
    """One row: the trace of a case at its subject, the token after it and the prompt's last.

    With a narrow window the MLPs alone are restored, at the subject's last token.
    """
    ids, first, last = corrupted_runs.span(lm, case.fact)
    wide = window == WINDOWS[0]
    at = [*range(first, last + 2), len(ids) - 1] if wide else [last]
    found = causal_trace.trace(
        lm,
        case.fact,
        kinds=corrupted_runs.KINDS if wide else ["mlp"],
        layers=range(0, lm.n_layers, EVERY),
        tokens=at,
        window=window,
        deviation=sigma,
        **ASKED,
    )
    yield {
        "case": case.id,
        "window": window,
        "tokens": found.tokens,
        "subject": found.subject,
        "answer": found.answer,
        "clean": round(found.p_clean, 4),
        "corrupted": round(found.p_corrupted, 4),
        "at": at,
    } | {
        kind: [[round(p, 4) for p in row] for row in table[at].tolist()]
        for kind, table in found.table.items()
    }


def traces(rows: Sequence[Mapping], window: int) -> list[causal_trace.Trace]:
    """The traces of the stored rows with this window; NaN where nothing was asked."""
    found = []
    for row in (row for row in rows if row["window"] == window):
        kinds = [kind for kind in corrupted_runs.KINDS if kind in row]
        layers = tuple(range(0, EVERY * len(row[kinds[0]][0]), EVERY))
        table = {k: torch.full((len(row["tokens"]), len(layers)), torch.nan) for k in kinds}
        for kind in kinds:
            table[kind][row["at"]] = torch.tensor(row[kind])
        texts = tuple(row["tokens"]), tuple(row["subject"]), row["answer"]
        found.append(
            causal_trace.Trace(*texts, True, row["clean"], row["corrupted"], layers, table)
        )
    return found


def written(
    lm: lib.LM, chosen: Sequence[lib.Case], case: lib.Case, layers: Sequence[int] = LAYERS
) -> Iterator[dict]:
    """A case written alone by ROME; one row for each layer and second moment.

    The value is searched once for a layer. A row has the probability of the whole new answer, and
    the mean KL of the next token at the other facts' prompts in nats.
    """
    texts = [one.fact.text for one in chosen if one is not case]
    before = lm.next_token(texts)  # (other facts, vocabulary)
    layers = list(dict.fromkeys(min(layer, lm.n_layers - 1) for layer in layers))
    for layer in layers:
        editor = lib.EDITORS["rome"](lm, **{**rome_settings(lm), "layer": layer})
        name, templates = lm.mlp_out(layer), editor.templates()
        search = editor.config.search()
        found = value_search.search(lm, [case.fact], layer, templates, search)[0]
        for kind, skip in FRONT.items():
            # one pass over the text makes all that are not stored yet
            C = lib.second_moment(lm, [layer], skip_first=skip, among=layers)[layer]
            update = rome.insert(lm.weight(name).cpu(), found, C, editor.config.keys)
            with lm.patched(lib.Patch(weights={name: lib.LowRank((update,))})):
                p = lm.score(case.fact.text, case.fact.target_new).sum().exp().item()
                after, says = lm.next_token(texts), lm.answer(case.fact.text, 6)
            kl = (before.exp() * (before - after)).sum(1).mean().item()
            row = {"case": case.id, "layer": layer, "moment": kind, "says": says}
            yield row | {"edit": round(p, 4), "KL elsewhere": round(kl, 5)}


def without_token(chosen: Sequence[lib.Case]) -> Iterator[dict]:
    """All of them `written` at the first layer, by the model without the token in front of a text."""
    plain = models.load("small")
    for case in chosen:
        for row in written(plain, chosen, case, LAYERS[:1]):
            yield row | {"reading": stored_runs.reading(plain)}


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Facts that the model knows: most of them traced, and every third of them written by ROME."""
    chosen = cases(lm)
    sigma = causal_trace.embedding_deviation(lm, [case.fact for case in chosen])
    some = chosen[::WRITTEN]
    traced = [case for i, case in enumerate(chosen) if i % WRITTEN in TRACED]
    plan = {f"{c.id}, window {w}": (c, w) for w in WINDOWS for c in traced}
    run, rome = partial(stored_runs.long_run, lm), {"ROME": (lib.EDITORS["rome"], {})}
    asked = {"cases": [c.id for c in some], "moments": FRONT}
    jobs = {str(case.id): partial(written, lm, some, case) for case in some}
    jobs["without the token"] = partial(without_token, some)
    late = {str(case.id): partial(written, lm, some, case, LATE) for case in some}
    traced_jobs = {name: partial(effect, lm, *pair, sigma) for name, pair in plan.items()}
    drawn = {"seed": SEED, "every": EVERY, **ASKED}
    return [
        run("03_written", rome, jobs, **asked, layers=LAYERS),
        run("03_late", rome, late, **asked, layers=LATE),
        run("03_traces", {}, traced_jobs, **drawn, traces=list(plan)),
    ]
