"""The experiments of notebook 12: shards, merge rules, Δ of prompts, and a stream of facts.

The long runs: WISE and four other editors write the same classroom facts, and WISE writes them into
four shards that are merged. A row keeps one share per case and not the mean, so that the page can
draw intervals and compare in pairs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

import lib
from lib.data.facts import encode_prompt
from lib.editors.wise.merging import RULES
from lib.editors.wise.route import Side, SideMemory
from lib.editors.wise.training import TextReader

from . import long_runs, stored_runs
from . import runs_04_rome as runs_04
from .score_tables import by_case

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
    "contexts": ((9, 4),),
    "calibrate": None,
    "replay": False,
}
# Options of ours that this page leaves out, although the preset has them.
PLAIN = {"mask_ratio": 0.2, "whiten": None, "target_eos": False}
STREAM = {
    "data": "classroom()[1::2]",
    "wise": WISE,
    "lines": {  # name: editor, settings beside the preset's, facts of each call
        "GRACE": ["grace", {}, [40]],
        "UltraEdit": ["ultraedit", {}, [10] * 4],
        "fine-tuning": ["ft", {}, [1] * 40],
        "MEMIT": ["memit", {}, [10] * 4],
        "WISE": ["wise", {}, [2, 18, 20, 20, 20]],
        "WISE, no rehearsal": ["wise", {"rehearse": 0}, [2, 18, 20, 20, 20]],
    },
    "points": [20, 40, 60, 80],  # after so many facts all facts so far are asked
    "together": 40,  # facts after which the editors are compared
}
# WISE without rehearsal once more, with the same eighty facts in an order that is drawn
ORDER = {"wise": WISE, "line": "WISE, no rehearsal", "seed": 1, "points": [20, 80]}
# four shards in the place of one, for the same eighty facts
MERGES = {"wise": {**WISE, "rehearse": 0}, "size": 20, "density": 0.53, "rules": ["ties", "linear"]}
ASKED = {"events": ["generation"], "metrics": ["generalization", "specificity", "locality"]}


def facts(seed: int | None = None) -> list[lib.Case]:
    """The stream: every second case of the classroom, eighty; with a seed in the order it draws."""
    some = lib.classroom()[1::2][: max(STREAM["points"])]
    return some if seed is None else random.Random(seed).sample(some, len(some))


def wise(lm: lib.LM, **settings: Any) -> lib.Editor:
    """WISE with the settings above; in a toy at the toy's own layer."""
    settings = {**PLAIN, **WISE, **settings}
    if settings["layer"] >= lm.n_layers:
        settings["layer"] = 1
    return lib.EDITORS["wise"](lm, **settings)


# ---- what a model answers, and whom a router would ask -------------------------------------------


def look(lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch, base: Any) -> dict[str, Any]:
    """What the patched model says, by generation: one share per case.

    held, reworded  prompts whose answer begins with the new one
    neighbors       prompts whose answer still begins with the true one
    unrelated       prompts whose first sentence, up to eight tokens, is the base model's own
    """
    return by_case(lib.evaluate(lm, cases, patch, base=base, **ASKED))


def reader(lm: lib.LM, patch: lib.Patch) -> TextReader:
    """What reads the inputs of the module that a patch of WISE serves, once for each prompt."""
    ((module, route),) = patch.routes.items()
    return TextReader(lm, module, route.score)


@torch.no_grad()
def deltas(texts: TextReader, tau: Tensor, prompts: Sequence[str]) -> Tensor:
    """Δ (n,) of prompts under any τ (d_out, d_in): the module's inputs lie below the memory."""
    return texts.delta(tau, [encode_prompt(texts.lm.tokenizer, text) for text in prompts])


def let_in(
    texts: TextReader, memory: SideMemory, cases: Sequence[lib.Case]
) -> dict[str, list[float]]:
    """{group: which share of a case's prompts reaches ε, for the cases that have such prompts}."""
    found: dict[str, list[float]] = {}
    for case in cases:
        for group, prompts in groups([case]).items():
            if prompts:
                reached = deltas(texts, memory.tau, prompts) >= memory.eps
                found.setdefault(group, []).append(round(reached.float().mean().item(), 4))
    return found


def groups(cases: Sequence[lib.Case]) -> dict[str, list[str]]:
    """The prompts of cases by group, each once."""
    found = {
        "edited": [case.fact.text for case in cases],
        "rewording": [text for case in cases for text in case.paraphrases],
        "neighbor": [probe.prompt for case in cases for probe in case.neighborhood],
        "unrelated": [text for case in cases for text in case.locality],
    }
    return {group: list(dict.fromkeys(texts)) for group, texts in found.items()}


# ---- shards and merged memories --------------------------------------------------------------


def shards(lm: lib.LM, cases: Sequence[lib.Case], size: int, **more: Any) -> lib.Patch:
    """Facts written one after another into shards of `size`, which stay apart."""
    return wise(lm, save_freq=size, merge_freq=1000 * size, **more).edit(
        [x.fact for x in cases], check=False
    )


def through(patch: lib.Patch, tau: Tensor, eps: float) -> lib.Patch:
    """The patch with one side memory τ, which answers from Δ = eps on."""
    ((module, route),) = patch.routes.items()
    memories = (SideMemory(tau, eps, sum(memory.facts for memory in route.memories)),)
    return lib.Patch(routes={module: Side(memories, route.act_ratio, route.score, module)})


def merges(
    lm: lib.LM, cases: Sequence[lib.Case] | None = None, size: int = MERGES["size"]
) -> Iterator[dict[str, Any]]:
    """Shards of `size` facts without rehearsal (four of twenty): apart, and merged by two rules.

    A row is like those of `stream`; ε of a merged memory is the least Δ of all its facts under it.
    Apart, a row says of each fact which shard answers, "sent", and if its own one holds it, "own".
    """
    cases = cases or facts()
    base, patch = lib.baseline(lm, cases[:1], **ASKED), shards(lm, cases, size, rehearse=0)
    texts, (route,) = reader(lm, patch), patch.routes.values()
    prompts = [case.fact.text for case in cases]
    row = {"line": "four shards, apart", "edits": len(cases), "own": []}
    scores = [deltas(texts, memory.tau, prompts) for memory in route.memories]
    for i, memory in enumerate(route.memories):  # its facts, answered by this shard alone
        alone = through(patch, memory.tau, 0.0)
        row["own"] += look(lm, cases[i * size : (i + 1) * size], alone, base)["held"]
    row["sent"] = route.choose(torch.stack(scores, 1)).tolist()
    yield row | look(lm, cases, patch, base)
    for rule in MERGES["rules"]:
        tau = RULES[rule]([memory.tau for memory in route.memories], density=MERGES["density"])
        eps = deltas(texts, tau, prompts).min().item()
        row = {"line": f"four shards, {rule}", "edits": len(cases), "eps": round(eps, 4)}
        row["let_in"] = let_in(texts, SideMemory(tau, eps, len(cases)), cases)
        yield row | look(lm, cases, through(patch, tau, eps), base)


# ---- the long run --------------------------------------------------------------------------------


def stream(
    lm: lib.LM,
    name: str,
    calls: int | None = None,
    order: Any = STREAM,
    cases: Sequence[lib.Case] | None = None,
) -> Iterator[dict]:
    """One row per call of one line's editor, for the first `calls` of them.

    A row has the number of edits and, where the editor has one, the threshold ε. At the points it
    has what `look` finds for all facts so far, and for WISE whom the router lets in.
    """
    kind, more, sizes = STREAM["lines"][name]
    editor = wise(lm, **more) if kind == "wise" else lib.EDITORS[kind](lm, **more)
    cases, patch, done = cases or facts(order.get("seed")), lib.EMPTY, 0
    base, texts = lib.baseline(lm, cases[:1], **ASKED), None
    for size in sizes[:calls]:
        patch = editor.edit(
            [case.fact for case in cases[done : done + size]], after=patch, check=False
        )
        done += size
        row: dict[str, Any] = {"line": name, "edits": done}
        if kind == "wise":
            (route,) = patch.routes.values()
            row["eps"] = round(route.memories[-1].eps, 4)
        if done in order["points"] and (kind == "wise" or done == STREAM["together"]):
            row |= look(lm, cases[:done], patch, base)
            if kind == "wise":
                texts = texts or reader(lm, patch)
                row["let_in"] = let_in(texts, route.memories[-1], cases[:done])
        if "eps" in row or "held" in row:
            yield row


def every(lm: lib.LM) -> Iterator[dict[str, Any]]:
    """All rows of the stream: the unedited model on all facts, then line after line."""
    cases = facts()
    base = lib.baseline(lm, cases[:1], **ASKED)
    yield {"line": "unedited", "edits": 0} | look(lm, cases, lib.EMPTY, base)
    for name in STREAM["lines"]:
        yield from stream(lm, name)


def rows(lm: lib.LM, streamed: str, again: str, merged: str) -> list[dict[str, Any]]:
    """The rows of the three runs that are stored under these names, with the page's names of lines.

    Two facts are written again, and have to give the first row.
    """
    found = long_runs.stored(streamed, STREAM, lambda: every(lm))
    own = [row for row in found if row["line"] == "WISE, no rehearsal"]
    long_runs.repeats(own, lambda: stream(lm, own[0]["line"], 1), ["edits", "eps"], 0.5)
    other = long_runs.stored(again, ORDER, lambda: stream(lm, ORDER["line"], order=ORDER))
    found = [*found, *({**row, "line": "WISE, another order"} for row in other)]
    found += long_runs.stored(merged, MERGES, lambda: merges(lm))
    names = {"WISE": "WISE + rehearsal", "WISE, no rehearsal": "WISE"}
    return [{**row, "line": names.get(row["line"], row["line"])} for row in found]


# ---- the runs on the model that `lib.load()` gives -----------------------------------------------

FORTY = {"points": [20, 40], "shard": 10}  # "points" as those of STREAM


def forty(lm: lib.LM, draw: str, line: str, cases: Sequence[lib.Case]) -> Iterator[dict[str, Any]]:
    """The rows of one line for one draw of facts: of the unedited model, of `merges` or `stream`."""
    if line == "unedited":
        base = lib.baseline(lm, cases[:1], **ASKED)
        rows = iter([{"line": line, "edits": 0, **look(lm, cases, lib.EMPTY, base)}])
    elif line == "shards":
        rows = merges(lm, cases, FORTY["shard"])
    else:
        calls = 3 if line.startswith("WISE") else None  # 2, 18 and 20 facts
        rows = stream(lm, line, calls, FORTY, cases)
    for row in rows:
        yield {"draw": draw, **row}


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Every line on three draws of forty facts, and WISE's shards of ten, apart and merged."""
    some = runs_04.draws(STREAM["together"])
    lines = {
        line: (lib.EDITORS[kind], {**PLAIN, **WISE, **more} if kind == "wise" else more)
        for line, (kind, more, _) in STREAM["lines"].items()
    }
    settings = {
        "reading": stored_runs.reading(lm),
        "editors": stored_runs.configs(lm, lines),
        "calls": {line: sizes for line, (*_, sizes) in STREAM["lines"].items()},
        "cases": {draw: [case.id for case in cases] for draw, cases in some.items()},
        "merges": {key: MERGES[key] for key in ("density", "rules")},
    }
    jobs = {
        f"{draw}, {line}": partial(forty, lm, draw, line, cases)
        for draw, cases in some.items()
        for line in ("unedited", *lines, "shards")
    }
    return [stored_runs.LongRun("12_forty", settings | FORTY, jobs)]
