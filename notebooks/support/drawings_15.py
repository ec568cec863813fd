"""The drawing of notebook 15: what two events look at."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from lib.plot.style import (
    DPI,
    INK,
    LABEL,
    QUIET,
    SMALL,
    WIDTH,
    Drawing,
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
        ax.text(-0.15, y, name, ha="right", va="center", fontsize=SMALL, color=INK)
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
    ax.set(xlim=(-1.1, len(wanted) + 1.15), ylim=(2.6, -0.6))
    ax.set_axis_off()
    names = {"as in the answer": RIGHT, "another token": WRONG, "not compared": NOT_ASKED}
    handles = [
        Line2D([], [], color=color, linewidth=8, label=label) for label, color in names.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False,
                  fontsize=SMALL, labelcolor=INK)  # fmt: skip
    return figure
