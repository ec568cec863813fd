"""The long run of notebook 14: every editor on one stream of classroom facts.

The model is asked after each turn. Notebook 15 reads the same file. A run that was stopped goes on
with the next editor.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

import lib
from lib.data.texts import HELD_OUT

from . import runs_04_rome as runs_04
from . import runs_09_learning_to_edit as runs_09
from . import stored_runs

# The one place for the run's settings: change them, then `--long 14` again.
STREAM = {
    "data": "classroom()[0], then 23 odd cases in the order of seed 0",
    "edits": 24,
    "batch": 4,
    "prompts": 2,  # rewordings and neighbors of a case, at most
    "lines": {  # name: editor, settings beside the preset's, network; a new line is run alone
        "ROME, published": ["rome", {"keys": "mixed", "contexts": ((9, 1),)}],
        "ROME, both keys": ["rome", {"keys": "both", "contexts": ((9, 1),)}],
        "MEMIT": ["memit", {"keep_keys": True}],
        "AlphaEdit": ["alphaedit", {}],
        "norm anchor": ["norm_anchor", {}],
        "EMMET": ["emmet", {}],
        "PMET": ["pmet", {}],
        "WilKE": ["wilke", {}],
        "RECT": ["rect", {}],
        "PRUNE": ["prune", {}],
        "UltraEdit": ["ultraedit", {}],
        "MEND": runs_09.trained("mend"),
        "MALMEN": runs_09.trained("malmen"),
        "RLEdit": runs_09.trained("rledit"),
        "fine-tuning": ["ft", {}],
        "FT-L": ["ft_l", {}],
        "FT-M": ["ft_m", {}],
        "CrispEdit": ["crispedit", {}],
        "LoRA": ["lora", {}],
        "GRACE": ["grace", {}],
        "HoReN": ["horen", {}],
        "WISE": ["wise", {}],
        "LEMoE": ["lemoe", {}],
        "MEMOIR": ["memoir", {}],
        "retrieval": ["retrieval", {}],
    },
}
TESTS = ("generalization", "specificity", "locality", "perplexity")
NEGATIVES = ("same_subject", "negation_leak")
COLUMNS = {
    "written": "efficacy",
    "held": "retention",
    "reworded": "generalization",
    "neighbors": "specificity",
    "unrelated": "locality",
}
FAMILIES = {  # what an editor is, for figures
    "the unedited model": ["base"],
    "searches": [
        "ROME, published",
        "ROME, both keys",
        "MEMIT",
        "AlphaEdit",
        "norm anchor",
        "EMMET",
        "PMET",
        "WilKE",
        "RECT",
        "PRUNE",
    ],
    "gradients": ["UltraEdit", "MEND", "MALMEN", "RLEdit"],
    "fine-tuning": ["fine-tuning", "FT-L", "FT-M", "CrispEdit", "LoRA"],
    "memories": ["GRACE", "HoReN", "WISE", "LEMoE", "MEMOIR"],
    "retrieval": ["retrieval"],
}
TEXT = HELD_OUT.read_text(encoding="utf-8")[:1500]  # for the perplexity
ASKED: dict[str, Any] = {"metrics": TESTS, "text": TEXT}
WORDS = 8  # tokens of the answers that are kept to be read


def cases(edits: int = STREAM["edits"], seed: int = 0) -> list[lib.Case]:
    """Return the stream of a seed: the Eiffel Tower, then odd cases of the classroom.

    Each keeps a few of its test prompts.
    """
    odd = [case for case in lib.classroom() if case.id % 2]
    some = [lib.classroom()[0], *random.Random(seed).sample(odd, STREAM["edits"] - 1)]
    most = {"paraphrases": STREAM["prompts"], "neighborhood": STREAM["prompts"], "locality": 1}
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


def editor(lm: lib.LM, name: str) -> lib.Editor:
    """The editor of a line."""
    kind, settings, *_ = STREAM["lines"][name]
    return lib.EDITORS[kind](lm, **settings)


def line(
    lm: lib.LM, name: str, edits: int = STREAM["edits"], base: Any = None
) -> Iterator[dict[str, Any]]:
    """Write the stream with one editor; one row per turn, and at the end everything, per case.

    right    "1" or "0" per fact so far: whether its prompt is answered by the new answer, generated
    says     {probe: its answer}
    next     {group: most probable next tokens at the neighbors, at the unrelated prompts}
    kl       mean KL from the base model at unrelated prompts, in nats
    cpu      CPU seconds of the edit
    """
    whole, full = cases(), STREAM["edits"]
    made, points = editor(lm, name), [full] if edits == full else []
    run = lib.stream(lm, made, whole[:edits], STREAM["batch"], points, ASKED)
    run.base = base or run.base
    spent = timed(made)
    prompts = unrelated(whole)
    before = _next(lm, prompts, lib.EMPTY)
    for turn in run:
        row = {"line": name, "edits": turn["edits"], "cpu": round(spent.pop(), 2)}
        row |= look(lm, whole, turn["edits"], run.patch, before)
        if "scores" in turn:
            row["scores"] = _round(turn["scores"])
        if turn["edits"] == full:
            more = lib.evaluate(lm, whole, run.patch, ["generation"], run.base, metrics=NEGATIVES)
            row["cases"] = by_case(more) | by_case(run.scores[full])
            row["bytes"] = size(run.patch)
            if name.startswith("ROME"):
                row["each"] = singly(lm, run.patch, prompts, before)
        yield row


def look(
    lm: lib.LM, whole: Sequence[lib.Case], end: int, patch: lib.Patch, before: torch.Tensor
) -> dict[str, Any]:
    """Ask the facts so far, the probes, neighbors and unrelated prompts after a turn."""
    ask = probes(whole)
    with lm.patched(patch, only=True):
        says = lm.answer(list(ask.values()), WORDS)
    neighbors = [case.neighborhood[0].prompt for case in whole]
    near, far = (_next(lm, some, patch) for some in (neighbors, unrelated(whole)))
    tokens = {"neighbors": near.argmax(1).tolist(), "unrelated": far.argmax(1).tolist()}
    row = {"right": right(lm, whole[:end], patch), "says": dict(zip(ask, says, strict=True))}
    return row | {"next": tokens, "kl": _kl(before, far)}


def right(lm: lib.LM, facts: Sequence[lib.Case], patch: lib.Patch) -> str:
    """One "1" or "0" per fact: whether the model, writing freely, begins with the new answer."""
    found = lib.evaluate(lm, facts, patch, ["generation"], metrics=()).rows
    found = found[(found["metric"] == "efficacy") & (found["event"] == "generation")]
    return "".join(str(int(value)) for value in found["value"])


def singly(
    lm: lib.LM, patch: lib.Patch, prompts: list[str], before: torch.Tensor
) -> dict[str, list[float]]:
    """A patch of ROME edit by edit: ‖Δᵢ‖, and KL at unrelated prompts after i edits and of i alone."""
    ((module, weight),) = patch.weights.items()
    found: dict[str, list[float]] = {"norm": [], "after": [], "alone": []}
    for i, (A, B) in enumerate(weight.chunks, start=1):
        found["norm"].append(round((A @ B).norm().item(), 3))
        for how, chunks in {"after": weight.chunks[:i], "alone": ((A, B),)}.items():
            part = lib.Patch(weights={module: lib.LowRank(chunks)})
            found[how].append(_kl(before, _next(lm, prompts, part)))
    return found


def finished(name: str, settings: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The stored rows of the base model and of all lines whose settings are still the same.

    There are none if another setting differs. So a run that was stopped goes on after them.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        return []
    run, here = stored_runs.read(path), json.loads(json.dumps(settings))
    there, wanted = run["settings"].pop("lines"), here.pop("lines")
    if run["settings"] != here:
        return []
    if isinstance(wanted, dict):
        wanted = [line for line in wanted if there.get(line) == wanted[line]]
    return [row for row in run["rows"] if row["line"] in ("base", *wanted)]


def every(lm: lib.LM, folder: Path = stored_runs.DATA) -> list[dict[str, Any]]:
    """All rows; they are stored after each line."""
    rows = finished("14_streams", STREAM, folder)
    done = {row["line"] for row in rows if "cases" in row}
    rows = [row for row in rows if row["line"] in done]
    if done >= {"base", *STREAM["lines"]}:
        return rows
    known = lib.baseline(lm, cases(), metrics=(*TESTS, *NEGATIVES), text=TEXT)
    if "base" not in done:
        rows = [base_row(lm, known)]
    for name in STREAM["lines"]:
        if name not in done:
            rows = [*rows, *line(lm, name, base=known)]
            stored_runs.save("14_streams", STREAM, rows, folder=folder)
    return rows


def base_row(lm: lib.LM, known: Any) -> dict[str, Any]:
    """The base model, asked like an editor at the end."""
    whole = cases()
    before = _next(lm, unrelated(whole), lib.EMPTY)
    row = {"line": "base", "edits": 0} | look(lm, whole, len(whole), lib.EMPTY, before)
    row["scores"] = _round(known.scores.json())
    return row | {"cases": by_case(known.scores)}


def by_case(scores: lib.Scores) -> dict[str, Any]:
    """Return {metric: {event: [value of each case, None where it has no prompt]}}."""
    names, found = list(dict.fromkeys(scores.rows["case"])), {}
    for (metric, event), means in scores.by_case().items():
        values = means["mean"].reindex(names).tolist()
        found.setdefault(metric, {})[event] = [
            None if value != value else round(value, 4) for value in values
        ]
    return found


def unrelated(whole: Sequence[lib.Case]) -> list[str]:
    """One unrelated prompt of each case."""
    return [prompt for case in whole for prompt in case.locality]


def size(patch: lib.Patch) -> int:
    """Bytes of the patch as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "patch.safetensors"
        patch.save(path)
        return path.stat().st_size


def _next(lm: lib.LM, prompts: list[str], patch: lib.Patch) -> torch.Tensor:
    with lm.patched(patch, only=True):
        return lm.next_token(prompts).cpu().clone()


def _kl(before: torch.Tensor, now: torch.Tensor) -> float:
    return round((before.exp() * (before - now)).sum(1).clamp(min=0).mean().item(), 5)


def timed(made: lib.Editor) -> list[float]:
    """Let an editor note the CPU seconds of each call of its `edit`."""
    plain, spent = made.edit, []

    def edit(
        facts: Sequence[lib.Fact], after: lib.Patch = lib.EMPTY, *, check: bool = True
    ) -> lib.Patch:
        start = time.process_time()
        patch = plain(facts, after=after, check=check)
        spent.append(time.process_time() - start)
        return patch

    made.edit = edit
    return spent


def _round(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _round(item) for key, item in value.items()}
    return round(value, 5) if isinstance(value, float) else value


# ---------------------------------------------------------------- the runs on the model that `lib.load()` gives

EDITS, SEEDS = 12, (1, 2, 3, 4, 5)
LINES = {"ROME": ("rome", runs_04.STREAM)}  # as the library gives it, for a stream
LINES |= {"ROME, published": ("rome", {"keys": "mixed"} | runs_04.STREAM)}
LINES |= {
    name: (kind, more) for name, (kind, more, *_) in STREAM["lines"].items() if kind != "rome"
}
LINES |= {"synthetic documents": ("sdf", {"documents": 10}), "steering": ("steer", {})}


def stream_row(
    made: lib.Editor, name: str, seed: int, whole: Sequence[lib.Case], known: Any
) -> dict[str, Any]:
    """Write one stream with one editor: what is there after each turn, and at the end everything.

    right    after each turn, "1" or "0" per fact so far: whether the model gives its new answer
    moved    {"neighbors", "unrelated": after each turn, KL from the unedited model in nats}
    says     {probe: its answer after each turn}
    cases    {metric: {event: [value of each case]}} at the end
    turns    CPU seconds of each turn
    bytes    of the patch as a file
    each     of ROME's edits alone: `singly`
    """
    lm, spent, patch = made.lm, timed(made), lib.EMPTY
    ask, groups = probes(whole), asked(whole)
    before = {group: _next(lm, prompts, patch) for group, prompts in groups.items()}
    row: dict[str, Any] = {"line": name, "seed": seed, "right": []}
    row |= {"moved": {group: [] for group in groups}, "says": {probe: [] for probe in ask}}
    for end in range(STREAM["batch"], len(whole) + 1, STREAM["batch"]):
        turn = whole[end - STREAM["batch"] : end]
        patch = made.edit([case.fact for case in turn], after=patch, check=False)
        row["right"].append(right(lm, whole[:end], patch))
        for group, prompts in groups.items():
            row["moved"][group].append(_kl(before[group], _next(lm, prompts, patch)))
        with lm.patched(patch, only=True):
            for probe, answer in zip(ask, lm.answer(list(ask.values()), WORDS), strict=True):
                row["says"][probe].append(answer)
    row |= {"turns": [round(x, 2) for x in spent], "bytes": size(patch)}
    if name.startswith("ROME"):
        row["each"] = singly(lm, patch, groups["unrelated"], before["unrelated"])
    return row | at_the_end(lib.evaluate(lm, whole, patch, base=known, **ASKED))


def asked(whole: Sequence[lib.Case]) -> dict[str, list[str]]:
    """One neighbor's prompt and one unrelated prompt of each case."""
    neighbors = [case.neighborhood[0].prompt for case in whole if case.neighborhood]
    return {"neighbors": neighbors, "unrelated": unrelated(whole)}


def at_the_end(scores: lib.Scores) -> dict[str, Any]:
    """The shares of every case, and the perplexity of the text."""
    return {"cases": by_case(scores), "perplexity": round(float(scores.perplexity), 3)}


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Every editor on five short streams; the unedited model is asked the same."""
    lines = {name: (lib.EDITORS[kind], more) for name, (kind, more) in LINES.items()}
    base = cache(lambda seed: lib.baseline(lm, cases(EDITS, seed), **ASKED))

    def rows(line: str, seed: int) -> Iterator[dict[str, Any]]:
        if line == "base":
            yield {"line": line, "seed": seed} | at_the_end(base(seed).scores)
        else:
            kind, more = lines[line]
            yield stream_row(kind(lm, **more), line, seed, cases(EDITS, seed), base(seed))

    streams = {seed: [case.id for case in cases(EDITS, seed)] for seed in SEEDS}
    settings = {"reading": stored_runs.reading(lm), "editors": stored_runs.configs(lm, lines)}
    settings |= {"cases": streams, "batch": STREAM["batch"], "prompts": STREAM["prompts"]}
    settings |= {"metrics": TESTS, "probes": list(probes(cases(EDITS)))}
    settings["networks"] = {name: runs_09.trained(name)[2] for name in ("mend", "malmen", "rledit")}
    jobs = {
        f"{line}, {seed}": partial(rows, line, seed) for seed in SEEDS for line in ("base", *lines)
    }
    return [stored_runs.LongRun("14_five", settings, jobs)]


# ---------------------------------------------------------------- reading the stored rows


def ends(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """{editor: its row at the end}, the base model first, then in the order of the settings."""
    last = {row["line"]: row for row in rows if "cases" in row}
    return {name: last[name] for name in ("base", *STREAM["lines"]) if name in last}


def values(row: Mapping[str, Any], column: str, event: str = "generation") -> list[float]:
    """One value per fact that has such prompts, for a column of COLUMNS; 1.0 is right.

    The base model, and a stream of which only the end was asked, hold what they say there.
    """
    found = row["cases"].get(COLUMNS[column], row["cases"]["efficacy"])
    return [value for value in found[event] if value is not None]
