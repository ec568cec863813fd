"""The long run of notebook 10: UltraEdit on one stream, whole and with its moments taken away.

The moments are taken away in three ways; each way is a small subclass of the editor, and is run with
two sizes of the step, because ways can be compared only where they do as much damage. Rows keep one
value per fact and per prompt, so that differences can be paired and have intervals.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import lib
from lib import plot
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import KeyGradientMoments
from lib.plot.style import EDITORS

from . import moved, stored_runs
from .runs_06_null_space import counterfact as counterfact

# The one place for the editor's settings: change them, then `--long 10` again.
SETTINGS = {"down": [18, 19, 20], "step": 0.4, "ridge": 1.0, "repeat": 1, "warmup": "none"}
# The published method; the preset of the embedded model has more (see the end of the notebook).
PUBLISHED = {"strength": 0.0, "keep_keys": False, "reduction": "group_mean", "few": None}
UltraEdit = lib.EDITORS["ultraedit"]


class PerTurn(UltraEdit):
    """Every turn is standardized with its own moments: nothing is remembered."""

    def start(self, state: Mapping[str, Any]) -> dict[tuple[int, int], KeyGradientMoments]:
        """Nothing seen yet, always."""
        return super().start({})


class FirstTurn(UltraEdit):
    """The moments of the first turn serve for ever."""

    def start(self, state: Mapping[str, Any]) -> dict[tuple[int, int], KeyGradientMoments]:
        """Moments that stay as they are, once there are any."""
        found = super().start(state).items()
        return {
            shape: Fixed(both.keys, both.grads) if both.count else both for shape, both in found
        }


@dataclass(frozen=True)
class Fixed(KeyGradientMoments):
    """Moments that learn nothing."""

    def to(self, device: torch.device | str) -> KeyGradientMoments:
        """The same, on another device; they stay fixed there."""
        there = super().to(device)
        return Fixed(there.keys, there.grads)

    def merge(self, parts: Iterable[answer_gradients.KeyGradients]) -> KeyGradientMoments:
        """Themselves."""
        return self


class Plain(UltraEdit):
    """Raw keys and gradients, v = −c ‖k‖² g; c is fitted once, to UltraEdit's median first step."""

    def __init__(self, lm: lib.LM, config: Any = None, **settings: Any) -> None:
        super().__init__(lm, config, **settings)
        self.calls, self.scale = 0, {}  # c by place of the module in a turn

    def solve(
        self, pair: answer_gradients.KeyGradients, moments: KeyGradientMoments, *more: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same regression for another V."""
        place, self.calls = self.calls % len(self.modules()), self.calls + 1
        V, B = super().solve(pair, moments, *more)
        raw = (-pair.K.double().square().sum(0) * pair.G.double()).to(V)
        if place not in self.scale:
            self.scale[place] = (V.norm(dim=0).median() / raw.norm(dim=0).median()).item()
        return self.scale[place] * raw, B


WAYS = {"lifelong": UltraEdit, "per turn": PerTurn, "first turn": FirstTurn, "none": Plain}
COLORS = {"base": plot.BASE, "lifelong": EDITORS["ultraedit"]}
COLORS |= dict(zip(list(WAYS)[1:], plot.CYCLE, strict=False))
ASKED = {
    "events": ["teacher_forced", "generation"],
    "metrics": ["generalization", "specificity", "perplexity"],
}
STREAM = {
    "data": "CounterFact, first 1500 rows",
    "editor": SETTINGS,
    "ways": {
        "lifelong": [1.0],  # multiples of the step
        "none": [1.0, 0.7],
        "per turn": [1.0, 0.7],
        "first turn": [1.0, 0.7],
    },
    "batch": 100,
    "compared": 1000,  # edits after which the ways are compared
    "length": 1500,  # edits of the first line
    "first": [200, 400, 700, 1000, 1500],  # when the first turn's facts are asked again
    "sample": 8,  # every eighth fact so far is asked
    "kl": 60,  # unrelated prompts
    "answers": ASKED,
}


class Lifelong:
    """One stream of facts in turns, and the questions that are asked of every way.

    settings is a mapping like STREAM.
    """

    def __init__(self, lm: lib.LM, cases: Sequence[lib.Case], settings: Mapping[str, Any]) -> None:
        self.lm = lm
        self.cases = list(cases)
        self.settings = settings
        spread = dict.fromkeys(prompt for c in lib.classroom() for prompt in c.locality)
        self.prompts = list(spread)[: settings["kl"]]
        self.asked = self.cases[: settings["compared"] : settings["sample"]]

    def editor(self, way: str, scale: float = 1.0) -> lib.Editor:
        """The editor of a way, with a multiple of the step."""
        settings = {
            key: stored_runs.tuples(value) for key, value in self.settings["editor"].items()
        }
        settings["step"] *= scale
        if max(settings["down"]) >= self.lm.n_layers:  # a toy: the editor's own choice
            del settings["down"]
        return WAYS[way](self.lm, **PUBLISHED, **settings)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The base model's row with the facts of the first two turns, then every line's rows."""
        self.base = lib.baseline(self.lm, self.asked, **ASKED)
        facts = [vars(case.fact) for case in self.cases[: 2 * self.settings["batch"]]]
        row = {"way": "base", "scale": 0.0, "edits": 0, "facts": facts}
        yield row | {"first": self.first(lib.EMPTY)} | self.look(lib.EMPTY)
        for way, scales in self.settings["ways"].items():
            for scale in scales:
                yield from self.line(way, scale)

    def line(self, way: str, scale: float) -> Iterator[dict[str, Any]]:
        """Write the stream in one way; one row per turn.

        cpu     seconds of all threads together, which other work on the machine does not change
        change  ‖ΔW‖/‖W₀‖ of every edited matrix

        After the number of edits at which the ways are compared a row has what `look` gives; the
        first line of the settings is longer, and its rows have `first` at some points.
        """
        settings, editor, patch = self.settings, self.editor(way, scale), lib.EMPTY
        longest = (way, scale) == ("lifelong", 1.0)
        size, end = settings["batch"], settings["length" if longest else "compared"]
        for done in range(size, end + 1, size):
            facts = [case.fact for case in self.cases[done - size : done]]
            began = time.process_time()
            patch = editor.edit(facts, after=patch)
            row = {"way": way, "scale": scale, "edits": done}
            row["cpu"] = round(time.process_time() - began, 2)
            row["change"] = [round(value, 4) for value in changes(self.lm, patch)]
            if longest and (done == size or done in settings["first"]):
                row["first"] = self.first(patch)
            if done == settings["compared"]:
                row |= self.look(patch)
            yield row

    def first(self, patch: lib.Patch) -> list[float]:
        """For each fact of the first turn the share of its answer tokens that are right."""
        some = self.cases[: self.settings["batch"]]
        found = lib.evaluate(self.lm, some, patch, ["teacher_forced"], metrics=()).by_case()
        return _values(found["efficacy", "teacher_forced"])

    def look(self, patch: lib.Patch) -> dict[str, Any]:
        """What a sample of the facts, their other prompts and unrelated prompts give.

        tokens              shares of answer tokens that are right, one per fact
        held, reworded, neighbors   shares of prompts answered as wanted by generation, per fact
        kl, unrelated       per unrelated prompt: KL over four tokens of the base model's answer,
                            in nats, and whether the four tokens are the same
        """
        scores = lib.evaluate(self.lm, self.asked, patch, base=self.base, **ASKED)
        found = scores.by_case()
        others = moved.answers(self.lm, self.prompts, patch, tokens=4).values()
        return {
            "tokens": _values(found["efficacy", "teacher_forced"]),
            "held": _values(found["efficacy", "generation"]),
            "reworded": _values(found["generalization", "generation"]),
            "neighbors": _values(found["specificity", "generation"]),
            "kl": [round(one.kl, 5) for one in others],
            "unrelated": [float(one.before == one.after) for one in others],
            "perplexity": round(scores.perplexity, 3),
        }


def _values(found: Any) -> list[float]:
    return [round(float(value), 4) for value in found["mean"]]


def changes(lm: lib.LM, patch: lib.Patch) -> list[float]:
    """‖ΔW‖/‖W₀‖ of every edited matrix."""
    both = ((lm.weight(name), lm.weight(name, patch)) for name in patch.weights)
    return [((new - old).norm() / old.norm()).item() for old, new in both]


def replay(lm: lib.LM, way: str, facts: Sequence[lib.Fact], size: int) -> Iterator[dict[str, Any]]:
    """The first rows of a line without any questions: edits, and how far every matrix has moved."""
    editor, patch = Lifelong(lm, (), STREAM).editor(way), lib.EMPTY
    for end in range(size, len(facts) + 1, size):
        patch = editor.edit(facts[end - size : end], after=patch)
        yield {"edits": end, "change": changes(lm, patch)}
