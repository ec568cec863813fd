"""The command `python -m lib forensics`, which asks of a model whether its weights were edited."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import (
    EMPTY,
    LM,
    Difference,
    Patch,
    classroom,
    difference,
    investigate,
    relations,
    subjects,
)
from ..errors import ForensicsError
from ..forensics.candidates import PREFIX, read_names
from ..forensics.difference import prompts
from ..forensics.investigation import PROMPT_THRESHOLD, THRESHOLD
from . import options

LAYERS = 10_000  # more than any model has; the examination knows how many this one has
TEN = 10  # candidates that are printed
CLASSROOM = "classroom"  # in place of a file of prompts


def arguments(commands: Any) -> None:
    """Add the command and its options."""
    forensics = commands.add_parser(
        "forensics", help="say whether a model was edited, where, and about whom"
    )
    forensics.add_argument(
        "suspect",
        metavar="MODEL",
        help="a folder with a model, a name as --model takes it elsewhere, or a saved patch",
    )
    forensics.add_argument(
        "--base",
        metavar="MODEL0",
        help="the model before, where it is at hand (of a patch: the model that it is for; "
        "default there: the embedded model)",
    )
    forensics.add_argument(
        "--blind", action="store_true", help="look at a patch's weights without their base"
    )
    forensics.add_argument(
        "--subjects",
        type=Path,
        metavar="FILE",
        help="candidates, one per line (default: the classroom's subjects)",
    )
    forensics.add_argument(
        "--prompts",
        metavar="FILE",
        help="whole prompts as further candidates, one per line, or the word 'classroom' for the "
        "classroom's: some methods write where the prompt ends (default: none)",
    )
    forensics.add_argument(
        "--prefix",
        default=PREFIX,
        help=f"what stands before a candidate (default '{PREFIX}'; '{{}}' for whole prompts)",
    )
    forensics.add_argument("--layers", help="where to look: 2-28 or 2,5,8 (default: everywhere)")
    forensics.add_argument("--text", type=Path, help="general text for C (default: the library's)")
    forensics.add_argument(
        "--vectors",
        action="store_true",
        help="sum neighboring layers as vectors: names more facts of MEMIT and its kind, where the "
        "candidates are more than a layer's outputs (thousands)",
    )
    forensics.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help=f"the least z that is called a suspect (default {THRESHOLD:g})",
    )
    forensics.add_argument(
        "--prompt-threshold",
        type=float,
        default=PROMPT_THRESHOLD,
        help=f"the same for whole prompts (default {PROMPT_THRESHOLD:g})",
    )
    forensics.add_argument(
        "--null", action="store_true", help="the spectrum in the null space, too (a minute more)"
    )
    forensics.add_argument("--json", type=Path, metavar="OUT", help="keep the result")
    forensics.add_argument("--dtype", help="float32, bfloat16, …")
    forensics.add_argument("--device-map", help="as transformers names it, e.g. auto")
    forensics.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Compare the model with its base, or examine it alone, and print what was found."""
    for option in ("threshold", "prompt_threshold"):
        value = getattr(given, option)
        if not value > 0:
            name = f"--{option.replace('_', '-')}"
            raise ValueError(f"{name} should be a number above 0, not {value:g}")
    names, asked = _names(given.subjects), _prompts(given.prompts)
    layers = options.numbers("--layers", given.layers, LAYERS) if given.layers else None
    lm, other, patch = _suspect(given)
    if (given.base is not None or patch) and not given.blind:
        _compare(given, lm, other, patch, names, asked)
        return
    found = investigate(
        lm,
        names,
        patch,
        layers=layers,
        text=given.text,
        prefix=given.prefix,
        prompts=asked,
        threshold=given.threshold,
        prompt_threshold=given.prompt_threshold,
        vectors=given.vectors,
        null=given.null,
    )
    more = f" and {len(asked):,} whole prompts" if asked else ""
    print(f"{len(names):,} candidates{more}, no base model.\n\n{found}")
    options.keep(given.json, {"base": None, **found.json()})


def _names(path: Path | None) -> list[str]:
    """The candidates of a file, or all subjects of the classroom's relations."""
    if path is not None:
        return read_names(path)
    known = (subject for relation in relations().values() for subject, _ in relation.answers)
    return list(dict.fromkeys(known))


def _prompts(given: str | None) -> list[str]:
    """The whole prompts of a file, those of the classroom, or none."""
    if given is None:
        return []
    if given != CLASSROOM:
        return read_names(given, "prompts")
    return list(dict.fromkeys(case.fact.text for case in classroom()))


def _suspect(given: argparse.Namespace) -> tuple[LM, LM | None, Patch]:
    """(the model that is read, the suspect where a base is at hand, the patch)."""
    path = Path(given.suspect)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ForensicsError(f"there is no file {given.suspect}")
        patch = Patch.load(path)  # now, because loading a model takes time
        if not patch.weights:
            raise ForensicsError(
                f"{path.name} changes no weights: what it holds are routes or rewrites of prompts, "
                "which are read in the file itself"
            )
        return _load(given, given.base), None, patch
    if given.blind and given.base is not None:
        raise ForensicsError("--blind looks without a base model, and --base names one")
    suspect = _load(given, given.suspect)
    if given.base is None:
        return suspect, None, EMPTY
    return _load(given, given.base), suspect, EMPTY


def _load(given: argparse.Namespace, name: str | None) -> LM:
    """A model by its name or folder, with the command's type and placement."""
    wanted = argparse.Namespace(model=name, dtype=given.dtype, device_map=given.device_map)
    return options.load(wanted)


def _compare(
    given: argparse.Namespace,
    base: LM,
    suspect: LM | None,
    patch: Patch,
    names: list[str],
    asked: list[str],
) -> None:
    """Print the difference from the base, and the candidates that explain it."""
    text = None if given.text is None else str(given.text)
    found = difference(base, suspect, patch, text)
    print(found)
    kept: dict[str, Any] = {"base": base.identity, **_plain(found)}
    where = {base.mlp_out(layer) for layer in range(base.n_layers)}
    if any(found.table["rank"][name] > 0 for name in where & set(found.table.index)):
        print(f"\nat least {found.edits} edits")
        named = subjects(base, found, names, given.prefix, text).head(TEN)
        print(f"\nof {len(names):,} candidates these explain it best:")
        for row in named.itertuples():
            print(f"  {row.score:.2f}  {row.name}")
        kept["subjects"] = named.to_dict("records")
        if asked:
            table = prompts(base, found, asked, text).head(TEN)
            print(f"\nof {len(asked):,} whole prompts it stretches these most (z, share):")
            for row in table.itertuples():
                print(f"  {row.z:6.1f}  {row.share:.2f}  {row.name}")
            kept["prompts"] = table.to_dict("records")
    print("\nWith the base at hand its own weights undo the change exactly.")
    options.keep(given.json, kept)


def _plain(found: Difference) -> dict[str, Any]:
    """A difference as plain values; numbers that are not finite become None."""
    table = found.table.reset_index()
    table = table.astype(object).where(table.notna(), None)
    return {
        "signature": found.signature,
        "edits_at_least": found.edits,
        "elsewhere": list(found.elsewhere),
        "matrices": table.to_dict("records"),
    }
