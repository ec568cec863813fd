"""A `Space` holds the candidates of a scan: layers or windows of layers, and a grid of settings.

They are tried in stages. Stage 1 tries about six layers, spread over the model, with the settings
of the preset. Stage 2 tries the best of them and its neighbors with every value of the first
dimension, which is `widths` where given and otherwise the first setting of `grid`. Each further
setting is tried alone, at the best candidate so far: all combinations would cost the product of
their numbers, and this costs their sum.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import EditError
from ...model.lm import LM
from ...patch.identity import same_model
from ...registry import EDITORS

COARSE = 6  # about so many layers are tried in stage 1


class Space:
    """The candidates of a scan, each {setting: value} of the layer and of all that is varied.

    given       The settings of every trial, on top of the preset.
    config      All settings of the editor, as JSON has them.
    where       The setting that names the layer: "layer", "layers", or UltraEdit's "down".
    layers      The layers that may be tried.
    around      The number of neighbors that stage 2 tries on both sides.
    grid        {setting: values}, the settings that are varied.
    defaults    The same settings with their values in `config`.
    dimensions  [(setting, values)], everything that is varied besides the layer; "width" is first.
    """

    def __init__(
        self,
        lm: LM,
        name: str,
        given: Mapping[str, Any],
        layers: Sequence[int] | None,
        around: int,
        grid: Mapping[str, Sequence[Any]],
        widths: Sequence[int] | None,
    ) -> None:
        if EDITORS[name].trained:
            raise EditError(f"{name} must be trained first, so it cannot be scanned")
        self.given, self.around, self.grid = dict(given), around, {}
        # 1. where the editor writes, and which layers the model has
        self.config = plain_json(asdict(EDITORS[name](lm, **given).config))
        self.where = next((w for w in ("layers", "layer", "down") if w in self.config), None)
        if self.where is None:
            raise EditError(f"{name} has no layer to scan")
        self.layers = sorted(set(range(lm.n_layers) if layers is None else layers))
        wrong = [layer for layer in self.layers if not 0 <= layer < lm.n_layers]
        if wrong or not self.layers:
            reason = f"layer {wrong[0]} does not exist" if wrong else "there is no layer to try"
            raise EditError(f"{reason}: {lm.name} has layers 0 to {lm.n_layers - 1}")
        if widths is not None and (self.where == "layer" or min(widths, default=0) < 1):
            raise EditError(f"widths {widths} do not fit: {name} writes to its '{self.where}'")
        # 2. the settings of the grid, each of which the editor must know
        for setting, values in grid.items():
            if setting in ("layer", "layers") or setting in given:
                raise EditError(f"'{setting}' is given elsewhere and cannot be in the grid")
            if not isinstance(values, list | tuple) or not values:
                raise EditError(f"the grid of '{setting}' should be a list of values: {values!r}")
            EDITORS[name](lm, **{**given, setting: values[0]})  # refuses an unknown setting
            self.grid[setting] = plain_json(values)
        self.defaults = {name: self.config[name] for name in self.grid}
        self.dimensions = ([("width", list(widths))] if widths else []) + list(self.grid.items())

    def at(self, layer: int, width: int | None = None, **values: Any) -> dict[str, Any]:
        """The candidate of one layer, with the preset's settings but for `values`."""
        place: Any = layer
        if self.where != "layer":
            # without layers of its own (None) an editor gets all of them up to this one, and one
            # of gradients (an empty list) two, as many as it would choose
            alone = 2 if self.where == "down" else layer + 1
            width = width or len(self.config[self.where] or range(alone))
            place = list(range(max(0, layer + 1 - width), layer + 1))
        return {self.where: place, **self.defaults, **values}

    def coarse(self) -> list[dict[str, Any]]:
        """Every k-th layer, in an order that is spread over all of them wherever it breaks off."""
        every = max(1, round(len(self.layers) / COARSE))
        chosen = self.layers[every // 2 :: every]
        # the middle of all, then the middles of both halves, then those of the quarters, …
        order: list[int] = []
        waiting = deque([(0, len(chosen))])
        while waiting:
            low, high = waiting.popleft()
            if low == high:
                continue
            middle = (low + high) // 2
            order.append(middle)
            waiting += [(low, middle), (middle + 1, high)]
        return [self.at(chosen[i]) for i in order]

    def stages(self) -> Iterator[Callable[[Mapping[str, Any]], list[dict[str, Any]]]]:
        """The stages after the first, as functions of the best row so far."""

        def nearby(best: Mapping[str, Any]) -> list[dict[str, Any]]:
            """Stage 2: the best layer first, then its neighbors, with all of one dimension."""
            center = best["layer"] if self.where == "layer" else best[self.where][-1]
            low = max(self.layers[0], center - self.around)
            high = min(self.layers[-1], center + self.around)
            near = sorted(range(low, high + 1), key=lambda layer: abs(layer - center))
            varied: list[dict[str, Any]] = [{}]
            if self.dimensions:
                name, values = self.dimensions[0]
                varied = [{name: value} for value in values]
            return [self.at(layer, **changes) for layer in near for changes in varied]

        def along(
            name: str, values: Sequence[Any], best: Mapping[str, Any]
        ) -> list[dict[str, Any]]:
            """A further stage: the best candidate with every value of one setting."""
            same = {k: best[k] for k in (self.where, *self.grid)}
            return [{**same, name: value} for value in values]

        yield nearby
        for name, values in self.dimensions[1:]:
            yield partial(along, name, values)

    def key(self, row: Mapping[str, Any]) -> str:
        """All settings of a candidate or row as text, which is equal for the same trial."""
        known = {k: v for k, v in row.items() if k in self.config}
        return json.dumps({**self.config, **known}, sort_keys=True)


def read_journal(path: Path, model: str) -> dict[str, Any]:
    """The journal of a search, {} where there is none; EditError for what is none.

    model  the identity of the model at hand, which stands in it if its weights are the same
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
        sum(row["trial_seconds"] for row in found["rows"])
        if same_model(found["model"], model):
            found["model"] = model
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EditError(f"{path} is not the journal of a search: remove it to begin anew") from None
    return found


def plain_json(value: Any) -> Any:
    """The value that JSON gives back for this one; tuples become lists."""
    return json.loads(json.dumps(value))
