"""Figures in the course's style: one function per figure, which returns it as a Figure."""

from .charts import heatmap, histogram, token_bars
from .curves import layer_curve, lines, loss_curve, rank_over_layers, spectrum
from .points import overlap, scatter, scope_map
from .style import BASE, COLORS, CYCLE, EDITED, NEIGHBOR, QUIET, UNRELATED

__all__ = [
    "BASE",
    "COLORS",
    "CYCLE",
    "EDITED",
    "NEIGHBOR",
    "QUIET",
    "UNRELATED",
    "heatmap",
    "histogram",
    "layer_curve",
    "lines",
    "loss_curve",
    "overlap",
    "rank_over_layers",
    "scatter",
    "scope_map",
    "spectrum",
    "token_bars",
]
