"""Two looks at which prompts an edit reaches: keys that overlap, and prompts that a memory answers.

The overlaps say on which other facts an edit of the weights lands. The scope map is for edits that
decide at the prompt: it shows the router's score of every prompt against its threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import lib
from lib import plot

from ..session.long_run import LongRun, ticking
from ..session.studio import Studio
from ..session.subject_in_view import layers_of, subject_of
from ..session.visitors import Session
from ..session.worker import Job, Trouble
from .panel import WHERE, Panel, Steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FACTS = 9  # in the matrix of overlaps
LISTED = 8  # prompts named in words, of each kind of mistake
MEANT = ("edit", "reworded")  # groups of prompts that the memory should answer
GROUPS = {  # what a prompt is -> (its groups, its color in the course's figures)
    "the edits, and reworded": (MEANT, "edited"),
    "neighbors": (("neighbor",), "neighbor"),
    "unrelated": (("unrelated",), "unrelated"),
}


@dataclass(frozen=True)
class Overlaps(Panel):
    """Which share of an edit of each fact lands on the keys of the others.

    rho: ρ(i, j), rows of the edits i, columns of the keys j.
    subjects: the facts' subjects, in this order.
    layer: the layer whose keys were read.
    own: the subject in view.
    strongest: the pairs that overlap most, as (i, j, ρ(i, j)).
    """

    rho: tuple[tuple[float, ...], ...]
    subjects: tuple[str, ...]
    layer: int
    own: str
    strongest: tuple[tuple[str, str, float], ...]

    @property
    def figure(self) -> Figure:
        """The matrix."""
        return plot.heatmap(
            np.array(self.rho),
            list(self.subjects),
            list(self.subjects),
            "… lands on the key of j",
            "edit of i",
            "ρ(i, j)",
            0.0,
            limits=(-1, 1),
        )

    @property
    def found(self) -> str:
        """The strongest overlap, and how much of the fact in view lands on the others."""
        said = (
            f"Layer {self.layer}. The strongest overlap: {self.lines[0]} of what is written there."
        )
        if self.own in self.subjects and len(self.rho) > 1:
            i = self.subjects.index(self.own)
            others = np.delete(np.abs(np.array(self.rho)[i]), i)
            said += (
                f" An edit of “{self.own}” puts {others.mean():.2f} of itself on the others, "
                "on average."
            )
        return said

    @property
    def lines(self) -> tuple[str, ...]:
        """The pairs that overlap most."""
        return tuple(f"“{i}” on “{j}” {value:+.2f}" for i, j, value in self.strongest)


def overlaps(run: LongRun) -> Steps:
    """ρ of the live facts, the one in view, and classroom facts of the same kind."""
    studio, session = run.studio, run.session
    lm, subject = studio.lm, subject_of(studio.choices, session)
    facts = [fact for fact in (*session.patch.facts, subject.case.fact) if fact.subject]
    cases = studio.choices.cases.values()
    alike = [case.fact for case in cases if case.relation == subject.case.relation]
    facts = list({fact.subject.casefold(): fact for fact in (*facts, *alike)}.values())[:FACTS]
    if len(facts) < 2:
        raise Trouble("One fact alone overlaps with nothing: write another edit first.")
    edited = layers_of(lm, session.patch)
    layer = edited[0] if edited else studio.choices.settings("rome")["layer"] or 0

    def work(job: Job) -> Any:
        with ticking(job, lm, f"Reading keys in layer {layer}, and general text", 20):
            with lm.patched(lib.EMPTY, only=True):
                return lib.superposition(lm, facts, layer)

    found = yield from run.do(work)
    pairs = found.pairs(3).to_dict("records")
    return Overlaps(
        tuple(map(tuple, found.rho.tolist())),
        tuple(found.subjects),
        layer,
        subject.case.fact.subject or "",
        tuple((pair["i"], pair["j"], pair["ρ(i, j)"]) for pair in pairs),
    )


@dataclass(frozen=True)
class Scope(Panel):
    """What a router makes of some prompts.

    prompts: {prompt: its group}.
    scores: {prompt: (its score, the threshold)}, where the router noted them.
    axes: what score and threshold measure.
    within: whether the memory answers up to the threshold, else from it on.
    """

    prompts: dict[str, str]
    scores: dict[str, tuple[float, float]]
    axes: tuple[str, str]
    within: bool

    def answered(self, prompt: str) -> bool:
        """Whether the memory answers a prompt."""
        score, threshold = self.scores[prompt]
        return score <= threshold if self.within else score >= threshold

    def wrong(self, meant: bool) -> list[str]:
        """Prompts that are meant for the memory and not answered, or the other way round."""
        return [
            prompt
            for prompt in self.scores
            if (self.prompts[prompt] in MEANT) == meant != self.answered(prompt)
        ]

    @property
    def figure(self) -> Figure:
        """Strips of points where all prompts meet one threshold, else score against threshold."""
        return scope_figure(self)

    @property
    def found(self) -> str:
        """How many prompts the memory answers, of those that it should and should not."""
        meant = sum(group in MEANT for group in self.prompts.values())
        missed, mistaken = self.wrong(True), self.wrong(False)
        return (
            f"{meant - len(missed)} of {meant} prompts that should be answered by the memory are, "
            f"and {len(mistaken)} of {len(self.prompts) - meant} that should not."
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The prompts on which the memory is wrong."""
        missed, mistaken = self.wrong(True), self.wrong(False)
        return (
            *(f"missed: “{text}”" for text in missed[:LISTED]),
            *(f"answered by mistake: “{text}”" for text in mistaken[:LISTED]),
        )


def scope(run: LongRun) -> Steps:
    """Scores of prompts against the thresholds of a patch's routes, by what the prompts are."""
    lm, patch = run.studio.lm, run.session.patch
    if not patch.routes and not patch.rewrites:
        live = "Your edits change weights, which answer every prompt." if patch else ""
        raise Trouble(
            f"{live or 'No edit is live.'} A scope map needs an edit that decides at the prompt: "
            "write one with GRACE, WISE, MEMOIR, LEMoE or Retrieval in the first tab."
        )
    prompts = _prompts(run.studio, run.session)
    texts = list(prompts)

    def work(job: Job) -> list[list[dict]]:
        with ticking(job, lm, "Asking the router", 3), lm.patched(patch, only=True):
            return lm.answer(texts, 1, explain=True)[1]

    notes = yield from run.do(work)
    # one router is shown, the first; a rewrite notes no module
    module, router = [*patch.routes.items(), *((None, one) for one in patch.rewrites)][0]
    scores = {}
    for text, some in zip(texts, notes, strict=True):
        note = next((n for n in some if n.get("module") == module and "score" in n), None)
        if note:
            scores[text] = note["score"], note["threshold"]
    if not scores:
        raise Trouble(f"This patch's router notes no scores. {WHERE}")
    return Scope(prompts, scores, tuple(router.axes), router.within)


def scope_figure(found: Scope) -> Figure:
    """The scope map: strips where all prompts meet one threshold, else score against threshold."""
    points, colors = {}, {}
    for name, (groups, color) in GROUPS.items():
        some = [pair for text, pair in found.scores.items() if found.prompts[text] in groups]
        if some:
            points[name] = [score for score, _ in some], [threshold for _, threshold in some]
            colors[name] = plot.COLORS[color]
    every = {round(one, 4) for _, thresholds in points.values() for one in thresholds}
    if len(every) == 1:
        return strips(points, every.pop(), *found.axes, found.within, colors)
    return plot.scope_map(points, *found.axes, within=found.within, colors=colors)


def strips(
    points: Mapping[str, tuple[list[float], list[float]]],
    threshold: float,
    xlabel: str,
    name: str,
    within: bool,
    colors: Mapping[str, str],
) -> Figure:
    """The scope map where all prompts meet one threshold: a strip of points per kind of prompt."""
    figure, ax = plot.style.new_figure(xlabel, "", None, 0.75 * len(points) + 1.5)
    names = []
    for row, (truth, (x, y)) in enumerate(points.items()):
        full = np.less_equal(x, y) if within else np.greater_equal(x, y)
        # points are moved up and down a little, so that equal scores do not hide each other
        x, up = np.asarray(x), row + 0.16 * np.cos(2.4 * np.arange(len(x)))
        look = {"s": 52, "edgecolors": colors[truth], "linewidths": 1.5, "zorder": 3}
        ax.scatter(x[~full], up[~full], facecolors="none", **look)
        ax.scatter(x[full], up[full], facecolors=colors[truth], **look)
        names.append(f"{truth}\n{full.sum()} of {len(x)} answered")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.75)
    low, high = ax.get_xlim()
    low, high = min(low, 0), max(high, 1.2 * threshold)
    ax.set_xlim(low, high)
    gray = (low, threshold) if within else (threshold, high)
    ax.axvspan(*gray, color=plot.BASE, alpha=0.13, linewidth=0)
    ax.axvline(threshold, color=plot.style.INK, linestyle="--", linewidth=1.2)
    right = threshold < (low + high) / 2
    ax.annotate(
        f"{name} {threshold:.3g}; answered where gray",
        (threshold, -0.7),
        va="top",
        xytext=(6 if right else -6, 0),
        textcoords="offset points",
        fontsize=plot.style.SMALL,
        color=plot.style.INK,
        ha="left" if right else "right",
    )
    return figure


def _prompts(studio: Studio, session: Session) -> dict[str, str]:
    """{prompt: its group} of all live edits that the classroom knows, and of what is in view."""
    found: dict[str, str] = {}
    for group, text, _ in subject_of(studio.choices, session).prompts:
        if group in ("edit", "reworded", "neighbor", "unrelated"):
            found.setdefault(text, group)
    known = {case.fact.text: case for case in studio.choices.cases.values()}
    for fact in session.patch.facts:
        case = known.get(fact.text)
        if case:
            for text in case.paraphrases:
                found.setdefault(text, "reworded")
            for probe in case.neighborhood:
                found.setdefault(probe.prompt, "neighbor")
            for text in case.locality:
                found.setdefault(text, "unrelated")
    # what is live decides, not what is in view: without its edit a prompt should not be answered
    live = {fact.text for fact in session.patch.facts}
    mine = {t for fact in live if fact in known for t in known[fact].paraphrases}
    for text, group in found.items():
        if group in MEANT and text not in live | mine:
            found[text] = "neighbor"
    return {**{text: "edit" for text in live}, **{t: g for t, g in found.items() if t not in live}}
