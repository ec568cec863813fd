"""A visitor's edits as files and as Python code.

The files are the patch itself, a PEFT adapter, or the whole model with the edits.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path

import lib
from lib.workbench.export.export import refuse

from .editor_settings import changed, of_ours
from .links import slug
from .studio import Studio
from .subject_in_view import subject_of
from .views import View, capital
from .visitors import Session
from .worker import Job, Trouble

NOTHING = "No edit is live, so there is nothing to download. Make one in “Try” first."
KINDS = {"patch": ".safetensors", "adapter": "-adapter.zip", "model": "-model.zip"}
COLUMNS = {
    "p_before": "p_new_before",
    "p_after": "p_new_after",
    "old": "p_old_before",
    "old_after": "p_old_after",
    "word": "verdict",
    "earlier": "under_earlier_edits",
    "kl": "kl_nats",
}


def table(view: View, path: Path) -> Path:
    """The answers in view, from every editor, as a CSV file."""
    rows = [
        {"editor": column.name} | {COLUMNS.get(k, k): v for k, v in asdict(row).items()}
        for column in view.asked.values()
        for row in column.rows
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([rows[0].keys(), *(row.values() for row in rows)])
    return path


def make(
    studio: Studio, session: Session, kind: str, folder: Path, view: View | None = None
) -> Job:
    """Write the file of one kind into a folder: its path. view: for the answers, the visitor's
    view.
    """
    lm, patch = studio.lm, session.patch
    if kind == "csv":  # the answers in view, even without an edit
        to = folder / "answers.csv"
        return session.submit(studio.worker, lambda job: table(view, to), aside=True)
    if kind not in KINDS:
        raise Trouble(f"Unknown download '{kind}'.")
    if not patch:
        raise Trouble(NOTHING)
    first, *others = patch.facts
    more = f"-and-{len(others)}-more" if others else ""  # "the-eiffel-tower-and-2-more"
    path = folder / f"{slug(first.subject or first.prompt)}{more}{KINDS[kind]}"
    if kind != "patch":
        try:
            refuse(patch)
        except lib.errors.ExportError as error:
            raise Trouble(f"{capital(str(error).rstrip('.'))}.") from None

    def work(job: Job) -> Generator[None, None, Path]:
        if kind == "patch":
            return patch.save(path)
        job.report(0.1, "Writing the folder")
        tree = folder / path.stem
        (lib.workbench.export_peft if kind == "adapter" else lib.workbench.export_model)(
            lm, patch, tree
        )
        files = [file for file in sorted(tree.rglob("*")) if file.is_file()]
        with zipfile.ZipFile(path, "w") as packed:  # stored uncompressed: weights do not compress
            for number, file in enumerate(files, 1):
                packed.write(file, file.relative_to(folder))
                file.unlink()
                job.report(0.5 + number / len(files) / 2, "Packing the folder")
                yield
        return path

    return session.submit(studio.worker, work, aside=True)


def code(studio: Studio, session: Session) -> str:
    """Python code that makes the visitor's edits, or the edit of the example in view."""
    example = lib.Edit("rome", {}, (subject_of(studio.choices, session).case.fact,))
    log = session.patch.log or (example,)
    lines = ["import lib", "", "lm = lib.load()"]
    if len(log) == len(log[0].facts) == 1:
        lines += [f"fact = {_fact(log[0].facts[0])}", f"patch = {_call(studio.lm, log[0])}"]
    else:
        lines.append("patch = lib.EMPTY")
        for edit in log:
            facts = ", ".join(_fact(fact) for fact in edit.facts)
            lines.append(f"patch = {_call(studio.lm, edit, f'[{facts}], after=patch')}")
    text = _quoted(log[-1].facts[-1].text)
    return "\n".join([*lines, "with lm.patched(patch):", f"    print(lm.answer({text}))"])


def _fact(fact: lib.Fact) -> str:
    texts = (fact.subject, fact.prompt, fact.target_new)
    return f"lib.Fact({', '.join(map(_quoted, texts))})"


def _quoted(text: str | None) -> str:
    """A Python string in double quotes, or None."""
    return "None" if text is None else json.dumps(text, ensure_ascii=False)


def _call(lm: lib.LM, edit: lib.Edit, given: str = "[fact]") -> str:
    """The editor's call, with the settings that differ from its preset for this model."""
    more = ', preset="ours"' * of_ours(lm, edit.editor)
    more += "".join(f", {name}={value!r}" for name, value in changed(lm, edit).items())
    return f'lib.EDITORS["{edit.editor}"](lm{more}).edit({given})'
