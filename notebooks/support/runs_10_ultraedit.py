"""The long runs of notebook 10: UltraEdit on a stream, whole and with its moments taken away.

The moments are taken away in two ways; each way is a small subclass of the editor. Trained networks
write the same facts. Rows keep one value per fact and per prompt. The page also reads keys of facts
in several wordings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

import lib
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import KeyGradientMoments

from . import long_runs, moved, stored_runs
from . import runs_09_learning_to_edit as runs_09
from .runs_06_null_space import counterfact
from .score_tables import by_case

# The one place for the editor's settings: change them, then `--long 10` again.
SETTINGS = {"down": (18, 19, 20), "step": 0.4, "ridge": 1.0, "repeat": 1, "warmup": "none"}
UltraEdit = lib.EDITORS["ultraedit"]


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


WAYS = {"lifelong": UltraEdit, "first turn": FirstTurn, "none": Plain}
ASKED = {"events": ["teacher_forced", "generation"], "metrics": ["generalization"]}
FACTS, TURN, EVERY = 60, 20, 3  # every third fact is asked at the end
UNRELATED = 15  # prompts
DRAWS = {"first": 0, "second": 7262, "third": 8500}  # rows of CounterFact, of no network's training
LINES = {  # a way of WAYS or an editor of the library: multiples of the step
    "lifelong": (2.0, 4.0),  # the second writes more than half of the facts
    **dict.fromkeys(("first turn", "none"), (4.0,)),
    **dict.fromkeys(("ultraedit", *runs_09.SHOWN), (1.0,)),
}


def line(lm: lib.LM, way: str, scale: float = 1.0) -> tuple[type, dict[str, Any]]:
    """The class and the settings of a way with a multiple of the step, or of the library's editor."""
    if way not in WAYS:
        return lib.EDITORS[way], stored_runs.OURS
    settings = {**SETTINGS, "step": scale * SETTINGS["step"]}
    if max(SETTINGS["down"]) >= lm.n_layers:  # a toy: the editor's own choice
        del settings["down"]
    return WAYS[way], settings


def editor(lm: lib.LM, way: str, scale: float = 1.0) -> lib.Editor:
    """The editor of a `line`."""
    kind, settings = line(lm, way, scale)
    return kind(lm, **settings)


def drawn(
    lm: lib.LM, draw: str, way: str, scale: float, known: Callable[[str], tuple[list, Any]]
) -> Iterator[dict[str, Any]]:
    """The row of one line on one draw of facts, or of the base model, with the facts of its draw.

    change  ‖ΔW‖/‖W₀‖ after every turn, the mean of the edited matrices
    tokens  shares of answer tokens that are right, one per fact that is asked
    held, reworded   shares of prompts answered as wanted by generation, per fact
    kl      per unrelated prompt: KL over four tokens of the base model's answer, in nats
    known   gives the cases of a draw, and the base model's scores of those that are asked
    """
    cases, base = known(draw)
    asked, patch = cases[::EVERY], lib.EMPTY
    row: dict[str, Any] = {"draw": draw, "way": way, "scale": scale, "change": []}
    if way == "base":
        row["facts"] = [vars(case.fact) for case in cases]
    else:
        writer = editor(lm, way, scale)
        for done in range(TURN, FACTS + 1, TURN):
            some = [case.fact for case in cases[done - TURN : done]]
            patch = writer.edit(some, after=patch, check=False)
            both = [(lm.weight(name), lm.weight(name, patch)) for name in patch.weights]
            far = [((new - old).norm() / old.norm()).item() for old, new in both]
            row["change"].append(round(sum(far) / len(far), 4))
    scores = lib.evaluate(lm, asked, patch, base=base, **ASKED)
    spread = dict.fromkeys(prompt for case in lib.classroom() for prompt in case.locality)
    others = moved.answers(lm, list(spread)[:UNRELATED], patch)
    row |= by_case(scores, {"tokens": "efficacy"}, "teacher_forced") | by_case(scores)
    yield row | {"kl": [round(kl, 5) for kl in others]}


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """UltraEdit with and without its moments; then one run per trained network, on the same draws."""

    @cache
    def known(draw: str) -> tuple[list[lib.Case], Any]:
        cases = runs_09.short(counterfact(DRAWS[draw] + FACTS)[DRAWS[draw] :])
        return cases, lib.baseline(lm, cases[::EVERY], **ASKED)

    every = [(way, scale) for way, scales in LINES.items() for scale in scales]
    found = []
    for name in ("draws", *runs_09.SHOWN):
        lines = [one for one in every if one[0] == name]
        network = {"network": runs_09.trained(name)[2]} if lines else {}
        lines = lines or [one for one in every if one[0] not in runs_09.SHOWN]
        kinds = {f"{way} × {scale:g}": line(lm, way, scale) for way, scale in lines}
        asked = {"draws": DRAWS, "edits": [FACTS, TURN, EVERY, UNRELATED], "answers": ASKED}
        base = [] if network else [("base", 0.0)]
        jobs = {
            f"{draw}, {way} × {scale:g}": partial(drawn, lm, draw, way, scale, known)
            for draw in DRAWS
            for way, scale in [*base, *lines]
        }
        found.append(stored_runs.long_run(lm, f"10_{name}", kinds, jobs, **asked, **network))
    return found


def arm(lm: lib.LM, name: str) -> lib.Editor:
    """The editor of an arm of the suspects, in layers that a toy has, too."""
    settings = dict(long_runs.paper("ultraedit_suspects")["settings"]["arms"][name])
    for places in ("down", "gate", "up"):
        settings[places] = tuple(sorted({layer % lm.n_layers for layer in settings[places]}))
    return UltraEdit(lm, **settings)


def worded(count: int) -> dict[str, list[lib.Fact]]:
    """Facts with odd numbers in four forms, in one order.

    own              the prompt that an edit is written with
    rewording, third two other wordings, the first with the subject in it
    another subject  the own prompt with the subject of another fact of the same relation
    """
    cases = [case for case in lib.classroom() if int(case.id) % 2 and case.fact.subject]
    cases = [case for case in cases if len(case.paraphrases) > 1]
    cases = [case for case in cases if case.fact.subject in case.paraphrases[0]]
    found: dict[str, list[lib.Fact]] = {
        name: [] for name in ("own", "rewording", "another subject", "third")
    }
    for case in cases:
        fact, (first, second, *_) = case.fact, case.paraphrases
        kin = [one.fact.subject for one in cases if one.relation == case.relation and one != case]
        if kin and len(found["own"]) < count:
            found["own"].append(fact)
            template = first.replace(fact.subject, "{}", 1)
            found["rewording"].append(lib.Fact(fact.subject, template, fact.target_new))
            found["another subject"].append(lib.Fact(kin[0], fact.prompt, fact.target_new))
            found["third"].append(lib.Fact(None, second, fact.target_new))
    return found


def first_tokens(
    lm: lib.LM, facts: list[lib.Fact], modules: list[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    """{module: K (d_in, n), G (d_out, n)} where the first token of each answer is predicted."""
    rows = answer_gradients.answer_rows(lm, facts)
    order = sorted(range(len(rows)), key=lambda i: -len(rows.ids[i]))  # as `read` has them
    starts, column = [0] * len(rows), 0
    for i in order:
        starts[i], column = column, column + len(rows.answers[i])
    found = answer_gradients.read(lm, facts, modules)
    return {
        name: (pair.K[:, starts].double(), pair.G[:, starts].double())
        for name, pair in found.items()
    }
