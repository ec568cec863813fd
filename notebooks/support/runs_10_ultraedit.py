"""The long runs of notebook 10: UltraEdit on a stream, whole and with its moments taken away.

The moments are taken away in three ways; each way is a small subclass of the editor, and is run with
two sizes of the step, because ways can be compared only where they do as much damage. Rows keep one
value per fact and per prompt, so that differences can be paired and have intervals.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch

import lib
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import KeyGradientMoments

from . import moved, stored_runs
from . import runs_09_learning_to_edit as runs_09
from .runs_06_null_space import counterfact
from .runs_09_learning_to_edit import short
from .score_tables import by_case

# The one place for the editor's settings: change them, then `--long 10` again.
SETTINGS = {"down": (18, 19, 20), "step": 0.4, "ridge": 1.0, "repeat": 1, "warmup": "none"}
# The published method; the preset of the embedded model has more (see the end of the notebook).
PUBLISHED = {"strength": 0.0, "keep_keys": False, "reduction": "group_mean", "few": None}
UltraEdit = lib.EDITORS["ultraedit"]


class PerTurn(UltraEdit):
    """Every turn is standardized with its own moments: nothing is remembered."""

    def start(self, state: Mapping[str, Any]) -> dict[tuple[int, int], KeyGradientMoments]:
        """Nothing seen yet, always."""
        return super().start({})


class FirstTurn(UltraEdit):
    """The moments of the first turn serve for ever; they stay with the editor."""

    def solve(
        self, pair: answer_gradients.KeyGradients, moments: KeyGradientMoments, *more: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """With the first moments of this shape."""
        first = vars(self).setdefault((len(pair.K), len(pair.G)), moments)
        return super().solve(pair, first, *more)


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
# the compared edits in an order that is drawn; their facts are asked right after their turn as well
ORDER = {"stream": STREAM, "seed": 1, "ways": ["lifelong", "first turn", "none"]}


def editor(lm: lib.LM, way: str, scale: float = 1.0) -> lib.Editor:
    """The editor of a way, with a multiple of the step; or the library's own of that name."""
    if way not in WAYS:
        return lib.EDITORS[way](lm)
    settings = {**PUBLISHED, **SETTINGS, "step": scale * SETTINGS["step"]}
    if max(SETTINGS["down"]) >= lm.n_layers:  # a toy: the editor's own choice
        del settings["down"]
    return WAYS[way](lm, **settings)


def rows(lm: lib.LM) -> Iterator[dict[str, Any]]:
    """The base model's row with the facts of the first two turns, then every line's, turn by turn.

    cpu     seconds of all threads together, which other work on the machine does not change
    change  ‖ΔW‖/‖W₀‖ of every edited matrix
    first   for each fact of the first turn the share of its answer tokens that are right, at some
            points of the first line

    The base model and the patches after as many edits as are compared have what `look` returns.
    """
    cases = counterfact(STREAM["length"])
    asked = cases[: STREAM["compared"] : STREAM["sample"]]
    base = lib.baseline(lm, asked, **ASKED)
    size = STREAM["batch"]

    def first(patch: lib.Patch) -> list[float]:
        return tokens(lib.evaluate(lm, cases[:size], patch, ["teacher_forced"], metrics=()))

    facts = [vars(case.fact) for case in cases[: 2 * size]]
    row = {"way": "base", "scale": 0.0, "edits": 0, "facts": facts, "first": first(lib.EMPTY)}
    yield row | look(lm, asked, lib.EMPTY, base=base)
    for way, scale in ((way, scale) for way, scales in STREAM["ways"].items() for scale in scales):
        longest = (way, scale) == ("lifelong", 1.0)
        some = cases[: STREAM["length" if longest else "compared"]]
        for row, patch in turns(lm, way, scale, [case.fact for case in some], size):
            if longest and row["edits"] in (size, *STREAM["first"]):
                row["first"] = first(patch)
            if row["edits"] == STREAM["compared"]:
                row |= look(lm, asked, patch, base=base)
            yield row


def shuffled(lm: lib.LM) -> Iterator[dict[str, Any]]:
    """Some ways with one step and the facts that are compared, in another order.

    after   (which of the facts that are asked, held or not), for those of the turn, right after it
    """
    cases, sample, size = counterfact(STREAM["compared"]), STREAM["sample"], STREAM["batch"]
    order = random.Random(ORDER["seed"]).sample(range(len(cases)), len(cases))
    for way in ORDER["ways"]:
        for row, patch in turns(lm, way, 1.0, [cases[i].fact for i in order], size):
            own = [i for i in order[row["edits"] - size : row["edits"]] if i % sample == 0]
            now = lib.evaluate(lm, [cases[i] for i in own], patch, ["generation"], metrics=())
            row["after"] = list(zip((i // sample for i in own), by_case(now)["held"], strict=True))
            if row["edits"] == len(cases):
                row |= look(lm, cases[::sample], patch, metrics=())
            yield row


def turns(
    lm: lib.LM, way: str, scale: float, facts: Sequence[lib.Fact], size: int
) -> Iterator[tuple[dict[str, Any], lib.Patch]]:
    """Write facts in one way, and after each turn of `size` return its row and all edits so far."""
    writer, patch = editor(lm, way, scale), lib.EMPTY
    for done in range(size, len(facts) + 1, size):
        began = time.process_time()
        patch = writer.edit(facts[done - size : done], after=patch, check=False)
        row = {"way": way, "scale": scale, "edits": done}
        row["cpu"] = round(time.process_time() - began, 2)
        both = [(lm.weight(name), lm.weight(name, patch)) for name in patch.weights]
        row["change"] = [round(((new - old).norm() / old.norm()).item(), 4) for old, new in both]
        yield row, patch


def look(lm: lib.LM, asked: Sequence[lib.Case], patch: lib.Patch, **more: Any) -> dict[str, Any]:
    """What a sample of the facts, their other prompts and unrelated prompts give.

    tokens              shares of answer tokens that are right, one per fact
    held, reworded, neighbors   shares of prompts answered as wanted by generation, per fact
    kl, unrelated       per unrelated prompt: KL over four tokens of the base model's answer, in
                        nats, and whether the four tokens are the same
    """
    scores = lib.evaluate(lm, asked, patch, **{**ASKED, **more})
    spread = dict.fromkeys(prompt for case in lib.classroom() for prompt in case.locality)
    others = moved.answers(lm, list(spread)[: STREAM["kl"]], patch, tokens=4).values()
    return {
        "tokens": tokens(scores),
        **by_case(scores),
        "kl": [round(one.kl, 5) for one in others],
        "unrelated": [float(one.before == one.after) for one in others],
        "perplexity": scores.perplexity,
    }


def tokens(scores: lib.Scores) -> list[float]:
    """The share of answer tokens that are right, one per fact."""
    return by_case(scores, {"tokens": "efficacy"}, "teacher_forced")["tokens"]


# ---------------------------------------------------------------- the runs on the model that `lib.load()` gives

FACTS, TURN = 200, 40
DRAWS = {"first": 0, "second": 7262, "third": 8500}  # rows of CounterFact, of no network's training
LINES = {  # a way of WAYS or an editor of the library: multiples of the step
    "lifelong": (1.0, 4.0),  # the second writes more than half of the facts
    "per turn": (4.0,),
    "first turn": (4.0,),
    "none": (4.0,),
    **dict.fromkeys(("ultraedit", "mend", "malmen", "rledit"), (1.0,)),
}


def drawn(
    lm: lib.LM, draw: str, way: str, scale: float, known: Callable[[str], tuple[list, Any]]
) -> Iterator[dict[str, Any]]:
    """The rows of one line for one draw, turn by turn; at the end what `look` returns.

    known  gives the cases of a draw, and the base model's scores of every fourth
    """
    cases, base = known(draw)
    asked, head = cases[::4], {"draw": draw, "way": way, "scale": scale}
    if way == "base":
        yield head | {"edits": 0, **look(lm, asked, lib.EMPTY, base=base)}
        return
    for row, patch in turns(lm, way, scale, [case.fact for case in cases], TURN):
        row["turn"] = row.pop("cpu")
        if row["edits"] == FACTS:
            row |= look(lm, asked, patch, base=base)
        yield head | row


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """UltraEdit with and without its moments, and trained networks, on three draws of facts."""

    @cache
    def known(draw: str) -> tuple[list[lib.Case], Any]:
        cases = short(counterfact(DRAWS[draw] + FACTS)[DRAWS[draw] :])
        return cases, lib.baseline(lm, cases[::4], **ASKED)

    lines = [(way, scale) for way, scales in LINES.items() for scale in scales]
    made = {f"{way} × {scale:g}": editor(lm, way, scale) for way, scale in lines}
    settings = {
        "reading": stored_runs.reading(lm),
        "editors": {
            name: {"editor": one.name, **one.settings_dict()} for name, one in made.items()
        },
        "networks": {name: runs_09.trained(name)[2] for name in ("mend", "malmen", "rledit")},
        "draws": DRAWS,
        "edits": [TURN, FACTS],
        "kl": STREAM["kl"],
        "answers": ASKED,
    }
    jobs = {
        f"{draw}, {way} × {scale:g}": partial(drawn, lm, draw, way, scale, known)
        for draw in DRAWS
        for way, scale in [("base", 0.0), *lines]
    }
    return [stored_runs.LongRun("10_draws", settings, jobs)]
