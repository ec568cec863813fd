"""In which layer a fact lies: where the model recalls it, where writing it moves least."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import lib
from lib import plot
from lib.interpret.causal_trace import trace
from lib.plot import style

from ..session.long_run import Chain, ticking
from ..session.worker import Job
from .panel import Panel, Steps, layers_of, listed, subject_of

SAMPLES = 5  # noisy runs of the trace


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
        said += f" The frame marks what was edited: {listed(edited)}."
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
    where = f" Your edits are in {listed(edited)}." if edited else ""
    said = f"WilKE would write this fact into layer {best}: there it takes the smallest change, "
    said += f"{100 * min(sizes):.2f} % of the weights.{where}"
    words = "".join(
        f"<li>layer {at}: {100 * size:.2f} %</li>" for at, size in zip(layers, sizes, strict=True)
    )
    return Panel(figure, said, f"<ul>{words}</ul>")


def _mark_columns(figure: Figure, columns: list[int], marked: list[int]) -> None:
    """A frame around the columns nearest to the edited layers."""
    ax = figure.axes[0]
    rows = ax.get_ylim()[0] + 0.5
    for at in {min(range(len(columns)), key=lambda i: abs(columns[i] - one)) for one in marked}:
        ax.add_patch(Rectangle((at - 0.5, -0.5), 1, rows, fill=False, linewidth=2.2,
                               edgecolor=style.EDITED))  # fmt: skip
