"""`LayerSlider` moves over the layers of a causal trace and of the logit lens."""

from __future__ import annotations

from typing import Any

import pandas as pd
import traitlets
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .. import plot
from ..interpret.causal_trace import Trace
from ..plot.style import token_text
from .panel import Control, Panel, View, one_of

KINDS = {"hidden": "states", "mlp": "MLPs", "attention": "attention"}
RANKS = "ranks"


class LayerSlider(Panel):
    """A panel that moves over the layers of a causal trace, of the logit lens, or of both.

    trace   A causal trace, or none.
    ranks   The table of `lens` for one prompt, or none.
    before  The same table without the edit, drawn dashed.
    layer   The layer at the beginning.
    shown   "states", "MLPs" or "attention" of the trace, or "ranks".

    Nothing is computed here.
    """

    LABELS = {"shown": "Show", "layer": "Layer"}
    shown = traitlets.Unicode()
    layer = traitlets.Int()

    def __init__(
        self,
        trace: Trace | None = None,
        ranks: pd.DataFrame | None = None,
        before: pd.DataFrame | None = None,
        layer: int | None = None,
        shown: str | None = None,
    ) -> None:
        self.trace, self.ranks, self.before = trace, _ranks(ranks), _ranks(before)
        kinds = [KINDS[kind] for kind in trace.table] if trace else []
        self.choices = kinds + ([RANKS] if self.ranks is not None else [])
        if not self.choices:
            raise ValueError("there is neither a trace nor a table of ranks to show")
        self.layers = list(trace.layers if trace else self.ranks.index)
        if self.ranks is not None and not set(self.layers) <= set(self.ranks.index):
            raise ValueError("the ranks do not cover the layers of the trace")
        super().__init__(
            shown=shown or self.choices[0], layer=self.layers[0] if layer is None else layer
        )

    @traitlets.validate("layer")
    def _there(self, proposal: Any) -> int:
        return one_of(proposal["value"], self.layers, "the layer")

    @traitlets.validate("shown")
    def _known(self, proposal: Any) -> str:
        return one_of(proposal["value"], self.choices, "what is shown")

    def controls(self) -> dict[str, Control]:
        """A list of the kinds of states and the ranks, and a slider over the layers."""
        slider = {"options": self.layers, "continuous_update": False}
        return {
            "shown": ("Dropdown", {"options": self.choices}),
            "layer": ("SelectionSlider", slider),
        }

    def look(self) -> View:
        """The figure of all layers with the present one marked, and its numbers."""
        if self.shown == RANKS:
            return self._lens()
        kinds = {kind: KINDS[kind] for kind in self.trace.table}
        column = self.layers.index(self.layer)
        effects = {name: self.trace.indirect(kind)[:, column] for kind, name in kinds.items()}
        rows = [
            {"token": f"{i} {token_text(token)}", **{n: e[i].item() for n, e in effects.items()}}
            for i, token in enumerate(self.trace.tokens)
        ]
        here = effects[self.shown]
        best = int(here.nan_to_num(-1).argmax())
        text = (
            f"Layer {self.layer}, {self.shown}: the largest indirect effect is {here[best]:.3f}, "
            f"at token {best} '{token_text(self.trace.tokens[best])}', of a total effect of "
            f"{self.trace.total_effect:.3f}."
        )
        if self.ranks is not None:
            text += " " + self._said()
        return View(self._heatmap(column), text, rows)

    def _heatmap(self, column: int) -> Figure:
        """The indirect effects of one kind, on the color scale of all kinds, one column framed."""
        kind = next(kind for kind, name in KINDS.items() if name == self.shown)
        effect = self.trace.indirect(kind)
        every = [self.trace.indirect(one) for one in self.trace.table]
        low = min(0.0, *(one.nan_to_num(0).min().item() for one in every))
        high = max(one.nan_to_num(0).max().item() for one in every)
        figure = plot.heatmap(
            effect,
            [f"{i} {token_text(t)}" for i, t in enumerate(self.trace.tokens)],
            self.layers,
            "layer",
            "token",
            "indirect effect on p",
            limits=(low, high),
            title=f"{self.shown}, layer {self.layer}",
        )
        frame = Rectangle(
            (column - 0.5, -0.5),
            1,
            len(effect),
            fill=False,
            edgecolor=plot.EDITED,
            linewidth=2,
            clip_on=False,
        )
        figure.axes[0].add_patch(frame)
        return figure

    def _lens(self) -> View:
        """The ranks over all layers, and those of the present layer."""
        ranks = {name: self.ranks[name].tolist() for name in self.ranks}
        before = None
        if self.before is not None:
            before = {name: self.before[name].tolist() for name in self.before}
        figure = plot.rank_over_layers(
            list(self.ranks.index), ranks, before=before, highlight=self.layer
        )
        rows = [{"answer": name, "rank": int(self.ranks[name][self.layer])} for name in self.ranks]
        for row in rows if before else ():
            row["rank before"] = int(self.before[row["answer"]][self.layer])
        return View(figure, f"Layer {self.layer}: {self._said()}", rows)

    def _said(self) -> str:
        """A sentence with the ranks in the present layer."""
        said = (f"'{name}' has rank {self.ranks[name][self.layer]:,}" for name in self.ranks)
        return "In the logit lens " + ", ".join(said) + "."


def _ranks(found: pd.DataFrame | None) -> pd.DataFrame | None:
    """The ranks of a table of `lens` as layers × answers, in the order of the answers."""
    if found is None:
        return None
    if found["prompt"].nunique() != 1:
        raise ValueError(f"ranks of one prompt can be shown, not of {found['prompt'].nunique()}")
    return found.pivot(index="layer", columns="answer", values="rank")[found["answer"].unique()]
