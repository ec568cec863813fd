"""The tables of models other than the embedded one.

They are tables like those of `tables.py`, which `results.py` puts on the pages.
"""

from __future__ import annotations

from lib import classroom as classroom_cases
from lib.data.texts import known_by
from lib.evaluation.abilities import items
from lib.preset_search.scan import SCORED

from .tables import GENERATED, compared, made, percent, read, table

COMPARED = ("base", "retrieval", "ft_m", "grace", "rome")  # on both models, in this order


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


@made("sweeps-gemma")
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


@made("classroom-models")
def classroom_models() -> str:
    """Single edits on the classroom's odd cases, each packaged model with those that it knows."""
    runs, columns = read("quality"), {}
    for model, suffix in (("SmolLM2", ""), ("Gemma 3", ", gemma-3-270m")):
        for editor in COMPARED:
            name = f"classroom {editor}{suffix}"
            if name in runs:
                head = "unedited" if editor == "base" else f"`{editor}`"
                columns[f"{model}: {head}"] = name
    return compared(columns, GENERATED)
