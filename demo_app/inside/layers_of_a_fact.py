"""Two looks at the layer in which a fact lies: where the model recalls it, and where it is cheap.

The causal trace shows which states bring the answer back after noise on the subject. WilKE's curve
shows in which layer writing the fact takes the smallest change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import lib
from lib import plot
from lib.interpret.causal_trace import trace
from lib.plot import style

from ..session.long_run import LongRun, ticking
from ..session.subject_in_view import layers_of, listed, subject_of
from ..session.worker import Job
from .panel import Panel, Steps

SAMPLES = 5  # noisy runs of the trace


def traced(run: LongRun) -> Steps:
    """Causal trace of the prompt in the model as it is; the edited layers are marked."""
    lm, fact = run.studio.lm, subject_of(run.studio.choices, run.session).case.fact
    length = len(lm.tokenizer(fact.text)["input_ids"])
    edited = layers_of(lm, run.session.patch)
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

        found.append((yield from run.do(work)))
    effect = np.array([one.indirect("hidden")[i].tolist() for i, one in enumerate(found)])
    one = found[0]
    names = [style.token_text(text) for text in one.tokens]
    first, last = one.subject
    names = [f"{name} *" if first <= i <= last else name for i, name in enumerate(names)]
    figure = plot.heatmap(
        effect,
        names,
        layers,
        "layer whose state is put back",
        "token (* = the subject)",
        "probability that comes back",
        0.0,
    )
    _mark_columns(figure, layers, edited)
    t, column = np.unravel_index(np.nanargmax(effect[: last + 1]), effect[: last + 1].shape)
    said = (
        f"Noise on the subject lowers p(“{one.answer.strip()}”) from {one.p_clean:.2f} to "
        f"{one.p_corrupted:.2f}; up to the subject's end, putting back “{one.tokens[t].strip()}” "
        f"at layer {layers[column]} brings back most, {effect[t, column]:+.2f}."
    )
    if edited:
        said += f" The frame marks what was edited: {listed(edited)}."
    lines = tuple(
        f"“{text.strip()}”: most at layer {layers[int(np.nanargmax(row))]}, {np.nanmax(row):+.2f}"
        for text, row in zip(one.tokens, effect, strict=True)
    )
    return Panel(figure, said, lines)


def wise_layers(run: LongRun) -> Steps:
    """WilKE's curve: how large ROME's change would be in each layer, relative to its weights."""
    lm, fact = run.studio.lm, subject_of(run.studio.choices, run.session).case.fact
    wilke = lib.EDITORS["wilke"]
    config = wilke.Config.preset(lm, "wilke")
    layers = list(config.layers or range(min(config.ceiling, lm.n_layers)))
    steps, sizes = len(layers) + 1, []

    def moments(job: Job) -> tuple:
        with ticking(job, lm, "Reading general text", 20, 0, 1 / steps):
            lib.second_moment(lm, layers)
            return wilke(lm).templates(lib.EMPTY)

    templates = yield from run.do(moments)
    for i, layer in enumerate(layers):

        def work(job: Job, i: int = i, layer: int = layer) -> float:
            words = f"Writing the fact into layer {layer}, for the measure only"
            with ticking(job, lm, words, 15, (i + 1) / steps, (i + 2) / steps):
                return wilke(lm, layers=(layer,)).matches(fact, lib.EMPTY, templates)[0].score

        sizes.append((yield from run.do(work)))
    best = layers[int(np.argmin(sizes))]
    name = "relative size of the change"
    figure = plot.layer_curve(
        layers,
        {name: [100 * size for size in sizes]},
        "‖Δ‖ / ‖W‖ (%)",
        best,
        colors={name: style.EDITED},
    )
    figure.axes[0].set_ylim(0, None)
    edited = layers_of(lm, run.session.patch)
    where = f" Your edits are in {listed(edited)}." if edited else ""
    said = (
        f"WilKE would write this fact into layer {best}: there it takes the smallest change, "
        f"{100 * min(sizes):.2f} % of the weights.{where}"
    )
    lines = tuple(f"layer {at}: {100 * size:.2f} %" for at, size in zip(layers, sizes, strict=True))
    return Panel(figure, said, lines)


def _mark_columns(figure: Figure, columns: list[int], marked: list[int]) -> None:
    """A frame around the columns nearest to the edited layers."""
    ax = figure.axes[0]
    height = ax.get_ylim()[0] + 0.5
    for at in {min(range(len(columns)), key=lambda i: abs(columns[i] - one)) for one in marked}:
        frame = Rectangle(
            (at - 0.5, -0.5), 1, height, fill=False, linewidth=2.2, edgecolor=style.EDITED
        )
        ax.add_patch(frame)
