"""`LayerSlider` moves over the layers of a causal trace and of the logit lens."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .. import plot
from ..interpret.causal_trace import Trace
from ..plot.style import token_text
from .panel import Panel, View

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

    def controls(self) -> dict[str, Any]:
        import ipywidgets

        return {
            "shown": ipywidgets.Dropdown(
                options=self.choices, value=self.values["shown"], description="Show"
            ),
            "layer": ipywidgets.SelectionSlider(
                options=self.layers,
                value=self.values["layer"],
                description="Layer",
                continuous_update=False,
            ),
        }

    def look(self, shown: str, layer: int) -> View:
        """The figure of all layers with the present one marked, and its numbers."""
        if shown == RANKS:
            return self._lens(layer)
        column = self.layers.index(layer)
        effects = {KINDS[kind]: self.trace.indirect(kind)[:, column] for kind in self.trace.table}
        rows = [
            {"token": f"{i} {token_text(token)}", **{n: e[i].item() for n, e in effects.items()}}
            for i, token in enumerate(self.trace.tokens)
        ]
        here = effects[shown]
        best = int(here.nan_to_num(-1).argmax())
        text = (
            f"Layer {layer}, {shown}: the largest indirect effect is {here[best]:.3f}, "
            f"at token {best} '{token_text(self.trace.tokens[best])}', of a total effect of "
            f"{self.trace.total_effect:.3f}."
        )
        if self.ranks is not None:
            text += " " + self._ranks_in_words(layer)
        return View(self._heatmap(shown, column), text, rows)

    def _heatmap(self, shown: str, column: int) -> Figure:
        """The indirect effects of one kind, on the color scale of all kinds, one column framed."""
        every = {KINDS[kind]: self.trace.indirect(kind) for kind in self.trace.table}
        low = min(0.0, *(one.nan_to_num(0).min().item() for one in every.values()))
        high = max(one.nan_to_num(0).max().item() for one in every.values())
        figure = plot.heatmap(
            every[shown],
            [f"{i} {token_text(t)}" for i, t in enumerate(self.trace.tokens)],
            self.layers,
            "layer",
            "token",
            "indirect effect on p",
            limits=(low, high),
            title=f"{shown}, layer {self.layers[column]}",
        )
        corner, height = (column - 0.5, -0.5), len(every[shown])
        frame = Rectangle(corner, 1, height, fill=False, edgecolor=plot.EDITED, linewidth=2)
        frame.set_clip_on(False)
        figure.axes[0].add_patch(frame)
        return figure

    def _lens(self, layer: int) -> View:
        """The ranks over all layers, and those of the present layer."""
        ranks = self.ranks.to_dict("list")
        before = None if self.before is None else self.before.to_dict("list")
        figure = plot.rank_over_layers(
            list(self.ranks.index), ranks, before=before, highlight=layer
        )
        rows = [{"answer": name, "rank": int(self.ranks[name][layer])} for name in self.ranks]
        for row in rows if before else ():
            row["rank before"] = int(self.before[row["answer"]][layer])
        return View(figure, f"Layer {layer}: {self._ranks_in_words(layer)}", rows)

    def _ranks_in_words(self, layer: int) -> str:
        """A sentence with the ranks in a layer."""
        each = (f"'{name}' has rank {self.ranks[name][layer]:,}" for name in self.ranks)
        return "In the logit lens " + ", ".join(each) + "."


def _ranks(found: pd.DataFrame | None) -> pd.DataFrame | None:
    """The ranks of a table of `lens` as layers × answers, in the order of the answers."""
    if found is None:
        return None
    if found["prompt"].nunique() != 1:
        raise ValueError(f"ranks of one prompt can be shown, not of {found['prompt'].nunique()}")
    return found.pivot(index="layer", columns="answer", values="rank")[found["answer"].unique()]
