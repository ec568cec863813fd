"""The colors of every figure and their meaning, without matplotlib, which is slow to import.

One color has one meaning. Gray is used for the comparison, orange for edits, blue for a neighbor,
dark green for unrelated text: a series named "base", "edited", "neighbor" or "unrelated" has its
own color among these four, and nothing else is drawn in them. A series whose name begins with an
editor's, such as "MEMIT, kept keys", has that editor's color in every figure. Any other name uses
the next color of CYCLE, which has no meaning outside its figure; after five names, the dashes
change. Every color has a contrast of at least 3.4 : 1 against white, and text drawn in it is
darkened to 4.5 : 1. The four are distinguishable in the three color deficiencies (ΔE ≥ 24).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import cycle

from ...registry import EDITORS

BASE = "#7b8591"
EDITED = "#d9560b"  # the accent, for everything edited or chosen
NEIGHBOR = "#1b87cf"
UNRELATED = "#20603c"
COLORS = {"base": BASE, "edited": EDITED, "neighbor": NEIGHBOR, "unrelated": UNRELATED}
CYCLE = ("#31429e", "#8a6a00", "#c2577f", "#8d7fd6", "#16202e")  # indigo, gold, plum, lilac, black
# editors of one color share an idea, or are never drawn together
EDITOR_COLORS = {
    name: color
    for color, names in {
        "#31429e": ("memit", "emmet", "pmet", "wilke", "mend"),
        "#8a6a00": ("alphaedit", "malmen", "grace"),
        "#c2577f": ("rect", "rledit", "horen", "lemoe"),
        "#8d7fd6": ("rome", "norm_anchor", "wise"),
        "#9b1fa0": ("ultraedit",),
        "#7a3b1d": ("ft", "ft_l", "ft_m", "crispedit", "lora", "sdf"),
        "#16202e": ("prune", "retrieval", "memoir", "steer"),
    }.items()
    for name in names
}
OWN = "#16202e"  # your own editor
# series not belonging to separate editors use the color of a similar editor
LIKE = {"r-rome": "#8d7fd6", "memoe": "#c2577f", "fine-tuning": "#7a3b1d"}
DASHES = ("-", "--", ":", "-.")
INK, QUIET, GRID = "#1f2933", "#52606d", "#e4e7eb"


def styles(
    names: Iterable[str],
    colors: Mapping[str, str] | None = None,
    dashes: Mapping[str, str] | None = None,
) -> dict[str, tuple[str, str]]:
    """Return {name: (color, dash)}, choosing a missing color by the name, or the next in CYCLE.

    Two names of one editor, or of editors sharing a color, have different dashes.
    """
    names, chosen = list(names), {**COLORS, **(colors or {})}
    own = {name: chosen.get(name) or editor_color(name) for name in names}
    others = [color for color in CYCLE if color not in own.values()] or list(CYCLE)
    free = cycle((color, dash) for dash in DASHES for color in others)
    styles: dict[str, tuple[str, str]] = {}
    for name, color in own.items():
        dash = "-"
        if color is None:
            color, dash = next(free)
        elif name not in chosen:
            turn = sum(other == color for other, _ in styles.values())
            dash = DASHES[turn % len(DASHES)]
        styles[name] = color, (dashes or {}).get(name, dash)
    return styles


def editor_color(name: str) -> str | None:
    """Return the color of the editor named before the first comma; None for other names."""
    plain = name.split(",")[0].strip().casefold()
    editor = plain.replace("-", "_")
    return EDITOR_COLORS.get(editor, OWN) if editor in EDITORS else LIKE.get(plain)
