"""The long runs of notebook 08: ROME and WilKE on the same streams, and facts edited alone.

A fact is edited alone at every layer, and with each of the two choices of its key.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

import lib
from lib.data.facts import lookup
from lib.editors import rome
from lib.evaluation.intervals import DIFFERENCE, interval
from lib.interpret.damage import flash, key_strength, steps

CONTEXTS = ((9, 2),)  # half of the preset's templates: seven layers per edit cost seven searches
LAYERS = tuple(range(7))  # WilKE's candidates
ASKED = {"written": "written", "retention": "kept", "specificity": "neighbors"}


def divergence(lm: lib.LM, count: int = 16) -> Callable[[lib.Patch], float]:
    """Mean KL(base ‖ patched) of the next token, in nats, on prompts unrelated to every edit."""
    prompts = list(dict.fromkeys(p for case in lib.classroom() for p in case.locality))[:count]
    with lm.patched(lib.EMPTY, only=True):
        base = lm.next_token(prompts)

    def of(patch: lib.Patch) -> float:
        with lm.patched(patch, only=True):
            now = lm.next_token(prompts)
        return (base.exp() * (base - now)).sum(1).clamp(min=0).mean().item()

    return of


def opens(lm: lib.LM, fact: lib.Fact) -> bool:
    """Whether the subject is one token, and that the first of the prompt."""
    return lookup(lm.tokenizer, fact)[1] == 0


def stream_cases(number: int, edits: int) -> list[lib.Case]:
    """Odd-numbered classroom cases in an order drawn with this seed."""
    odd = [case for case in lib.classroom() if case.id % 2]
    return random.Random(number).sample(odd, len(odd))[:edits]


class Seen(lib.EDITORS["wilke"]):
    """WilKE that also keeps what it saw of its last fact in every layer."""

    def matches(self, *arguments) -> list:
        """As WilKE's."""
        self.last = super().matches(*arguments)
        return self.last


def stream(lm: lib.LM, run: str, number: int, edits: int, points: Sequence[int]) -> Iterator[dict]:
    """Write one stream; one row per edit, and at the points also {case: share of its prompts}.

    run     "editor keys", or "rome keys layer" for another layer than the preset's
    scores  {layer: ‖Δ‖/‖W‖} of every layer that was tried, on the model as it was then
    kl      KL from the base model at unrelated prompts, in nats
    """
    editor, keys, *layer = run.split()
    settings = {"keys": keys, "contexts": CONTEXTS}
    wilke = editor == "wilke"
    if layer:
        settings["layer"] = int(layer[0])
    made = Seen(lm, layers=LAYERS, **settings) if wilke else lib.EDITORS["rome"](lm, **settings)
    cases, kl = stream_cases(number, edits), divergence(lm)
    asked = {"events": ["generation"], "metrics": ["specificity"]}
    told = lib.stream(lm, made, cases, eval_at=[0, *points], evaluate_with=asked)
    before = lib.EMPTY
    for case, row in zip(cases, told, strict=True):
        step = steps(lm, [before, told.patch]).iloc[1]
        name = step.idxmax()
        if wilke:
            layer = told.patch.memory["wilke"]["layers"][-1]
            scores = {match.layer: match.score for match in made.last}
        else:
            layer = made.config.layer
            scores = {layer: float(step[name]) / lm.weight(name, before).norm().item()}
        seen = {
            "stream": number,
            "run": run,
            "edit": row["edits"],
            "case": case.id,
            "opens": opens(lm, case.fact),
            "layer": layer,
            "scores": {str(i): round(s, 5) for i, s in scores.items()},
            "step": round(float(step[name]), 4),
            "written": row["efficacy"]["generation"],
            "kl": round(kl(told.patch), 5),
            "seconds": round(row["seconds"], 2),
        }
        if row["edits"] in told.scores:
            for metric in ("retention", "specificity"):
                seen[metric] = shares(told.scores[row["edits"]], metric)
            if row["edits"] == points[0]:
                seen["base"] = shares(told.scores[0], "specificity")
        before = told.patch
        yield seen


def shares(scores: lib.Scores, metric: str) -> dict[str, float]:
    """{case: share of its prompts answered as wanted, by generation}."""
    found = scores.by_case()[metric, "generation"]["mean"]
    return {str(case): round(value, 4) for case, value in found.items()}


def layers(lm: lib.LM, cases: Sequence[lib.Case], tried: Sequence[int]) -> Iterator[dict]:
    """Write each fact alone into each layer by ROME, on the base model; one row per fact and layer.

    s and kl are as in `stream`. The other columns are shares of the fact's prompts that answer as
    wanted, by generation.
    """
    kl, asked = divergence(lm), {"events": ["generation"]}
    asked["metrics"] = ["generalization", "specificity"]
    made = {i: lib.EDITORS["rome"](lm, layer=i, contexts=CONTEXTS) for i in tried}
    for case in cases:
        for i in tried:
            patch, name = made[i].edit([case.fact]), lm.mlp_out(i)
            size = steps(lm, [patch]).at[0, name] / lm.weight(name).norm().item()
            said = lib.evaluate(lm, case, patch, **asked).json()
            yield {
                "case": case.id,
                "subject": case.fact.subject,
                "opens": opens(lm, case.fact),
                "layer": i,
                "s": round(float(size), 5),
                "kl": round(kl(patch), 5),
                "written": said["efficacy"]["generation"],
                "reworded": said["generalization"]["generation"],
                "neighbors": said["specificity"]["generation"],
            }


def alone(
    lm: lib.LM, cases: Sequence[lib.Case], keys: Sequence[str] = ("mixed", "both")
) -> Iterator[dict]:
    """One row per fact and way to choose the key: ROME on the base model, one search for all."""
    made, kl = lib.EDITORS["rome"](lm, contexts=CONTEXTS), divergence(lm)
    layer, templates = made.config.layer, made.templates()
    name, C = lm.mlp_out(layer), lib.second_moment(lm, [layer])
    W = lm.weight(name).cpu()
    for case in cases:
        fact = case.fact
        strength = key_strength(lm, fact, [layer], templates, C).iloc[0]
        _, found = made.update(fact, lib.EMPTY, templates)
        for key in keys:
            a, b = rome.insert(W, found, C[layer], key)
            patch = lib.Patch({name: lib.LowRank(((a, b),))})
            said = lib.evaluate(lm, case, patch, events=["generation"], metrics=[]).json()
            yield {
                "case": case.id,
                "subject": fact.subject,
                "opens": opens(lm, fact),
                "keys": key,
                "length": lookup(lm.tokenizer, fact)[1] + 1,
                "s": round(((a @ b).norm() / W.norm()).item(), 5),
                "kl": round(kl(patch), 6),
                "written": said["efficacy"]["generation"],
                **{n: round(float(strength[n]), 5) for n in ("norm", "cosine", "ratio")},
            }


def mix(lm: lib.LM, parity: int, opening: int, others: int) -> list[lib.Case]:
    """Classroom cases: so many whose subject opens the prompt as one token, and so many others."""
    every = [case for case in lib.classroom() if case.id % 2 == parity]
    first = [case for case in every if opens(lm, case.fact)]
    rest = [case for case in every if not opens(lm, case.fact)]
    pace = max(1, len(rest) // others)
    found = [*first[:opening], *itertools.islice(rest, 0, pace * others, pace)]
    return sorted(found, key=lambda case: case.id)


def some(rows: Sequence[Mapping], tried: Sequence[int]) -> list[dict]:
    """Rows of `stream` with the scores of these layers only, in this order."""
    return [{**row, "scores": [row["scores"][str(i)] for i in tried]} for row in rows]


def flashes(alone: pd.DataFrame) -> list[dict]:
    """For each kind of key and measure how many openers and others are flashes.

    "each by itself": one opener at a time among the others, since many flashes hide each other.
    """
    found = []
    for keys, part in alone.groupby("keys", sort=False):
        for column, scale in (("s", 1.0), ("kl", 1000.0)):
            first, rest = (part[column][part["opens"] == side].tolist() for side in (True, False))
            flagged = flash([*first, *rest])
            single = sum(flash([size, *rest])[:1] == [0] for size in first)
            found.append(
                {
                    "keys": keys,
                    "by": "s" if column == "s" else "KL (10⁻³ nats)",
                    f"openers flagged (of {len(first)})": sum(i < len(first) for i in flagged),
                    "each by itself": single,
                    f"others (of {len(rest)})": sum(i >= len(first) for i in flagged),
                    "median, openers": scale * part[column][part["opens"]].median(),
                    "median, others": scale * part[column][~part["opens"]].median(),
                }
            )
    return found


def values(run: Sequence[Mapping], metric: str, edits: int) -> pd.Series:
    """One value per fact of every stream: "written" right after its edit, else after `edits`."""
    found = {}
    for row in run:
        if metric == "written" and row["edit"] <= edits:
            found[row["stream"], str(row["case"])] = row[metric]
        elif metric != "written" and row["edit"] == edits:
            found |= {(row["stream"], case): share for case, share in row[metric].items()}
    return pd.Series(found, dtype=float)


def summary(runs: Mapping[str, Sequence[Mapping]]) -> list[dict]:
    """One line per editor, at the end of its streams; the base model first."""
    base = [share for run in runs.values() for row in run for share in row.get("base", {}).values()]
    lines: list[dict] = [{"run": "base model", "facts": ""}]
    lines[0] |= dict.fromkeys([f"{label} (%)" for label in ASKED.values()], 0.0)
    lines[0] |= {
        "neighbors (%)": 100 * pd.Series(base).mean(),
        "KL (nats)": 0.0,
        "of it by openers": 0.0,
    }
    lines[0] |= {"flashes at edits": "", "layers: edits": ""}
    for name, run in runs.items():
        end = max(row["edit"] for row in run)
        layers = Counter(row["layer"] for row in run).most_common()
        line = {"run": name, "facts": str(len(run))}
        for metric, label in ASKED.items():
            line[f"{label} (%)"] = 100 * values(run, metric, end).mean()
        table = pd.DataFrame(run)
        count, added = table["stream"].nunique(), table.groupby("stream")["kl"].diff()
        added = added.fillna(table["kl"])  # the first edit starts from the base model, at 0
        line["KL (nats)"] = table["kl"][table["edit"] == end].mean()
        line["of it by openers"] = added[table["opens"]].sum() / count
        line["flashes at edits"] = ", ".join(str(row["edit"]) for row in flashed(run))
        line["layers: edits"] = ", ".join(f"{layer}: {count}" for layer, count in layers)
        lines.append(line)
    return lines


def flashed(run: Sequence[Mapping]) -> list[Mapping]:
    """The edits of an editor, over all its streams, whose relative step is a flash."""
    return [run[i] for i in flash([min(row["scores"].values()) for row in run])]


def difference(
    runs: Mapping[str, Sequence[Mapping]], a: str, b: str, edits: int | None = None
) -> dict:
    """Paired a − b in points, with its 95 % interval over facts, metric by metric."""
    edits = edits or max(row["edit"] for row in runs[a])
    line: dict = {"difference": f"{a} − {b}"}
    for metric, label in ASKED.items():
        one, other = (values(runs[name], metric, edits) for name in (a, b))
        paired = (one - other).dropna()  # facts that both have
        found = (100 * x for x in (paired.mean(), *interval(paired, DIFFERENCE)))
        line[label] = "{:+.0f} [{:+.0f}, {:+.0f}]".format(*found)
    line["facts"] = len(paired)
    return line


def curves(
    runs: Mapping[str, Sequence[Mapping]], metric: str, points: Sequence[int]
) -> tuple[dict, dict, dict]:
    """x, y and bands for `plot.lines`: the mean over facts, in %, with its 95 % interval."""
    x, y, bands = {}, {}, {}
    for name, run in runs.items():
        x[name] = [point for point in points if any(row["edit"] == point for row in run)]
        own = [values(run, metric, point) for point in x[name]]
        y[name] = [100 * one.mean() for one in own]
        edges = [interval(one) for one in own]
        bands[name] = tuple([100 * edge[side] for edge in edges] for side in (0, 1))
    return x, y, bands
