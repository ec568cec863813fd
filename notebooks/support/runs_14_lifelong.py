"""The runs of notebook 14: every editor writes the same short streams of classroom facts.

The model is asked after each turn. What happens in a stream happens to all of its facts, so a stream
is one observation. Each begins with the Eiffel Tower, which is left out of all scores.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import lib
from lib.data.texts import HELD_OUT
from lib.evaluation.intervals import DIFFERENCE, SHARE, interval

from . import long_runs, moved, score_tables, stored_runs
from . import runs_04_rome as runs_04
from . import runs_09_learning_to_edit as runs_09
from .score_tables import MEASURED as COLUMNS  # asked at the end of a stream
from .score_tables import by_stream
from .stored_runs import OURS

EDITS, TURN, SEEDS = 12, 4, (1, 2, 3, 4, 5)
PROMPTS = 2  # rewordings and neighbors of a case, at most
WORDS = 8  # tokens of the answers that are kept to be read
TESTS = ("generalization", "specificity", "locality", "perplexity")
TEXT = HELD_OUT.read_text(encoding="utf-8")[:1500]  # for the perplexity
ASKED: dict[str, Any] = {"metrics": TESTS, "text": TEXT}
NETWORKS = {"MEND": "mend", "MALMEN": "malmen", "RLEdit": "rledit"}
LINES: dict[str, tuple[str, dict[str, Any]]] = {  # name: editor, settings beside the preset's
    "ROME": ("rome", runs_04.STREAM),
    "ROME, published": ("rome", {"keys": "mixed"} | runs_04.STREAM),
    "MEMIT": ("memit", {"keep_keys": True}),
    "AlphaEdit": ("alphaedit", {}),
    "norm anchor": ("norm_anchor", {}),
    "EMMET": ("emmet", {}),
    "PMET": ("pmet", {}),
    "WilKE": ("wilke", OURS),
    "RECT": ("rect", {}),
    "PRUNE": ("prune", {}),
    "UltraEdit": ("ultraedit", OURS),
    **{name: (editor, {}) for name, editor in NETWORKS.items()},
    "fine-tuning": ("ft", {}),
    "FT-L": ("ft_l", {}),
    "FT-M": ("ft_m", {}),
    "CrispEdit": ("crispedit", {}),
    "LoRA": ("lora", {}),
    "GRACE": ("grace", {}),
    "HoReN": ("horen", {}),
    "WISE": ("wise", OURS),
    "LEMoE": ("lemoe", OURS),
    "MEMOIR": ("memoir", {}),
    "retrieval": ("retrieval", {}),
    "synthetic documents": ("sdf", {"documents": 10}),
    "steering": ("steer", {}),
}
# the papers' algorithms, which are the defaults; those that take seconds come first
PUBLISHED = {
    f"{name}, published": (LINES[name][0], {}) for name in ("LEMoE", "UltraEdit", "WISE", "WilKE")
}
FAMILIES = {  # where an editor keeps what it has learned, and how it finds it, for figures
    "searches": [*LINES][:10],
    "gradients": ["UltraEdit", *NETWORKS],
    "fine-tuning": ["fine-tuning", "FT-L", "FT-M", "CrispEdit", "LoRA", "synthetic documents"],
    "external memory": ["GRACE", "HoReN", "WISE", "LEMoE", "MEMOIR", "steering"],
    "retrieval": ["retrieval"],
}


def cases(edits: int = EDITS, seed: int = 0) -> list[lib.Case]:
    """Return the stream of a seed: the Eiffel Tower, then odd cases of the classroom.

    Each keeps a few of its test prompts. Streams of up to 24 facts begin alike.
    """
    odd = [case for case in lib.classroom() if case.id % 2]
    some = [lib.classroom()[0], *random.Random(seed).sample(odd, 23)]
    most = {"paraphrases": PROMPTS, "neighborhood": PROMPTS, "locality": 1}
    return [
        replace(case, **{name: getattr(case, name)[:n] for name, n in most.items()})
        for case in some[:edits]
    ]


def probes(some: Sequence[lib.Case]) -> dict[str, str]:
    """The prompts whose answers are kept after every turn."""
    tower = some[0]
    return {
        "edit 1": tower.fact.text,
        "reworded": tower.paraphrases[-1],
        "neighbor": tower.neighborhood[0].prompt,
        "unrelated": tower.locality[0],
        "the last edit": some[-1].fact.text,
    }


def right(lm: lib.LM, facts: Sequence[lib.Case], patch: lib.Patch) -> str:
    """One "1" or "0" per fact: whether the model, writing freely, begins with the new answer."""
    found = lib.evaluate(lm, facts, patch, ["generation"], metrics=())
    return "".join(str(int(share)) for share in score_tables.by_case(found, {"": "efficacy"})[""])


def by_case(scores: lib.Scores) -> dict[str, Any]:
    """Return {metric: {event: [value of each case, None where it has no prompt]}}."""
    names, found = list(dict.fromkeys(scores.rows["case"])), {}
    for (metric, event), means in scores.by_case().items():
        values = means["mean"].reindex(names).round(4).tolist()
        found.setdefault(metric, {})[event] = [None if x != x else x for x in values]
    return found


def stream_row(
    made: lib.Editor, name: str, seed: int, whole: Sequence[lib.Case], known: Any
) -> dict[str, Any]:
    """Write one stream with one editor: what is there after each turn, and at the end everything.

    right    after each turn, "1" or "0" per fact so far: whether the model gives its new answer
    moved    {"neighbors", "unrelated": after each turn, KL from the unedited model in nats}
    says     {probe: its answer after each turn}
    cases    {metric: {event: [value of each case]}} at the end
    turns    CPU seconds of each turn
    """
    lm, patch = made.lm, lib.EMPTY
    ask = probes(whole)
    far = {group: moved.next_token(lm, prompts) for group, prompts in asked(whole).items()}
    row: dict[str, Any] = {"line": name, "seed": seed, "right": [], "turns": []}
    row |= {"moved": {group: [] for group in far}, "says": {probe: [] for probe in ask}}
    for end in range(TURN, len(whole) + 1, TURN):
        turn = whole[end - TURN : end]
        start = time.process_time()
        patch = made.edit([case.fact for case in turn], after=patch, check=False)
        row["turns"].append(round(time.process_time() - start, 2))
        row["right"].append(right(lm, whole[:end], patch))
        for group, kl in far.items():
            row["moved"][group].append(round(kl(patch), 5))
        with lm.patched(patch, only=True):
            for probe, answer in zip(ask, lm.answer(list(ask.values()), WORDS), strict=True):
                row["says"][probe].append(answer)
    return row | at_the_end(lib.evaluate(lm, whole, patch, base=known, **ASKED))


def asked(whole: Sequence[lib.Case]) -> dict[str, list[str]]:
    """One neighbor's prompt and one unrelated prompt of each case."""
    neighbors = [case.neighborhood[0].prompt for case in whole if case.neighborhood]
    return {"neighbors": neighbors, "unrelated": [one for case in whole for one in case.locality]}


def at_the_end(scores: lib.Scores) -> dict[str, Any]:
    """The shares of every case, and the perplexity of the text."""
    return {"cases": by_case(scores), "perplexity": round(float(scores.perplexity), 3)}


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Every editor on five short streams, and the unedited model.

    The papers' algorithms are a run of their own, which came later.
    """
    published = {name: (lib.EDITORS[kind], more) for name, (kind, more) in PUBLISHED.items()}
    lines = {name: (lib.EDITORS[kind], more) for name, (kind, more) in LINES.items()}
    base = cache(lambda seed: lib.baseline(lm, cases(EDITS, seed), **ASKED))

    def rows(line: str, seed: int) -> Iterator[dict[str, Any]]:
        if line == "base":
            yield {"line": line, "seed": seed} | at_the_end(base(seed).scores)
        else:
            kind, more = (lines | published)[line]
            yield stream_row(kind(lm, **more), line, seed, cases(EDITS, seed), base(seed))

    more = {"prompts": PROMPTS, "metrics": TESTS, "probes": list(probes(cases(EDITS)))}
    more["networks"] = {name: runs_09.trained(name)[2] for name in NETWORKS.values()}
    found, streams = [], {seed: [case.id for case in cases(EDITS, seed)] for seed in SEEDS}
    for name, some, own in (
        ("14_five", lines, more),
        ("14_papers", published, {}),
    ):
        asked = ["base", *some] if name == "14_five" else [*some]
        pairs = [(line, i) for i in SEEDS for line in asked]
        if some is published:  # line by line
            pairs.sort(key=lambda pair: asked.index(pair[0]))
        jobs = {f"{line}, {i}": partial(rows, line, i) for line, i in pairs}
        settings = {"cases": streams, "batch": TURN, **own}
        found.append(stored_runs.long_run(lm, name, some, jobs, **settings))
    return found


# ---------------------------------------------------------------- reading the stored rows


def stored() -> list[dict[str, Any]]:
    """The rows of page 14, stream by stream."""
    return long_runs.rows("14_five")


def values(row: Mapping[str, Any], column: str, event: str = "generation") -> list[float]:
    """One value per fact but the tower, for a column of COLUMNS; 1.0 is right."""
    return [value for value in row["cases"][COLUMNS[column]][event][1:] if value is not None]


def streams(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, list[list[float]]]:
    """{editor, the unedited model first: for each stream, in the order of the seeds, its values}."""
    found: dict[str, list[list[float]]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        found.setdefault(row["line"], []).append(values(row, column))
    return {name: found[name] for name in ("base", *LINES, *PUBLISHED) if name in found}


def seconds(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """{editor: CPU seconds per edit in each stream}."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["line"] != "base":
            found.setdefault(row["line"], []).append(sum(row["turns"]) / EDITS)
    return found


def mean(some: Sequence[Sequence[float]]) -> float:
    """The mean over streams of the means of their facts."""
    return sum(sum(one) / len(one) for one in some) / len(some)


def wide(
    some: Sequence[Sequence[float]], ends: tuple[float, float] = SHARE
) -> tuple[float, float, float]:
    """The mean over streams, and its 95 % interval: at either end the wider of two.

    One is Student's interval of the streams' means, which sees how much streams differ. The other
    takes all facts as independent, and has a width also where the means of all streams agree.
    """
    middle, *student = by_stream([sum(one) / len(one) for one in some])
    pooled = interval([value for one in some for value in one], ends)
    low, high = min(student[0], pooled[0]), max(student[1], pooled[1])
    return middle, max(low, ends[0]), min(high, ends[1])


def ahead(
    one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]
) -> tuple[float, float, float]:
    """By how much one editor is ahead of another on the same streams, fact by fact: `wide`."""
    pairs = [zip(a, b, strict=True) for a, b in zip(one, other, strict=True)]
    gaps = [[float(a) - float(b) for a, b in pair] for pair in pairs]
    return wide(gaps, DIFFERENCE)
