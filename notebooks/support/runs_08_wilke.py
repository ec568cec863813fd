"""The long runs of notebook 08: ROME, WilKE and a split on the same streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import lib
from lib.data.facts import lookup

from . import long_runs, moved, stored_runs
from . import runs_04_rome as runs_04
from .stored_runs import OURS

CONTEXTS = ((9, 2),)  # half of the preset's templates: seven layers per edit cost seven searches


def divergence(lm: lib.LM, count: int = 16) -> Callable[[lib.Patch], float]:
    """Mean KL(base ‖ patched) of the next token, in nats, on prompts unrelated to every edit."""
    prompts = dict.fromkeys(prompt for case in lib.classroom() for prompt in case.locality)
    return moved.next_token(lm, list(prompts)[:count])


def opens(lm: lib.LM, fact: lib.Fact) -> bool:
    """Whether the subject is one token, and that the first of the prompt's own."""
    return lookup(lm.tokenizer, fact)[1] == (lm.leading_bos is not None)


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


EDITS, LOOKS = 10, (5, 10)
LINES = {  # name: (editor, its settings)
    "ROME": ("rome", {}),
    "ROME, published": ("rome", {"keys": "mixed"}),
    "WilKE": ("wilke", OURS),
    "split": ("wilke", OURS),
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
            found = told.scores[row["edits"]].by_case()
            for metric in ("retention", "generalization", "specificity"):
                seen[metric] = found[metric, "generation"]["mean"].round(4).to_dict()
        if row["edits"] == LOOKS[0]:
            found = told.scores[0].by_case()
            seen["base"] = found["specificity", "generation"]["mean"].round(4).to_dict()
        yield seen


def lines() -> dict[str, tuple[type, dict]]:
    """{line: the class of its editor, its settings}."""
    kinds = {"WilKE": Seen, "split": Split}
    settings = {"contexts": CONTEXTS, **runs_04.STREAM}
    return {
        line: (kinds.get(line, lib.EDITORS[kind]), settings | more)
        for line, (kind, more) in LINES.items()
    }


def editors(lm: lib.LM, model: lib.LM) -> dict[str, lib.Editor]:
    """{line: its editor of a model}, all with the presets of `lm`, so that readings can be compared."""
    return {
        line: kind(model, kind.Config.preset(lm, kind.name, **more))
        for line, (kind, more) in lines().items()
    }


def of_paper(lm: lib.LM, arm: str) -> lib.Editor:
    """ROME with the settings of an arm of the papers' streams, in a layer that a toy has, too."""
    settings = dict(long_runs.paper("wilke_six_1")["settings"]["editors"][arm])
    settings["contexts"] = tuple(map(tuple, settings["contexts"]))
    settings["layer"] = min(settings["layer"], lm.n_layers - 1)
    return lib.EDITORS["rome"](lm, **settings)


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Three streams by ROME, its published form, WilKE and a split, with the token."""
    some, made = runs_04.draws(EDITS), editors(lm, lm)
    cases = {draw: [case.id for case in own] for draw, own in some.items()}
    more = {"cases": cases, "points": LOOKS, "reading": stored_runs.reading(lm)}
    jobs = {
        f"{draw}, {line}": partial(written, one, draw, line, own)
        for draw, own in some.items()
        for line, one in made.items()
    }
    return [stored_runs.long_run(lm, "08_three", lines(), jobs, **more)]
