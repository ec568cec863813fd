"""Attaching your own file of presets to a model: `lib.load(…, presets="file.toml")`.

The file has the format of `lib/editors/presets.toml`: `[editor."model"]`, then settings by name. An
editor's row replaces all of the library's rows for the same editor and model.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..atomic_files import path_of
from ..errors import EditError
from ..patch.patch import parted
from ..registry import EDITORS

LARGEST = 1 << 20  # bytes: a preset has some dozens of lines


@dataclass(frozen=True)
class Presets:
    """A model's own presets, in addition to the library's.

    source  The file that the rows come from, None without one.
    rows    {editor: its settings}, for this model.
    stored  Whether the library's rows of this model apply to the other editors. `tune` leaves them
            out, starting from the settings available for any model.
    """

    source: str | None = None
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stored: bool = True


def read_presets(path: str | os.PathLike, model: str) -> Presets:
    """Return the rows of a file that fit a model's name, as in `presets.toml`.

    Every row is checked, even those for other models. Raises EditError, naming the file, if it is
    not TOML, for an unknown editor or setting, a value of a wrong type, and if no row is for this
    model.
    """
    try:
        with path_of(path).open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise EditError(f"{path} is too large for a file of presets. Remove unrelated content.")
        found = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EditError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise EditError(f"{path} cannot be read: {error.strerror}") from None
    rows: dict[str, dict[str, Any]] = {}
    others: list[str] = []
    for editor, models in found.items():
        if not isinstance(models, dict) or not all(isinstance(v, dict) for v in models.values()):
            raise EditError(
                f'{path}: Presets should be under [editor."model"], but {editor} is not.'
            )
        for name, values in models.items():
            try:
                config: Any = EDITORS[editor].Config
                given = config.checked(editor, {k: v for k, v in values.items() if k != "tuned"})
                config(**given)
            except EditError as error:
                raise EditError(f"{path}: {error}") from None
            if name == "any" or (name and fits(name, model)):
                rows[editor] = rows.get(editor, {}) | given
            else:
                others.append(name)
    if not rows:
        there = f"has presets of {', '.join(dict.fromkeys(others))}" if others else "has no preset"
        raise EditError(f"{path} {there}, and none of {model}. Add a preset for it.")
    return Presets(str(path), rows)


def fits(row: str, model: str) -> bool:
    """Return whether the last part of a model's name, possibly a path, begins with a row's name."""
    plain, _ = parted(model)  # a token may contain a slash
    last = plain.rstrip("/").split("/")[-1] + model.removeprefix(plain)
    # "Meta-" was prepended when Llama 3 was first published
    return last.lower().removeprefix("meta-").startswith(row.lower())
