"""WilKE's own protocol for notebook 08: every edit is rolled back by editing the old answer in.

What an editor leaves behind after that is harm: the answers should all be the old ones again. The
published scores stand here, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import lib

from .runs_08_wilke import CONTEXTS, Seen, opens, stream_cases

SETTINGS = {
    "editors": ["ROME, mixed", "WilKE, mixed", "MEMIT"],
    "stream": 2,
    "edits": 8,
    "held out": 8,
    "candidates": [0, 3],
    "templates": 2,
}

# Hu et al. 2024, GPT-2 XL, in %: mean of three runs as stored with the authors' program
COLUMNS = "ES", "GS", "LS", "ERS", "ORS", "S"
PUBLISHED = {
    64: {
        "ROME": (84.4, 59.6, 24.4, 25.0, 3.9, 13.7),
        "MEMIT": (86.5, 41.2, 37.5, 100.0, 95.5, 60.2),
        "WilKE": (98.4, 65.6, 33.8, 98.4, 85.1, 65.0),
    },
    256: {
        "ROME": (28.4, 17.6, 7.8, 15.8, 4.8, 9.5),
        "MEMIT": (92.2, 51.7, 41.3, 99.2, 92.1, 66.4),
        "WilKE": (98.3, 66.3, 28.2, 59.2, 37.6, 47.6),
    },
    1024: {
        "ROME": (15.9, 8.8, 6.8, 12.2, 8.0, 9.4),
        "MEMIT": (92.6, 55.2, 35.0, 6.6, 6.7, 13.3),
        "WilKE": (70.7, 51.1, 12.7, 16.2, 13.2, 19.4),
    },
}
CLAIMS = (
    "claimed for S after 1,024 edits, as shares of the other's:",
    "GPT-2 XL: WilKE 46.2 % above MEMIT, 19.3 instead of 13.2",
    "GPT-J: WilKE 67.8 % above ROME, 14.6 instead of 8.7",
)


def facts(edits: int, held: int, stream: int) -> tuple[list[lib.Case], list[lib.Case]]:
    """The cases to edit, the first of a stream, and as many others that are only asked."""
    every = stream_cases(stream, 100)
    return every[:edits], every[50 : 50 + held]


def rolled_back(lm: lib.LM, edits: int, editors: Sequence[str]) -> Iterator[dict]:
    """Edit and roll back one fact after another; one row per editor and fact.

    es, gs, ls  Right after the edit: is the new answer given, the share of rewordings that give
                it, the share of neighbors that keep theirs.
    ers, ors    After the roll-back: which of the facts edited so far, and which of the held-out
                facts, have their old answer; one number per fact.
    """
    cases, others = facts(edits, SETTINGS["held out"], SETTINGS["stream"])
    candidates = tuple(i for i in SETTINGS["candidates"] if i < lm.n_layers)
    for name in editors:
        editor, patch = _editor(lm, name, candidates), lib.EMPTY
        for i, case in enumerate(cases):
            patch = editor.edit([case.fact], after=patch)
            said = lib.evaluate(
                lm, case, patch, ["generation"], metrics=["generalization", "specificity"]
            ).json()
            row = {
                "editor": name,
                "edits": i + 1,
                "case": case.id,
                "opens": opens(lm, case.fact),
                "es": said["efficacy"]["generation"],
                "gs": said["generalization"]["generation"],
                "ls": said["specificity"]["generation"],
            }
            if name.startswith("WilKE"):
                row["layer"] = patch.memory["wilke"]["layers"][-1]
                back = _editor(lm, name.replace("WilKE", "ROME"), candidates, row["layer"])
            else:
                back = editor
            patch = back.edit([_old(case).fact], after=patch)
            row["ers"] = old_answers(lm, cases[: i + 1], patch)
            row["ors"] = old_answers(lm, others, patch)
            yield row


def old_answers(lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch) -> list[float]:
    """Whether each fact has its old answer, by generation: 0 or 1 per case."""
    scores = lib.evaluate(lm, [_old(case) for case in cases], patch, ["generation"], metrics=())
    return [round(value, 4) for value in scores.by_case()["efficacy", "generation"]["mean"]]


def _old(case: lib.Case) -> lib.Case:
    """The case whose new answer is the old one, without its test prompts."""
    fact = case.fact
    turned = replace(fact, target_new=fact.target_true, target_true=fact.target_new)
    return lib.Case(id=case.id, fact=turned)


def _editor(lm: lib.LM, name: str, candidates: Sequence[int], layer: int | None = None):
    kind, _, keys = name.partition(", ")
    if kind == "MEMIT":
        return lib.EDITORS["memit"](lm, contexts=CONTEXTS)
    if kind == "WilKE":
        return Seen(lm, layers=tuple(candidates), keys=keys, contexts=CONTEXTS)
    place = {} if layer is None else {"layer": layer}
    return lib.EDITORS["rome"](lm, keys=keys, contexts=CONTEXTS, **place)


def harmonic(shares: Mapping[str, float]) -> float:
    """The paper's S, the harmonic mean of the five shares; a zero counts as 1e-4."""
    values = [max(value, 1e-4) for value in shares.values()]
    return len(values) / sum(1 / value for value in values)
