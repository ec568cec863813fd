"""The tables of results/five_papers.md: the papers' claims, and what came out of them here."""

from __future__ import annotations

from typing import Any

from notebooks.support import stored_runs

from .measured import path_of
from .papers import superposition
from .papers.frame import CLAIMS
from .tables import made, table

COMMAND = "`--paper superposition`"
KINDS = {
    superposition.FACTS: "known facts",
    superposition.THINGS: "everyday things",
    superposition.TEXT: "tokens of text",
    superposition.GAUSS: "draws from N(0, C)",
    superposition.RANDOM: "known facts, random weights",
}
SHOWN = {  # measure: how it is called
    "overlap": "rms, over chance",
    "mean/sd": "mean/sd",
    "kurtosis": "kurtosis",
    "common": "in common",
}
LAYERS = 4  # shown of each model, evenly spaced


def stored(name: str) -> dict[str, Any]:
    """A stored run of the papers."""
    return stored_runs.read(path_of(name))


@made("five-papers", superposition.LAYERS, superposition.STREAM)
def five_papers() -> str:
    """Every claim with its number, what was run here, what came out, and the verdict."""
    by_layer, stream = stored(superposition.LAYERS), stored(superposition.STREAM)
    found = {"superposition": superposition.outcomes(by_layer, stream)}
    lines = []
    for claim in CLAIMS["claims"]:
        paper = CLAIMS["papers"][claim["paper"]]
        said, verdict = found.get(claim["paper"], {}).get(claim["name"], ("–", "not run yet"))
        if "untestable" in claim:
            verdict = f"not testable here: {claim['untestable']}"
        measure = f"{claim['measure']}, {COMMAND}" if "measure" in claim else "–"
        quoted = " (quoted by others)" if claim.get("second") else ""
        lines.append(
            (
                f"[{paper['title']}](https://arxiv.org/abs/{paper['id']})",
                f"{claim['claim']}{quoted}",
                f"{claim['model']}; {claim['data']}",
                measure,
                said,
                f"**{verdict}**" if verdict != "not run yet" else verdict,
            )
        )
    head = ("paper", "claim", "its model; data", "measured here", "came out", "verdict")
    return table(head, lines, left=len(head))


@made("superposition-sets", superposition.LAYERS)
def by_set() -> str:
    """Each claim's verdict for every model and set of subjects."""
    by_layer = stored(superposition.LAYERS)
    rows = by_layer["rows"]
    kinds = {(row["model"], row["set"]): [] for row in rows}
    for row in rows:
        kinds[row["model"], row["set"]].append(row)
    names = ("nonzero", "zero_mean", "heavy_tails", "of_knowledge", "depth", "whitened")
    claims = {
        c["name"]: c["measure"]
        for c in CLAIMS["claims"]
        if c["paper"] == "superposition" and "measure" in c
    }
    lines = []
    for (model, kind), some in kinds.items():
        has = some[0]["measures"]
        cells = [
            "–"
            if name == "of_knowledge" and "kurtosis over text" not in has
            else superposition.outcome(name, some, [])[1]
            for name in names
        ]
        lines.append((model, KINDS[kind], *cells))
    return table(("model", "keys of", *(claims[name] for name in names)), lines, left=8)


@made("superposition-layers", superposition.LAYERS)
def by_depth() -> str:
    """Four measures of some layers, for every model and set of subjects."""
    rows = [row for row in stored(superposition.LAYERS)["rows"] if row["layer"] is not None]
    deepest = {row["model"]: row["layer"] for row in rows}
    lines = [
        (
            row["model"],
            KINDS[row["set"]],
            row["layer"],
            *(superposition.number(row["measures"][key]) for key in SHOWN),
        )
        for row in rows
        if row["layer"] in {round(i * deepest[row["model"]] / (LAYERS - 1)) for i in range(LAYERS)}
    ]
    return table(("model", "keys of", "layer", *SHOWN.values()), lines, left=2)
