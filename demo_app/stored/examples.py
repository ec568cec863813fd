"""The finished examples of a model as values, and their file.

A question that opens empty says nothing, and what it would show first takes minutes. So it is
computed once for each model that comes along, by `python -m demo_app.stored`, and kept as numbers:
the page draws them with the same code that draws a visitor's own. The file names the model by its
fingerprint, and holds the settings and a digest of the facts from which it was made.
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
DIGITS = 6  # significant ones, far more than a figure shows


@dataclass(frozen=True)
class Examples:
    """The finished examples of one model; None for each that was not made.

    model: its name.
    fingerprint: a hash of its weights.
    fact: the fact that is edited in the dossier and the trace, with which the page opens.
    editor: the editor that writes it, except in the race and side by side.
    settings: {editor: its settings}, of every editor that has a part in them.
    facts: a digest of the classroom's cases and of the held-out text, as `digest` makes it.
    lasts: what the model says of the fact while it is trained further.
    layers: one of the page's examples, by the editor in several layers.
    forecast: two of these, one that changed answers for which most was foretold, and one not.
    race: a stress test that has run to its end; its cases are the facts alone.
    natural: the largest z of each layer of the unedited model (see session/tracing.py).
    dossier: the subject of the fact, asked about before and after the edit.
    opening: each of the page's examples, by `key`, written by several editors side by side.
    written: of each of them what the page's free prompt gives, as Studio.answer tells it.
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
    opening: dict[str, tuple[Column, ...]] | None = None
    written: dict[str, dict[str, Any]] | None = None

    def view(self, subject: Subject) -> View | None:
        """The comparison of an example; None where this subject, with its prompts, is none."""
        columns = (self.opening or {}).get(key(subject.case.fact))
        if columns is None or subject.own or subject.typed:
            return None
        old = subject.case.fact.target_true
        return View(subject, (), columns=columns, old=old, stored=True).show(0)


def key(fact: lib.Fact) -> str:
    """The name of a fact in the file: what an edit makes the model say."""
    return f"{fact.text} {fact.target_new}"


def file_of(model: str, folder: Path = FOLDER) -> Path:
    """Where the examples of a model are kept, whether there are any or not."""
    return folder / f"{parted(model)[0].lower()}.json"


def read(path: Path) -> Examples:
    """The examples in a file. Raises ValueError for a file that does not hold what it should."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Examples)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path.name} holds no examples of this page: {error}") from None


def of(lm: lib.LM, folder: Path = FOLDER) -> Examples | None:
    """The examples of a model; None where none were made for it, and for these weights."""
    path = file_of(lm.name, folder)
    if "/" in lm.name or "\\" in lm.name or not path.is_file():
        return None
    found = read(path)
    made_on = f"{found.model} {found.fingerprint}"
    return found if same_model(made_on, lm.identity) else None


def write(found: Examples, folder: Path = FOLDER) -> Path:
    """Write the file of a model's examples, whole or not at all; its path.

    Raises ValueError for a number that JSON cannot hold.
    """
    text = json.dumps(msgspec.to_builtins(found, str_keys=True), allow_nan=False)
    values = json.loads(text, parse_float=lambda digits: float(f"{float(digits):.{DIGITS}g}"))
    # one line for each example, so that a change is seen where it is
    lines = [f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in values.items()]
    path = file_of(found.model, folder)
    with whole_file(path) as part:
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return path


def digest(cases: Iterable[lib.Case]) -> str:
    """A hash of cases with all their prompts, and of the held-out text."""
    text = json.dumps([asdict(case) for case in cases], sort_keys=True, default=str)
    text += HELD_OUT.read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()[:16]
