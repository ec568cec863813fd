"""The figures of notebooks 02 and 02b: interference as a matrix, and in a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from lib.workbench import plot
from lib.workbench.plot.style import DIVERGING, EDITED, INK, LABEL, NEIGHBOR, SMALL, readable

from .figures import bare, colorbar, panels


def by_group(
    maps: Mapping[str, Tensor], groups: Mapping[str, Sequence[str]], writers: str, hearers: str
) -> plot.Figure:
    """Draw each ρ (n, n) of {title: ρ} as colors from −1 to 1, its facts in groups: {group: names}.

    Rows and columns are the same facts in the same order. Rows carry their names, lines part the
    groups, and the groups' names stand below.
    """
    names = [name for some in groups.values() for name in some]
    figure, axes = panels(len(maps), height=4.6, sharey=True)
    for ax, (title, rho) in zip(axes, maps.items(), strict=True):
        image = ax.imshow(rho.numpy(), cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=LABEL)
        ticks = [name if len(name) <= 26 else name[:25] + "…" for name in names]
        ax.set_yticks(range(len(names)), ticks, fontsize=SMALL)
        ax.set_xlabel(hearers)
        bare(ax)
        start, middles = 0, []
        for some in groups.values():
            middles.append(start + (len(some) - 1) / 2)
            start += len(some)
            for line in (ax.axhline, ax.axvline) if start < len(names) else ():
                line(start - 0.5, color=INK, linewidth=0.8)
        ax.set_xticks(middles, list(groups), rotation=35, ha="right")
    axes[0].set_ylabel(writers)
    label = "ρ(i, j), the fraction of the residual that arrives (clipped to ±1)"
    colorbar(figure, image, axes, label, orientation="horizontal", aspect=40, shrink=0.7)
    return figure


def reached(
    edits: Mapping[str, Mapping[str, tuple[float, float, float]]], named: Sequence[Sequence[str]]
) -> plot.Figure:
    """Draw {edit: {animal: (ρ at its last token, largest ρ in its prompt, how far it moved)}}.

    A line leads from the first ρ, hollow, to the second; some animals of each edit carry their names.
    """
    figure, axes = panels(len(edits), height=3.6, sharex=True, sharey=True, titles=edits)
    for ax, animals, names in zip(axes, edits.values(), named, strict=True):
        for animal, (last, most, moved) in animals.items():
            color = EDITED if animal in names else NEIGHBOR
            ax.plot([last, most], [moved, moved], color=color, linewidth=1)
            ax.plot(last, moved, "o", color=color, markerfacecolor="white", markersize=5)
            ax.plot(most, moved, "o", color=color, markersize=5)
            if animal in names:
                above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
                ax.annotate(animal, ((last + most) / 2, moved), color=readable(color), **above)
        ax.margins(y=0.12)
        ax.set(yscale="log", xlim=(-0.05, 1.05), xlabel="ρ")
    axes[0].set_ylabel("KL of the answer (nats)")
    return figure
