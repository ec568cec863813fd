"""The figure of results/five_papers.md: superposition over the layers, for every set of keys."""

from __future__ import annotations

from collections.abc import Sequence

from notebooks.support.drawings_07 import overlaps_by_layer

from .frame import HERE, Row


def save(rows: Sequence[Row]) -> None:
    """Write the figure beside the page."""
    drawn = overlaps_by_layer(rows)._repr_png_()
    (HERE.parent / "results" / "superposition.png").write_bytes(drawn)
