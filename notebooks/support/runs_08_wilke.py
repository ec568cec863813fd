"""The long runs of notebook 08: ROME and WilKE on the same streams, and facts edited alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import lib
from lib.data.facts import lookup
from lib.editors import rome

from . import models, stored_runs
from . import runs_04_rome as runs_04

CONTEXTS = ((9, 2),)  # half of the preset's templates: seven layers per edit cost seven searches
LAYERS = tuple(range(7))  # WilKE's candidates


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
    """Whether the subject is one token, and that the first of the prompt's own."""
    return lookup(lm.tokenizer, fact)[1] == (lm.leading_bos is not None)


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


class Split(Seen):
    """ROME in layer 0 for a subject that opens its prompt, and in its own layer for all others."""

    def matches(self, fact: lib.Fact, *arguments) -> list:
        """The one layer, whatever its score."""
        layer = 0 if opens(self.lm, fact) else self.config.layer
        self.config = replace(self.config, layers=(layer,))
        return super().matches(fact, *arguments)


def stream(lm: lib.LM, run: str, number: int, edits: int, points: Sequence[int]) -> Iterator[dict]:
    """Write one stream; one row per edit, and at the points also {case: share of its prompts}.

    run     "editor keys" with "rome", "wilke" or "split", or "rome keys layer"
    scores  {layer: ‖Δ‖/‖W‖} of every layer that WilKE tried, on the model as it was then
    kl      KL from the base model at unrelated prompts, in nats
    """
    editor, keys, *layer = run.split()
    settings = {"keys": keys, "contexts": CONTEXTS}
    wilke = editor != "rome"
    settings |= {"layer": int(layer[0])} if layer else {}
    settings |= {"layers": tuple(i for i in LAYERS if i < lm.n_layers)} if wilke else {}
    made = {"rome": lib.EDITORS["rome"], "wilke": Seen, "split": Split}[editor](lm, **settings)
    cases, kl = stream_cases(number, edits), divergence(lm)
    asked = {"events": ["generation"], "metrics": ["specificity"]}
    told = lib.stream(lm, made, cases, eval_at=[0, *points], evaluate_with=asked)
    for case, row in zip(cases, told, strict=True):
        seen = {
            "stream": number,
            "run": run,
            "edit": row["edits"],
            "case": case.id,
            "opens": opens(lm, case.fact),
            "written": row["efficacy"]["generation"],
            "kl": round(kl(told.patch), 5),
            "seconds": round(row["seconds"], 2),
        }
        if wilke:
            seen["layer"] = told.patch.memory["wilke"]["layers"][-1]
            seen["scores"] = {str(match.layer): round(match.score, 5) for match in made.last}
        if row["edits"] in told.scores:
            for metric in ("retention", "specificity"):
                seen[metric] = shares(told.scores[row["edits"]], metric)
            if row["edits"] == points[0]:
                seen["base"] = shares(told.scores[0], "specificity")
        yield seen


def streams(lm: lib.LM, settings: Mapping) -> Iterator[dict]:
    """All runs of some settings, one after another."""
    for name, number, count in settings["runs"]:
        yield from stream(lm, name, number, count, [p for p in settings["points"] if p <= count])


def shares(scores: lib.Scores, metric: str) -> dict[str, float]:
    """{case: share of its prompts answered as wanted, by generation}."""
    found = scores.by_case()[metric, "generation"]["mean"]
    return {str(case): round(value, 4) for case, value in found.items()}


def layers(lm: lib.LM, settings: Mapping) -> Iterator[dict]:
    """Write each fact alone into each layer by ROME, on the base model; one row per fact and layer.

    s is ‖Δ‖/‖W‖, and kl as in `stream`. The other columns are shares of the fact's prompts that
    answer as wanted, by generation.
    """
    kl, asked = divergence(lm), {"events": ["generation"]}
    asked["metrics"] = ["generalization", "specificity"]
    tried = settings["layers"]
    made = {i: lib.EDITORS["rome"](lm, layer=i, contexts=CONTEXTS) for i in tried}
    for case in mix(lm, 1, settings["openers"], settings["others"]):
        for i in tried:
            patch, name = made[i].edit([case.fact], check=False), lm.mlp_out(i)
            size = patch.weights[name].dense().norm().item() / lm.weight(name).norm().item()
            said = lib.evaluate(lm, case, patch, **asked).json()
            yield {
                "case": case.id,
                "subject": case.fact.subject,
                "opens": opens(lm, case.fact),
                "layer": i,
                "s": round(size, 5),
                "kl": round(kl(patch), 5),
                "written": said["efficacy"]["generation"],
                "reworded": said["generalization"]["generation"],
                "neighbors": said["specificity"]["generation"],
            }


def alone(lm: lib.LM, settings: Mapping) -> Iterator[dict]:
    """One row per fact and way to choose the key: ROME on the base model, one search for all."""
    made, kl = lib.EDITORS["rome"](lm, contexts=CONTEXTS), divergence(lm)
    layer, templates = made.config.layer, made.templates()
    name, C = lm.mlp_out(layer), lib.second_moment(lm, [layer])
    W = lm.weight(name).cpu()
    for case in mix(lm, 0, settings["openers"], settings["others"]):
        _, found = made.update(case.fact, lib.EMPTY, templates)
        for key in ("mixed", "both"):
            a, b = rome.insert(W, found, C[layer], key)
            patch = lib.Patch({name: lib.LowRank(((a, b),))})
            said = lib.evaluate(lm, case, patch, events=["generation"], metrics=[]).json()
            yield {
                "case": case.id,
                "subject": case.fact.subject,
                "opens": opens(lm, case.fact),
                "keys": key,
                "s": round(((a @ b).norm() / W.norm()).item(), 5),
                "kl": round(kl(patch), 6),
                "written": said["efficacy"]["generation"],
            }


def mix(lm: lib.LM, parity: int, opening: int, others: int) -> list[lib.Case]:
    """Classroom cases: so many whose subject opens the prompt as one token, and so many others."""
    every = [case for case in lib.classroom() if case.id % 2 == parity]
    first = [case for case in every if opens(lm, case.fact)]
    rest = [case for case in every if not opens(lm, case.fact)]
    pace = max(1, len(rest) // others)
    found = [*first[:opening], *rest[: pace * others : pace]]
    return sorted(found, key=lambda case: case.id)


# ---------------------------------------------------------------- the runs on the model that `lib.load()` gives

EDITS, LOOKS = 10, (5, 10)
LINES = {  # name: (editor, its settings)
    "ROME": ("rome", {}),
    "ROME, published": ("rome", {"keys": "mixed"}),
    "WilKE": ("wilke", {}),
    "split": ("wilke", {}),
}


def written(editor: lib.Editor, draw: str, line: str, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """One stream; one row per edit, and at the points the share of each case's prompts.

    scores  {layer: ‖Δ‖/‖W‖} of every layer that was tried, on the model as it was then
    kl      KL from the base model at unrelated prompts, in nats
    """
    lm, asked = editor.lm, {"events": ["generation"], "metrics": ["generalization", "specificity"]}
    looks, kl = [n for n in (0, *LOOKS) if n <= len(cases)], divergence(editor.lm)
    told = lib.stream(lm, editor, cases, eval_at=looks, evaluate_with=asked)
    for case, row in zip(cases, told, strict=True):
        seen = {"draw": draw, "line": line, "edit": row["edits"], "case": case.id}
        seen |= {"opens": opens(lm, case.fact), "written": row["efficacy"]["generation"]}
        seen["kl"] = round(kl(told.patch), 5)
        if isinstance(editor, Seen):
            seen["layer"] = told.patch.memory["wilke"]["layers"][-1]
            seen["scores"] = {str(match.layer): round(match.score, 5) for match in editor.last}
        if row["edits"] in told.scores:
            for metric in ("retention", "generalization", "specificity"):
                seen[metric] = shares(told.scores[row["edits"]], metric)
        if row["edits"] == LOOKS[0]:
            seen["base"] = shares(told.scores[0], "specificity")
        yield seen


def editors(lm: lib.LM, model: lib.LM) -> dict[str, lib.Editor]:
    """{line: its editor of a model}, all with the presets of `lm`, so that readings can be compared."""
    found = {}
    for line, (kind, more) in LINES.items():
        made = {"WilKE": Seen, "split": Split}.get(line, lib.EDITORS[kind])
        config = made.Config.preset(lm, kind, contexts=CONTEXTS, **{**runs_04.STREAM, **more})
        found[line] = made(model, config)
    return found


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Streams by ROME, its published form, WilKE and a split; three with the token, one without."""
    plain, found = models.load("small"), []
    for name, model in {"08_three": lm, "08_plain": plain}.items():
        some, made = runs_04.draws(EDITS), editors(lm, model)
        some = some if model is lm else {"first": some["first"]}
        settings = {
            "reading": stored_runs.reading(model),
            "editors": {
                line: {"editor": one.name, **one.settings_dict()} for line, one in made.items()
            },
            "cases": {draw: [case.id for case in cases] for draw, cases in some.items()},
            "points": LOOKS,
        }
        jobs = {
            f"{draw}, {line}": partial(written, one, draw, line, cases)
            for draw, cases in some.items()
            for line, one in made.items()
        }
        found.append(stored_runs.LongRun(name, settings, jobs))
    return found
