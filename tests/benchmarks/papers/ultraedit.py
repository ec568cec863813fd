"""UltraEdit (Gu et al. 2025): do rewordings follow, and if not, what keeps them from it?

Facts are written in one turn and one pass, as published but for the step and the layers, which are
of the model's size. One rewording of each is asked by all three events. Then four suspects are
changed alone: the event, the modules (gate and up of the last third, as published for Llama), the
step, and the token at which keys and gradients are read (the subject's last in place of the
answer's); last, a second wording is written beside the fact's own.

Long streams come second. Eight arms keep, limit or take away the moments, each in three steps, so
that arms can be compared where they write as much as each other. A last job has what an edit costs
by three other editors, all as published.

With `--data FOLDER` the suspects' facts are those of counterfact.json there that the model knows,
and the streams are disjoint parts of zsre.json. Without it the streams are shuffled odd facts of
the classroom.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn.functional import cosine_similarity

import lib
from lib.atomic_files import sha256
from lib.data.facts import Fact, lookup
from lib.editors import UltraEdit
from lib.evaluation.intervals import DIFFERENCE, interval
from lib.evaluation.known_facts import known
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import EPS, KeyGradientMoments
from notebooks.support import long_runs, moved, stored_runs
from notebooks.support import runs_10_ultraedit as runs_10
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support.score_tables import by_case, by_stream
from tests.benchmarks.rows import classroom

from .frame import CLAIMS, Experiment, Given, Row, Speed, weights
from .superposition import against, called, published
from .verdicts import judged

SUSPECTS = "ultraedit_suspects"
FACTS = {"tiny": 4, "default": 60, "paper": 100}
UNRELATED = {"tiny": 2, "default": 15, "paper": 15}  # prompts
FEW = {"tiny": 2, "default": 6, "paper": 15}  # the same, of the long streams
EVENTS = ("probability", "teacher_forced", "generation")
PUBLISHED = {
    "strength": 0.0, "keep_keys": False, "reduction": "group_mean", "few": None, "repeat": 1,
    "warmup": "none", "step": 1.6,
}  # fmt: skip
# Every setting, so that no preset decides the rows of the long streams.
ALL: dict[str, Any] = {
    **PUBLISHED, "seed": 0, "target_eos": False, "eta": None, "ridge": 1.0, "whiten": None,
    "down": (18, 19, 20), "gate": (), "up": (), "group": 10,
}  # fmt: skip
SHORT: dict[str, dict[str, Any]] = {  # of the other editors, at the smallest scale
    "rome": {"templates": ("{}",), "steps": 4, "tokens": 600},
    "memit": {"templates": ("{}",), "steps": 4, "tokens": 600},
    "wise": {"n_iter": 4, "templates": ("{}",), "irrelevant_n": 4},
}
PLAIN, MODULES, TOKEN, WIDER = "plain", "modules", "subject's token", "two wordings"
STEPS = {"step × ¼": 0.25, "step × ½": 0.5, "step × 2": 2.0, "step × 4": 4.0}
UNEDITED = "unedited"
SMALLER = {f"{MODULES} × ¼": 0.25, f"{MODULES} × ½": 0.5}  # so that they write as little as PLAIN
ARMS = (PLAIN, *STEPS, MODULES, *SMALLER, TOKEN, WIDER)
DOWN = (18, 19, 20)  # where page 10's rows are written
LATE = 0.7  # of the depth, where the published layers of gate and up begin


LONG = "ultraedit_long"
LENGTH: dict[str, dict[str, int]] = {
    "tiny": {"streams": 1, "turns": 2, "turn": 3, "asked": 2},
    "default": {"streams": 3, "turns": 10, "turn": 10, "asked": 20},
    "paper": {"streams": 1, "turns": 200, "turn": 100, "asked": 1000},
}
POINTS = (1, 2, 5, 10, 20, 50, 100, 200)  # turns after which facts and texts are asked
SCALES = (1.0, 0.5, 0.25)  # of the step, in every arm
COST, OTHERS = "cost", ("rome", "memit", "wise")


class PerTurn(UltraEdit):
    """The moments are those of the turn alone."""

    def start(self, state: Mapping[str, Any]) -> dict[tuple[int, int], KeyGradientMoments]:
        """Nothing was seen before."""
        return super().start({})


class Part(runs_10.Plain):
    """UltraEdit of which one factor of the standardizing is left, v = −c ‖k'‖² g'.

    c is fitted once to UltraEdit's median first step, so that the arms begin with equal shifts.
    """

    def kept(
        self, pair: answer_gradients.KeyGradients, moments: KeyGradientMoments
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """k' (d_in, n) and g' (d_out, n), float64."""
        raise NotImplementedError

    def solve(
        self, pair: answer_gradients.KeyGradients, moments: KeyGradientMoments, *more: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same regression for another V."""
        place, self.calls = self.calls % len(self.modules()), self.calls + 1
        V, B = UltraEdit.solve(self, pair, moments, *more)
        keys, grads = self.kept(pair, moments)
        part = (-keys.square().sum(0) * grads).to(V)
        if place not in self.scale:
            self.scale[place] = (V.norm(dim=0).median() / part.norm(dim=0).median()).item()
        return self.scale[place] * part, B


class ScaleOnly(Part):
    """Keys and gradients are divided by their deviation and not centered."""

    def kept(self, pair: Any, moments: KeyGradientMoments) -> tuple[torch.Tensor, torch.Tensor]:
        """k/σ and g/σ."""
        by = [(one.deviation + EPS)[:, None] for one in (moments.keys, moments.grads)]
        return pair.K.double() / by[0], pair.G.double() / by[1]


class CenterOnly(Part):
    """Keys and gradients are centered and not scaled."""

    def kept(self, pair: Any, moments: KeyGradientMoments) -> tuple[torch.Tensor, torch.Tensor]:
        """k − μ and g − μ."""
        return (
            pair.K.double() - moments.keys.mean[:, None],
            pair.G.double() - moments.grads.mean[:, None],
        )


class KeysOnly(Part):
    """Keys are standardized, gradients are as they were read."""

    def kept(self, pair: Any, moments: KeyGradientMoments) -> tuple[torch.Tensor, torch.Tensor]:
        """k̂ and g."""
        return moments.keys.standardize(pair.K), pair.G.double()


class GradientsOnly(Part):
    """Gradients are standardized, keys are as they were read."""

    def kept(self, pair: Any, moments: KeyGradientMoments) -> tuple[torch.Tensor, torch.Tensor]:
        """k and ĝ."""
        return pair.K.double(), moments.grads.standardize(pair.G)


WAYS: dict[str, type[UltraEdit]] = {
    "lifelong": UltraEdit,
    "none": runs_10.Plain,
    "first turn": runs_10.FirstTurn,
    "per turn": PerTurn,
    "scale only": ScaleOnly,
    "center only": CenterOnly,
    "keys only": KeysOnly,
    "gradients only": GradientsOnly,
}


def experiments(given: Given) -> list[Experiment]:
    """The suspects and the long streams; of a folder of data those whose file is there."""
    found = []
    if given.data is None or (given.data / "counterfact.json").is_file():
        found.append(suspects(given))
    if given.data is None or (given.data / "zsre.json").is_file():
        found.append(long_streams(given))
    if not found:
        raise ValueError(f"there is neither counterfact.json nor zsre.json in {given.data}")
    return found


def suspects(given: Given) -> Experiment:
    """All arms of the suspects and the unedited model, the first of those given."""
    lm = given.lm(given.models[0])
    count, token = FACTS[given.scale], Speed.of(lm).token
    settings: dict[str, Any] = {
        "scale": given.scale,
        "model": lm.identity,
        "facts": count,
        "unrelated": UNRELATED[given.scale],
        "arms": {arm: editor(lm, arm).settings_dict() for arm in ARMS},
    }
    if given.data is not None:
        settings["data"] = sha256(published(given.data))
    jobs = {arm: partial(written, given, arm) for arm in (UNEDITED, *ARMS)}
    # of each fact: writing it, two prompts by three events, and up to 32 tokens of each answer
    seconds = len(ARMS) * count * 400 * token
    command = "python -m tests.benchmarks.papers --paper ultraedit"
    run = stored_runs.LongRun(SUSPECTS, settings, jobs, command)
    return Experiment(run, seconds, 2 * weights(lm))


def long_streams(given: Given) -> Experiment:
    """Every way in every step, stream by stream, and what other editors cost."""
    lm, size = given.lm(given.models[0]), LENGTH[given.scale]
    settings: dict[str, Any] = {
        "scale": given.scale,
        "model": lm.identity,
        "unrelated": FEW[given.scale],
        "ways": list(WAYS),
        "scales": SCALES,
        "points": POINTS,
        "editor": settings_of(given, lm, 1.0),
        **size,
    }
    if given.data is not None:
        settings["data"] = {"zsre.json": sha256(given.data / "zsre.json")}
    jobs = {}
    for stream in range(size["streams"]):
        own = {
            f"{stream}: {way} × {scale:g}": partial(lived, given, stream, way, scale)
            for scale in SCALES
            for way in WAYS
        }
        jobs |= own
    for stream in range(size["streams"]):
        jobs[f"{stream}: {COST}"] = partial(costs, given, stream)
    edits = size["streams"] * size["turns"] * size["turn"] * len(WAYS) * len(SCALES)
    # an edit is a pass forward and one backward of some 20 tokens; of one asked four are
    seconds = (3 * 20 * edits + 4 * 40 * size["asked"] * len(jobs)) * Speed.of(lm).token
    name = LONG if given.data is None else f"{LONG}_zsre"
    command = "python -m tests.benchmarks.papers --paper ultraedit"
    return Experiment(stored_runs.LongRun(name, settings, jobs, command), seconds, 2 * weights(lm))


def settings_of(given: Given, lm: lib.LM, scale: float) -> dict[str, Any]:
    """UltraEdit's settings: ours of the packaged model, the published ones of every other."""
    if given.models[0] is None:
        return {**ALL, "step": scale * ALL["step"]}
    found = vars(UltraEdit.published(lm))
    if given.scale == "paper":
        return {**found, "eta": scale * found["eta"]}
    return {**found, "eta": None, "step": scale * PUBLISHED["step"]}


def stream_of(given: Given, stream: int) -> list[lib.Case]:
    """The facts of a stream; with a folder of data no other stream has them."""
    size = LENGTH[given.scale]
    edits = size["turns"] * size["turn"]
    if given.data is None:
        cases = classroom("tables", given.lm(given.models[0]).name)
        random.Random(stream).shuffle(cases)
    else:
        path, wanted = given.data / "zsre.json", size["streams"] * edits
        cases = list(lib.read_cases(path, limit=wanted, target="true", unrelated_suffix="?"))
        cases = cases[stream * edits :]
    if len(cases) < edits:
        raise ValueError(f"there are {len(cases)} facts of {edits} for stream {stream}")
    return cases[:edits]


def lived(given: Given, stream: int, way: str, scale: float) -> Iterator[Row]:
    """One stream in one way; one row per turn.

    ms       of processor time per edit of this turn
    norm     ‖ΔW‖/‖W₀‖ of this turn's change, the mean of the edited matrices
    cosine   of this turn's change and that of the turn before; None in the first turn
    tokens, reworded  at some turns: shares of answer tokens right, per fact so far that is asked,
             of its own prompt and of its rewording
    said     at the last one: the same of its own prompt by free generation, 1 or 0
    kl       at some turns, per unrelated prompt, in nats over four tokens
    """
    lm, size = given.lm(given.models[0]), LENGTH[given.scale]
    cases = stream_of(given, stream)
    made, patch = WAYS[way](lm, WAYS[way].Config(**settings_of(given, lm, scale))), lib.EMPTY
    spread = dict.fromkeys(prompt for case in lib.classroom() for prompt in case.locality)
    texts = list(spread)[: FEW[given.scale]]
    names = list(made.modules())
    first = weights_now = {name: lm.weight(name).float().cpu() for name in names}
    before = dict[str, torch.Tensor]()
    for turn in range(1, size["turns"] + 1):
        own = [case.fact for case in cases[(turn - 1) * size["turn"] : turn * size["turn"]]]
        begun = time.process_time()
        patch = made.edit(own, after=patch, check=False)
        spent = time.process_time() - begun
        now = {name: lm.weight(name, patch).float().cpu() for name in names}
        moves = {name: now[name] - weights_now[name] for name in names}
        sizes = [(moves[name].norm() / first[name].norm()).item() for name in names]
        alike = [cosine_similarity(moves[n].flatten(), before[n].flatten(), 0) for n in before]
        row: Row = {
            "model": called(lm),
            "kind": "long",
            "stream": stream,
            "way": way,
            "scale": scale,
            "turn": turn,
            "ms": round(1000 * spent / len(own), 2),
            "norm": round(statistics.mean(sizes), 6),
            "cosine": round(torch.stack(alike).mean().item(), 4) if alike else None,
        }
        weights_now, before = now, moves
        if turn in POINTS or turn == size["turns"]:
            so_far = cases[: turn * size["turn"]]
            asked = so_far[:: max(1, -(-len(so_far) // size["asked"]))]
            last = turn == size["turns"]
            events = ["teacher_forced", *(["generation"] if last else [])]
            found = lib.evaluate(lm, asked, patch, events, metrics=["generalization"])
            columns = {"tokens": "efficacy", "reworded": "generalization"}
            row |= by_case(found, columns, "teacher_forced")
            row |= by_case(found, {"said": "efficacy"}) if last else {}
            row["kl"] = [round(x, 5) for x in moved.answers(lm, texts, patch)]
        yield row


def costs(given: Given, stream: int) -> Iterator[Row]:
    """Milliseconds of processor time an edit by three other editors, as published; a row for each.

    Each writes a fact that does not count, then one more, and MEMIT three in one call.
    """
    lm, cases = given.lm(given.models[0]), stream_of(given, stream)
    facts = [case.fact for case in cases if case.fact.subject]
    for name in OTHERS:
        kind = lib.EDITORS[name]
        fewer = SHORT[name] if given.scale == "tiny" else {}
        made = kind(lm, replace(kind.published(lm), **fewer))
        turn = 3 if name == "memit" else 1
        patch = made.edit(facts[:1], check=False)  # what is computed once is there after it
        begun = time.process_time()
        made.edit(facts[1 : 1 + turn], after=patch, check=False)
        spent = 1000 * (time.process_time() - begun) / len(facts[1 : 1 + turn])
        about = {"model": called(lm), "kind": COST, "stream": stream, "way": name}
        yield {**about, "ms": round(spent, 1)}


def editor(lm: lib.LM, arm: str) -> UltraEdit:
    """The editor of an arm."""
    step = (STEPS | SMALLER).get(arm, 1.0) * PUBLISHED["step"]
    changed: dict[str, Any] = {**PUBLISHED, "step": step}
    if lm.n_layers > max(DOWN):  # else the editor's own choice
        changed["down"] = DOWN
    if arm in (MODULES, *SMALLER):
        late = tuple(range(round(LATE * lm.n_layers), lm.n_layers))
        gate = late if len(lm.arch.mlp_in) > 1 else ()
        # the same step in all, shared among more matrices
        changed["step"] *= len(DOWN) / (len(gate) + len(late))
        changed |= {"down": (), "gate": gate, "up": late}
        if lm.arch.fused_in:  # gate and up are one matrix there: only the layers move
            changed |= {"down": late, "gate": (), "up": ()}
    return UltraEdit(lm, **changed)


def cases_of(given: Given, lm: lib.LM) -> list[lib.Case]:
    """Known facts with two rewordings, the second of which is asked of every arm."""
    count = FACTS[given.scale]
    if given.data is not None:
        found = known(lm, lib.read_cases(published(given.data), limit=20 * count))
    else:
        found = classroom("tables", lm.name)
    some = [case for case in found if len(case.paraphrases) > 1 and case.fact.subject][:count]
    if len(some) < count:
        raise ValueError(f"{lm.name} knows {len(some)} facts of {count} that are wanted")
    return some


def at_subjects(read: Any) -> AbstractContextManager[Any]:
    """In the body, keys and gradients are those at each subject's last token."""

    def subjects(lm: lib.LM, facts: Sequence[Fact], *more: Any, **named: Any) -> Any:
        found = read(lm, facts, *more, **named, everywhere=True)
        # one column for each token but the last of each row, the longest row first
        rows = answer_gradients.answer_rows(lm, facts)
        order = sorted(range(len(rows)), key=lambda i: -len(rows.ids[i]))
        lengths = [len(rows.prompts[i]) + len(rows.answers[i]) - 1 for i in order]
        starts = [sum(lengths[:i]) for i in range(len(order))]
        places = [lookup(lm.tokenizer, facts[i])[1] for i in order]
        at = torch.tensor([a + b for a, b in zip(starts, places, strict=True)])
        return {
            name: answer_gradients.KeyGradients(
                pair.K[:, at.to(pair.K.device)], pair.G[:, at.to(pair.G.device)], pair.group[at]
            )
            for name, pair in found.items()
        }

    return mock.patch.object(answer_gradients, "read", subjects)


def written(given: Given, arm: str) -> Iterator[Row]:
    """The row of one arm.

    facts, reworded  {event: a share per fact} of its own prompt, and of its second rewording
    kl               per unrelated prompt, in nats over four tokens
    """
    lm = given.lm(given.models[0])
    cases = cases_of(given, lm)
    some = [case.fact for case in cases]
    if arm == WIDER:
        more = [Fact(None, case.paraphrases[0], case.fact.target_new) for case in cases]
        some = [*some, *more]
    with at_subjects(answer_gradients.read) if arm == TOKEN else nullcontext():
        patch = lib.EMPTY if arm == UNEDITED else editor(lm, arm).edit(some, check=False)
    asked = [replace(case, paraphrases=case.paraphrases[1:2]) for case in cases]
    scores = lib.evaluate(lm, asked, patch, metrics=["generalization"], events=list(EVENTS))
    found = scores.by_case()
    spread = dict.fromkeys(prompt for case in lib.classroom() for prompt in case.locality)
    kl = moved.answers(lm, list(spread)[: UNRELATED[given.scale]], patch)
    yield {
        "model": called(lm),
        "arm": arm,
        **{
            name: {
                event: [round(float(x), 4) for x in found[metric, event]["mean"]]
                for event in EVENTS
            }
            for name, metric in {"facts": "efficacy", "reworded": "generalization"}.items()
        },
        "kl": [round(x, 5) for x in kl],
    }


def percent(values: Sequence[float], ends: tuple[float, float] = (0.0, 1.0)) -> str:
    """ "80 [70, 88] %"."""
    low, high = interval(values, ends)
    mean = sum(values) / len(values)
    return "{:.0f} [{:.0f}, {:.0f}] %".format(*(100 * x for x in (mean, low, high)))


def shown(row: Row) -> str:
    """One line for a row, with the paper's figure."""
    if row.get("kind") == COST:
        return f"{row['model']}, {row['way']}: {row['ms']:.0f} ms an edit (paper: 7 × UltraEdit's)"
    if row.get("kind") == "long":
        begin = f"{row['model']}, {row['way']} × {row['scale']:g}, turn {row['turn']}"
        if "tokens" not in row:
            return f"{begin}: ‖ΔW‖/‖W‖ {row['norm']:.4f}, {row['ms']:.0f} ms an edit"
        theirs = CLAIMS["figures"]["ultraedit"].get(row["way"], "no figure")
        return (
            f"{begin}: tokens right {percent(row['tokens'])}, reworded {percent(row['reworded'])} "
            f"(paper: {theirs}), KL {statistics.mean(row['kl']):.3f} nats"
        )
    cells = [
        f"{event.replace('_', '-')} {percent(row['facts'][event])}, reworded "
        f"{percent(row['reworded'][event])}"
        for event in EVENTS
    ]
    said = "; ".join(cells)
    paper = "paper, Llama 3 8B after 20,000 of ZsRE, teacher-forced: 90, reworded 87"
    return f"{row['model']}, {row['arm']}: {said} ({paper})"


def outcomes(suspects: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """{claim: (what came out, verdict)} from the stored arms, and from page 10's rows."""
    (plain,) = (row for row in suspects["rows"] if row["arm"] == PLAIN)
    rules = {c["name"]: c for c in CLAIMS["claims"] if c["paper"] == "ultraedit" and "same" in c}
    found = {}
    for name, event in {"rewordings": "teacher_forced", "rewordings_said": "generation"}.items():
        own, other = plain["facts"][event], plain["reworded"][event]
        gaps = [b - a / 2 for a, b in zip(own, other, strict=True)]
        said = f"{len(own)} facts: {percent(own)}, reworded {percent(other)}"
        found[name] = judged(said, interval(gaps, DIFFERENCE), rules[name])
    rows = long_runs.rows("10_draws")
    for name, way in {"normalization": "none", "frozen": "first turn"}.items():
        arms = [
            [row["tokens"] for row in rows if (row["way"], row["scale"]) == (one, 4.0)]
            for one in ("lifelong", way)
        ]
        middle, *ends = runs_14.ahead(*arms)
        said = "{} streams of {} facts: {:+.0f} [{:+.0f}, {:+.0f}] points".format(
            len(arms[0]), len(arms[0][0]), *(100 * x for x in (middle, *ends))
        )
        found[name] = judged(said.replace("-", "−"), ends, rules[name])
    return found


def long_outcomes(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """{claim: (what came out, verdict)} from the long streams, of which each is one value."""
    rules = {c["name"]: c for c in CLAIMS["claims"] if c["paper"] == "ultraedit" and "same" in c}
    found = {}
    for name, values in measures(rows).items():
        if len(values) < 2:
            continue
        middle, *ends = by_stream(values)
        if name == "flat":
            said = f"{middle:+.0%} [{ends[0]:+.0%}, {ends[1]:+.0%}]"
            ends = list(against(ends))
        elif name == "cost":
            said = f"{middle:.1f} [{ends[0]:.1f}, {ends[1]:.1f}] times"
        else:
            said = "{:+.0f} [{:+.0f}, {:+.0f}] points".format(*(100 * x for x in (middle, *ends)))
        said = f"{len(values)} streams: {said}".replace("-", "−")
        found[name] = judged(said, ends, rules[name], "times" if name == "cost" else "points")
    return found


def measures(rows: Sequence[Row]) -> dict[str, list[float]]:
    """{claim: one value for each stream}, as claims.toml says them."""
    streams = sorted({row["stream"] for row in rows if row["kind"] == COST})
    own = {
        number: [row for row in rows if row["kind"] == "long" and row["stream"] == number]
        for number in streams
    }
    others = {
        number: min(row["ms"] for row in rows if row["kind"] == COST and row["stream"] == number)
        for number in streams
    }
    gaps = [at_equal_kl(some, "lifelong", "none") for some in own.values()]
    return {
        "lasts": [gap for gap in gaps if gap is not None],
        "collapses": [
            statistics.mean(ends(some, "lifelong")[1.0]["tokens"]) / 2
            - statistics.mean(ends(some, "first turn")[1.0]["tokens"])
            for some in own.values()
        ],
        "flat": [change for change in map(later, own.values()) if change is not None],
        "cost": [
            others[number] / statistics.mean(row["ms"] for row in some if row["way"] == "lifelong")
            for number, some in own.items()
        ],
    }


def ends(rows: Sequence[Row], way: str) -> dict[float, Row]:
    """{multiple of the step: a way's row after the last turn} of one stream."""
    last = max(row["turn"] for row in rows)
    return {row["scale"]: row for row in rows if (row["way"], row["turn"]) == (way, last)}


def at_equal_kl(rows: Sequence[Row], one: str, other: str) -> float | None:
    """By how many tokens a way is ahead of another where both have the same KL; None without.

    Each way's steps are a curve over log KL, with straight lines between them, and the curves are
    compared in the middle of what they have in common.
    """
    curves = [
        sorted(
            (math.log(max(statistics.mean(row["kl"]), 1e-6)), statistics.mean(row["tokens"]))
            for row in ends(rows, way).values()
        )
        for way in (one, other)
    ]
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    if low > high:
        return None
    a, b = (float(np.interp((low + high) / 2, *zip(*curve, strict=True))) for curve in curves)
    return a - b


def later(rows: Sequence[Row]) -> float | None:
    """The relative change of an edit's time from the first half of the turns to the second.

    The first turn, in which things are computed once, is left out. None for fewer than four turns.
    """
    half = max(row["turn"] for row in rows) // 2
    early = [row["ms"] for row in rows if 1 < row["turn"] <= half]
    late = [row["ms"] for row in rows if row["turn"] > half]
    return statistics.mean(late) / statistics.mean(early) - 1 if early else None
