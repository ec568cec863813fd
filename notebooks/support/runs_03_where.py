"""The long runs of notebook 03: traces of many facts, and edits at many layers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

import lib
from lib.editors import rome
from lib.keys_values import value_search as target_value
from lib.workbench.interpret import causal_trace, corrupted_runs

from . import stored_runs

SETTINGS = {
    "several": 32,  # facts whose subject has several tokens
    "single": 8,
    "seed": 0,
    "every": 2,  # layers
    "samples": 5,  # draws of the noise
    "noise": 3.0,  # in σ
    "window": 10,  # MLPs or attentions restored at once
    "windows": [4, 1],
    "windowed": 12,  # facts for which the other windows are tried
}
EDITS = {"editor": "rome", "second_moment": False, "cases": "every fifth of 03_effects"}
EDITS["layers"] = [28, 26, 24, 22, 20, 16, 12, 8, 4, 2, 0]
WRITTEN = {"editor": "rome", "cases": "every fifth of 03_effects", "layers": [11, 3, 8, 20]}
WRITTEN["moments"] = ["C", "C with first tokens", "I"]
MOMENTS = {"C": None, "C with first tokens": False}  # whether position 0 is left out; None: yes


def cases(lm: lib.LM, several: int, single: int, seed: int) -> list[lib.Case]:
    """The Eiffel Tower and, drawn with this seed, known facts with subjects of several tokens, then
    of a single one; no subject and no answer to a relation twice, something between subject and end.
    """
    every = lib.classroom()
    drawn = every[:1] + random.Random(seed).sample(every[1:], len(every) - 1)
    firsts = [lib.data.facts.encode_target(lm.tokenizer, c.fact.target_true)[0] for c in drawn]
    knows = lm.next_token([c.fact.text for c in drawn]).argmax(1).tolist()
    found, seen = {True: [], False: []}, set()
    for case, first, said in zip(drawn, firsts, knows, strict=True):
        ids, begin, end = corrupted_runs.span(lm, case.fact)
        group = found[end > begin]
        asked = {(case.fact.subject,), (case.relation, case.fact.target_true)}
        room = len(group) < (several if end > begin else single)
        if room and first == said and end < len(ids) - 2 and not asked & seen:
            group.append(case)
            seen |= asked
    return found[True] + found[False]


def facts(lm: lib.LM) -> list[lib.Case]:
    """The forty cases of the stored traces; the long run chooses them by `cases`."""
    if stored_runs.long():
        return cases(lm, SETTINGS["several"], SETTINGS["single"], SETTINGS["seed"])
    rows = stored_runs.load("03_effects", SETTINGS)["rows"]
    known = {case.id: case for case in lib.classroom()}
    return [known[i] for i in dict.fromkeys(row["case"] for row in rows)]


def effects(lm: lib.LM, chosen: Sequence[lib.Case], count: int | None = None) -> Iterator[dict]:
    """One row per case, all kinds, then rows of the first cases' MLPs with further windows.

    hidden, mlp, attention   p of the restored runs, a list of layers per token from the subject on
    count                    so many rows, from the first on, without "hidden", of which the page
                             makes a trace of its own; all without it
    """
    sigma = causal_trace.embedding_deviation(lm, [case.fact for case in chosen])
    all_kinds = corrupted_runs.KINDS if count is None else ("mlp", "attention")
    plan = [(case, SETTINGS["window"], all_kinds) for case in chosen]
    some = chosen[: SETTINGS["windowed"]]
    plan += [(case, window, ("mlp",)) for window in SETTINGS["windows"] for case in some]
    for case, window, kinds in plan[:count]:
        yield effect(lm, case, window, kinds, sigma)


def effect(
    lm: lib.LM, case: lib.Case, window: int, kinds: Sequence[str], deviation: float
) -> dict[str, Any]:
    """A row of `effects`: the trace of one case, with this deviation of the embeddings."""
    asked = {key: SETTINGS[key] for key in ("samples", "noise")} | {"deviation": deviation}
    layers = range(0, lm.n_layers, SETTINGS["every"])
    found = causal_trace.trace(lm, case.fact, kinds=kinds, layers=layers, window=window, **asked)
    return {
        "case": case.id,
        "window": window,
        "tokens": found.tokens,
        "subject": found.subject,
        "answer": found.answer,
        "clean": round(found.p_clean, 4),
        "corrupted": round(found.p_corrupted, 4),
    } | {
        kind: [[round(p, 4) for p in row] for row in table[found.subject[0] :].tolist()]
        for kind, table in found.table.items()
    }


def traces(rows: Sequence[Mapping], window: int) -> list[causal_trace.Trace]:
    """The traces of the stored rows with this window."""
    found = []
    for row in rows:
        if row["window"] == window:
            kinds = [kind for kind in corrupted_runs.KINDS if kind in row]
            first, columns = row["subject"][0], len(row[kinds[0]][0])
            before = torch.full((first, columns), row["corrupted"])
            table = {kind: torch.cat([before, torch.tensor(row[kind])]) for kind in kinds}
            layers = tuple(range(0, SETTINGS["every"] * columns, SETTINGS["every"]))
            texts = tuple(row["tokens"]), tuple(row["subject"]), row["answer"]
            found.append(
                causal_trace.Trace(*texts, True, row["clean"], row["corrupted"], layers, table)
            )
    return found


def by_moment(lm: lib.LM, chosen: Sequence[lib.Case], first: int | None = None) -> Iterator[dict]:
    """Write each fact alone by ROME; one row per case, layer and second moment.

    The value is searched once per case and layer. A row has the probability of the whole new
    answer, and the mean KL of the next token at the other facts' prompts in nats.

    first  only the first case's rows at this layer
    """
    texts = [case.fact.text for case in chosen]
    before = lm.next_token(texts)  # (cases, vocabulary)
    layers = dict.fromkeys(min(layer, lm.n_layers - 1) for layer in WRITTEN["layers"])
    for layer in layers if first is None else [first]:
        editor = lib.EDITORS["rome"](lm, layer=layer)
        name = lm.mlp_out(layer)
        moments = {
            kind: lib.second_moment(lm, [layer], skip_first=skip)[layer]
            for kind, skip in MOMENTS.items()
        }
        for i, case in enumerate(chosen if first is None else chosen[:1]):
            found = target_value.search(
                lm, [case.fact], layer, editor.templates(), editor.config.search()
            )[0]
            others = [j for j in range(len(chosen)) if j != i]
            for kind in WRITTEN["moments"]:
                C = moments.get(kind)  # "I" has none
                update = rome.insert(lm.weight(name).cpu(), found, C, editor.config.keys)
                patch = lib.Patch(weights={name: lib.LowRank((update,))})
                with lm.patched(patch):
                    p = lm.score(case.fact.text, case.fact.target_new).sum().exp().item()
                    after, says = lm.next_token(texts), lm.answer(case.fact.text, 6)
                kl = (before.exp() * (before - after)).sum(1)[others].mean().item()
                row = {"case": case.id, "layer": layer, "moment": kind, "says": says}
                yield row | {
                    "edit": round(p, 4),
                    "KL elsewhere": round(kl, 5) if others else None,
                }


def edits(lm: lib.LM, chosen: Sequence[lib.Case], count: int | None = None) -> Iterator[dict]:
    """One row per case and layer, or of `count` cases at one layer: the fact by ROME with C = I.

    Probability of the whole new answer on the edit's own prompt, and its mean over the rewordings.
    """
    layers = [layer for layer in EDITS["layers"] if layer < lm.n_layers][: count and 1]
    for case in chosen[:count]:
        new, prompts = case.fact.target_new, [case.fact.text, *case.paraphrases]
        for layer in layers:
            patch = lib.EDITORS["rome"](lm, layer=layer, second_moment=False).edit(
                [case.fact], check=False
            )
            with lm.patched(patch):
                p = lm.score(prompts, [new] * len(prompts))
            own, *others = (score.sum().exp().item() for score in p)
            row = {"case": case.id, "layer": layer, "edit": round(own, 4)}
            yield row | {"rewordings": round(sum(others) / len(others), 4)}


# ---------------------------------------------------------------- the runs on the model that `lib.load()` gives

SEVERAL, SINGLE, WINDOWED, WRITTEN_CASES = 16, 4, 6, 5  # facts


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Traces of facts that the model knows, and every fourth of them written by ROME."""
    chosen = cases(lm, SEVERAL, SINGLE, SETTINGS["seed"])
    sigma = causal_trace.embedding_deviation(lm, [case.fact for case in chosen])
    some = chosen[::4][:WRITTEN_CASES]
    plan = {f"{case.id}": (case, SETTINGS["window"], corrupted_runs.KINDS) for case in chosen}
    for window in SETTINGS["windows"]:
        plan |= {f"{c.id}, window {window}": (c, window, ("mlp",)) for c in chosen[:WINDOWED]}

    def traced(name: str) -> Iterator[dict[str, Any]]:
        yield effect(lm, *plan[name], sigma)

    rome = lib.EDITORS["rome"]
    reads = {"reading": stored_runs.reading(lm)}
    with_identity = stored_runs.configs(lm, {"ROME": (rome, {"second_moment": False})})
    asked = {key: SETTINGS[key] for key in ("seed", "every", "samples", "noise")}
    written = {"cases": [case.id for case in some]}
    return [
        stored_runs.LongRun(
            "03_traces",
            reads | asked | {"editors": {}, "traces": list(plan)},
            {name: partial(traced, name) for name in plan},
        ),
        stored_runs.LongRun(
            "03_identity",
            reads | written | {"editors": with_identity, "layers": EDITS["layers"]},
            {str(case.id): partial(edits, lm, [case]) for case in some},
        ),
        stored_runs.LongRun(
            "03_written",
            reads
            | written
            | {"editors": stored_runs.configs(lm, {"ROME": (rome, {})})}
            | {key: WRITTEN[key] for key in ("layers", "moments")},
            {"all": partial(by_moment, lm, some)},
        ),
    ]
