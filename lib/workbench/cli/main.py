"""The entry point of `python -m lib`: its usage, the parser of its commands, and the exit codes."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path

from ...errors import EXPECTED, NO_ROOM, sentence
from ..console import printable
from . import commands, patches, training  # noqa: F401 (they register their commands)
from .options import COMMANDS, Command, different

USAGE = """\
Edit what a language model knows, and measure what else changes.

{}

For each command, see `python -m lib COMMAND --help`. Exit code 2 means that the input was wrong, 1
that the machine had not enough disk space or memory.
"""


@printable()
def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 after success, 2 after a short message about wrong input, 1 if the disk or the memory was
    full, 130 after Ctrl-C, 141 if its output is no longer being read. An error of an unexpected
    kind (see `lib.errors.EXPECTED`) is a mistake in the library and is passed on.
    """
    package = __package__.partition(".")[0]
    # an installed command has the package's name
    program = package if Path(sys.argv[0]).stem == package else f"python -m {package}"
    usage = "\n".join(
        f"  python -m lib {one.example}\n"
        + textwrap.fill(
            one.about,
            100,
            initial_indent=" " * 6,
            subsequent_indent=" " * 6,
            break_on_hyphens=False,
        )
        for one in COMMANDS.values()
    )
    parser = argparse.ArgumentParser(
        prog=program,
        description=USAGE.format(usage).replace("python -m lib", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        own = parsers.add_parser(name, description=f"This command {command.about}.")
        for names, keywords in command.options:
            own.add_argument(*names, **keywords)
    given = parser.parse_args(arguments)
    try:
        _once(COMMANDS[given.command], sys.argv[1:] if arguments is None else arguments)
        COMMANDS[given.command].run(given)
    except BrokenPipeError:
        raise
    except EXPECTED as error:
        said = _in_options(sentence(error), COMMANDS[given.command])
        print(f"{parser.prog} {given.command}: {said}", file=sys.stderr)
        machine = isinstance(error, MemoryError) or getattr(error, "errno", None) in NO_ROOM
        return 1 if machine else 2
    except KeyboardInterrupt:
        print(f"\n{parser.prog} {given.command}: stopped", file=sys.stderr)
        return 130
    return 0


def _in_options(said: str, command: Command) -> str:
    """Return an error's message, replacing Python's arguments with the command's options.

    "load it with sink=None" -> "load it with --sink None"
    """
    for names, keywords in command.options:
        name = keywords.get("dest", names[-1].strip("-").replace("-", "_"))
        bare = rf"|{name}\b" * ("_" in name)  # such a name is not an English word
        said = re.sub(rf"\b{name}=(?!True\b)", f"{names[-1]} ", said)
        said = re.sub(rf"\b(?:[Tt]he parameter {name}\b|{name}=True\b{bare})", names[-1], said)
    return said


def _once(command: Command, words: list[str]) -> None:
    """Reject an option given twice, because argparse would use the last."""
    names = [
        one for given, keywords in command.options if "action" not in keywords for one in given
    ]
    whole = [
        [name for name in names if name.startswith(word.partition("=")[0])]
        for word in words
        if word.startswith("--")
    ]
    different("the command", [min(some, key=len) for some in whole if some])
