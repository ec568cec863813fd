"""The runs of notebook 09: trained networks, plain steps, and units without a network.

Every way of editing writes the same facts, in three draws: some one by one, each into the unedited
model, and all of them in one update. A row has one fraction per fact. All answers are generated.
"""

from __future__ import annotations

import hashlib
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lib
from lib import associative_memory as memory
from lib.editors.hypernetwork import network_file
from lib.evaluation.intervals import interval
from lib.keys_values import answer_gradients

from . import runs_04_rome as runs_04
from . import stored_runs
from .score_tables import by_case, by_stream

SHOWN = {"mend": "MEND", "malmen": "MALMEN", "rledit": "RLEdit"}
TOY = {"rank": 4, "check_every": 1}  # networks that are trained in a second, on a random model
TOYS = {"mend": {"accumulate": 2}, "malmen": {"batch": 4}, "rledit": {"batch": 2, "turns": 2}}
MEASURED = {"written": "efficacy", "reworded": "generalization", "neighbors": "specificity"}
ASKED = 10  # of the twenty facts of a draw
RATES = 0.01, 0.02, 0.03  # of plain steps
SIZES = 1e-4, 5e-5, 2e-5  # η of units without a network, in addition to their own
POWER = 1.43  # 26 facts or more show a gap of so many half-widths in 80% of experiments


def trained(editor: str) -> list[Any]:
    """The line of an editor with a network: another network or preset makes it another run."""
    (file,) = network_file.SHIPPED.glob(f"{editor}-*.safetensors")
    presets = (network_file.SHIPPED.parents[1] / "presets.toml").read_text(encoding="utf-8")
    row = tomllib.loads(presets)[editor]["SmolLM2-135M-Instruct behind"]
    row = {name: value for name, value in row.items() if name != "tuned"}  # a mark, no setting
    made = file.read_bytes() + repr(row).encode()
    return [editor, {}, hashlib.sha256(made).hexdigest()[:16]]


def editors(lm: lib.LM, train: bool = False) -> dict[str, Any]:
    """Return {name: editor} with trained networks.

    With `train` they get tiny ones that are trained here, for a model for which none are shipped.
    """
    if not train:
        return {name: lib.EDITORS[name](lm) for name in SHOWN}
    even, folder = [case for case in lib.classroom() if case.id % 2 == 0], Path(tempfile.mkdtemp())
    found = {}
    for name in SHOWN:
        found[name] = lib.EDITORS[name](lm, **TOY, **TOYS[name])
        found[name].fit(short(even)[:8], short(even)[8:10], folder / f"{name}.safetensors", steps=2)
    return found


def short(cases: Iterable[lib.Case]) -> list[lib.Case]:
    """Cases with one rewording and two neighbors each: a fifth of the prompts."""
    return [
        replace(case, paraphrases=case.paraphrases[:1], neighborhood=case.neighborhood[:2])
        for case in cases
    ]


class Plain:
    """One step of gradient descent: ΔW = −α Σ g kᵀ over all tokens and facts."""

    def __init__(self, lm: lib.LM, modules: Iterable[str], rate: float) -> None:
        self.lm, self.names, self.rate = lm, list(modules), rate

    def edit(self, facts: Sequence[lib.Fact], after: lib.Patch = lib.EMPTY) -> lib.Patch:
        """The patch after the step."""
        with self.lm.patched(after, only=True):
            found = answer_gradients.read(
                self.lm, facts, self.names, group=1, reduction="fact_mean", everywhere=True
            )
        updates = {name: (-self.rate * pair.G, pair.K.T) for name, pair in found.items()}
        return lib.add_low_rank(self.lm, after, updates)


class Units(lib.EDITORS["mend"]):
    """MEND before its training: a plain step in the units of the trained network's moments."""

    def networks(self) -> network_file.Networks:
        """Networks that are the identity, with the moments of the trained ones."""
        return network_file.Networks(self.fresh().nets, super().networks().moments)


class Solved:
    """The pairs (k̃, g̃) of MEND, joined by a ridge regression on the model's keys."""

    def __init__(self, mend: Any) -> None:
        self.mend, self.lm = mend, mend.lm

    def edit(self, facts: Sequence[lib.Fact], after: lib.Patch = lib.EMPTY) -> lib.Patch:
        """The patch after one update; λ is the mean squared length of the keys."""
        nets, updates = self.mend.networks(), {}
        turns = self.mend.module_updates(nets, nets.moments, self.mend.read(facts, after))
        for name, turn in turns.items():
            with torch.no_grad():
                _, keys, grads = zip(*turn.parts(), strict=True)
                own, g = torch.cat(keys, 1).double(), torch.cat(grads, 1).double()
                K = turn.pair.K.double()
                V = -turn.step * (K * own).sum(0) * g  # v = −η ⟨k, k̃⟩ g̃
                updates[name] = V, memory.reach(K, ridge=1.0)
        return lib.add_low_rank(self.lm, after, updates)


# ---- the long runs -------------------------------------------------------------------------------


def shares(lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch) -> dict[str, list[float]]:
    """Shares of each case's prompts that are answered as wanted, by generation; one per case."""
    metrics = ["generalization", "specificity"]
    return by_case(lib.evaluate(lm, cases, patch, ["generation"], metrics=metrics), MEASURED)


def alone(editor: Any, cases: Sequence[lib.Case]) -> dict[str, list[float]]:
    """`shares` of each case right after an edit of the unedited model that writes only this case."""
    found = [shares(editor.lm, [case], editor.edit([case.fact])) for case in cases]
    return {what: [one for own in found for one in own[what]] for what in MEASURED}


def told(lm: lib.LM, prompts: list[str], answer: str, patch: lib.Patch) -> list[float]:
    """The probability of an answer at every prompt under a patch, in %."""
    with lm.patched(patch):
        return [100 * lm.score(prompt, answer).sum().exp().item() for prompt in prompts]


class Shares:
    """The stored rows of each way: when called, the percentage in every draw."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows

    def __call__(self, way: str, when: str, what: str) -> list[float]:
        return [100 * sum(some) / len(some) for some in self.facts(way, when, what)]

    def facts(self, way: str, when: str, what: str) -> list[list[float]]:
        """One number from 0 to 1 per fact, in every draw; the unedited model has one row for all."""
        wanted = {(way, when), (way, "–")}
        return [row[what] for row in self.rows if (row["way"], row["when"]) in wanted]

    def places(self, ways: Mapping[str, list[str]], when: str) -> dict[str, dict[str, list]]:
        """{what: {line: settings}}, each with (neighbors, what) in every draw."""
        places: dict[str, dict[str, list]] = {}
        for say, what in {"facts written": "written", "rewordings that follow": "reworded"}.items():
            for line, some in ways.items():
                both = [(self(way, when, "neighbors"), self(way, when, what)) for way in some]
                places.setdefault(say, {})[line] = [list(zip(*x, strict=True)) for x in both]
        return places

    def less(self, one: str, other: str, when: str, what: str) -> str:
        """The mean difference of the draws and its interval, as text.

        At either end, the interval is the wider of Student's and the interval that assumes that all
        facts are independent. The second has a nonzero width even if all draws agree.
        """
        two = [self.facts(way, when, what) for way in (one, other)]
        gaps = [
            [100 * (a - b) for a, b in zip(*pair, strict=True)] for pair in zip(*two, strict=True)
        ]
        middle, *student = by_stream([sum(some) / len(some) for some in gaps])
        pooled = interval([gap for some in gaps for gap in some], (-100.0, 100.0))
        return ranged(middle, min(student[0], pooled[0]), max(student[1], pooled[1]))

    def beyond(self, way: str, curve: Sequence[str], what: str) -> tuple[str, float]:
        """Compare facts written one by one with the line through other ways, using `above`."""
        ids = [case.id for cases in runs_04.draws().values() for case in cases[:ASKED]]
        first = [ids.index(one) for one in dict.fromkeys(ids)]  # a fact of two draws counts once
        own, *others = (
            [100 * np.concatenate(self.facts(one, "alone", x))[first] for x in ("neighbors", what)]
            for one in (way, *curve)
        )
        return above(own, others)


def above(own: Sequence[np.ndarray], curve: Iterable[Sequence[np.ndarray]]) -> tuple[str, float]:
    """Return the height of a way of writing above the line through others, at equal neighbors.

    own    Neighbors kept and facts written, in %: two arrays with one number per fact.
    curve  The same for each setting of the others.

    Tossing a coin for each fact to choose one of two settings reaches any point on the line between
    them. Every fact's gap to this mix is reduced by the part that its neighbors explain, using the
    slope of the line. Facts written alone are independent, so the interval goes over facts. Returns
    the mean with its interval, as text, and the smallest gap that 80% of such experiments detect.
    """
    line = sorted(curve, key=lambda setting: setting[0].mean())
    places = [x.mean() for x, _ in line]
    x, y = own
    at = min(max(int(np.searchsorted(places, x.mean())), 1), len(line) - 1)
    (x0, y0), (x1, y1) = line[at - 1 : at + 1]
    run = places[at] - places[at - 1]
    part = (x.mean() - x0.mean()) / run if run else 0.0
    slope = (y1.mean() - y0.mean()) / run if run else 0.0
    gaps = y - (1 - part) * y0 - part * y1 - slope * (x - (1 - part) * x0 - part * x1)
    low, high = interval(gaps, (min(-100.0, gaps.min()), max(100.0, gaps.max())))
    return ranged(gaps.mean(), low, high), POWER * (high - low) / 2


def ranged(middle: float, low: float, high: float) -> str:
    """A mean and its interval as text, in points."""
    return f"{middle:+.0f} points [{low:+.0f}, {high:+.0f}]"


def drawn(make: Any, way: str, draw: str, cases: Sequence[lib.Case]) -> Iterator[dict]:
    """The rows of one way on one draw: its first facts one by one, and all facts in one update.

    Larger rates and the untrained sum are written alone only, the regression together only.
    """
    editor, head, asked = make(), {"draw": draw, "way": way}, cases[:ASKED]
    if "solved" not in way:
        yield head | {"when": "alone"} | alone(editor, asked)
    if not way.startswith("units") and way not in [f"plain step, α = {a:g}" for a in RATES[1:]]:
        patch = editor.edit([case.fact for case in cases])
        yield head | {"when": "together"} | shares(editor.lm, asked, patch)


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """One run per trained network, so retraining a network only makes its own rows again.

    MEND's run includes the ways that need no other network: plain steps, UltraEdit, and parts of
    MEND. The last run has the units at more sizes of the step.
    """
    kinds: dict[str, Any] = {SHOWN[name]: (lib.EDITORS[name], {}) for name in SHOWN}
    kinds["UltraEdit"] = lib.EDITORS["ultraedit"], stored_runs.OURS
    kinds["units alone"] = Units, {}
    made = cache(lambda name: kinds[name][0](lm, **kinds[name][1]))
    ways = {
        f"plain step, α = {rate:g}": lambda rate=rate: Plain(lm, made("MEND").modules(), rate)
        for rate in RATES
    }
    ways |= {name: partial(made, name) for name in kinds}
    ways["MEND, solved"] = lambda: Solved(made("MEND"))
    some = {draw: short(cases) for draw, cases in runs_04.draws().items()}

    def unedited(draw: str) -> Iterator[dict]:
        found = shares(lm, some[draw][:ASKED], lib.EMPTY)
        yield {"draw": draw, "way": "unedited", "when": "–"} | found

    found = []
    for name, shown in SHOWN.items():
        others = [way for way in SHOWN.values() if way != shown]
        own = [way for way in ways if way not in others] if name == "mend" else [shown]
        jobs: dict[str, Any] = {}
        if name == "mend":
            jobs |= {f"{draw}, unedited": partial(unedited, draw) for draw in some}
        for way in own:
            for draw, cases in some.items():
                jobs[f"{draw}, {way}"] = partial(drawn, ways[way], way, draw, cases)
        settings = {"network": trained(name)[2], "asked": [ASKED, RATES]}
        settings["cases"] = {draw: [case.id for case in cases] for draw, cases in some.items()}
        lines = {way: kinds[way] for way in own if way in kinds}
        found.append(stored_runs.long_run(lm, f"09_{name}", lines, jobs, **settings))
    sizes = {f"units, η = {eta:g}": (Units, {"eta": eta}) for eta in SIZES}
    jobs = {
        f"{draw}, {way}": partial(drawn, partial(kind, lm, **more), way, draw, cases)
        for way, (kind, more) in sizes.items()
        for draw, cases in some.items()
    }
    settings |= {"network": trained("mend")[2], "asked": [ASKED]}
    return [*found, stored_runs.long_run(lm, "09_units", sizes, jobs, **settings)]
