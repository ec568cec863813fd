"""Settings of an editor, and their values for a model in `presets.toml`.

A preset contains the settings that were tuned or published for one model. For a model without a
preset, the layers are guessed from its depth.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from ...errors import EditError
from ...model.lm import LM
from ...model.presets_file import fits
from ...setting_fields import Whole, described, explain, nearest, ours, shown

# settings that determine where an editor writes; papers give them only for the models that they
# name
PLACES = {"layer", "layers", "down", "gate", "up"}
# the preset using this project's form of a method; every editor has it
OURS = "ours"


@dataclass(frozen=True)
class Config:
    """Settings of an editor; `preset` fills them from `presets.toml` for a model."""

    seed: Whole = ours(0, "Seed of everything random.")

    def __post_init__(self) -> None:
        """Reject values not matching the annotations, raising an EditError naming the setting.

        Lists become tuples, and numbers stay as given.
        """
        own: Any = type(self)
        for field in fields(self):
            value, hint = getattr(self, field.name), _hints(own)[field.name]
            try:
                value = _tuples(value)
                msgspec.convert(value, hint)
            except (msgspec.ValidationError, RecursionError):
                raise EditError(
                    f"{field.name} should be {described(hint)}, not {shown(value)}."
                ) from None
            object.__setattr__(self, field.name, value)

    @classmethod
    def preset(cls, lm: LM, editor: str, preset: str | None = None, **settings: Any) -> Config:
        """Return the preset for this model, or a guess by depth for a model without tuned settings.

        `preset` names another preset. "ours" is this project's form of a method whose default is
        the paper's; for every other editor, it is the default. "stream" is for many sequential
        edits, "batch" for many facts in one call, if the model has such presets, and "ours.batch"
        is the batch preset of our form. Raises EditError if a name or a setting does not exist.
        """
        settings = cls.checked(editor, settings)
        row = cls._row(lm, editor, tuned=True, purpose=preset)
        return cls(**{**row, **settings})

    @classmethod
    def checked(cls, editor: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings known to this version; EditError for one that the editor lacks."""
        if not isinstance(settings, Mapping):  # `--set inner=…` may contain anything
            raise EditError(
                f"{editor} expects its settings as values by name, not {shown(settings)}."
            )
        known = {f.name for f in fields(cls)}
        unknown = settings.keys() - known
        if unknown:
            name = sorted(unknown)[0]
            raise EditError(
                f"{editor} has no setting '{name}'. Available settings: "
                f"{', '.join(sorted(known))}{nearest(name, known)}"
            )
        return dict(settings)

    def check_layers(self, lm: LM) -> None:
        """Reject layers that the model does not have, with an EditError naming the setting."""
        for name in sorted(PLACES & vars(self).keys()):
            value = getattr(self, name)
            for layer in value if isinstance(value, tuple) else (value,):
                if isinstance(layer, int) and not 0 <= layer < lm.n_layers:
                    raise EditError(
                        f"{name}: layer {layer} does not exist. {lm.name} has layers 0 to "
                        f"{lm.n_layers - 1}."
                    )

    @classmethod
    def published(cls, lm: LM, editor: str) -> Config:
        """Return the paper's settings for this model, or its general settings if there are none.

        If no paper covers this model, the layers come from the preset. Our own options are set to
        values leaving the method as published.
        """
        found = {name: known.published for name, known in explain(cls).items()}
        return cls(**{**found, **cls._row(lm, editor, tuned=False)})

    @classmethod
    def _row(
        cls, lm: LM, editor: str, *, tuned: bool, purpose: str | None = None
    ) -> dict[str, Any]:
        """Return this model's preset; with tuned=False only its places and the papers' values."""
        found = _presets().get(editor, {})
        row = dict(found.get("any", {}))
        if "like" in row:  # the rows of another editor first, then its own
            like = _presets()[row.pop("like")]
            found = {name: like.get(name, {}) | found.get(name, {}) for name in {**like, **found}}
            row = dict(found["any"])
        if "depth" in row:
            last = min(lm.n_layers - 1, round(row.pop("depth") * lm.n_layers))
            row["layer"] = last
            if "width" in row:  # editors of several layers: a window ending there
                first = max(0, last - row.pop("width") + 1)
                row["layers"] = tuple(range(first, last + 1))
        fitting = [
            values
            for name, values in found.items()
            if lm.presets.stored and name != "any" and fits(name, lm.name)
            if values.get("n_layers", lm.n_layers) == lm.n_layers
        ]
        if editor in lm.presets.rows:  # the row of a user's own file, which is not a paper's
            fitting = [{**lm.presets.rows[editor], "tuned": True}]
        for values in fitting:
            ours = "tuned" in values and not tuned
            row = _over(row, {k: v for k, v in values.items() if not ours or k in PLACES})
        if purpose is not None:
            purposes = {OURS: {}, **_purposes(row)}
            if purpose not in list(purposes):  # `--set preset=[1]` cannot be hashed
                raise EditError(
                    f"{editor} has no preset named {shown(purpose)} for {lm.name}. Available "
                    f"presets: {', '.join(purposes)}"
                )
            row |= purposes[purpose]
        return {name: value for name, value in row.items() if name in cls.__dataclass_fields__}


def _over(row: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with these values; a purpose keeps the settings that they do not mention."""
    tables = {
        name: _over(row.get(name, {}), value)
        for name, value in values.items()
        if isinstance(value, Mapping)
    }
    return {**row, **values, **tables}


def _purposes(row: Mapping[str, Any], before: str = "") -> dict[str, dict[str, Any]]:
    """Return {purpose: its settings} of a row; a nested one, "ours.batch", includes its parent."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            own = {k: v for k, v in value.items() if not isinstance(v, dict)}
            inner = _purposes(value, f"{before}{name}.")
            found |= {before + name: own, **{k: own | v for k, v in inner.items()}}
    return found


@cache
def _hints(config: type) -> dict[str, Any]:
    return get_type_hints(config, include_extras=True)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


@cache
def _presets() -> dict[str, dict[str, dict[str, Any]]]:
    with (Path(__file__).parents[1] / "presets.toml").open("rb") as file:
        return tomllib.load(file)
