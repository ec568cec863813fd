"""Settings of an editor, and how `presets.toml` fills them for a model.

A preset holds the settings that were tuned or published for one model. For a model without one, the
layers are guessed from its depth.
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

# settings that say where an editor writes; no paper gives them for a model that it does not name
PLACES = {"layer", "layers", "down", "gate", "up"}
# the preset with this project's form of a method; every editor has it
OURS = "ours"


@dataclass(frozen=True)
class Config:
    """Settings of an editor; `preset` fills them from `presets.toml` for a model."""

    seed: Whole = ours(0, "Seed of everything that is drawn at random.")

    def __post_init__(self) -> None:
        """Refuse values that the annotations do not allow, in an EditError that names the setting.

        Lists become tuples, and numbers stay as they are given.
        """
        own: Any = type(self)
        for field in fields(self):
            value, hint = getattr(self, field.name), _hints(own)[field.name]
            try:
                value = _tuples(value)
                msgspec.convert(value, hint)
            except (msgspec.ValidationError, RecursionError):
                raise EditError(f"{field.name} is {described(hint)}, not {shown(value)}") from None
            object.__setattr__(self, field.name, value)

    @classmethod
    def preset(cls, lm: LM, editor: str, preset: str | None = None, **settings: Any) -> Config:
        """The preset for this model, or a guess by depth for a model that nobody has tuned.

        `preset` names another one. "ours" is this project's form of a method whose default is the
        paper's; for every other editor it is the default. "stream" is for many edits in a row,
        "batch" for many facts in one call, where the model has such a one, and "ours.batch" is the
        one of our form. Raises EditError for a name or a setting that does not exist.
        """
        settings = cls.checked(editor, settings)
        row = cls._row(lm, editor, tuned=True, purpose=preset)
        return cls(**{**row, **settings})

    @classmethod
    def checked(cls, editor: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that this version knows; EditError for one that the editor does not have."""
        if not isinstance(settings, Mapping):  # `--set inner=…` may hold anything
            raise EditError(f"the settings of {editor} are values by name, not {shown(settings)}")
        known = {f.name for f in fields(cls)}
        unknown = settings.keys() - known
        if unknown:
            name = sorted(unknown)[0]
            raise EditError(
                f"{editor} has no setting '{name}'; it has {', '.join(sorted(known))}"
                f"{nearest(name, known)}"
            )
        return dict(settings)

    def check_layers(self, lm: LM) -> None:
        """Refuse layers that the model does not have, in an EditError that names the setting."""
        for name in sorted(PLACES & vars(self).keys()):
            value = getattr(self, name)
            for layer in value if isinstance(value, tuple) else (value,):
                if isinstance(layer, int) and not 0 <= layer < lm.n_layers:
                    raise EditError(
                        f"{name}: layer {layer} does not exist: {lm.name} has layers 0 to "
                        f"{lm.n_layers - 1}"
                    )

    @classmethod
    def published(cls, lm: LM, editor: str) -> Config:
        """The paper's settings: for this model where it names it, otherwise its general ones.

        Where no paper has this model the layers are the preset's. Options of ours are set so that
        the method is as published.
        """
        found = {name: known.published for name, known in explain(cls).items()}
        return cls(**{**found, **cls._row(lm, editor, tuned=False)})

    @classmethod
    def _row(
        cls, lm: LM, editor: str, *, tuned: bool, purpose: str | None = None
    ) -> dict[str, Any]:
        """The preset of this model; with tuned=False only its places and the papers' values."""
        found = _presets().get(editor, {})
        row = dict(found.get("any", {}))
        if "like" in row:  # the rows of another editor first, then its own
            like = _presets()[row.pop("like")]
            found = {name: like.get(name, {}) | found.get(name, {}) for name in {**like, **found}}
            row = dict(found["any"])
        if "depth" in row:
            last = min(lm.n_layers - 1, round(row.pop("depth") * lm.n_layers))
            row["layer"] = last
            if "width" in row:  # editors of several layers: a window that ends there
                first = max(0, last - row.pop("width") + 1)
                row["layers"] = tuple(range(first, last + 1))
        fitting = [
            values
            for name, values in found.items()
            if lm.presets.stored and name != "any" and fits(name, lm.name)
            if values.get("n_layers", lm.n_layers) == lm.n_layers
        ]
        if editor in lm.presets.rows:  # the row of a person's own file, which is no paper's
            fitting = [{**lm.presets.rows[editor], "tuned": True}]
        for values in fitting:
            ours = "tuned" in values and not tuned
            row = _over(row, {k: v for k, v in values.items() if not ours or k in PLACES})
        if purpose is not None:
            purposes = {OURS: {}, **_purposes(row)}
            if purpose not in list(purposes):  # `--set preset=[1]` has no hash
                raise EditError(
                    f"{editor} has no preset named {shown(purpose)} for {lm.name}; the names are: "
                    f"{', '.join(purposes)}"
                )
            row |= purposes[purpose]
        return {name: value for name, value in row.items() if name in cls.__dataclass_fields__}


def _over(row: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The row with these values; a purpose keeps what the values say nothing of."""
    tables = {
        name: _over(row.get(name, {}), value)
        for name, value in values.items()
        if isinstance(value, Mapping)
    }
    return {**row, **values, **tables}


def _purposes(row: Mapping[str, Any], before: str = "") -> dict[str, dict[str, Any]]:
    """{purpose: its settings} of a row; one inside another, "ours.batch", begins with its."""
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
