"""The drawings of notebook 08: the keys behind a flash, scores over layers, the published curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.plot.style import (
    BASE,
    CYCLE,
    DPI,
    EDITED,
    INK,
    LABEL,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
    readable,
)
from lib.plot.style import EDITORS as CHOSEN

from .figures import plain

KINDS = {False: ("subject elsewhere", CYCLE[0]), True: ("subject opens its prompt", CYCLE[1])}
EDITORS = {name: CHOSEN[name.casefold()] for name in ("ROME", "MEMIT", "WilKE")}
LOOKS = {"ROME": "o-", "MEMIT": "s:", "WilKE": "o-"}  # MEMIT and WilKE share a color


def keys(subjects: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw the two keys of some subjects in the plane that they span after whitening.

    subjects  {name: (k₀ along k̄, k₀ across it)}, in units of the length of k̄.
    """
    figure = Drawing(figsize=(WIDTH, 2.5), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(1, len(subjects), sharex=True, sharey=True)
    arrow = {"arrowstyle": "-|>", "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
    high = 1.2 * max(0.4, *(across for _, across in subjects.values()))
    for ax, (name, (along, across)) in zip(axes, subjects.items(), strict=True):
        for x, y, color in ((1, 0, BASE), (along, across, EDITED)):
            ax.annotate("", (x, y), (0, 0), arrowprops=arrow | {"color": color, "zorder": 3})
        ax.plot([along, along], [0, across], "--", color=QUIET, linewidth=1)
        ax.plot(along, 0, "o", color=INK, markersize=5, zorder=5)
        left = along < 0.5
        ax.annotate(
            f"$u^\\top k_0$ = {along:.2f} $u^\\top\\bar{{k}}$",
            (along, 0),
            (4 if left else 0, -16),
            textcoords="offset points",
            ha="left" if left else "right",
            color=INK,
            fontsize=SMALL,
        )
        ax.text(1.0, 0.04 * high, "$\\bar{k}$", color=readable(BASE), fontsize=LABEL, ha="right")
        ax.text(along + 0.03, across, "$k_0$", color=readable(EDITED), fontsize=LABEL, va="bottom")
        ax.set_title(name, fontsize=LABEL, color=INK, loc="left", parse_math=False)
        ax.set_xlabel("along the direction $u$", fontsize=LABEL, color=INK)
        ax.set(xlim=(-0.12, 1.25), ylim=(-0.3 * high, high), aspect="equal")
        plain(ax)
    axes[0].set_ylabel("across it", fontsize=LABEL, color=INK)
    return figure


def scores(rows: Sequence[Mapping]) -> Figure:
    """Draw the score of each fact over the layers, with a ring at the smallest.

    rows  Rows of `runs_08_wilke.stream`: "scores" {layer: s}, "opens" and "subject".
    """
    figure = Drawing(figsize=(WIDTH, 4.0), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    for row in rows:
        _, color = KINDS[row["opens"]]
        found = {int(layer): s for layer, s in row["scores"].items()}
        ax.plot(list(found), list(found.values()), color=color, linewidth=1.6, alpha=0.8)
        best = min(found, key=found.__getitem__)
        ring = {"markerfacecolor": "white", "markeredgewidth": 1.8, "zorder": 3}
        ax.plot(best, found[best], "o", color=color, markersize=7, **ring)
    ax.set_yscale("log")
    ticks = [0.05, 0.1, 0.2, 0.5, 1.0]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("layer", fontsize=LABEL, color=INK)
    ax.set_ylabel("s, relative change of the matrix", fontsize=LABEL, color=INK)
    plain(ax)
    handles = [Line2D([], [], color=color, label=name) for name, color in KINDS.values()]
    ring = Line2D([], [], color=QUIET, marker="o", markerfacecolor="white", linestyle="none")
    ring.set_label("smallest score: WilKE's choice")
    _legend(figure, [*handles, ring])
    return figure


def published(
    theirs: Mapping[int, Mapping[str, float]], ours: Mapping[str, tuple[Sequence, Sequence]]
) -> Figure:
    """Draw S over the number of edits as published, and what was measured here beside it.

    theirs  {edits: {editor: S in %}}.
    ours    {"rome both": (edits, neighbors kept in %)}, an editor and its keys.
    """
    figure = Drawing(figsize=(WIDTH, 3.6), dpi=DPI, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name in next(iter(theirs.values())):
        y = [row[name] for row in theirs.values()]
        left.plot(list(theirs), y, LOOKS[name], color=EDITORS[name], markersize=4)
    left.set_xscale("log")
    left.set_xticks(list(theirs), [f"{edits:,}" for edits in theirs])
    left.minorticks_off()
    left.set_title("published: S, GPT-2 XL", fontsize=LABEL, color=INK, loc="left")
    left.set_xlabel("edits, each rolled back", fontsize=LABEL, color=INK)
    shown = {name.lower(): color for name, color in EDITORS.items()}
    for name, (x, y) in ours.items():
        editor, keys = name.split()
        right.plot(x, y, "--" if keys == "both" else "-", color=shown[editor], marker="o", ms=4)
    right.set_title("here, stream 2: neighbors kept", fontsize=LABEL, color=INK, loc="left")
    right.set_xlabel("edits in a row, all kept", fontsize=LABEL, color=INK)
    for ax in (left, right):
        plain(ax)
    left.set_ylabel("%", fontsize=LABEL, color=INK)
    left.set_ylim(0, 100)
    handles = [
        Line2D([], [], color=color, label=name, linestyle=LOOKS[name][1], marker=LOOKS[name][0])
        for name, color in EDITORS.items()
    ]
    handles.append(Line2D([], [], color=QUIET, linestyle="--", label="with two keys (ours)"))
    _legend(figure, handles)
    return figure


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
    )
