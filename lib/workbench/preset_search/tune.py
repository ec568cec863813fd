"""`tune` finds presets for a model without tuned presets, measuring them on held-out facts.

For each editor, `search` tries layers and settings on facts that the model knows, one candidate at
a time: first layers, then the best layer and its neighbors with every value of the first setting,
then every further setting individually. Trying all combinations would cost the product of their
numbers. The unedited model, the default settings, and the best candidate are then measured on facts
not used in the search. Every trial is a line of a file, so a killed run can continue.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from ...atomic_files import path_of, whole_file
from ...computed_once import make_missing
from ...data import as_facts
from ...data.facts import Case, Fact
from ...data.readers import classroom
from ...data.short_repr import as_json
from ...errors import EditError
from ...evaluation.evaluate import baseline, evaluate
from ...evaluation.intervals import DIFFERENCE, interval
from ...evaluation.known_facts import known
from ...evaluation.prompt_batch import Base
from ...evaluation.scores import Scores
from ...evaluation.single_edits import singly
from ...model.hooks import swapped
from ...model.lm import LM
from ...model.presets_file import Presets
from ...registry import EDITORS
from ...setting_fields import at_least
from ..export.model_card import table

# Of the search for values. Its bounds and rates include the published ones, and extend down to
# those needed by a model with a norm after the MLP, whose outputs are short (Gemma 3).
VALUES: dict[str, Any] = {"clamp": (1.0, 4.0), "v_lr": (0.05, 0.15, 0.5)}
# four contexts of at most nine tokens and the bare prompt: a quarter of the published cost
SHORT: dict[str, Any] = {"contexts": ((9, 4),)}
SPREAD: dict[str, Any] = {"around": 0, "widths": (1, 3, 5), "settings": SHORT}
# The values tried for each editor; for all other editors, the search tries only layers.
#   depths    layers of the first trials, as fractions of the model's depth, spread in this order
#   around    number of neighbors of the best layer tried on either side
#   widths    number of edited layers, up to the tried layer
#   grid      {setting: values}, the most important setting first
#   settings  the settings of every trial, and of the default that it is compared with
GRIDS: dict[str, dict[str, Any]] = {
    "rome": {
        "depths": (0.3, 0.2, 0.6, 0.1, 0.45),
        "around": 1,
        "grid": VALUES,
        "settings": SHORT,
    },
    "memit": {**SPREAD, "grid": {**VALUES, "strength": (1_000.0, 3_000.0, 15_000.0)}},
    "pmet": {**SPREAD, "grid": {**VALUES, "strength": (1_000.0, 3_000.0, 15_000.0)}},
    "emmet": {**SPREAD, "grid": {**VALUES, "strength": (0.0, 1_000.0, 10_000.0)}},
    "alphaedit": {**SPREAD, "grid": {**VALUES, "quantile": (0.5, 0.7, 0.9), "L2": (1.0, 10.0)}},
    "ultraedit": {
        # each window starts from its own moments, which take a minute
        "depths": (0.75, 0.55, 0.9),
        "around": 0,
        "widths": (2, 5),
        "grid": {"step": (0.001, 0.004, 0.015, 0.06, 0.2, 0.4)},
    },
    "ft": {"grid": {"lr": (5e-4, 1e-3, 2e-3)}},
    "ft_m": {"grid": {"lr": (3e-5, 6e-5, 1.2e-4, 2.5e-4, 5e-4)}},
    "grace": {"grid": {"eps_init": (1.0, 4.0, 16.0)}},
}
DEPTHS = (0.58, 0.25, 0.92, 0.08, 0.42, 0.75)

# the score is the harmonic mean of these, judged by generation
SCORED, EVENT = ("efficacy", "generalization", "specificity"), "generation"
METRICS = (*SCORED, "locality")
MEASURED: dict[str, Any] = {"events": (EVENT,), "metrics": METRICS}
CLOSE = 0.01  # the largest difference of scores that a few cases cannot distinguish from 0
TUNING, HELD = 8, 24  # facts of the search, and the maximum number held out
ALONE = 4  # facts of the search for an editor writing each individually, which takes long
LEAST = 4  # minimum number of known facts on either side
SEARCH = 0.6  # fraction of an editor's time for its search; the first layers get half of it
MADE = "# Made by `python -m lib tune`"
UNEDITED, DEFAULT, FOUND = "unedited", "default", "found"

Row = dict[str, Any]


@dataclass
class Tuned:
    """The result of `tune`.

    presets  the TOML file of presets
    page     the Markdown file describing how they were found
    results  {editor: "found" and "default" settings, "trials", and "held_out" rows}. A held-out row
             contains the ids of its cases, the seconds per edit of both settings, and for the
             unedited model and both settings {metric: one value per case}.
    seconds  of the whole run, including earlier calls
    """

    presets: Path
    page: Path
    results: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    seconds: float = 0.0


def tune(
    lm: LM,
    editors: Sequence[str],
    cases: as_facts.Given | None = None,
    minutes: float = 30,
    to: str | Path = "presets.toml",
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Search for every editor's preset, measuring it on held-out facts; write presets and a page.

    cases     Facts with true answers, by default the classroom's. Facts that the model knows are
              used in their order: the first eight with an even number for searching (the first
              four if an editor writes each individually), and those with an odd number are held
              out, unless they share a subject or a prompt with the search. The number is the
              classroom's own, or a fact's place among `cases`.
    minutes   For all editors, divided equally; unused time goes to the next one. Steps are never
              interrupted, and each editor gets at least one trial and one held-out edit.
    to        The TOML file. The page next to it ends in `.md`, and the file of trials in `.jsonl`;
              a later call with the same arguments continues from it.
    say       Is called with a line at each step.

    The search starts from the default settings, ignoring the library's own presets for this model.
    Raises EditError for an editor needing training or having no layer, for a file not created by
    `tune`, for the trials of other facts, and if too few facts are known.
    """
    at_least(0, minutes=minutes)
    start, to = time.perf_counter(), path_of(to)
    if not editors or to.suffix != ".toml":
        raise EditError(
            "There is no editor to tune. Name at least one."
            if to.suffix == ".toml"
            else f"{to} should end in .toml."
        )
    if to.exists() and not to.read_text(errors="replace").startswith(MADE):
        raise EditError(f"{to} was not created by tune. Give another file.")
    list(map(layer_setting, editors))  # rejects editors that cannot be searched before any work
    # fast editors first: unused time goes to slow editors
    order = sorted(dict.fromkeys(editors), key=lambda name: EDITORS[name].speed != "fast")
    made, presets = Tuned(to, to.with_suffix(".md")), []
    with swapped(lm, presets=Presets(stored=False)):
        say(f"finding the facts that {lm.name} knows")
        tuning, held = divide(lm, None if cases is None else as_facts.cases(cases))
        rows = Rows(to.with_suffix(".jsonl"), lm, (tuning, held))
        seconds = 60 * minutes - (time.perf_counter() - start)
        for place, name in enumerate(order):
            others = rows.seconds() - rows.seconds(name)
            share = (seconds - others) / (len(order) - place)
            space = GRIDS.get(name, {})
            together = "widths" in space or not EDITORS[name].needs_subject
            some = tuning if together else tuning[:ALONE]
            done = [row for row in rows if row["editor"] == name and "cases" in row]
            say(f"{name}: searching layers and settings for about {SEARCH * share:.0f} s")
            # a search with held-out facts is finished, because these belong to its best row
            trials = search(lm, name, some, space, rows, 0 if done else SEARCH * share)
            say(f"{name}: {len(trials)} trials made; now facts not used in the search")
            default = EDITORS[name](lm, **space.get("settings", {})).settings_dict()
            settings = {DEFAULT: default, FOUND: default | settings_of(best(trials), default)}
            size = len(some) if together else 1  # as many facts in one call as in the search
            groups = [held[first : first + size] for first in range(0, len(held), size)]
            for group in tqdm(groups[len(done) :], disable=None, desc=f"{name}: held out"):
                if done and rows.seconds(name) + done[-1]["trial_seconds"] > share:
                    break
                done.append(rows.add({"editor": name, **held_out(lm, name, settings, group)}))
            made.results[name] = plain_json(settings) | {"trials": trials, "held_out": done}
            presets.append(preset(lm, name, trials, len(some)))
    made.seconds = time.perf_counter() - start + rows.earlier
    seen, asked = (", ".join(str(case.id) for case in one) for one in (tuning, held))
    head = f"{MADE} for {lm.identity} on {time.strftime('%Y-%m-%d')}"
    page = [
        f"# Presets for {lm.name}",
        f"{head[2:]} in {made.seconds / 60:.1f} of {minutes:g} minutes, without the library's own "
        f"presets of this model. The search used the facts {seen}. The facts {asked} were held "
        "out and tested in this order as time allowed. Percentages are by free generation, with "
        "95% intervals over the facts; the last column is paired.",
        *(section(name, result) for name, result in made.results.items()),
    ]
    for path, parts in ((made.page, page), (to, [head, *presets])):
        with whole_file(path) as part:
            part.write_text("\n\n".join(parts).rstrip() + "\n", encoding="utf-8")
    return made


def divide(lm: LM, cases: Sequence[Case] | None) -> tuple[list[Case], list[Case]]:
    """Return (facts of the search, held-out facts), see `tune`; EditError if there are too few."""
    named = cases is None
    cases = classroom(lm.name) if cases is None else cases
    numbered = [(case.id if named else place, case) for place, case in enumerate(cases)]
    tuning = _first(lm, (case for number, case in numbered if int(number) % 2 == 0), TUNING)
    seen = {text for case in tuning for text in (case.fact.subject, case.fact.text)} - {None}
    others = (case for number, case in numbered if int(number) % 2 == 1)
    free = (case for case in others if not {case.fact.subject, case.fact.text} & seen)
    held = _first(lm, free, HELD)
    if min(len(tuning), len(held)) < LEAST:
        raise EditError(
            f"{lm.name} knows {len(tuning)} facts to search with and {len(held)} to hold out, but "
            f"{LEAST} of each are needed. Use cases=… to give facts that it knows, with their true "
            "answers."
        )
    return tuning, held


def _first(lm: LM, cases: Iterable[Case], count: int) -> list[Case]:
    """Return the first cases that the model knows, testing no more of them than needed."""
    found: list[Case] = []
    waiting = iter(cases)
    while len(found) < count and (some := list(islice(waiting, 16))):
        found += known(lm, some)
    return found[:count]


class Rows(list[Row]):
    """The rows of a search and its file, which is whole after each: a head, then a row per line.

    Raises EditError for a file of another model or other facts, and for one without rows.
    """

    def __init__(self, path: Path, lm: LM, facts: Any) -> None:
        mark = hashlib.sha256(as_json(facts).encode()).hexdigest()[:16]
        self.path, self.head = path, {"model": lm.identity, "facts": mark}
        try:
            lines = path.read_text().splitlines() if path.exists() else [json.dumps(self.head)]
            head, *rows = map(json.loads, lines)
            super().__init__(rows)
            self.earlier, self.last = self.seconds(), time.perf_counter()
        except (ValueError, KeyError, TypeError):
            head = None
        if head != self.head:
            raise EditError(f"{path} contains no trials of these facts on {lm.name}. Remove it.")

    def add(self, row: Row) -> Row:
        """Append a row with the seconds since the previous one, and write the file."""
        now = time.perf_counter()
        row, self.last = plain_json({**row, "trial_seconds": round(now - self.last, 4)}), now
        self.append(row)
        with whole_file(self.path) as part:
            part.write_text("".join(f"{json.dumps(one)}\n" for one in [self.head, *self]))
        return row

    def seconds(self, name: str | None = None) -> float:
        """Return the time spent on all rows, or on an editor's."""
        return sum(row["trial_seconds"] for row in self if name in (None, row["editor"]))


def search(
    lm: LM,
    name: str,
    cases: Sequence[Case],
    space: Mapping[str, Any],
    rows: Rows,
    seconds: float = math.inf,
    facts: Sequence[Fact] | None = None,
) -> list[Row]:
    """Return an editor's trials, each {setting: value} with its scores, adding new ones to `rows`.

    space  A row of GRIDS, in which `layers` may replace `depths`, and `together` determines whether
           all facts are written in one call. The default is True for editors of several layers and
           for editors that do not need a subject.
    facts  The facts written by that call, by default the cases' own.

    An earlier trial of `rows` is not repeated. A failed trial has the score 0 and an error.
    """
    given, grid = space.get("settings", {}), space.get("grid", {})
    config, where = EDITORS[name](lm, **given).settings_dict(), layer_setting(name)
    together = space.get("together", where != "layer" or not EDITORS[name].needs_subject)
    written = list(facts or [case.fact for case in cases])
    EDITORS[name](lm, **given).check(written)
    deep = [min(lm.n_layers - 1, round(d * lm.n_layers)) for d in space.get("depths", DEPTHS)]
    layers = list(dict.fromkeys(space.get("layers", deep)))

    def at(layer: int, width: int | None = None, **values: Any) -> Row:
        """Return the candidate at a layer, or in a window ending there."""
        place: Any = layer
        if where != "layer":
            # an editor choosing its own layers gets all up to this one, UltraEdit two
            width = width or len(config[where] or range(2 if where == "down" else layer + 1))
            place = list(range(max(0, layer + 1 - width), layer + 1))
        return plain_json({**given, **{key: config[key] for key in grid}, where: place, **values})

    base = baseline(lm, cases, **MEASURED)
    varied = [*([("width", space["widths"])] if "widths" in space else []), *grid.items()]
    made: list[Row] = []
    for number, (setting, values) in enumerate([("", ()), *(varied or [("", ())])]):
        if number == 0:
            candidates = [at(layer) for layer in layers]
        elif number == 1:
            place, around = best(made)[where], space.get("around", 1)
            center = place if where == "layer" else place[-1]
            low, high = max(min(layers), center - around), min(max(layers), center + around)
            near = sorted(range(low, high + 1), key=lambda layer: abs(layer - center))
            changes = [{setting: value} for value in values] or [{}]
            candidates = [at(layer, **change) for layer in near for change in changes]
        else:
            chosen = settings_of(best(made), config)
            candidates = [plain_json({**chosen, setting: value}) for value in values]
        for one in tqdm(candidates, disable=None, desc=f"{name}: {setting or where}"):
            mine = [row for row in rows if row["editor"] == name and "harmonic" in row]
            row = next((row for row in mine if one.items() <= row.items()), None)
            # do not begin a trial that would not fit; the first layers get half of the time
            end = sum(row["trial_seconds"] for row in mine) * (1 + 1 / max(1, len(mine)))
            if row is None and (not mine or end <= (seconds if number else seconds / 2)):
                try:
                    scores, took = edited(lm, name, one, cases, base, written if together else None)
                    found = {**_scored(scores), "seconds": round(took, 4)}
                except (EditError, torch.linalg.LinAlgError) as error:
                    found = {"harmonic": 0.0, "error": str(error)}
                row = rows.add({"editor": name, **one, **found})
            if row and row not in made:
                made.append(row)
    return made


def layer_setting(name: str) -> str:
    """Return the setting for an editor's layers; EditError for an editor without one."""
    known = asdict(EDITORS[name].Config())
    found = [setting for setting in ("layers", "layer", "down") if setting in known]
    if EDITORS[name].trained or not found:
        reason = "it has to be trained first" if EDITORS[name].trained else "it has no layer"
        raise EditError(f"{name} cannot be tuned: {reason}.")
    return found[0]


def edited(
    lm: LM,
    name: str,
    settings: Mapping[str, Any],
    cases: Sequence[Case],
    base: Base,
    facts: Sequence[Fact] | None,
) -> tuple[Scores, float]:
    """Return the scores of the cases after editing all `facts`, or each one; seconds per fact."""
    editor = EDITORS[name](lm, **settings)
    make_missing(editor.statistics())  # made once, so not part of an edit's time
    if facts is None:
        found = singly(editor, cases, base=base, progress=False, **MEASURED)
        return found, statistics.median(found.seconds)
    start = time.perf_counter()
    patch = editor.edit(facts, check=False)
    seconds = (time.perf_counter() - start) / len(facts)
    return evaluate(lm, cases, patch, base=base, **MEASURED), seconds


def _scored(scores: Scores) -> Row:
    """Return the cases' metrics, kl_nats, and the score: the metrics' harmonic mean."""
    found = scores.json()
    row = {m: round(found[m][EVENT], 4) for m in METRICS if found[m][EVENT] is not None}
    if "specificity" in row:
        row.pop("locality", None)  # only used if the cases have no neighbors
    mean = round(float(statistics.harmonic_mean(row.values())), 4)
    return {**row, "kl_nats": found["locality"]["kl_nats"], "harmonic": mean}


def best(rows: Sequence[Row]) -> Row:
    """Return the row with the highest score; within 0.01, the row with the least damage.

    Damage is compared by specificity, locality, then KL.
    """
    good = [row for row in rows if "error" not in row]
    if not good:
        raise EditError(f"No trial of {rows[0]['editor']} succeeded: {rows[0]['error']}")
    top = max(row["harmonic"] for row in good)
    close = [row for row in good if row["harmonic"] > top - CLOSE]
    return max(
        close, key=lambda row: (*(row.get(m, 0) for m in METRICS[2:]), -(row["kl_nats"] or 0))
    )


def settings_of(row: Row, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a row of trials, for `EDITORS[name](lm, **settings)`."""
    return {key: value for key, value in row.items() if key in config}


def held_out(
    lm: LM, name: str, settings: Mapping[str, Mapping[str, Any]], group: Sequence[Case]
) -> Row:
    """Return a row: the unedited model, and edits of these facts with each of the settings."""
    base = baseline(lm, group, **MEASURED)
    row: Row = {"cases": [case.id for case in group], "seconds": {}, UNEDITED: _values(base.scores)}
    for which, own in settings.items():
        try:
            facts = [case.fact for case in group]
            scores, row["seconds"][which] = edited(lm, name, own, group, base, facts)
            row[which] = _values(scores)
        except (EditError, torch.linalg.LinAlgError) as error:
            row |= {which: row[UNEDITED], "error": str(error)}  # a rejected edit changes nothing
    return row


def _values(scores: Any) -> dict[str, list[float]]:
    """Return {metric: one value per case}."""
    found = scores.by_case([(metric, EVENT) for metric in METRICS])
    return {metric: table["mean"].tolist() for (metric, _), table in found.items()}


def values_of(rows: Sequence[Row], which: str, metric: str) -> list[float]:
    """Return one value per held-out case: of "unedited", "default" or "found"."""
    return [value for row in rows for value in row[which].get(metric, [])]


def preset(lm: LM, name: str, trials: Sequence[Row], count: int) -> str:
    """Return a row for `presets.toml` with the best trial, and all differences from the class."""
    own, row = plain_json(asdict(EDITORS[name].Config())), best(trials)
    chosen = settings_of(row, own)
    shares = ", ".join(f"{metric} {row[metric]:.2f}" for metric in METRICS if metric in row)
    place = f'[{name}."{lm.name.rstrip("/").split("/")[-1]}"]'
    lines = [f"{place}   # {len(trials)} trials on {count} cases: {shares}", "tuned = true"]
    for key, value in plain_json(EDITORS[name](lm, **chosen).settings_dict()).items():
        if key in chosen or value != own[key]:
            text = json.dumps(value, ensure_ascii=False)
            lines.append(f"# {key}: none" if value is None else f"{key} = {text}")
    return "\n".join(lines)


def section(name: str, result: Mapping[str, Any]) -> str:
    """Return an editor's part of the page: its trials, the best of them, and held-out facts."""
    trials = pd.DataFrame(result["trials"]).drop(columns=["editor", "trial_seconds"])
    trials = trials.sort_values("harmonic", ascending=False, kind="stable").astype(object)
    rows, which, cells = result["held_out"], (UNEDITED, DEFAULT, FOUND), []
    for metric in METRICS:
        values = {one: values_of(rows, one, metric) for one in which}
        if values[FOUND]:
            margin = [a - b for a, b in zip(values[FOUND], values[DEFAULT], strict=True)]
            shown = [_cell(values[one], interval(values[one])) for one in which]
            cells.append([metric, *shown, _cell(margin, interval(margin, DIFFERENCE), "+")])
    chosen = settings_of(best(result["trials"]), result[FOUND])
    settings = [(key, result[DEFAULT][key], value) for key, value in chosen.items()]
    errors = [row["error"] for row in rows if "error" in row]
    count = sum(len(row["cases"]) for row in rows)
    parts = [
        f"## {name}",
        table(list(trials), trials.values.tolist()),
        table(["setting", DEFAULT, FOUND], settings),
        table([f"{count} held-out facts", *which, f"{FOUND} − {DEFAULT}"], cells),
        *[f"{len(errors)} edits failed, one of them with: {error}" for error in errors[:1]],
    ]
    return "\n\n".join(parts)


def _cell(values: Sequence[float], ends: Sequence[float], sign: str = "") -> str:
    mean, low, high = (100 * v for v in (statistics.fmean(values), *ends))
    return f"{mean:{sign}z.0f} [{low:{sign}z.0f}, {high:{sign}z.0f}]"


def plain_json(value: Any) -> Any:
    """Return the value that JSON gives back for this one; tuples become lists."""
    return json.loads(json.dumps(value))
