"""The long runs of notebook 03: traces of many facts, noise of several sizes, edits at many layers.

The functions at the end turn their rows into the page's tables.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

import lib
from lib import memory
from lib.editors import rome
from lib.evaluation.intervals import interval
from lib.interpret import causal_trace, corrupted_runs
from lib.keys_values import target_value

from . import stored_runs

NAMES = {"hidden": "states", "mlp": "MLPs", "attention": "attention"}
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
NOISE = {"cases": "those of 03_effects", "levels": [0, 0.5, 1, 2, 3, 10], "samples": 10}
WRITTEN = {"editor": "rome", "cases": "every fifth of 03_effects", "layers": [11, 3, 8, 20]}
WRITTEN["moments"] = KINDS = ["C", "C with first tokens", "I"]
FIRST = {"cases": "those of 03_effects"}
FIRST["layers"] = {
    "C": [0, 3, 8, 11, 12, 13, 14, 20],
    "C with first tokens": [3, 8, 11, 20],
    "I": list(range(30)),
}
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


def noise(
    lm: lib.LM,
    chosen: Sequence[lib.Case],
    sigma: float,
    levels: Sequence[float],
    samples: int,
) -> Iterator[dict]:
    """One row per case and level: p of the clean answer with noise of so many σ on the subject.

    others  The mean of p over the same question about other subjects, none of which has this
            answer in the data: what the rest of the sentence says without the subject. None where
            the data has no other subject. It is the same in all rows of a case.
    """
    for case in chosen:
        answer = lm.next_token(case.fact.text).argmax().item()
        alike = [
            lib.Fact(c.fact.subject, case.fact.prompt, "?").text
            for c in lib.classroom()
            if c.relation == case.relation and c.fact.target_true != case.fact.target_true
        ]
        guess = lm.next_token(alike[:8])[:, answer].exp().mean().item() if alike else None
        for level in levels:
            _, noisy, _ = causal_trace.restore(
                lm, case.fact, [], noise=level, deviation=sigma, samples=samples
            )
            found = {"p": round(noisy, 4), "others": None if guess is None else round(guess, 4)}
            yield {"case": case.id, "noise": level} | found


def same_token(
    lm: lib.LM, chosen: Sequence[lib.Case], layers: Sequence[int]
) -> tuple[list[float], tuple[list[float], list[float]]]:
    """How far an MLP's output at a subject's last token depends on the words before it.

    Each subject's last token is read twice: in its own prompt, and after the words that precede
    another subject's last token. Returns for each layer the median cosine of the two outputs over
    the cases, and the quartiles. 1 means that the MLP looks at the token alone.
    """
    names = [lm.mlp_out(layer) for layer in layers]
    found = [corrupted_runs.span(lm, case.fact) for case in chosen]
    rows = [(ids[: last + 1], last) for ids, _, last in found]
    cosines = []
    for (ids, _), (other, _) in zip(rows, rows[1:] + rows[:1], strict=True):
        outputs = []
        for row in (ids, other[:-1] + ids[-1:]):
            seen = lm.run([row], watch=names).seen
            outputs.append(torch.stack([seen[name][1][0, -1].float() for name in names]))
        cosines.append(torch.cosine_similarity(*outputs, dim=1).cpu())
    low, middle, high = torch.stack(cosines).quantile(torch.tensor([0.25, 0.5, 0.75]), 0).tolist()
    return middle, (low, high)


def first_token(
    lm: lib.LM, chosen: Sequence[lib.Case], layers: Mapping[str, Sequence[int]]
) -> Iterator[dict]:
    """One row per moment and layer: ρ(subject → the prompt's first token) of every case.

    layers  {moment: the layers at which it is used}.
    """
    every = sorted({layer for some in layers.values() for layer in some})
    keys = ends_of(lm, chosen, every)
    for kind, some in layers.items():
        read_text(lm, some, [kind])
        for layer in some:
            C, (K, first) = moment(lm, layer, kind), keys[layer]
            rho = [
                memory.interference(k[:, None], C, f[:, None]).item()
                for k, f in zip(K.T, first.T, strict=True)
            ]
            yield {"moment": kind, "layer": layer, "rho": [round(x, 4) for x in rho]}


def ends_of(
    lm: lib.LM, chosen: Sequence[lib.Case], layers: Sequence[int]
) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """{layer: keys (d_in, n) at the subjects' last tokens, and at the prompts' first tokens}."""
    names = {layer: lm.mlp_out(layer) for layer in layers}
    found: dict[int, tuple[list, list]] = {layer: ([], []) for layer in layers}
    for case in chosen:
        _, _, last = corrupted_runs.span(lm, case.fact)
        seen = lm.run(case.fact.text, watch=list(names.values())).seen
        for layer, name in names.items():
            keys = seen[name][0][0]  # (tokens, d_in)
            for token, part in zip((last, 0), found[layer], strict=True):
                part.append(keys[token].cpu().double())
    return {
        layer: (torch.stack(subject, 1), torch.stack(first, 1))
        for layer, (subject, first) in found.items()
    }


def read_text(lm: lib.LM, layers: Sequence[int], kinds: Sequence[str]) -> None:
    """Estimate the second moments of all these layers in one pass each, for `moment` to find."""
    for kind in kinds:
        if kind != "I":
            lib.second_moment(lm, layers, skip_first=MOMENTS[kind])


def moment(lm: lib.LM, layer: int, kind: str) -> memory.Moment | None:
    """The second moment of this name at a layer; None, the identity, for "I"."""
    if kind == "I":
        return None
    return lib.second_moment(lm, [layer], skip_first=MOMENTS[kind])[layer]


def by_moment(
    lm: lib.LM, chosen: Sequence[lib.Case], layers: Sequence[int], kinds: Sequence[str]
) -> Iterator[dict]:
    """Write each fact alone by ROME; one row per case, layer and second moment.

    The value is searched once per case and layer. A row has the probability of the whole new
    answer, and the mean KL of the next token at the other facts' prompts in nats.
    """
    read_text(lm, layers, kinds)
    texts = [case.fact.text for case in chosen]
    before = lm.next_token(texts)  # (cases, vocabulary)
    for layer in layers:
        editor = lib.EDITORS["rome"](lm, layer=layer)
        name = lm.mlp_out(layer)
        W, moments = lm.weight(name).cpu(), {kind: moment(lm, layer, kind) for kind in kinds}
        for i, case in enumerate(chosen):
            found = target_value.search(
                lm, [case.fact], layer, editor.templates(), editor.config.search()
            )[0]
            others = [j for j in range(len(chosen)) if j != i]
            for kind, C in moments.items():
                update = rome.insert(W, found, C, editor.config.keys)
                patch = lib.Patch(weights={name: lib.LowRank((update,))})
                with lm.patched(patch):
                    p = lm.score(case.fact.text, case.fact.target_new).sum().exp().item()
                    after, says = lm.next_token(texts), lm.answer(case.fact.text, 6)
                kl = (before.exp() * (before - after)).sum(1)[others].mean().item()
                row = {"case": case.id, "layer": layer, "moment": kind, "says": says}
                yield row | {"edit": round(p, 4), "KL elsewhere": round(kl, 5)}


def by_moment_table(rows: Sequence[Mapping], kinds: Sequence[str]) -> list[dict]:
    """One line per layer and moment: means over the facts, p with its 95 % interval."""
    lines = []
    for layer in dict.fromkeys(row["layer"] for row in rows):
        for kind in kinds:
            own = [row for row in rows if (row["layer"], row["moment"]) == (layer, kind)]
            p = [row["edit"] for row in own]
            low, high = interval(p)
            line = {"layer": str(layer), "second moment": kind}
            line["p of the new answer"] = f"{sum(p) / len(p):.2f} ({low:.2f} to {high:.2f})"
            kl = [row["KL elsewhere"] for row in own]
            lines.append(line | {"KL at other prompts (nats)": sum(kl) / len(kl)})
    return lines


def noise_table(rows: Sequence[Mapping], named: Mapping[int, str]) -> list[dict]:
    """One line per level: p of the named cases, and its mean over all facts with the interval."""
    lines = []
    for level in dict.fromkeys(row["noise"] for row in rows):
        p = {row["case"]: row["p"] for row in rows if row["noise"] == level}
        low, high = interval(list(p.values()))
        mean = sum(p.values()) / len(p)
        lines.append({"noise (σ)": f"{level:g}"} | {name: p[case] for case, name in named.items()})
        lines[-1][f"mean of {len(p)} facts"] = f"{mean:.3f} ({low:.3f} to {high:.3f})"
    return lines


def between_levels(rows: Sequence[Mapping], one: float, other: float) -> tuple[float, float, float]:
    """The mean over facts of p at one level less p at the other, and its 95 % interval."""
    p = {(row["case"], row["noise"]): row["p"] for row in rows}
    found = [p[case, one] - p[case, other] for case in dict.fromkeys(c for c, _ in p)]
    return sum(found) / len(found), *interval(found, None)


def by_window(rows: Sequence[Mapping], settings: Mapping, below: int = 12) -> list[dict]:
    """One line per window: average effect of the MLPs at the subject's last token, same facts.

    Each with its 95 % interval, at the layers `below` this one.
    """
    lines = []
    for window in (settings["window"], *settings["windows"]):
        some = list(traces(rows, window, settings["every"]).values())[: settings["windowed"]]
        part = causal_trace.average(some).query("kind == 'mlp' and role == 'last subject'")
        cells = {
            f"layer {r.layer}": f"{r.effect:.3f} ({r.low:.3f} to {r.high:.3f})"
            for r in part.itertuples()
            if r.layer < below
        }
        lines.append({"MLPs at once": str(window), **cells})
    return lines


def curve(rows: Sequence[Mapping], column: str) -> tuple[list, list, tuple[list, list]]:
    """Layers, the mean of a column over the facts at each, and its 95 % interval; for a figure."""
    layers = sorted({row["layer"] for row in rows})
    p = [[row[column] for row in rows if row["layer"] == layer] for layer in layers]
    low, high = zip(*(interval(values) for values in p), strict=True)
    return layers, [sum(values) / len(values) for values in p], (list(low), list(high))


def scan() -> tuple[list[int], list[float], None]:
    """Layers and scores of the library's own scan for ROME's layer, which has no intervals.

    The score is the harmonic mean of three shares over 16 facts.
    """
    file = Path(__file__).resolve().parents[2] / "tests" / "benchmarks" / "sweeps.json"
    tried = json.loads(file.read_text(encoding="utf-8"))["rome"]["rows"]
    scores = dict(sorted((row["layer"], row["harmonic"]) for row in tried if row["v_lr"] == 0.25))
    return list(scores), list(scores.values()), None


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
