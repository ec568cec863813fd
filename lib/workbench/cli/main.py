"""The entry of `python -m lib`: its usage, the parser of its commands, and the exit codes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ...errors import EXPECTED, NO_ROOM, error_number, sentence
from ..console import printable
from . import commands, patches, training  # noqa: F401 (they register their commands)
from .options import COMMANDS, Command, different

USAGE = """\
Edit what a language model knows, and measure what else moved.

  python -m lib fetch
      brings the embedded default model here ahead of time
  python -m lib prepare --editors rome,memit,ultraedit
      makes ahead what the first edits would have to read: general text, once for all layers
  python -m lib edit --subject "The Eiffel Tower" --prompt "{} is in the city of" --target Rome
      prints the answers before and after, of rewordings and neighbors as well where a relation of
      the classroom fits the prompt; the model itself is never changed; with
      `--sentence "The Eiffel Tower is in"` in place of the first two it finds the subject itself
  python -m lib describe "The Eiffel Tower" --patch FILE
      asks all relations of the classroom about an entity, before and after a patch
  python -m lib forensics MODEL --base MODEL0 --subjects FILE
      says what was changed, by how many edits and about whom; without --base it goes by the weights
      of MODEL alone
  python -m lib abilities --patch FILE
      asks the model with a saved patch what it could do before: cloze sentences, grammar,
      arithmetic, words, a page of text; with `--tasks hellaswag,piqa` standard benchmarks
  python -m lib survive --patch FILE
      asks what is left of a saved patch when the model is rounded, trained on text or edited again
  python -m lib settings --editor rome
      says what the settings of an editor do, and which values are published
  python -m lib stream --editor rome --data FILE --edits 100 --eval-at 0,100 --json OUT.json
      writes many facts one batch after another and measures at given points; with
      `torchrun --nproc-per-node 2 -m lib stream …` processes share the reading of a batch
  python -m lib tune MODEL --editors rome,ultraedit --minutes 30 --to presets.toml
      searches presets for a model nobody has tuned and measures them on facts kept apart; then
      `--presets presets.toml` uses them
  python -m lib train --editor mend --data FILE --steps 1000
      trains the network of an editor that has one, on some facts, and keeps others apart
  python -m lib export --patch FILE --to FOLDER --as peft
      writes a saved patch as a PEFT adapter, or with `--as model` the whole edited model; for
      llama.cpp and Ollama `--as gguf-lora` and `--as gguf`
  python -m lib patch show|diff|merge|drop|apply FILE …
      says what is in saved patches and where two differ, adds them, takes one edit back

Every command: `python -m lib COMMAND --help`. Exit code 2 means that the input was wrong, 1 that
the machine had no room or no memory for it.
"""


@printable()
def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 after success, 2 after one sentence that says what was wrong, 1 where the disk or the memory
    was full, 130 after Ctrl-C, 141 where nobody reads any more what it prints. An error of a kind
    that is not expected (`lib.errors.EXPECTED`) is a mistake in the library and leaves as it is.
    """
    package = __package__.partition(".")[0]
    # an installed command bears the package's name
    program = package if Path(sys.argv[0]).stem == package else f"python -m {package}"
    parser = argparse.ArgumentParser(
        prog=program,
        description=USAGE.replace("python -m lib", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        own = parsers.add_parser(name, help=command.about)
        for names, keywords in command.options:
            own.add_argument(*names, **keywords)
    given = parser.parse_args(arguments)
    try:
        _once(COMMANDS[given.command], sys.argv[1:] if arguments is None else arguments)
        COMMANDS[given.command].run(given)
    except BrokenPipeError:
        raise
    except EXPECTED as error:
        print(f"{parser.prog} {given.command}: {sentence(error)}", file=sys.stderr)
        return 1 if isinstance(error, MemoryError) or error_number(error) in NO_ROOM else 2
    except KeyboardInterrupt:
        print(f"\n{parser.prog} {given.command}: stopped", file=sys.stderr)
        return 130
    return 0


def _once(command: Command, words: list[str]) -> None:
    """Refuse an option that is given twice, of which argparse would take the last."""
    names = [
        one for given, keywords in command.options if "action" not in keywords for one in given
    ]
    whole = [
        [name for name in names if name.startswith(word.partition("=")[0])]
        for word in words
        if word.startswith("--")
    ]
    different("the command", [min(some, key=len) for some in whole if some])
