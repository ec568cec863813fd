"""Charts are figures of single values: bars of next tokens, histograms.

Every function returns a Figure without showing it. Figures are created without using pyplot, so
nothing global is kept and any thread can draw. As the last line of a notebook cell, a figure shows
itself, since it renders itself as PNG, and `figure.savefig(path)` saves it. Colors and sizes come
from `style`: series named "base", "edited", "neighbor" or "unrelated" have their own colors
everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ...errors import ArgumentError
from .style import (
    COLORS,
    INK,
    legend,
    new_figure,
    readable,
    styles,
    token_text,
)

Values = Sequence[float]


def token_bars(
    before: Sequence[tuple[str, float]],
    after: Sequence[tuple[str, float]],
    title: str | None = None,
) -> Figure:
    """Draw next-token probabilities of the base and the edited model as pairs of bars.

    Both lists contain (token, probability) with the same tokens in the same order; the first token
    is drawn at the top. A leading space of a token is shown as "␣". Raises ValueError if the tokens
    differ.
    """
    tokens = [token for token, _ in before]
    if tokens != [token for token, _ in after]:
        raise ArgumentError(
            "before and after have different tokens. Use the same tokens in the same order."
        )
    height = 0.42 * len(tokens) + 1.2
    figure, ax = new_figure("probability of the next token", "next token", title, height)
    at = np.arange(len(tokens))
    highest = 0.0
    for name, pairs, shift in (("base", before, -0.2), ("edited", after, 0.2)):
        p = np.array([value for _, value in pairs], dtype=float)
        highest = max(highest, p.max(initial=0.0))
        ax.barh(at + shift, p, height=0.36, color=COLORS[name], label=name)
        for y, value in zip(at + shift, p, strict=True):
            text = "< 0.001" if 0 < value < 0.0005 else f"{value:.3f}"
            ax.annotate(
                text,
                (value, y),
                (4, 0),
                textcoords="offset points",
                va="center",
                color=readable(COLORS[name]),
            )
    ax.set_yticks(at, [token_text(token) for token in tokens])
    for text in ax.get_yticklabels():
        text.set_parse_math(False)  # "$" is also a token
    ax.set(ylim=(len(tokens) - 0.5, -0.5), xlim=(0, 1.12 * highest or 1))
    ax.grid(False)
    ax.grid(axis="x")
    legend(figure, ax)
    return figure


def histogram(
    values: Mapping[str, Values],
    xlabel: str,
    *,
    bins: int = 40,
    marks: Mapping[str, float] | None = None,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the distribution of each group over shared bins, as the percentage of its values.

    Percentages make groups of unequal size comparable, and the legend shows the number of values in
    each. NaN and infinities are left out.

    marks  {name: x} of vertical lines, such as a threshold or a radius.
    """
    groups = {name: np.asarray(v, dtype=float).ravel() for name, v in values.items()}
    groups = {name: v[np.isfinite(v)] for name, v in groups.items()}
    every = np.concatenate([*groups.values(), np.array(list((marks or {}).values()), dtype=float)])
    if not every.size:
        raise ArgumentError("There are no finite values to draw.")
    figure, ax = new_figure(xlabel, "share of values per bin (%)", None)
    edges = np.histogram_bin_edges(every, bins=bins)
    for name, (color, dash) in styles(groups, colors).items():
        group = groups[name]
        share = 100 * np.histogram(group, edges)[0] / max(group.size, 1)
        ax.stairs(share, edges, fill=True, color=color, alpha=0.22)
        ax.stairs(
            share,
            edges,
            color=color,
            linestyle=dash,
            linewidth=1.6,
            label=f"{name} (n = {group.size})",
        )
    for name, at in (marks or {}).items():
        ax.axvline(at, color=INK, linewidth=1.2, linestyle="--")
        right = at > np.mean(edges[[0, -1]])  # keep the name inside
        ax.annotate(
            name,
            (at, 1),
            xycoords=ax.get_xaxis_transform(),
            va="top",
            xytext=(-4 if right else 4, -2),
            textcoords="offset points",
            ha="right" if right else "left",
        )
    legend(figure, ax)
    return figure
