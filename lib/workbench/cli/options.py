"""Declaring a command, the options that several commands share, and reading their values.

    @command("show FILE", "prints the content of a file", option("file"))
    def show(given): ...

adds the function to COMMANDS; `main` builds the usage and the parser from it and calls it with the
given arguments.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ... import EDITORS, LM, Editor
from ...atomic_files import path_of, whole_file
from ...editors.shared.editor_file import editor_of
from ...errors import ArgumentError
from ...model import lm
from ...setting_fields import shown

LAYERS = 10_000  # more than any model has; the library knows this model's number


Option = tuple[tuple[str, ...], dict[str, Any]]  # arguments of `argparse`'s `add_argument`


class Command(NamedTuple):
    """A command: an example, a description, its options, and its function."""

    example: str
    about: str
    options: Sequence[Option]
    run: Callable[[argparse.Namespace], None]


COMMANDS: dict[str, Command] = {}


def option(*names: str, **keywords: Any) -> Option:
    """Return an option in the form that `argparse` needs."""
    return names, keywords


def command(example: str, about: str, *options: Option) -> Callable:
    """Turn the function below into a command, named by the first word of the example."""

    def register(run: Callable[[argparse.Namespace], None]) -> Callable:
        COMMANDS[example.split()[0]] = Command(example, about, options, run)
        return run

    return register


PLACEMENT = (
    option("--dtype", help="float32, bfloat16, … (also fp32, bf16, …)"),
    option("--device-map", help="as in transformers, e.g. auto"),
    option(
        "--sink",
        default="own",
        help="token to prepend to every text, or none; default: '<|endoftext|>' for the default "
        "model, none for others",
    ),
    option("--revision", help="branch, tag or commit of a model on the hub"),
    option(
        "--trust-remote-code",
        action="store_true",
        default=None,
        help="run code included with a model on the hub or in a folder",
    ),
)
MODEL = (
    option(
        "--model",
        help="hub id, local folder, or gemma-3-270m (Gemma Terms of Use, "
        "ai.google.dev/gemma/terms); if omitted, the default model",
    ),
    option(
        "--presets", type=path_of, help="your own presets, in the format of `python -m lib tune`"
    ),
    *PLACEMENT,
)
EDITOR = option(
    "--editor",
    default="rome",
    help="rome, ft, retrieval, … (default rome), or your own Python file, my_editor.py",
)
# the options of a command running an editor: its name, its settings, and the model
EDITING = (
    EDITOR,
    *MODEL,
    option(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the editor, such as layer=8",
    ),
)
PATCH = option("--patch", type=path_of, required=True, help="a saved patch")
TARGET = option("--target", choices=("new", "true"), default="new", help="the answer to teach")
JSON = option("--json", type=path_of, metavar="OUT", help="write the result here, as JSON")


def editor(name: str) -> type[Editor]:
    """Return the editor of this name, or the editor in this Python file (see `editor_of`)."""
    return EDITORS[name] if not name.endswith(".py") else editor_of(path_of(name))


def settings(pairs: list[str]) -> dict[str, Any]:
    """Return the settings in NAME=VALUE pairs; a list becomes a tuple. See `value`.

    settings(["layer=8", "layers=[4, 5]"]) -> {"layer": 8, "layers": (4, 5)}

    Raises ArgumentError for a name not belonging to any setting, and for a name given twice.
    """
    found = {}
    different("--set", [pair.partition("=")[0] for pair in pairs])
    for name, equals, text in (pair.partition("=") for pair in pairs):
        if not equals:
            raise ArgumentError(f"--set needs NAME=VALUE, not '{name}'.")
        if name in (
            "self",
            "lm",
            "config",
        ):  # arguments of an editor's constructor that are not settings
            raise ArgumentError(f"--set {name}: there is no setting of this name.")
        given = value(text)
        found[name] = tuple(given) if isinstance(given, list) else given
    return found


def value(text: str) -> Any:
    """Return the value of a JSON text, such as 8, null or [1, 2]; otherwise the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def numbers(given: str, text: str | None, most: int) -> list[int] | None:
    """Return different whole numbers and ranges of them, up to `most`; None without a text.

    Nothing is listed before the bound has been checked. `given` is the option's name in errors.
    numbers("--layers", "2-4,8", 30) -> [2, 3, 4, 8]
    """
    if not text:
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise ArgumentError(
                f"{given} needs numbers like 2-28 or 2,5,8, not {shown(text)}."
            ) from None
        if low > high:
            raise ArgumentError(f"{given} has the range {part}, ending before it begins.")
        if high > most:
            raise ArgumentError(f"{given} has {shown(part)}, but the maximum is {most}.")
        found += range(low, high + 1)
    different(given, found)
    return found


def names(given: str, text: str) -> list[str]:
    """Return the names in a comma-separated list; ArgumentError for none, and for repetitions.

    names("--editors", "rome, memit") -> ["rome", "memit"]
    """
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise ArgumentError(f"{given} needs names separated by commas, not '{text}'.")
    different(given, found)
    return found


def different(given: str, values: Sequence[object]) -> None:
    """Reject a value given twice, because only one would count."""
    for value, times in Counter(values).most_common(1):
        if times > 1:
            raise ArgumentError(f"{given} has {shown(value)} twice. Give it only once.")


def positive(text: str) -> float:
    """Return a finite number above 0; `argparse` puts the option's name before the message."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text}")
    return number


def report(text: object, path: Path | None, result: dict[str, Any]) -> None:
    """Write a result as JSON if a path was given, whole or not at all, then print its text.

    The file comes first, because printing may fail. If writing it fails, the text is still printed
    before raising the error.
    """
    try:
        if path:
            whole = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
            with whole_file(path) as part:
                part.write_text(whole, encoding="utf-8")
    finally:
        print(text)


def load(given: argparse.Namespace, device_map: Any = None) -> LM:
    """Return the model given by `--model`, `--dtype`, `--device-map`, `--sink` and `--presets`."""
    return lm.load(
        given.model,
        given.dtype,
        given.device_map or device_map,
        None if given.sink.lower() == "none" else given.sink,
        getattr(given, "presets", None),
        revision=given.revision,
        trust_remote_code=given.trust_remote_code,
    )
