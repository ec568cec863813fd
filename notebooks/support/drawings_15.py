"""The drawings of notebook 15: what two events look at, ranks under four events, widths of intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from lib.plot.style import (
    BASE,
    CYCLE,
    DPI,
    EDITED,
    GRID,
    INK,
    LABEL,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
    legend,
    new_figure,
    readable,
    token_text,
)

RIGHT, WRONG, NOT_ASKED = "#cfe3f3", "#f3d3c4", "#eceff2"  # a token right, wrong, not looked at


def two_events(
    prompt: str, wanted: Sequence[str], forced: Sequence[str], free: Sequence[str]
) -> Figure:
    """Draw the tokens that teacher forcing compares, and those that the model writes freely.

    wanted  The tokens of the answer.
    forced  The model's first choice at each place, after the true tokens before it.
    free    What the model writes where it reads its own tokens.
    """
    figure = Drawing(figsize=(WIDTH, 2.9), dpi=DPI, facecolor="white", layout="constrained")
    ax = figure.add_subplot()
    stopped = next((i for i, (a, b) in enumerate(zip(wanted, free, strict=True)) if a != b), None)
    lines = {
        "the answer": [(token, NOT_ASKED) for token in wanted],
        "teacher-forced": [
            (token, RIGHT if token == true else WRONG)
            for token, true in zip(forced, wanted, strict=True)
        ],
        "generation": [
            (token, NOT_ASKED if stopped is not None and i > stopped else
             RIGHT if token == wanted[i] else WRONG)
            for i, token in enumerate(free)
        ],
    }  # fmt: skip
    for y, (name, tokens) in enumerate(lines.items()):
        ax.text(-0.15, y, name, ha="right", va="center", fontsize=LABEL, color=INK)
        for x, (token, color) in enumerate(tokens):
            box = FancyBboxPatch((x + 0.04, y - 0.3), 0.92, 0.6, boxstyle="round,pad=0,rounding_size=0.06",
                                 facecolor=color, edgecolor="none")  # fmt: skip
            ax.add_patch(box)
            ax.text(
                x + 0.5,
                y,
                token_text(token.strip()),
                ha="center",
                va="center",
                fontsize=SMALL,
                color=INK,
            )
    hits = sum(a == b for a, b in zip(wanted, forced, strict=True))
    said = f"{hits} of {len(wanted)} tokens", "right only if all are"
    for y, text in enumerate(said, start=1):
        ax.text(len(wanted) + 0.1, y, text, va="center", fontsize=SMALL, color=QUIET)
    ax.set_title(f"{prompt} …", fontsize=LABEL, color=INK, loc="left")
    ax.set(xlim=(-1.35, len(wanted) + 1.5), ylim=(2.6, -0.6))
    ax.set_axis_off()
    names = {"as in the answer": RIGHT, "another token": WRONG, "not compared": NOT_ASKED}
    handles = [
        Line2D([], [], color=color, linewidth=8, label=label) for label, color in names.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False,
                  fontsize=SMALL, labelcolor=INK)  # fmt: skip
    return figure


def bump(ranks: Mapping[str, Mapping[str, int]], shown: Mapping[str, str]) -> Figure:
    """Draw each editor's rank under each event, joined by a line; 1 is the best.

    shown  {editor: color} for the lines that are named; all others are thin and gray.
    """
    events = list(next(iter(ranks.values())))
    figure, ax = new_figure("", "rank", None, height=4.8)
    for name, row in ranks.items():
        y = [row[event] for event in events]
        color = shown.get(name)
        if color is None:
            ax.plot(range(len(events)), y, "-o", color=BASE, linewidth=1, markersize=3, alpha=0.45)
        else:
            ax.plot(range(len(events)), y, "-o", color=color, linewidth=2.2, markersize=5, zorder=4)
    places: list[float] = []
    for name, row in sorted(ranks.items(), key=lambda item: item[1][events[-1]]):
        if name in shown:
            y = float(row[events[-1]])
            while places and y - places[-1] < 1.05:
                y += 0.05
            places.append(y)
            ax.text(len(events) - 0.93, y, name, va="center", fontsize=SMALL,
                    color=readable(shown[name]))  # fmt: skip
    ax.set(xlim=(-0.15, len(events) - 0.2), ylim=(len(ranks) + 0.7, 0.3))
    ax.set_xticks(range(len(events)), events)
    ax.set_yticks([1, 5, 10, 15, 20, len(ranks)])
    ax.tick_params(axis="x", labelsize=LABEL, length=0)
    ax.grid(True, color=GRID)
    gray = Line2D([], [], color=BASE, linewidth=1, marker="o", markersize=3, label="other editors")
    ax.plot([], [], "-o", color=BASE, linewidth=1, markersize=3, alpha=0.45, label=gray.get_label())
    legend(figure, ax)
    return figure


def widths(n: Sequence[int], halves: Mapping[str, Sequence[float]], wanted: float) -> Figure:
    """Draw half the width of an interval (points) over the number of cases, both logarithmic."""
    figure, ax = new_figure("cases", "± points, half of the interval", None, height=3.9)
    for color, (name, y) in zip(CYCLE, halves.items(), strict=False):
        ax.plot(n, y, "-o", color=color, linewidth=1.8, markersize=4, label=name)
    ax.axhline(wanted, color=EDITED, linewidth=1.4, linestyle="--", label=f"± {wanted:g} points")
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(list(n), [f"{count:,}" for count in n])
    ax.set_yticks([1, 2, 3, 5, 10, 20], ["1", "2", "3", "5", "10", "20"])
    ax.minorticks_off()
    legend(figure, ax)
    return figure
