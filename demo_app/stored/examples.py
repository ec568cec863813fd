"""A model's precomputed examples as values, and their file.

An empty question would be pointless, but computing its first answer takes minutes. So `python -m
demo_app.stored` computes it once for each model that we ship and stores it as numbers; the page
draws them using the same code as for a visitor's own answers. The file identifies the model by its
fingerprint, and contains the settings and a digest of the facts it was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

import lib
from lib.atomic_files import whole_file
from lib.data.texts import HELD_OUT
from lib.patch.patch import parted, same_model

from ..lifelong.stress_test import Test
from ..session.findings import Traced
from ..session.interference import Prediction
from ..session.lasting import Stage
from ..session.layers import Tried
from ..session.views import Column, Subject, View

FOLDER = Path(__file__).parent
DIGITS = 6  # significant digits, far more than a figure shows


@dataclass(frozen=True)
class Opening:
    """One of the page's examples.

    columns: the results of several editors.
    text: a text about it.
    written: continuations of the text, without an edit and under each editor's.
    """

    columns: tuple[Column, ...]
    text: str
    written: tuple[str, ...]


@dataclass(frozen=True)
class Examples:
    """One model's examples; None for each that has not been computed.

    model: its name.
    fingerprint: a hash of its weights.
    fact: the fact edited in the dossier and the trace, which the page opens with.
    editor: the editor that writes it, except in the race and in the side-by-side comparison.
    settings: {editor: its settings}, for every editor used in them.
    facts: a digest of the built-in cases and the held-out text, made by `digest`.
    lasts: the model's answers about the fact while it is trained further.
    layers: one of the page's examples, with the editor in several layers.
    forecast: two of the page's examples, the ones with the best and the worst predictions.
    race: a completed stress test; its cases contain only the facts.
    natural: the unedited model's largest z in each layer (see session/tracing.py).
    dossier: the model's answers about the fact's subject, before and after the edit.
    opening: each of the page's examples, by `key`, written by several editors.
    """

    model: str
    fingerprint: str
    fact: lib.Fact
    editor: str
    settings: dict[str, dict[str, Any]]
    facts: str
    lasts: tuple[Stage, ...] | None = None
    layers: Tried | None = None
    forecast: tuple[Prediction, ...] | None = None
    race: Test | None = None
    natural: tuple[float, ...] | None = None
    traced: Traced | None = None
    dossier: lib.workbench.Dossier | None = None
    opening: dict[str, Opening] | None = None

    def view(self, subject: Subject) -> View | None:
        """An example's comparison, or None if this subject, with its prompts, is not an example."""
        found = self.finished(subject)
        if found is None:
            return None
        old = subject.case.fact.target_true
        return View(subject, (), columns=found.columns, old=old, stored=True).show(0)

    def finished(self, subject: Subject) -> Opening | None:
        """The stored data for an example, or None if this subject, with its prompts, is not an
        example.
        """
        if subject.own or subject.typed:
            return None
        return (self.opening or {}).get(key(subject.case.fact))


def key(fact: lib.Fact) -> str:
    """A fact's key in the file: the sentence that an edit makes the model say."""
    return f"{fact.text} {fact.target_new}"


def file_of(model: str, folder: Path = FOLDER) -> Path:
    """The path for a model's examples, which may not exist."""
    return folder / f"{parted(model)[0].lower()}.json"


def read(path: Path) -> Examples:
    """Read the examples in a file. Raises ValueError if the file doesn't contain valid examples."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Examples)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path.name} does not contain valid examples: {error}") from None


def of(lm: lib.LM, folder: Path = FOLDER) -> Examples | None:
    """A model's examples, or None if none were computed for this model and these weights."""
    path = file_of(lm.name, folder)
    if "/" in lm.name or "\\" in lm.name or not path.is_file():
        return None
    found = read(path)
    made_on = f"{found.model} {found.fingerprint}"
    return found if same_model(made_on, lm.identity) else None


def write(found: Examples, folder: Path = FOLDER) -> Path:
    """Write the file of a model's examples atomically, and return its path.

    Raises ValueError for a number that JSON cannot represent.
    """
    text = json.dumps(msgspec.to_builtins(found, str_keys=True), allow_nan=False)
    values = json.loads(text, parse_float=lambda digits: float(f"{float(digits):.{DIGITS}g}"))
    # one line per example, to make changes visible in a diff
    lines = [f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in values.items()]
    path = file_of(found.model, folder)
    with whole_file(path) as part:
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return path


def digest(cases: Iterable[lib.Case]) -> str:
    """Hash cases with all their prompts, and the held-out text."""
    text = json.dumps([asdict(case) for case in cases], sort_keys=True, default=str)
    text += HELD_OUT.read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()[:16]
