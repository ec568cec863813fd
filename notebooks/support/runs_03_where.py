"""The long runs of notebook 03: causal traces of many facts, and ROME's edit at several layers.

The other functions turn their rows into the page's tables and figures.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

import lib
from lib import plot
from lib.evaluation.intervals import interval
from lib.interpret import causal_trace, corrupted_runs

NAMES = {"hidden": "states", "mlp": "MLPs", "attention": "attention"}


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


def effects(
    lm: lib.LM, chosen: Sequence[lib.Case], settings: Mapping, *, live: bool = False
) -> Iterator[dict]:
    """One row per case, all kinds, then rows of the first cases' MLPs with further windows.

    hidden, mlp, attention   p of the restored runs, a list of layers per token from the subject on
    live                     the first row alone
    """
    sigma = causal_trace.embedding_deviation(lm, [case.fact for case in chosen])
    asked = {key: settings[key] for key in ("samples", "noise")} | {"deviation": sigma}
    layers = range(0, lm.n_layers, settings["every"])
    plan = [(case, settings["window"], corrupted_runs.KINDS) for case in chosen]
    some = chosen[: settings["windowed"]]
    plan += [(case, window, ("mlp",)) for window in settings["windows"] for case in some]
    for case, window, kinds in plan[:1] if live else plan:
        found = causal_trace.trace(
            lm, case.fact, kinds=kinds, layers=layers, window=window, **asked
        )
        yield {
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


def traces(rows: Sequence[Mapping], window: int, every: int) -> dict[int, causal_trace.Trace]:
    """{case: its trace} of the stored rows with this window."""
    found = {}
    for row in rows:
        if row["window"] == window:
            kinds = [kind for kind in corrupted_runs.KINDS if kind in row]
            first, columns = row["subject"][0], len(row[kinds[0]][0])
            before = torch.full((first, columns), row["corrupted"])
            table = {kind: torch.cat([before, torch.tensor(row[kind])]) for kind in kinds}
            layers = tuple(range(0, every * columns, every))
            texts = tuple(row["tokens"]), tuple(row["subject"]), row["answer"]
            found[row["case"]] = causal_trace.Trace(
                *texts, True, row["clean"], row["corrupted"], layers, table
            )
    return found


def peaks(table: pd.DataFrame) -> list[dict]:
    """One line per role: the largest average effect of each kind, its interval, its layer."""
    groups, lines = dict(list(table.groupby(["role", "kind"]))), []
    for role in causal_trace.ROLES:
        lines.append({"token": role})
        for kind, name in NAMES.items():
            part = groups[role, kind]
            best = part.loc[part["effect"].idxmax()]
            numbers = f"{best.effect:.3f} ({best.low:.3f} to {best.high:.3f})"
            lines[-1][name] = f"{numbers}, layer {best.layer}"
    return lines


def by_window(rows: Sequence[Mapping], settings: Mapping, below: int = 12) -> list[dict]:
    """One line per window: average effect of the MLPs at the subject's last token, same facts."""
    lines = []
    for window in (settings["window"], *settings["windows"]):
        some = list(traces(rows, window, settings["every"]).values())[: settings["windowed"]]
        part = causal_trace.average(some).query("kind == 'mlp' and role == 'last subject'")
        found = {f"AIE at layer {r.layer}": r.effect for r in part.itertuples() if r.layer < below}
        lines.append({"MLPs at once": window, **found})
    return lines


def curves(rows: Sequence[Mapping]) -> tuple[dict, dict, dict]:
    """x, y and bands: p of the new answer by layer, and the score of the library's own scan."""
    layers = sorted({row["layer"] for row in rows})
    p = [[row["edit"] for row in rows if row["layer"] == layer] for layer in layers]
    sides = zip(*(interval(values, None) for values in p), strict=True)
    file = Path(__file__).resolve().parents[2] / "tests" / "benchmarks" / "sweeps.json"
    tried = json.loads(file.read_text(encoding="utf-8"))["rome"]["rows"]
    scores = dict(sorted((row["layer"], row["harmonic"]) for row in tried if row["v_lr"] == 0.25))
    edit, scan = "new answer after an edit", "score of the scan"
    means = [sum(values) / len(values) for values in p]
    return (
        {edit: layers, scan: list(scores)},
        {edit: means, scan: list(scores.values())},
        {edit: tuple(sides)},
    )


def edits(lm: lib.LM, chosen: Sequence[lib.Case], layers: Sequence[int]) -> Iterator[dict]:
    """One row per case and layer: the fact alone, written there by ROME with C = I.

    Probability of the whole new answer on the edit's own prompt, and its mean over the rewordings.
    """
    for case in chosen:
        new, prompts = case.fact.target_new, [case.fact.text, *case.paraphrases]
        for layer in layers:
            patch = lib.EDITORS["rome"](lm, layer=layer, second_moment=False).edit([case.fact])
            with lm.patched(patch):
                scores = lm.score(prompts, [new] * len(prompts))
            own, *others = (round(score.sum().exp().item(), 4) for score in scores)
            mean = round(sum(others) / len(others), 4)
            yield {"case": case.id, "layer": layer, "edit": own, "rewordings": mean}


def heatmap(found: causal_trace.Trace) -> plot.Figure:
    """The indirect effects of all kinds side by side, tokens down and layers across."""
    gap = torch.full((len(found.tokens), 1), torch.nan)
    blocks = [part for kind in found.table for part in (gap, found.indirect(kind))][1:]
    matrix, width = torch.cat(blocks, 1), len(found.layers) + 1
    figure = plot.heatmap(
        matrix, found.tokens, range(matrix.shape[1]), "layer", "token", "indirect effect on p"
    )
    figure.set_figheight(3.4)  # inches: the names of ten tokens can be read at half size
    middle = (width - 1) // 2
    ticks, labels = [], []
    for i, kind in enumerate(found.table):
        ticks += [width * i, width * i + middle, width * (i + 1) - 2]
        labels += [found.layers[0], f"{found.layers[middle]}\n{NAMES[kind]}", found.layers[-1]]
    figure.axes[0].set_xticks(ticks, labels, rotation=0)
    return figure
