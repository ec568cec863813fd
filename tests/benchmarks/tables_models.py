"""The tables of presets' trials, and of models other than the embedded one.

They are tables like those of `tables.py`, which `results.py` puts on the pages.
"""

from __future__ import annotations

import numpy as np

from lib import classroom as classroom_cases
from lib.data.texts import known_by
from lib.evaluation.intervals import DIFFERENCE
from lib.workbench.instruments.abilities import items
from lib.workbench.preset_search.scan import SCORED
from lib.workbench.preset_search.tune import METRICS, values_of

from .tables import NO_SPREAD, made, percent, percents, read, table

SCORE = "score: the harmonic mean of the first three"
WHICH = ("unedited", "found", "stored")
SEEN = 24  # facts that were asked before UltraEdit's grid was changed


@made("known-by-gemma")
def known_by_gemma() -> str:
    """What a model other than the embedded one has right of what was made for that one."""
    found, every = known_by("gemma-3-270m"), classroom_cases()
    if found is None:
        raise ValueError("known.json does not name gemma-3-270m")
    rows = [("cases of the classroom", len(found["classroom"]["known"]), len(every))]
    rows += [
        (f"{of} of these cases", *found["classroom"][of]) for of in ("neighbors", "rewordings")
    ]
    every_item = items()
    rows += [
        (f"abilities: {kind}", len(right), sum(item.kind == kind for item in every_item))
        for kind, right in found["abilities"].items()
    ]
    return table(("what", "right", "asked"), rows)


@made("sweeps-gemma", "sweeps-gemma-3-270m", says=NO_SPREAD)
def sweeps_gemma() -> str:
    """The trials from which the presets of Gemma 3 270M were chosen; the chosen ones in bold."""
    lines = []
    for editor, sweep in read("sweeps-gemma-3-270m").items():
        for row in sweep["rows"]:
            tried = [
                k
                for k in row
                if k not in ("kl_nats", "locality", "harmonic", "seconds", "error", *SCORED)
            ]
            settings = ", ".join(f"{k} {row[k]}" for k in tried)
            shown = f"**{settings}**" if row == sweep["best"] else settings
            shares = [percent(row[m]) if m in row else "–" for m in (*SCORED, "harmonic")]
            lines.append((f"`{editor}`", shown, len(sweep["cases"]), *shares))
    head = ("editor", "settings", "even cases", *SCORED, "harmonic mean")
    return table(head, lines, left=2)


def score(rows: list[dict]) -> tuple[str, ...]:
    """What the search makes large, of the facts that have neighbors; the interval resamples facts.

    The cells are n, the unedited model's, the found and the stored preset's, and the difference.
    """
    near = {case.id for case in classroom_cases("gemma-3-270m") if case.neighborhood}
    facts = []
    for row in rows:
        specificity = [iter(row[which].get("specificity", [])) for which in WHICH]
        for place, case in enumerate(row["cases"]):
            if case in near:
                parts = [[row[w][metric][place] for metric in SCORED[:2]] for w in WHICH]
                ends = zip(parts, specificity, strict=True)
                facts.append([[*part, next(last)] for part, last in ends])
    values = np.array(facts)  # (facts, unedited | found | stored, metrics)
    weights = np.random.default_rng(0).dirichlet(np.ones(len(values)), 10_000)

    def means(share: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):  # nothing written is a score of 0
            return len(SCORED) / (1 / np.tensordot(share, values, 1)).sum(-1)

    whole, drawn = means(np.full((1, len(values)), 1 / len(values)))[0], means(weights)
    ends = np.percentile(drawn[:, 1] - drawn[:, 2], (2.5, 97.5))
    shown = [f"{100 * v:+.0f}".replace("-", "−") for v in (whole[1] - whole[2], *ends)]
    return (str(len(values)), *map(percent, whole), f"{shown[0]} [{shown[1]}, {shown[2]}]")


@made("tune", "tune")
def tuned() -> str:
    """What `tune` found for Gemma, beside the presets stored for it, on facts it did not see."""
    lines = []
    for editor, part in read("tune").items():
        groups: dict[str, list] = {"held out by `tune`": [], "further": []}
        asked = 0
        for row in part["held_out"]:
            groups["further" if asked >= SEEN else "held out by `tune`"].append(row)
            asked += len(row["cases"])
        for facts, some in groups.items():
            for metric in METRICS if some else ():
                values = [values_of(some, which, metric) for which in ("found", "stored")]
                pairs = [a - b for a, b in zip(*values, strict=True)]
                shown = [percents(one) for one in (values_of(some, "unedited", metric), *values)]
                margin = percents(pairs, DIFFERENCE)
                lines.append((f"`{editor}`", facts, metric, str(len(pairs)), *shown, margin))
            if some:
                lines.append((f"`{editor}`", facts, SCORE, *score(some)))
    head = ("editor", "facts", "metric", "n", "unedited", "found", "stored", "found − stored")
    return table(head, lines, left=3)
