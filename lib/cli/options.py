"""Options that several commands share, and the functions that read their values."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .. import LM
from ..atomic_files import whole_file
from ..model import lm


def common(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that runs an editor: its name, its settings, and the model."""
    parser.add_argument("--editor", default="rome", help="rome, ft, retrieval, … (default rome)")
    model(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the editor: layer=8 (`python -m lib settings` lists them)",
    )


def model(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a model."""
    parser.add_argument(
        "--model",
        help="hub id, local folder, or gemma-3-270m (Gemma Terms of Use, "
        "ai.google.dev/gemma/terms); default: the embedded model",
    )
    parser.add_argument("--dtype", help="float32, bfloat16, …")
    parser.add_argument("--device-map", help="as transformers names it, e.g. auto")


def keep_base(parser: argparse.ArgumentParser) -> None:
    """Add the option of a command that measures the base model beside the edited one."""
    parser.add_argument(
        "--keep-base",
        action="store_true",
        help="keep what the unedited model is asked and says on disk, for other runs on the same "
        "facts (at most 512 MB; to forget it, delete base-answers in the cache folder)",
    )


def settings(pairs: list[str]) -> dict[str, Any]:
    """The settings in NAME=VALUE pairs; a list becomes a tuple. See `value`.

    settings(["layer=8", "layers=[4, 5]"]) -> {"layer": 8, "layers": (4, 5)}
    """
    settings = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set wants NAME=VALUE, not '{pair}'")
        parsed = value(text)
        settings[named("--set", name)] = tuple(parsed) if isinstance(parsed, list) else parsed
    return settings


def named(option: str, name: str) -> str:
    """The name of a setting; ValueError for what an editor's constructor takes besides settings."""
    if name in ("self", "lm", "config"):
        raise ValueError(f"{option} {name}: there is no setting of this name")
    return name


def value(text: str) -> Any:
    """The value of a text that is JSON, such as 8, null or [1, 2]; otherwise the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def numbers(option: str, text: str, most: int) -> list[int]:
    """Different whole numbers and ranges of them, up to `most`; `option` is named in errors.

    Nothing is listed before the bound is known to hold. "2-4,8" -> [2, 3, 4, 8].
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise ValueError(
                f"{option} wants numbers like 2-28 or 2,5,8, not '{shortened(text)}'"
            ) from None
        if low > high:
            raise ValueError(f"{option} has the range {part}, which ends before it begins")
        if high > most:
            raise ValueError(f"{option} has {shortened(part)}, where {most} is the most there is")
        found |= dict.fromkeys(range(low, high + 1))
    return list(found)


def shortened(text: str) -> str:
    """A text of the command line for an error message."""
    return text if len(text) <= 60 else f"{text[:50]} … {text[-5:]}"


def keep(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result as JSON, whole or not at all, if a path was given."""
    if path:
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")


def load(given: argparse.Namespace, device_map: Any = None) -> LM:
    """The model that `--model`, `--dtype` and `--device-map` name."""
    return lm.load(given.model, given.dtype, given.device_map or device_map)
