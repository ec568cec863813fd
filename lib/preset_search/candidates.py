"""What a scan can try: layers or windows of them, and the settings of a grid, in stages.

Stage 1 tries about six layers, spread out, with the settings as they are. Stage 2 tries the best of
them and its neighbors with every value of the first dimension: `widths` where given, otherwise the
first setting of `grid`. Each further setting is tried alone, at the best so far: all combinations
would cost the product of their numbers, this costs the sum.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from ..errors import ScanError
from ..model.lm import LM
from ..registry import EDITORS

COARSE = 6  # layers of stage 1, about


class Space:
    """What can be tried. A candidate is {setting: value} of the layer and all that is varied."""

    def __init__(
        self, lm: LM, name: str, given: Mapping[str, Any], layers: Sequence[int] | None,
        around: int, grid: Mapping[str, Sequence[Any]], widths: Sequence[int] | None,
    ) -> None:  # fmt: skip
        if EDITORS[name].trained:
            raise ScanError(f"{name} must be trained first, so it cannot be scanned")
        self.given, self.around, self.grid = dict(given), around, {}
        self.config = plain_json(asdict(EDITORS[name](lm, **given).config))
        self.where = next((w for w in ("layers", "layer") if w in self.config), None)
        if self.where is None:
            raise ScanError(f"{name} has no layer to scan")
        self.layers = sorted(set(range(lm.n_layers) if layers is None else layers))
        wrong = [layer for layer in self.layers if not 0 <= layer < lm.n_layers]
        if wrong or not self.layers:
            what = f"layer {wrong[0]} does not exist" if wrong else "there is no layer to try"
            raise ScanError(f"{what}: {lm.name} has layers 0 to {lm.n_layers - 1}")
        if around < 0:
            raise ScanError(f"around should be a number of layers, 0 or more, not {around}")
        if widths is not None and (self.where == "layer" or min(widths, default=0) < 1):
            raise ScanError(f"widths {widths} do not fit: {name} writes to its '{self.where}'")
        for setting, values in grid.items():
            if setting in ("layer", "layers") or setting in given:
                raise ScanError(f"'{setting}' is given elsewhere and cannot be in the grid")
            if not isinstance(values, list | tuple) or not values:
                raise ScanError(f"the grid of '{setting}' should be a list of values: {values!r}")
            EDITORS[name](lm, **{**given, setting: values[0]})  # refuses an unknown setting
            self.grid[setting] = plain_json(values)
        self.defaults = {name: self.config[name] for name in self.grid}
        self.dimensions = ([("width", list(widths))] if widths else []) + list(self.grid.items())

    def at(self, layer: int, width: int | None = None, **values: Any) -> dict[str, Any]:
        """The candidate of one layer, with the settings as they are but for `values`."""
        place: Any = layer
        if self.where == "layers":
            # without layers of its own (None) an editor gets all of them up to this one
            width = width or len(self.config["layers"] or range(layer + 1))
            place = list(range(max(0, layer + 1 - width), layer + 1))
        return {self.where: place, **self.defaults, **values}

    def coarse(self) -> list[dict[str, Any]]:
        """Every k-th layer, in an order of which every beginning is spread over all of them."""
        every = max(1, round(len(self.layers) / COARSE))
        chosen = self.layers[every // 2 :: every]
        order, parts = [], [(0, len(chosen))]
        for low, high in parts:  # grows while it is read
            if low < high:
                order.append(middle := (low + high) // 2)
                parts += [(low, middle), (middle + 1, high)]
        return [self.at(chosen[i]) for i in order]

    def stages(self) -> Iterator[Callable[[Mapping[str, Any]], list[dict[str, Any]]]]:
        """The stages after the first, as functions of the best row so far."""

        def nearby(best: Mapping[str, Any]) -> list[dict[str, Any]]:
            center = best["layer"] if self.where == "layer" else best["layers"][-1]
            low = max(self.layers[0], center - self.around)
            high = min(self.layers[-1], center + self.around)
            near = sorted(range(low, high + 1), key=lambda layer: abs(layer - center))
            first = [{name: v} for name, values in self.dimensions[:1] for v in values]
            return [self.at(layer, **values) for layer in near for values in first or [{}]]

        yield nearby
        for name, values in self.dimensions[1:]:
            yield partial(self._others, name, values)

    def _others(
        self, name: str, values: Sequence[Any], best: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The best row with other values of one setting."""
        kept = {k: best[k] for k in (self.where, *self.grid)}
        return [{**kept, name: v} for v in values]

    def key(self, row: Mapping[str, Any]) -> str:
        """All settings of a candidate or row: equal where they are the same trial."""
        known = {k: v for k, v in row.items() if k in self.config}
        return json.dumps({**self.config, **known}, sort_keys=True)


def plain_json(value: Any) -> Any:
    """As it comes back from JSON: tuples are lists."""
    return json.loads(json.dumps(value))
