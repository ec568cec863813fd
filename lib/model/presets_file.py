"""A person's own file of presets, which a model carries: `lib.load(…, presets="file.toml")`.

The file has the format of `lib/editors/presets.toml`: `[editor."model"]`, then settings by name.
Its row of an editor takes the place of all rows that the library has of it for the model.
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
    """What a model carries beside the library's presets.

    source  The file that the rows come from, None without one.
    rows    {editor: its settings}, for this model.
    stored  Whether the library's rows of this model count for the other editors. `tune` leaves them
            out, because it starts from what is there for any model.
    """

    source: str | None = None
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stored: bool = True


def read_presets(path: str | os.PathLike, model: str) -> Presets:
    """The rows of a file that fit a model's name, as those of `presets.toml` do.

    Every row is checked, also those of other models. Raises EditError, which names the file, for
    what is no TOML, an unknown editor or setting, a value of a wrong type, and where no row is for
    this model.
    """
    try:
        with path_of(path).open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise EditError(f"{path} is too large for a file of presets")
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
                f'{path}: presets stand under [editor."model"], which {editor} does not'
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
        raise EditError(f"{path} {there}, and none of {model}")
    return Presets(str(path), rows)


def fits(row: str, model: str) -> bool:
    """Whether the last part of a model's name, which may be a path, begins with a row's name."""
    plain, _ = parted(model)  # a token may hold a slash
    last = plain.rstrip("/").split("/")[-1] + model.removeprefix(plain)
    # "Meta-" stands in front where Llama 3 was first published
    return last.lower().removeprefix("meta-").startswith(row.lower())
