"""The long run of notebook 12: WISE and five other editors on one stream of classroom facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

import lib
from lib.editors.wise.side_memory import Side, SideMemory

from .runs_11_grace import look, percent

# The one place for WISE's settings: change them, then `--long 12` again.
WISE = {
    "layer": 25,
    "lr": 5.0,
    "n_iter": 8,
    "alpha": 0.25,
    "beta": 1.5,
    "gamma": 1.0,
    "margin_weight": 10.0,
    "act_ratio": 1.0,
    "track": True,
    "rehearse": 12,
    "irrelevant_n": 32,
    "context_start": 0,
    "context_top_k": 0,
    "contexts": [[9, 4]],
    "calibrate": None,
    "replay": False,
}
STREAM = {
    "data": "classroom()[1::2]",
    "wise": WISE,
    "lines": {  # name: editor, facts per turn, facts in all, settings beside the preset's
        "GRACE": ["grace", 1, 40, {}],
        "UltraEdit": ["ultraedit", 10, 40, {}],
        "fine-tuning": ["ft", 1, 40, {}],
        "WISE": ["wise", 1, 80, {}],
        "WISE, no rehearsal": ["wise", 1, 80, {"rehearse": 0}],
        "MEMIT": ["memit", 10, 40, {}],
    },
    "points": [10, 20, 40, 80],
    "asked": 40,  # facts at most, spread over those written so far
}
AT_EDITS = {"events": ["teacher_forced"], "metrics": ()}  # asked right after each turn


def facts() -> list[lib.Case]:
    """The stream: every second case of the classroom, as fixed as the shipped file."""
    return lib.classroom()[1::2]


def editor(lm: lib.LM, name: str, settings: Mapping[str, Any] = STREAM) -> lib.Editor:
    """The editor of a line; WISE with the settings above, others with their presets."""
    kind, _, _, more = settings["lines"][name]
    if kind != "wise":
        return lib.EDITORS[kind](lm, **more)
    return wise(lm, **{**settings["wise"], **more})


def wise(lm: lib.LM, **settings: Any) -> lib.Editor:
    """WISE with the settings above; in a toy at the toy's own layer."""
    settings = {key: _tuple(value) for key, value in {**WISE, **settings}.items()}
    if settings["layer"] >= lm.n_layers:
        settings["layer"] = 1
    return lib.EDITORS["wise"](lm, **settings)


def stream(
    lm: lib.LM, name: str, settings: Mapping[str, Any] = STREAM, count: int | None = None
) -> Iterator[dict[str, Any]]:
    """Write the first `count` facts with one line's editor; one row per turn.

    A row has the number of edits, Δ's threshold where the editor has one, and at the points the
    shares of `look`.
    """
    _, size, whole, _ = settings["lines"][name]
    cases = facts()[: count or whole]
    run = lib.stream(lm, editor(lm, name, settings), cases, size, (), AT_EDITS)
    for turn in run:
        row = {"line": name, "edits": turn["edits"]}
        for route in run.patch.routes.values():
            if route.kind == "wise":
                row["eps"] = round(route.memories[-1].eps, 4)
        if turn["edits"] in settings["points"]:
            row |= look(lm, cases[: turn["edits"]], run.patch, settings["asked"])
        yield row


def every(lm: lib.LM, settings: Mapping[str, Any] = STREAM) -> Iterator[list[dict[str, Any]]]:
    """All rows so far, after each line; the base model first."""
    cases = facts()[: max(settings["points"])]
    rows = [{"line": "base", "edits": 0} | look(lm, cases, lib.EMPTY, settings["asked"])]
    yield rows
    for name in settings["lines"]:
        rows += stream(lm, name, settings)
        yield rows


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list | tuple) else value


def shards(lm: lib.LM, cases: Sequence[lib.Case], size: int) -> tuple[lib.Patch, list[SideMemory]]:
    """Facts written one by one into shards of `size`: the patch, and its memories, not merged."""
    made = wise(lm, save_freq=size, merge_freq=1000 * size)
    patch = lib.stream(lm, made, cases, 1, (), AT_EDITS).finish().patch
    (route,) = patch.routes.values()
    return patch, list(route.memories)


def through(patch: lib.Patch, tau: Tensor, eps: float = 0.0) -> lib.Patch:
    """The patch with one side memory τ, which answers from Δ = eps on: at 0 every prompt."""
    ((module, route),) = patch.routes.items()
    facts = sum(memory.facts for memory in route.memories)
    side = Side((SideMemory(tau, eps, facts),), route.act_ratio, route.score, module)
    return lib.Patch(routes={module: side})


def deltas(lm: lib.LM, patch: lib.Patch, texts: Sequence[str]) -> list[float]:
    """Δ of prompts as the route notes it when they are answered."""
    with lm.patched(patch, only=True):
        _, notes = lm.answer(list(texts), 1, explain=True)
    return [note["score"] for (note,) in notes]


def groups(cases: Sequence[lib.Case]) -> dict[str, list[str]]:
    """Prompts by group; unrelated ones of other cases, too."""
    return {
        "edited": [case.fact.text for case in cases],
        "rewording": [text for case in cases for text in case.paraphrases],
        "neighbor": [probe.prompt for case in cases for probe in case.neighborhood],
        "unrelated": list(dict.fromkeys(text for c in lib.classroom() for text in c.locality)),
    }


def answered(lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch) -> dict[str, float]:
    """Tokens right (%), of facts and rewordings."""
    asked = {"events": ["teacher_forced"], "metrics": ["generalization"]}
    found = lib.evaluate(lm, cases, patch, **asked).json()
    rows = {"facts (%)": "efficacy", "rewordings (%)": "generalization"}
    return {name: 100 * found[metric]["teacher_forced"] for name, metric in rows.items()}


def density(rows: Sequence[Mapping[str, Any]]) -> tuple[list[int], dict[str, list[float]]]:
    """Edits in the shard; by line of WISE, facts, rewordings and neighbors right (%)."""
    found: dict[str, list[float]] = {}
    for name in ("WISE", "WISE, no rehearsal"):
        own = [row for row in rows if row["line"] == name and "held" in row]
        more = name.removeprefix("WISE")
        found[f"facts{more}"] = [100 * row["held"] for row in own]
        found[f"rewordings{more}"] = [100 * row["reworded"] for row in own]
        found[f"neighbors{more}"] = [100 * row["neighbors"] for row in own]
    return [row["edits"] for row in own], found


def triangle(rows: Sequence[Mapping[str, Any]], edits: int) -> tuple[list[str], list[list[float]]]:
    """Return the editors after so many edits, and four shares of each in %: see `percent`."""
    at = [row for row in rows if "held" in row and row["edits"] in (0, edits)]
    shares = [[*percent(row).values()][:4] for row in at]
    return [row["line"] for row in at], shares
