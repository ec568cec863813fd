"""Two more panels of "Inside the edit": keys that overlap, and prompts that a memory answers."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import lib
from lib import plot
from lib.plot import points as maps
from lib.plot import style

from ..session.long_run import Chain, ticking
from ..session.worker import Job, Trouble
from .panel import WHERE, Panel, Steps, layers_of, subject_of

FACTS = 9  # in the matrix of overlaps
WITHIN = ("grace",)  # routes that answer up to a distance; all others from a score on
AXES = {
    "grace": ("distance to the nearest key", "its radius"),
    "wise": ("activation difference of the side memory", "threshold"),
    "memoir": ("overlap with the nearest stored mask", "threshold"),
    "lemoe": ("score of the best expert", "score of the null anchor"),
    "retrieval": ("likeness to the nearest note", "threshold"),
}
GROUPS = {  # truth -> (groups of prompts, color of the course)
    "the edits, and reworded": (("edit", "reworded"), "edited"),
    "neighbors": (("neighbor",), "neighbor"),
    "unrelated": (("unrelated",), "unrelated"),
}


def overlaps(chain: Chain) -> Steps:
    """ρ of the live facts, the one in view, and classroom facts of the same kind."""
    studio, session = chain.studio, chain.session
    lm, subject = studio.lm, subject_of(studio, session)
    facts = [fact for fact in (*session.patch.facts, subject.case.fact) if fact.subject]
    alike = [
        case.fact for case in studio.cases.values() if case.relation == subject.case.relation
    ]  # fmt: skip
    facts = list({fact.subject.casefold(): fact for fact in (*facts, *alike)}.values())[:FACTS]
    if len(facts) < 2:
        raise Trouble("One fact alone overlaps with nothing: write another edit first.")
    edited = layers_of(lm, session.patch)
    layer = edited[0] if edited else studio.settings("rome")["layer"] or 0

    def work(job: Job) -> Any:
        with ticking(job, lm, f"Reading keys in layer {layer}, and general text", 20):
            with lm.patched(lib.EMPTY, only=True):
                return lib.superposition(lm, facts, layer)

    found = yield from chain.do(work)
    rho = found.rho.numpy()
    figure = plot.heatmap(
        rho, found.subjects, found.subjects, "… lands on the key of j", "edit of i",
        "ρ(i, j)", 0.0, limits=(-1, 1),
    )  # fmt: skip
    pairs = found.pairs(3).to_dict("records")
    named = [f"“{p['i']}” on “{p['j']}” {p['ρ(i, j)']:+.2f}" for p in pairs]
    said = f"Layer {layer}. The strongest overlap: {named[0]} of what is written there."
    own = [i for i, name in enumerate(found.subjects) if name == subject.case.fact.subject]
    if own and len(rho) > 1:
        i = own[0]
        others = np.delete(np.abs(rho[i]), i)
        said += f" An edit of “{found.subjects[i]}” puts {others.mean():.2f} of itself on the "
        said += "others, on average."
    words = "".join(f"<li>{escape(one)}</li>" for one in named)
    return Panel(figure, said, f"<ul>{words}</ul>")


def scope(chain: Chain) -> Steps:
    """Scores of prompts against the thresholds of a patch's routes, by what they should be."""
    studio, session = chain.studio, chain.session
    lm, patch = studio.lm, session.patch
    kinds = {name: route.kind for name, route in patch.routes.items()}
    if not kinds and not patch.rewrites:
        live = "Your edits change weights, which answer every prompt." if patch else ""
        raise Trouble(
            f"{live or 'No edit is live.'} A scope map needs an edit that decides at the prompt: "
            "write one with GRACE, WISE, MEMOIR, LEMoE or Retrieval in the first tab."
        )
    prompts = _prompts(studio, session)
    texts = list(prompts)

    def work(job: Job) -> list[list[dict]]:
        with ticking(job, lm, "Asking the router", 3), lm.patched(patch, only=True):
            return lm.answer(texts, 1, explain=True)[1]

    notes = yield from chain.do(work)
    kind, module = next(((k, m) for m, k in kinds.items()), ("retrieval", None))
    rows = {
        text: next((n for n in some if n.get("module") == module and "score" in n), None)
        for text, some in zip(texts, notes, strict=True)
    }
    points = {}
    for name, (groups, color) in GROUPS.items():
        some = [rows[text] for text in texts if prompts[text] in groups and rows[text]]
        if some:
            points[name] = (
                [note["score"] for note in some], [note["threshold"] for note in some], color
            )  # fmt: skip
    if not points:
        raise Trouble(f"This patch's router notes no scores. {WHERE}")
    within = kind in WITHIN
    colors = {name: plot.COLORS[color] for name, (*_, color) in points.items()}
    plain = {name: (x, y) for name, (x, y, _) in points.items()}
    axes = AXES.get(kind, ("score", "threshold"))
    every = {round(one, 4) for _, thresholds in plain.values() for one in thresholds}
    if len(every) == 1:
        figure = strips(plain, every.pop(), *axes, within, colors)
    else:
        figure = maps.scope_map(plain, *axes, within=within, colors=colors)
    wrong = {True: [], False: []}  # should be answered -> prompts that went the other way
    for text, note in rows.items():
        if note:
            answered = (
                note["score"] <= note["threshold"] if within else note["score"] >= note["threshold"]
            )
            should = prompts[text] in ("edit", "reworded")
            if bool(answered) != should:
                wrong[should].append(text)
    meant = sum(group in ("edit", "reworded") for group in prompts.values())
    said = (
        f"{meant - len(wrong[True])} of {meant} prompts that should be answered by the memory are, "
        f"and {len(wrong[False])} of {len(prompts) - meant} that should not."
    )
    words = "".join(
        f"<li>{name}: “{escape(text)}”</li>"
        for name, some in (("missed", wrong[True]), ("answered by mistake", wrong[False]))
        for text in some[:8]
    )
    return Panel(figure, said, f"<ul>{words}</ul>" if words else "")


def strips(
    points: dict[str, tuple[list[float], list[float]]], threshold: float, xlabel: str, name: str,
    within: bool, colors: dict[str, str],
) -> Figure:  # fmt: skip
    """The scope map where all prompts meet one threshold: a strip of points per truth."""
    figure, ax = style.new_figure(xlabel, "", None, 0.75 * len(points) + 1.5)
    names = []
    for row, (truth, (x, y)) in enumerate(points.items()):
        full = np.less_equal(x, y) if within else np.greater_equal(x, y)
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
    ax.axvspan(low if within else threshold, threshold if within else high, color=plot.BASE,
               alpha=0.13, linewidth=0)  # fmt: skip
    ax.axvline(threshold, color=style.INK, linestyle="--", linewidth=1.2)
    right = threshold < (low + high) / 2
    ax.annotate(f"{name} {threshold:.3g}; answered where gray", (threshold, -0.7), va="top",
                xytext=(6 if right else -6, 0), textcoords="offset points", fontsize=style.SMALL,
                color=style.INK, ha="left" if right else "right")  # fmt: skip
    return figure


def _prompts(studio: Any, session: Any) -> dict[str, str]:
    """{prompt: its group} of all live edits that the classroom knows, and of what is in view."""
    found: dict[str, str] = {}
    for group, text, _ in subject_of(studio, session).prompts:
        if group in ("edit", "reworded", "neighbor", "unrelated"):
            found.setdefault(text, group)
    known = {case.fact.text: case for case in studio.cases.values()}
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
        if group in ("edit", "reworded") and text not in live | mine:
            found[text] = "neighbor"
    return {**{text: "edit" for text in live}, **{t: g for t, g in found.items() if t not in live}}
