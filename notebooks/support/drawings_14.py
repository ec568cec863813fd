"""The drawings of notebook 14: quality against damage, and five streams side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from lib.workbench.plot.style import (
    BASE,
    CYCLE,
    DPI,
    INK,
    LABEL,
    QUIET,
    SMALL,
    legend,
    new_figure,
    readable,
)

from .figures import legend as below
from .figures import panels

COLORS = {  # of a family of editors, in notebooks 14 to 16
    "the unedited model": BASE,
    "searches": CYCLE[0],
    "gradients": CYCLE[1],
    "fine-tuning": CYCLE[2],
    "memories": CYCLE[3],
    "retrieval": CYCLE[4],
}
MARKERS = dict(zip(COLORS, "Xos^Dv", strict=True))


def quality_and_damage(
    found: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    families: Mapping[str, Sequence[str]],
) -> Figure:
    """Draw {editor: (damage, quality)}, each mean, low, high in %; a color and marker per family.

    families  {family: its editors}, in the order of the legend.
    """
    points = {name: (damage[0], quality[0]) for name, (damage, quality) in found.items()}
    axes = "damage (%): neighbors and unrelated texts changed", "quality (%): held and reworded"
    figure, ax = new_figure(*axes, None, height=5.4)
    ax.set(xlim=(-4, 106), ylim=(-6, 106))
    ax.xaxis.grid(True)
    for family, names in families.items():
        x, y = zip(*(points[name] for name in names), strict=True)
        color, marker = COLORS[family], MARKERS[family]
        for (at, low, high), (level, bottom, top) in (found[name] for name in names):
            ax.plot([low, high], [level, level], color=color, alpha=0.3, linewidth=1)
            ax.plot([at, at], [bottom, top], color=color, alpha=0.3, linewidth=1)
        ax.scatter(x, y, 52, color=color, marker=marker, label=family, zorder=3, linewidths=0)
    legend(figure, ax)
    figure.draw_without_rendering()  # now a point's place in pixels is known
    taken = [ax.transData.transform(point) for point in points.values()]
    boxes: list[tuple[float, float, float, float]] = []
    for family, names in families.items():
        together: dict[tuple[float, float], list[str]] = {}
        for name in names:
            together.setdefault(points[name], []).append(name)
        for point, some in together.items():
            _name(ax, ", ".join(some), point, readable(COLORS[family]), taken, boxes)
    return figure


def _name(ax: Axes, name: str, point: tuple[float, float], color: str, taken, boxes) -> None:
    """Write a name beside its point, at the first place where it covers no point and no name."""
    x, y = ax.transData.transform(point)
    points = SMALL * DPI / 72
    width, height = 0.65 * (SMALL - 1) * DPI / 72 * len(name), 0.95 * points
    near = 9
    places = [
        (near, -height / 2),
        (-near - width, -height / 2),
        (-width / 2, near),
        (-width / 2, -near - height),
    ]
    far = [(dx * k, dy) for k in (1, 2) for dy in (14, -14 - height, 28, -28 - height, 42, -56)
           for dx in (10, -10 - width)]  # fmt: skip
    left, bottom = ax.transData.transform((-4, -6))
    right, top = ax.transData.transform((106, 106))
    for dx, dy in [*places, *far]:
        box = (x + dx, y + dy, x + dx + width, y + dy + height)
        inside = box[0] > left and box[2] < right and box[1] > bottom and box[3] < top
        free = not any(_cross(box, other) for other in boxes)
        clear = not any(_cross(box, (a - 9, b - 7, a + 9, b + 7)) for a, b in taken)
        if inside and free and clear:
            break
    boxes.append(box)
    scale = 72 / DPI
    arrow = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.6, "linestyle": (0, (1, 2))}
    ax.annotate(
        name,
        point,
        (dx * scale, dy * scale),
        textcoords="offset points",
        fontsize=SMALL - 1,
        color=color,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],  # over the intervals' lines
        arrowprops=None
        if (dx, dy) in places
        else arrow | {"shrinkA": 0, "shrinkB": 4, "relpos": (0.5, 0.5)},
    )


def _cross(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def streams(
    found: Mapping[tuple[str, str], tuple[Sequence[float], float, float, float]],
    families: Mapping[str, Sequence[str]],
) -> Figure:
    """Draw one panel per column, one row per editor, and one hollow dot for each stream.

    found  {(editor, column): (difference in each stream, mean, low, high)}, all in points
    """
    columns = list(dict.fromkeys(column for _, column in found))
    family = {name: group for group, members in families.items() for name in members}
    names = [name for name in family if (name, columns[0]) in found]
    height = 0.3 * len(names) + 1.1
    figure, axes = panels(len(columns), height=height, sharey=True, titles=columns)
    bar = {"linewidth": 5, "alpha": 0.28, "solid_capstyle": "butt"}
    dot = {"marker": "o", "linewidth": 0, "markerfacecolor": "white"}
    for ax, column in zip(axes, columns, strict=True):
        ax.axvline(0, color=QUIET, linewidth=1)
        for i, name in enumerate(names):
            color = COLORS[family[name]]
            values, _, low, high = found[name, column]
            ax.plot([low, high], [i, i], color=color, **bar)
            ax.plot(
                values, [i] * len(values), color=color, markersize=4.5, markeredgewidth=1.1, **dot
            )
        ax.set(xlim=(-72, 106), xticks=(-50, 0, 50, 100), ylim=(len(names) - 0.4, -0.6))
        ax.grid(True)
    axes[0].set_yticks(range(len(names)), names)
    said = "points by which retrieval is ahead after 24 edits; left of 0 the editor is better"
    figure.supxlabel(said, fontsize=LABEL)
    lines = Line2D([], [], color=INK, **dot), Line2D([], [], color=INK, linewidth=5, alpha=0.28)
    names = "a stream", "95 % interval of their mean"
    return below(figure, lines, names, 2, loc="outside upper right")
