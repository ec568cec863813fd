"""A fact in conversation, by every editor: the prompt, the chat template, a question, two turns.

    python -m tests.benchmarks.conversation --editors ft_m,grace,rome --cases 24
    python -m tests.benchmarks.conversation --editors ft_m,grace --forms prompt,conversation
    python -m tests.benchmarks.conversation --cases 0 --languages     # the unedited model in those

Single edits, each on the unedited model. The cases are odd-numbered ones of the classroom, one of
each relation before the second of any (`--even`: even-numbered ones, for choosing). Every case is
stored when it is measured, so a run goes on where the last one ended, and `--minutes` ends it. Rows
are in conversation.json, under the editor's name and the forms that it learned: for each case,
metric and event the mean over its prompts. The unedited model is in "base" and "languages".
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import lib
from lib.data.conversation import translations
from lib.evaluation.conversation import CONVERSATION
from lib.evaluation.evaluate import measure
from lib.evaluation.probe_prompts import probe_items
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
ASKED = (m for m in CONVERSATION if m != "other_language")
METRICS = ("efficacy", "generalization", "specificity", *ASKED)  # older rows have no generalization


def chosen(even: bool) -> list[lib.Case]:
    """The cases in their order: the first of every relation, then the second of every one, …"""
    seen: Counter[str | None] = Counter()
    ranked = []
    for case in lib.classroom():
        if case.id % 2 == int(not even):
            ranked.append((seen[case.relation], case.id, case))
            seen[case.relation] += 1
    return [case for *_, case in sorted(ranked, key=lambda row: row[:2])]


def values(scores: lib.Scores) -> dict[str, dict[str, float]]:
    """{metric: {event: mean over the case's prompts}} of the scores of one case."""
    found: dict[str, dict[str, float]] = {}
    for (metric, event), cases in scores.by_case().items():
        found.setdefault(metric, {})[event] = round(float(cases["mean"].iloc[0]), 6)
    return found


class Store:
    """The file of rows, written again after every case."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entry(self, name: str, kind: Any = None, **new: Any) -> dict[str, Any]:
        """The entry of this name as it is stored, or a new one; ValueError for other settings.

        kind  the editor, whose later settings have in an older entry the value that changes nothing
        """
        new = json.loads(json.dumps(new))  # as the file gives it back: lists for tuples
        entry: dict[str, Any] = self.read().get(name, {**new, "cases": {}})
        if kind is not None:
            entry["settings"] = json.loads(json.dumps(kind.current(entry["settings"])))
        if entry["settings"] != new["settings"]:
            raise ValueError(f"'{name}' was measured with other settings: remove it to start anew")
        return entry

    def read(self) -> dict[str, Any]:
        """All entries."""
        return json.loads(self.path.read_text("utf-8")) if self.path.exists() else {}

    def write(self, name: str, entry: dict[str, Any]) -> None:
        """Put an entry in its place."""
        text = json.dumps({**self.read(), name: entry}, indent=None, sort_keys=False)
        self.path.write_text(text.replace('}}, "', '}},\n"') + "\n", "utf-8")


def unedited(lm: lib.LM, store: Store, name: str, case: lib.Case, metrics: Any) -> None:
    """What the unedited model says; its own answers are the lines "(base model)"."""
    entry = store.entry(name, settings=None, model=lm.identity, date=time.strftime("%Y-%m-%d"))
    if str(case.id) not in entry["cases"]:
        scores = lib.evaluate(lm, [case], events=("generation",), metrics=metrics)
        entry["cases"][str(case.id)] = values(scores)
        store.write(name, entry)


def edited(store: Store, label: str, editor: lib.Editor, case: lib.Case) -> None:
    """One edit of the unedited model, measured and stored."""
    lm = editor.lm
    entry = store.entry(
        label,
        type(editor),
        settings=editor.settings_dict(),
        model=lm.identity,
        date=time.strftime("%Y-%m-%d"),
    )
    if str(case.id) in entry["cases"]:
        return
    cpu = time.process_time()
    patch = editor.edit([case.fact])
    cpu = time.process_time() - cpu
    # the unedited model's own lines are in the entry "base"
    items = [item for item in probe_items([case], METRICS) if not item.of_base]
    scores = measure(lm, items, patch, ("generation",), metrics=METRICS)
    entry["cases"][str(case.id)] = {**values(scores), "cpu": round(cpu, 2)}
    store.write(label, entry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--editors", default="")
    parser.add_argument("--forms", default="prompt", help="forms to learn, several with commas")
    parser.add_argument("--languages", action="store_true", help="… in other languages")
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--even", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # facts that are known already
    start, store = time.monotonic(), Store(given.out)
    lm = lib.load(given.model, dtype="float32")
    which = " even" if given.even else ""
    editors = {}
    for name in filter(None, given.editors.split(",")):
        for forms in given.forms.split(","):
            settings = {} if forms == "prompt" else {"forms": forms}
            label = name + ("" if forms == "prompt" else f", forms={forms}") + which
            editors[label] = lib.EDITORS[name](lm, **settings)

    def late() -> bool:
        return time.monotonic() - start > 60 * given.minutes

    # case by case, so that all editors have the same cases whenever the time is up
    for case in chosen(given.even)[: given.cases]:
        if not late():
            unedited(lm, store, "base" + which, case, METRICS)
        for label, editor in editors.items():
            if not late():
                edited(store, label, editor, case)
    for case in lib.classroom() if given.languages else ():
        if translations(case) and not late():
            unedited(lm, store, "languages", case, ("efficacy", "other_language"))
    print({name: len(entry["cases"]) for name, entry in store.read().items()})


if __name__ == "__main__":
    command(main)
