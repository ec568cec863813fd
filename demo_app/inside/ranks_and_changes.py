"""Two looks inside an edit: the answers' ranks layer by layer, and how far the weights moved.

The ranks show at which layer the new answer overtakes the old one. The norms of the updates show
which layers changed, and by how much of their own size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import lib
from lib import plot
from lib.data.facts import encode_target
from lib.interpret import damage
from lib.interpret.logit_lens import lens

from ..session.long_run import LongRun, ticking
from ..session.subject_in_view import layers_of, subject_of
from ..session.worker import Job, Trouble
from .panel import WHERE, Panel, Steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Ranks = dict[str, list[int]]  # {answer: its rank after every layer}


@dataclass(frozen=True)
class Layers(Panel):
    """Ranks of two answers after every layer.

    answers: the old answer and the new one.
    was: their ranks in the unedited model.
    now: their ranks under the edits; None where no edit is live.
    edited: the layers that the edits touch.
    """

    answers: tuple[str, str]
    was: Ranks
    now: Ranks | None
    edited: tuple[int, ...]

    @property
    def figure(self) -> Figure:
        """Ranks over layers, those before the edits dashed."""
        return plot.rank_over_layers(
            range(len(self.was[self.answers[0]])),
            self.was if self.now is None else self.now,
            before=None if self.now is None else self.was,
            highlight=list(self.edited) or None,
        )

    @property
    def found(self) -> str:
        """Where the new answer overtakes the old one."""
        old, new = self.answers
        was, now = self.was, self.now
        if now is None:
            ends = f"“{old}” ends at rank {was[old][-1]}, “{new}” at {was[new][-1]:,}"
            return f"No edit is live: {ends}."
        layers = range(len(now[new]))
        lead = next((i for i in layers if _leads(now, new, old, i)), None)
        if lead is None:
            return f"“{new}” does not overtake “{old}” for good: it ends at rank {now[new][-1]:,}."
        return (
            f"From layer {lead} on “{new}” stands before “{old}”, and it ends at rank "
            f"{now[new][-1]:,}; before the edit at {was[new][-1]:,}."
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The ranks at about six layers."""
        count = len(self.was[self.answers[0]])
        each = range(0, count, max(1, count // 6))
        tables = [("before", self.was)]
        if self.now is not None:
            tables.append(("after", self.now))
        return tuple(
            f"“{answer}” {name}: " + ", ".join(f"layer {i} rank {table[answer][i]:,}" for i in each)
            for name, table in tables
            for answer in self.answers
        )


def ranks(run: LongRun) -> Steps:
    """Rank of old and new answer after every layer, before and after the edits."""
    lm, patch = run.studio.lm, run.session.patch
    fact = subject_of(run.studio.choices, run.session).case.fact

    def work(job: Job) -> tuple[list[str], pd.DataFrame, pd.DataFrame | None]:
        with ticking(job, lm, "Reading every layer", 3):
            with lm.patched(lib.EMPTY, only=True):
                old = fact.target_true or _begins(lm, fact.text)
            answers = [old, fact.target_new]
            first = {encode_target(lm.tokenizer, answer)[0] for answer in answers}
            if len(first) == 1:
                raise Trouble(
                    f"“{answers[0]}” and “{answers[1]}” begin with the same token, so their ranks "
                    "are one line."
                )
            with lm.patched(lib.EMPTY, only=True):
                before = lens(lm, fact.text, answers)
            if not patch:
                return answers, before, None
            with lm.patched(patch, only=True):
                return answers, before, lens(lm, fact.text, answers, patch)

    answers, before, after = yield from run.do(work)
    was = _by_answer(before, answers)
    now = None if after is None else _by_answer(after, answers)
    old, new = answers
    return Layers((old, new), was, now, tuple(layers_of(lm, patch)))


def _by_answer(table: pd.DataFrame, answers: list[str]) -> Ranks:
    return {
        answer: table[table["answer"] == answer].sort_values("layer")["rank"].tolist()
        for answer in answers
    }


@dataclass(frozen=True)
class Changes(Panel):
    """How far the weights of each layer have moved.

    share: {layer: ‖W − W₀‖/‖W₀‖} of the layers that an edit can have changed.
    layers: how many layers the model has.
    """

    share: dict[int, float]
    layers: int

    @property
    def figure(self) -> Figure:
        """A bar per layer."""
        figure, ax = plot.style.new_figure("layer", "‖ΔW‖ / ‖W₀‖ (%)", None)
        ax.bar(
            list(self.share),
            [100 * v for v in self.share.values()],
            color=plot.style.EDITED,
            width=0.7,
        )
        ax.set_xlim(-0.6, self.layers - 0.4)
        return figure

    @property
    def found(self) -> str:
        """How many layers changed, and which most."""
        top = max(self.share, key=lambda layer: self.share[layer])
        return (
            f"{len(self.share)} of {self.layers} layers changed, layer {top} most: by "
            f"{100 * self.share[top]:.2f} % of its norm."
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The share of every layer."""
        return tuple(f"layer {i}: {100 * v:.3f} %" for i, v in self.share.items())


def norms(run: LongRun) -> Steps:
    """‖W − W₀‖/‖W₀‖ of every layer under the visitor's edits."""
    lm, patch = run.studio.lm, run.session.patch
    if not patch:
        raise Trouble(f"No edit is live, so nothing has changed. {WHERE}")
    if not patch.weights:
        raise Trouble(
            "Your edits leave the weights alone: they stand beside the model or in its prompt, so "
            "there is no update to measure. Look at the scope map instead."
        )

    def work(job: Job) -> dict[int, float]:
        job.report(0.2, "Measuring the weights")
        moved = damage.steps(lm, [patch]).iloc[0]
        change, whole = np.zeros(lm.n_layers), np.zeros(lm.n_layers)
        for name, size in moved.items():
            (layer,) = layers_of(lm, lib.Patch(weights={name: patch.weights[name]})) or (0,)
            change[layer] += size**2
            whole[layer] += lm.weight(name).norm().item() ** 2
        return {i: math.sqrt(change[i] / whole[i]) for i in range(lm.n_layers) if whole[i]}

    found = yield from run.do(work)
    return Changes(found, lm.n_layers)


def _begins(lm: lib.LM, prompt: str) -> str:
    """The first token that the model says, as text."""
    return lm.answer(prompt, 1).strip() or "the"


def _leads(table: Ranks, new: str, old: str, layer: int) -> bool:
    """Whether the new answer has the lower rank from this layer to the last."""
    return all(a < b for a, b in zip(table[new][layer:], table[old][layer:], strict=True))
