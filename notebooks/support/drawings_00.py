"""The figures of notebook 00: what a patch touches, and which prompts are answered right."""

from __future__ import annotations

import re
from collections.abc import Sequence

from matplotlib.patches import Rectangle

import lib
from lib.workbench import plot
from lib.workbench.plot.style import EDITED, GRID, INK, SMALL

from .figures import bare, panels

PLACE = re.compile(r"\.(\d+)\.(.+)$")  # layer and the rest of a module's name
ENDS = re.compile(r"^(self_attn|attn|attention|mlp)\.|_proj$")
GROUPS = {"efficacy": "own prompt", "generalization": "rewordings", "specificity": "neighbors"}
VALUES = "value", "value before"
EVENTS = {
    "probability": "more probable",
    "teacher_forced": "teacher-forced",
    "generation": "generation",
    "generation_exact": "generation, exact",
}


def touched(lm: lib.LM, patch: lib.Patch) -> plot.Figure:
    """Draw every matrix of the layers as a cell, and those that the patch changes in color."""
    names = (n.removesuffix(".weight") for n, p in lm.model.named_parameters() if p.ndim == 2)
    cells = [place for place in map(_place, names) if place]
    kinds = list(dict.fromkeys(kind for _, kind in cells))
    layers = 1 + max(layer for layer, _ in cells)
    figure, (grid,) = panels(height=2.3)
    changed = [_place(name) for name in patch.weights]
    for layer, kind in cells:
        color = EDITED if (layer, kind) in changed else GRID
        place = layer - 0.42, kinds.index(kind) - 0.42
        grid.add_patch(Rectangle(place, 0.84, 0.84, color=color, linewidth=0))
    grid.set(xlim=(-0.6, layers - 0.4), ylim=(len(kinds) - 0.4, -0.6), xlabel="layer")
    grid.set_yticks(range(len(kinds)), [ENDS.sub("", ENDS.sub("", kind)) for kind in kinds])
    grid.set_xticks(range(0, layers, 1 if layers < 8 else 5))
    grid.set_title(f"{len(cells)} matrices, {len(changed)} changed", fontsize=SMALL)
    bare(grid)
    return figure


def answered(scores: lib.Results, names: Sequence[str]) -> plot.Figure:
    """Draw every prompt of edits made one by one as a square, in color where its answer is right.

    Above are the groups of prompts under the event "generation", below the rewordings under every
    event. A dot is a prompt that the base model answers right. A row is a case, which has a name.
    """
    keys = ["case", "metric", "event", "prompt"]
    rows = scores.rows.merge(scores.base.scores.rows, on=keys, suffixes=("", " before"))
    figure, axes = panels(4, 2, height=4.6, sharex=True, sharey=True)
    asked = [(metric, "generation", title) for metric, title in GROUPS.items()]
    asked += [("generalization", event, title) for event, title in EVENTS.items()]
    for ax, (metric, event, title) in zip([*axes[:3], *axes[4:]], asked, strict=True):
        found = rows[(rows["metric"] == metric) & (rows["event"] == event)]
        for y, (_, prompts) in enumerate(found.groupby("case")):
            for x, (now, before) in enumerate(zip(*(prompts[of] for of in VALUES), strict=True)):
                color = EDITED if now else GRID
                ax.add_patch(Rectangle((x, y), 0.84, 0.84, color=color, linewidth=0))
                ax.plot(x + 0.42, y + 0.42, "o" * bool(before), color=INK)
        ax.set_title(f"{title}\n{found['value'].sum():.0f} of {len(found)}", fontsize=SMALL)
        bare(ax)
    wide = rows[rows["event"] == "generation"].groupby(["case", "metric"]).size().max()
    axes[0].set(xlim=(-0.1, wide), ylim=(len(names), -0.1), xticks=[])
    axes[0].set_yticks([y + 0.42 for y in range(len(names))], names)
    axes[3].set_axis_off()
    said = "color: right after the edit\ndot: right before it"
    axes[3].text(0, 0.5, said, transform=axes[3].transAxes, va="center")
    axes[0].set_ylabel("event: generation")
    axes[4].set_ylabel("group: rewordings")
    return figure


def _place(name: str) -> tuple[int, str] | None:
    """Layer and kind of a module's name: "model.layers.3.mlp.down_proj" -> (3, "mlp.down_proj")."""
    found = PLACE.search(name)
    return (int(found[1]), found[2]) if found else None
