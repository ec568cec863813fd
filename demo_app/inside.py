"""Inside the edit: figures of what an edit did to the model, each asked for by itself. No Gradio.

A panel is a generator that does its model work in jobs (chain.py), yields their progress and
returns a figure, what was found in one sentence, and the same in words for those who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import lib
from lib import plot, style, toxicity
from lib.facts import encode_target
from lib.lens import lens
from lib.trace import trace

from .chain import Chain, ticking
from .worker import Job, Progress, Trouble

if TYPE_CHECKING:
    from .compare import Subject
    from .session import Studio
    from .visitors import Session

SAMPLES = 5  # noisy runs of the trace
WHERE = "Press Edit in the first tab, then come back."
Steps = Generator[Progress, None, "Panel"]


@dataclass(frozen=True)
class Panel:
    """A figure, what it shows in one sentence, and its numbers in words (HTML)."""

    figure: Figure
    found: str
    words: str = ""


def subject_of(studio: Studio, session: Session) -> Subject:
    """What the visitor looks at, or the ready example where he has not looked at anything."""
    if session.view is not None:
        return session.view.subject
    fact = studio.example(studio.ready).fact
    return studio.subject(fact.subject, fact.prompt, fact.target_new)


def layers_of(lm: lib.LM, patch: lib.Patch) -> list[int]:
    """The layers that a patch touches, by weights or routes."""
    found = set()
    for name in (*patch.weights, *patch.routes):
        for layer in range(lm.n_layers):
            if f"{name}.".startswith(f"{lm.arch.blocks}.{layer}."):
                found.add(layer)
    return sorted(found)


def about(studio: Studio, session: Session) -> str:
    """One line over the panels: whose insides these are."""
    fact, patch = subject_of(studio, session).case.fact, session.patch
    prompt = f"“{escape(fact.text)} …”"
    if not patch:
        return f"No edit is live: you see the model as it is, at {prompt}. {WHERE}"
    layers = layers_of(studio.lm, patch)
    where = f"layer{'s' * (len(layers) > 1)} {_listed(layers)}" if layers else "no layer"
    count = len(patch.facts)
    return f"{count} edit{'s' * (count > 1)} live, in {where}; the prompt is {prompt}."


def ranks(chain: Chain) -> Steps:
    """Rank of old and new answer after every layer, before and after."""
    studio, session = chain.studio, chain.session
    lm, patch = studio.lm, session.patch
    fact = subject_of(studio, session).case.fact

    def work(job: Job) -> tuple[list[str], Any, Any]:
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

    answers, before, after = yield from chain.do(work)
    old, new = answers

    def rows(table: Any, answer: str) -> list[int]:
        return table[table["answer"] == answer].sort_values("layer")["rank"].tolist()

    was = {answer: rows(before, answer) for answer in answers}
    now = was if after is None else {answer: rows(after, answer) for answer in answers}
    figure = plot.rank_over_layers(
        range(lm.n_layers), now, before=None if after is None else was,
        highlight=layers_of(lm, patch) or None,
    )  # fmt: skip
    lead = next((i for i in range(lm.n_layers) if _leads(now, new, old, i)), None)
    if after is None:
        found = f"No edit is live: “{old}” ends at rank {was[old][-1]}, “{new}” at {was[new][-1]:,}"
    elif lead is None:
        found = f"“{new}” does not overtake “{old}” for good: it ends at rank {now[new][-1]:,}"
    else:
        found = f"From layer {lead} on “{new}” stands before “{old}”, and it ends at rank "
        found += f"{now[new][-1]:,}; before the edit at {was[new][-1]:,}"
    each = range(0, lm.n_layers, max(1, lm.n_layers // 6))
    words = "".join(
        f"<li>“{escape(answer)}” {name}: "
        + ", ".join(f"layer {i} rank {table[answer][i]:,}" for i in each)
        + "</li>"
        for name, table in (("before", was), ("after", now))[: 1 if after is None else 2]
        for answer in answers
    )
    return Panel(figure, f"{found}.", f"<ul>{words}</ul>")


def traced(chain: Chain) -> Steps:
    """Causal trace of the prompt in the model as it is; the edited layers marked."""
    studio, session = chain.studio, chain.session
    lm, fact = studio.lm, subject_of(studio, session).case.fact
    length = len(lm.tokenizer(fact.text)["input_ids"])
    edited = layers_of(lm, session.patch)
    layers = sorted({*range(0, lm.n_layers, 2), lm.n_layers - 1, *edited[:4]})
    found: list[Any] = []
    for token in range(length):  # one job per token: others are served between them

        def work(job: Job, token: int = token) -> Any:
            words = f"Putting back token {token + 1} of {length}, layer by layer"
            with (
                ticking(job, lm, words, 12, token / length, (token + 1) / length),
                lm.patched(lib.EMPTY, only=True),
            ):
                return trace(
                    lm, fact, kinds=("hidden",), layers=layers, tokens=[token], samples=SAMPLES
                )

        found.append((yield from chain.do(work)))
    effect = np.array([one.indirect("hidden")[i].tolist() for i, one in enumerate(found)])
    one = found[0]
    names = [style.token_text(text) for text in one.tokens]
    first, last = one.subject
    names = [f"{name} *" if first <= i <= last else name for i, name in enumerate(names)]
    figure = plot.heatmap(
        effect, names, layers, "layer whose state is put back", "token (* = the subject)",
        "probability that comes back", 0.0,
    )  # fmt: skip
    _mark_columns(figure, layers, edited)
    t, column = np.unravel_index(np.nanargmax(effect[: last + 1]), effect[: last + 1].shape)
    said = (
        f"Noise on the subject lowers p(“{one.answer.strip()}”) from {one.p_clean:.2f} to "
        f"{one.p_corrupted:.2f}; up to the subject's end, putting back “{one.tokens[t].strip()}” "
        f"at layer {layers[column]} brings back most, {effect[t, column]:+.2f}."
    )
    words = "".join(
        f"<li>“{escape(text.strip())}”: most at layer {layers[int(np.nanargmax(row))]}, "
        f"{np.nanmax(row):+.2f}</li>"
        for text, row in zip(one.tokens, effect, strict=True)
    )
    if edited:
        said += f" The frame marks what was edited: {_listed(edited)}."
    return Panel(figure, said, f"<ul>{words}</ul>")


def wise_layers(chain: Chain) -> Steps:
    """WilKE's curve: how large ROME's change would be in each layer, relative to its weights."""
    studio, session = chain.studio, chain.session
    lm, fact = studio.lm, subject_of(studio, session).case.fact
    wilke = lib.EDITORS["wilke"]
    config = wilke.Config.preset(lm, "wilke")
    layers = list(config.layers or range(min(config.ceiling, lm.n_layers)))
    steps, sizes = len(layers) + 1, []

    def moments(job: Job) -> tuple:
        with ticking(job, lm, "Reading general text", 20, 0, 1 / steps):
            lib.second_moment(lm, layers)
            return wilke(lm).templates(lib.EMPTY)

    templates = yield from chain.do(moments)
    for i, layer in enumerate(layers):

        def work(job: Job, i: int = i, layer: int = layer) -> float:
            words = f"Writing the fact into layer {layer}, for the measure only"
            with ticking(job, lm, words, 15, (i + 1) / steps, (i + 2) / steps):
                return wilke(lm, layers=(layer,)).matches(fact, lib.EMPTY, templates)[0].score

        sizes.append((yield from chain.do(work)))
    best = layers[int(np.argmin(sizes))]
    figure = plot.layer_curve(
        layers, {"relative size of the change": [100 * s for s in sizes]}, "‖Δ‖ / ‖W‖ (%)", best,
        colors={"relative size of the change": style.EDITED},
    )  # fmt: skip
    figure.axes[0].set_ylim(0, None)
    edited = layers_of(lm, session.patch)
    where = f" Your edits are in {_listed(edited)}." if edited else ""
    said = f"WilKE would write this fact into layer {best}: there it takes the smallest change, "
    said += f"{100 * min(sizes):.2f} % of the weights.{where}"
    words = "".join(
        f"<li>layer {at}: {100 * size:.2f} %</li>" for at, size in zip(layers, sizes, strict=True)
    )
    return Panel(figure, said, f"<ul>{words}</ul>")


def norms(chain: Chain) -> Steps:
    """‖W − W₀‖/‖W₀‖ of every layer under the visitor's edits."""
    lm, patch = chain.studio.lm, chain.session.patch
    if not patch:
        raise Trouble(f"No edit is live, so nothing has changed. {WHERE}")
    if not patch.weights:
        raise Trouble(
            "Your edits leave the weights alone: they stand beside the model or in its prompt, so "
            "there is no update to measure. Look at the scope map instead."
        )

    def work(job: Job) -> dict[int, float]:
        job.report(0.2, "Measuring the weights")
        moved = toxicity.steps(lm, [patch]).iloc[0]
        change, whole = [np.zeros(lm.n_layers) for _ in range(2)]
        for name, size in moved.items():
            (layer,) = layers_of(lm, lib.Patch(weights={name: patch.weights[name]})) or (0,)
            change[layer] += size**2
            whole[layer] += lm.weight(name).norm().item() ** 2
        return {i: math.sqrt(change[i] / whole[i]) for i in range(lm.n_layers) if whole[i]}

    found = yield from chain.do(work)
    figure, ax = style.new_figure("layer", "‖ΔW‖ / ‖W₀‖ (%)", None)
    ax.bar(list(found), [100 * v for v in found.values()], color=style.EDITED, width=0.7)
    ax.set_xlim(-0.6, lm.n_layers - 0.4)
    top = max(found, key=found.get)
    said = f"{len(found)} of {lm.n_layers} layers changed, layer {top} most: by "
    said += f"{100 * found[top]:.2f} % of its norm."
    words = "".join(f"<li>layer {i}: {100 * v:.3f} %</li>" for i, v in found.items())
    return Panel(figure, said, f"<ul>{words}</ul>")


def _begins(lm: lib.LM, prompt: str) -> str:
    """The first token that the model says, as text."""
    return lm.answer(prompt, 1).strip() or "the"


def _leads(table: dict[str, list[int]], new: str, old: str, layer: int) -> bool:
    return all(a < b for a, b in zip(table[new][layer:], table[old][layer:], strict=True))


def _mark_columns(figure: Figure, columns: list[int], marked: list[int]) -> None:
    """A frame around the columns nearest to the edited layers."""
    ax = figure.axes[0]
    rows = ax.get_ylim()[0] + 0.5
    for at in {min(range(len(columns)), key=lambda i: abs(columns[i] - one)) for one in marked}:
        ax.add_patch(Rectangle((at - 0.5, -0.5), 1, rows, fill=False, linewidth=2.2,
                               edgecolor=style.EDITED))  # fmt: skip


def _listed(layers: list[int]) -> str:
    """[3, 4, 5, 9] -> "3–5, 9"."""
    parts: list[list[int]] = []
    for layer in layers:
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)
