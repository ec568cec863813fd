"""Two looks at the layer in which a fact lies: where the model recalls it, and where it is cheap.

The causal trace shows which states bring the answer back after noise on the subject. WilKE's curve
shows in which layer writing the fact takes the smallest change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import lib
from lib import plot
from lib.interpret.causal_trace import trace

from ..session.long_run import LongRun, ticking
from ..session.subject_in_view import layers_of, listed, subject_of
from ..session.worker import Job
from .panel import Panel, Steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 5  # noisy runs of the trace


@dataclass(frozen=True)
class Trace(Panel):
    """A causal trace: how much of the answer's probability each restored state brings back.

    tokens: the tokens of the prompt.
    layers: the layers whose states were put back.
    effect: rows of tokens, columns of layers: the probability that comes back.
    subject: the first and the last token of the subject.
    answer: the model's own answer, the one that is traced.
    p_clean: its probability in the undisturbed model.
    p_corrupted: its probability with noise on the subject.
    edited: the layers that the edits touch.
    """

    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    effect: tuple[tuple[float, ...], ...]
    subject: tuple[int, int]
    answer: str
    p_clean: float
    p_corrupted: float
    edited: tuple[int, ...]

    @property
    def figure(self) -> Figure:
        """Tokens by layers; frames mark the edited ones."""
        names = [plot.style.token_text(text) for text in self.tokens]
        first, last = self.subject
        names = [f"{name} *" if first <= i <= last else name for i, name in enumerate(names)]
        figure = plot.heatmap(
            np.array(self.effect),
            names,
            list(self.layers),
            "layer whose state is put back",
            "token (* = the subject)",
            "probability that comes back",
            0.0,
        )
        _mark_columns(figure, list(self.layers), list(self.edited))
        return figure

    @property
    def found(self) -> str:
        """What the noise costs, and which state of the subject brings back most."""
        effect, last = np.array(self.effect), self.subject[1]
        t, column = np.unravel_index(np.nanargmax(effect[: last + 1]), effect[: last + 1].shape)
        said = (
            f"Noise on the subject lowers p(“{self.answer.strip()}”) from {self.p_clean:.2f} to "
            f"{self.p_corrupted:.2f}; up to the subject's end, putting back "
            f"“{self.tokens[t].strip()}” at layer {self.layers[column]} brings back most, "
            f"{effect[t, column]:+.2f}."
        )
        if self.edited:
            said += f" The frame marks what was edited: {listed(list(self.edited))}."
        return said

    @property
    def lines(self) -> tuple[str, ...]:
        """For each token the layer that brings back most."""
        return tuple(
            f"“{text.strip()}”: most at layer {self.layers[int(np.nanargmax(row))]}, "
            f"{np.nanmax(row):+.2f}"
            for text, row in zip(self.tokens, self.effect, strict=True)
        )


def traced(run: LongRun) -> Steps:
    """Causal trace of the prompt in the unedited model; the edited layers are marked."""
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
    one = found[0]
    return Trace(
        tuple(one.tokens),
        tuple(layers),
        tuple(tuple(each.indirect("hidden")[i].tolist()) for i, each in enumerate(found)),
        tuple(one.subject),
        one.answer,
        float(one.p_clean),
        float(one.p_corrupted),
        tuple(edited),
    )


@dataclass(frozen=True)
class Sizes(Panel):
    """How large ROME's change of one fact would be in each layer.

    layers: the layers.
    share: ‖Δ‖/‖W‖ in each of them.
    edited: the layers that the edits touch.
    """

    layers: tuple[int, ...]
    share: tuple[float, ...]
    edited: tuple[int, ...]

    @property
    def best(self) -> int:
        """The layer in which the change is smallest."""
        return self.layers[int(np.argmin(self.share))]

    @property
    def figure(self) -> Figure:
        """The curve over layers, its lowest point marked."""
        name = "relative size of the change"
        figure = plot.layer_curve(
            list(self.layers),
            {name: [100 * size for size in self.share]},
            "‖Δ‖ / ‖W‖ (%)",
            self.best,
            colors={name: plot.style.EDITED},
        )
        figure.axes[0].set_ylim(0, None)
        return figure

    @property
    def found(self) -> str:
        """Where WilKE would write the fact."""
        where = f" What was edited: {listed(list(self.edited))}." if self.edited else ""
        return (
            f"WilKE would write this fact into layer {self.best}: there it takes the smallest "
            f"change, {100 * min(self.share):.2f} % of the weights.{where}"
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The size in every layer."""
        each = zip(self.layers, self.share, strict=True)
        return tuple(f"layer {at}: {100 * size:.2f} %" for at, size in each)


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
    edited = layers_of(lm, run.session.patch)
    return Sizes(tuple(layers), tuple(sizes), tuple(edited))


def _mark_columns(figure: Figure, columns: list[int], marked: list[int]) -> None:
    """A frame around the columns nearest to the edited layers."""
    from matplotlib.patches import Rectangle

    ax = figure.axes[0]
    height = ax.get_ylim()[0] + 0.5
    for at in {min(range(len(columns)), key=lambda i: abs(columns[i] - one)) for one in marked}:
        frame = Rectangle(
            (at - 0.5, -0.5), 1, height, fill=False, linewidth=2.2, edgecolor=plot.style.EDITED
        )
        ax.add_patch(frame)
