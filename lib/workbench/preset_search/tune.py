"""`tune` finds presets for a model that nobody has tuned, and measures them on held-out facts.

It begins with a causal trace of the facts of the search, which its page shows and nothing is chosen
by. For every editor it is one `scan` over facts that the model knows, from the editor's own
settings and a guess of the layer by depth, then the held-out facts: the unedited model, those
settings, and the found ones, on the same facts. The trials and the held-out facts of every editor
are kept in a folder beside the presets, which is the journal of a run that was interrupted.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ...atomic_files import path_of, whole_file
from ...computed_once import make_missing
from ...data import as_facts
from ...data.facts import Case
from ...data.readers import classroom
from ...errors import EditError
from ...evaluation.evaluate import baseline, evaluate
from ...evaluation.intervals import DIFFERENCE, interval
from ...evaluation.known_facts import known
from ...model.hooks import swapped
from ...model.lm import LM
from ...model.presets_file import Presets
from ...registry import EDITORS
from ...setting_fields import at_least
from ..export.model_card import table
from ..interpret.causal_trace import average, average_total, trace
from ..interpret.corrupted_runs import span
from .candidates import plain_json, read_journal
from .scan import MEASURED, Scan, scan

TUNING, HELD = 8, 24  # facts of the search, and at most so many that it does not see
ALONE = 4  # facts of the search for an editor that writes each alone, which takes long
LEAST = 4  # known facts on either side below which nothing can be said
SEARCH = 0.6  # the share of an editor's time that its search may take
MADE = "# Made by `python -m lib tune`"
METRICS = MEASURED["metrics"]
DEFAULT, FOUND = "default", "found"


@dataclass
class Tuned:
    """What `tune` found.

    presets  the TOML file of presets
    page     the Markdown file that says how they were found
    results  {editor: "found" and "default" settings, the search's "trials", and "held_out" rows}.
             A row holds the ids of its cases, the seconds per edit of both settings, and for the
             unedited model and both settings {metric: one value per case}.
    seconds  of the whole run, those of earlier calls with it
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
    """Search a preset for every editor, measure it on held-out facts; write presets and a page.

    cases     Facts with true answers, by default the classroom's. Those that the model knows are
              taken in their order: the search gets the first eight with an even number (the first
              four of them where an editor writes each fact alone), and those with an odd number are
              held out, but for what shares a subject or a prompt with the search. The number is the
              classroom's own, or a fact's place among `cases`.
    minutes   For all editors, in equal shares; unused time goes on to the next one. What began is
              finished, and at least one trial and one held-out edit are made for every editor.
    to        The TOML file. The page beside it ends in `.md`, and the folder of the journal in
              `.tune`; a later call with the same arguments goes on from it.
    say       Is called with a line at each step.

    The library's own presets of this model do not count meanwhile. Raises EditError for editors
    without a grid, for a file that `tune` did not make, for the journal of other facts, and where
    too few facts are known.
    """
    at_least(0, minutes=minutes)
    run = _Run(lm, path_of(to), minutes, say)
    unknown = [name for name in editors if not EDITORS[name].search_grid]
    if unknown or not editors:
        what = f"{unknown[0]} cannot be tuned" if unknown else "name an editor"
        able = ", ".join(name for name, editor in EDITORS.items() if editor.search_grid)
        raise EditError(f"{what}: there are settings to search for {able}")
    with swapped(lm, presets=Presets(stored=False)):
        given = None if cases is None else as_facts.cases(cases)
        return run.all(list(dict.fromkeys(editors)), given)


def divide(lm: LM, cases: Sequence[Case] | None) -> tuple[list[Case], list[Case]]:
    """(facts of the search, held-out facts), as `tune` says; EditError where there are too few."""
    named = cases is None
    cases = classroom(lm.name) if cases is None else cases
    numbered = [(case.id if named else place, case) for place, case in enumerate(cases)]
    tuning = _first(lm, (case for number, case in numbered if int(number) % 2 == 0), TUNING)
    taken = {text for case in tuning for text in (case.fact.subject, case.fact.text)} - {None}
    others = (case for number, case in numbered if int(number) % 2 == 1)
    free = (case for case in others if not {case.fact.subject, case.fact.text} & taken)
    held = _first(lm, free, HELD)
    if min(len(tuning), len(held)) < LEAST:
        raise EditError(
            f"{lm.name} knows {len(tuning)} facts to search with and {len(held)} to hold out, and "
            f"{LEAST} of each are needed: give facts that it knows, with their true answers, by "
            "cases="
        )
    return tuning, held


def _first(lm: LM, cases: Iterable[Case], count: int) -> list[Case]:
    """The first cases that the model knows; no more are asked than it takes."""
    found: list[Case] = []
    waiting = iter(cases)
    while len(found) < count and (some := list(islice(waiting, 16))):
        found += known(lm, some)
    return found[:count]


class _Run:
    """One call of `tune`: its clock, its journal, and the steps for each editor."""

    def __init__(self, lm: LM, to: Path, minutes: float, say: Callable[[str], None]) -> None:
        if to.suffix != ".toml":
            raise EditError(f"the presets are TOML: give a file that ends in .toml, not {to}")
        if to.exists() and not to.read_text(errors="replace").startswith(MADE):
            raise EditError(f"{to} is not a file that tune made: give another one")
        self.lm, self.say = lm, say
        self.folder = to.with_suffix(".tune")
        self.result = Tuned(to, to.with_suffix(".md"))
        self.total, self.start = 60 * minutes, time.perf_counter()

    def all(self, editors: list[str], cases: Sequence[Case] | None) -> Tuned:
        """Every editor in its share of the time, then both files."""
        before = {name: self._spent(name) for name in editors}
        earlier = sum(before.values())
        self.folder.mkdir(parents=True, exist_ok=True)
        self.say(f"asking {self.lm.name} which facts it knows")
        self.tuning, self.held = divide(self.lm, cases)
        self.say("tracing where it recalls those of the search")
        lm, self.window = self.lm, max(1, self.lm.n_layers // 5)  # ten of 48 in the paper
        traced = [
            # the clean MLPs are put back at the subject's last token alone
            trace(lm, fact, kinds=("mlp",), tokens=span(lm, fact)[2:], window=self.window)
            for fact in (case.fact for case in self.tuning)
            if fact.subject
        ]
        # at the prompt's last token a late layer gives the answer back trivially
        self.traces = [one for one in traced if "last subject" in one.roles]
        scans: dict[str, Scan] = {}
        # what fast editors leave of their time goes to those that take long
        for place, name in enumerate(sorted(editors, key=lambda n: EDITORS[n].speed != "fast")):
            left = self.total - earlier - self._passed()
            share = (left + before[name]) / (len(editors) - place) - before[name]
            scans[name] = self._editor(name, share, before[name])
        self.result.seconds = earlier + self._passed()
        texts = {self.result.presets: self._presets(scans), self.result.page: self._page(scans)}
        for path, text in texts.items():
            with whole_file(path) as part:
                part.write_text(text, encoding="utf-8")
        return self.result

    def _passed(self) -> float:
        return time.perf_counter() - self.start

    def _files(self, name: str) -> tuple[Path, Path]:
        """The journals of an editor's search and of its held-out facts."""
        return self.folder / f"{name}.json", self.folder / f"{name}.held.json"

    def _spent(self, name: str) -> float:
        """The seconds that earlier calls took for an editor."""
        both = [read_journal(path, self.lm.identity).get("rows", []) for path in self._files(name)]
        return sum(row.get("trial_seconds", 0.0) for rows in both for row in rows)

    def _editor(self, name: str, share: float, before: float) -> Scan:
        """Search and measure one editor in `share` seconds, beside those `before` this call."""
        end = self._passed() + share
        searched, measured = self._files(name)
        editor = EDITORS[name]
        default = editor(self.lm, **editor.search_grid.get("settings", {})).settings_dict()
        together = "widths" in editor.search_grid or not editor.needs_subject
        cases = self.tuning if together else self.tuning[:ALONE]
        # a search that had ended is not taken up again, so that held-out facts fit what it found
        own = read_journal(searched, self.lm.identity).get("rows", [])
        done = measured.exists()
        used = sum(row["trial_seconds"] for row in own)
        budget = 1e-9 if done else max(1e-9, SEARCH * (share + before) - used)
        self.say(f"{name}: searching layers and settings for about {budget:.0f} s")
        found = scan(
            self.lm,
            name,
            cases,
            budget=budget,
            journal=searched,
            together=together,
            **self._options(name),
        )
        chosen = EDITORS[name](self.lm, **found.settings).settings_dict()
        self.say(f"{name}: {len(found.rows)} trials made; now facts that the search did not see")
        rows = self._held_out(name, {DEFAULT: default, FOUND: chosen}, found.together, end)
        self.result.results[name] = {
            "found": plain_json(chosen),
            "default": plain_json(default),
            "together": found.together,
            "trials": found.rows,
            "note": found.note,
            "held_out": rows,
        }
        return found

    def _options(self, name: str) -> dict[str, Any]:
        """The arguments of `scan` for an editor, with the layers of this model."""
        found = dict(EDITORS[name].search_grid)
        if "depths" in found:
            n = self.lm.n_layers
            found["layers"] = [min(n - 1, round(depth * n)) for depth in found.pop("depths")]
        return found

    def _held_out(
        self, name: str, settings: Mapping[str, dict[str, Any]], together: bool, end: float
    ) -> list[dict[str, Any]]:
        """The rows of held-out facts, as many as there is time for; at least one."""
        path = self._files(name)[1]
        head = {"model": self.lm.identity, "editor": name, "settings": plain_json(settings)}
        kept = read_journal(path, self.lm.identity)
        rows = kept["rows"] if {k: kept.get(k) for k in head} == head else []
        # one call of an editor of many facts holds as many of them as in the search
        size = len(self.tuning) if together else 1
        groups = [self.held[first : first + size] for first in range(0, len(self.held), size)]
        todo = groups[len(rows) :]
        bar = tqdm(todo, disable=None, desc=f"{name}, held out", unit="edit")
        for group in bar:
            last = rows[-1]["trial_seconds"] if rows else 0.0
            if rows and self._passed() + last > end:
                break
            rows.append(self._group(name, settings, group))
            with whole_file(path) as part:
                part.write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n")
        bar.close()
        return rows

    def _group(
        self, name: str, settings: Mapping[str, dict[str, Any]], group: Sequence[Case]
    ) -> dict[str, Any]:
        """One edit with each of the settings, and the unedited model, on the same facts."""
        start = time.perf_counter()
        base = baseline(self.lm, group, **MEASURED)
        row: dict[str, Any] = {"cases": [case.id for case in group], "seconds": {}}
        row["unedited"] = _values(base.scores)
        for which, own in settings.items():
            if which == FOUND and own == settings.get(DEFAULT):
                row[which], row["seconds"][which] = row[DEFAULT], row["seconds"][DEFAULT]
                continue
            editor = EDITORS[name](self.lm, **own)
            make_missing(editor.statistics())  # what is made once is no part of an edit's cost
            begin = time.perf_counter()
            try:
                patch = editor.edit([case.fact for case in group], check=False)
                row["seconds"][which] = round((time.perf_counter() - begin) / len(group), 4)
                row[which] = _values(evaluate(self.lm, group, patch, base=base, **MEASURED))
            except (EditError, torch.linalg.LinAlgError) as error:
                # an edit that was refused left the model as it was
                row["seconds"][which] = round((time.perf_counter() - begin) / len(group), 4)
                row[which], row["error"] = row["unedited"], str(error)
        return row | {"trial_seconds": round(time.perf_counter() - start, 4)}

    # ---- what is written ------------------------------------------------------------------------

    def _presets(self, scans: Mapping[str, Scan]) -> str:
        head = f"{MADE} for {self.lm.identity} on {time.strftime('%Y-%m-%d')}: how they were"
        more = f"# found, and what they are worth, is in {self.result.page.name}.\n"
        return "\n".join([head, more, *(one.preset() for one in scans.values())])

    def _page(self, scans: Mapping[str, Scan]) -> str:
        """The page, in Markdown."""
        minutes, name = self.result.seconds / 60, self.lm.name
        lines = [
            f"# Presets for {name}",
            "",
            f"Made by `python -m lib tune` on {time.strftime('%Y-%m-%d')} for the model "
            f"{self.lm.identity} in {minutes:.1f} minutes of the {self.total / 60:g} given. The "
            "presets of the library for this model were left out.",
            "",
            f"The search saw {len(self.tuning)} facts that the model knows, the first of those "
            "with an even number: "
            + ", ".join(str(case.id) for case in self.tuning)
            + ". Facts with an odd number that share no subject and no prompt with these were held "
            f"out, and {len(self.held)} of them were there to be asked, in their order, as long as "
            "the time went. Shares are in %, by free generation, with 95 % intervals over the "
            "facts; the last column is paired.",
        ]
        if self.traces:
            lines += ["", "## Where the facts are recalled", "", *self._recalled()]
        for editor, found in scans.items():
            lines += ["", f"## {editor}", "", self._section(editor, found)]
        return "\n".join(lines) + "\n"

    def _recalled(self) -> list[str]:
        """The part of the causal trace."""
        mean, *ends = average_total(self.traces)
        rows = average(self.traces)[["layer", "effect", "low", "high"]].to_numpy()
        cells = [(int(layer), _cell([effect], between)) for layer, effect, *between in rows]
        return [
            f"A causal trace (ROME, section 2) of the {len(self.traces)} facts of the search whose "
            f"prompt goes on behind the subject: noise on it takes {_cell([mean], ends)} points "
            "off the probability of the model's answer, and so many come back with the clean "
            f"outputs of {self.window} MLPs around a layer at the subject's last token. It shows "
            "where information flows and not which layer edits best: the trials below ask that.",
            "",
            table(["layer", "points that come back"], cells),
        ]

    def _section(self, name: str, found: Scan) -> str:
        """The part of one editor: what was tried, what was chosen, and held-out facts."""
        result = self.result.results[name]
        rows, columns = result["held_out"], ("unedited", DEFAULT, FOUND)
        varied = ", ".join(f"`{k}` {', '.join(map(str, v))}" for k, v in found.space.dimensions)
        how = "all facts in one call" if found.together else "each fact alone"
        chosen = ", ".join(f"`{k}` {v}" for k, v in found.settings.items())
        fixed = ", ".join(f"`{k}` {v}" for k, v in found.space.given.items())
        facts = f"{len(found.cases)} facts, {how}"
        own = {k: v for k, v in result["default"].items() if k in found.settings}
        default = ", ".join(f"`{k}` {v}" for k, v in own.items())
        tried = found.table()
        n = sum(len(row["cases"]) for row in rows)
        cells = []
        for metric in METRICS:
            values = {c: values_of(rows, c, metric) for c in columns}
            if values[FOUND]:
                pairs = zip(values[FOUND], values[DEFAULT], strict=True)
                margin = [a - b for a, b in pairs]
                shown = [_cell(values[c], interval(values[c])) for c in columns]
                cells.append([metric, *shown, _cell(margin, interval(margin, DIFFERENCE), "+")])
        cost = {c: statistics.median(row["seconds"][c] for row in rows) for c in (DEFAULT, FOUND)}
        failed = [row["error"] for row in rows if "error" in row]
        parts = [
            f"{len(found.rows)} trials on {facts}: layers, and {varied}. {found.note}".rstrip(),
            f"Fixed in all trials, and in the default as well: {fixed}." if fixed else "",
            f"The default is {default}.",
            table(list(tried), tried.astype(object).values.tolist()),
            f"Chosen: {chosen}.",
            table([f"{n} held-out facts", *columns, f"{FOUND} − {DEFAULT}"], cells),
            f"An edit took {cost[FOUND]:.2g} s a fact (default: {cost[DEFAULT]:.2g} s).",
            f"{len(failed)} edits failed and count as the unedited model: {failed[0]}"
            if failed
            else "",
        ]
        return "\n\n".join(filter(None, parts))


def values_of(rows: Sequence[Mapping[str, Any]], which: str, metric: str) -> list[float]:
    """One value per held-out case: of "unedited", "default" or "found"."""
    return [value for row in rows for value in row[which].get(metric, [])]


def _values(scores: Any) -> dict[str, list[float]]:
    """{metric: the mean of each case}, without the divergences."""
    found = scores.by_case([(metric, "generation") for metric in METRICS])
    return {metric: [float(v) for v in table["mean"]] for (metric, _), table in found.items()}


def _cell(values: Sequence[float], ends: Sequence[float], sign: str = "") -> str:
    mean, low, high = (100 * v for v in (statistics.fmean(values), *ends))
    return f"{mean:{sign}z.0f} [{low:{sign}z.0f}, {high:{sign}z.0f}]"
