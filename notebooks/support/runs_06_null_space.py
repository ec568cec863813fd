"""The long run of notebook 06: several editors write one stream of facts, batch after batch.

The norms of the edited matrices are noted after every batch, because they may warn early.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import torch

import lib
from lib import plot
from lib.interpret import damage

from .runs_05_memit import AlphaEdit, Memit

EVENTS = ["probability", "teacher_forced", "generation"]
KNOWN = {"memit": Memit, "alphaedit": AlphaEdit}  # one search of a value for every line
SOFT, NULL = {"strength": 1000.0}, {"L2": 10.0, "quantile": 0.8}
LINES = {
    "MEMIT": ("memit", SOFT),
    "MEMIT, kept keys": ("memit", SOFT | {"keep_keys": True}),
    "projector only": ("alphaedit", NULL | {"keep_keys": False}),
    "AlphaEdit": ("alphaedit", NULL),
    "MEMIT, λ = 30": ("memit", {"strength": 30.0}),
    "kept keys, λ = 30": ("memit", {"strength": 30.0, "keep_keys": True}),
    "ROME": ("rome", {}),
}
STREAM = {
    "data": "CounterFact, first 500 rows",
    "lines": LINES,
    "layers": [3, 4, 5],  # of the presets at that time
    "layer of ROME": 3,
    "templates": ["{}"],
    "shared": {"values_on": "base"},  # all but ROME write the same values
    "batch": 50,
    "rome": 150,  # facts that ROME writes at most
    "points": [100, 300, 500],
    "sample": 5,
    "kl": 60,
}
BROKEN = 10.0  # times the base model's perplexity: such a line is not run to its end


def counterfact(count: int) -> list[lib.Case]:
    """The first rows of the CounterFact file that EDIT_DATA names."""
    path = os.environ.get("EDIT_DATA")
    if path is None:
        raise ValueError(
            "this run edits CounterFact, which is not shipped: get counterfact.json and run "
            "`EDIT_DATA=/path/counterfact.json python -m notebooks.build --long 06`"
        )
    return lib.read_cases(path, limit=count)


class Lifelong:
    """A stream of facts in batches, always measured in the same way.

    settings is a mapping like STREAM:
    lines   {name: (editor, its settings)}
    points  numbers of edits after which everything is measured
    sample  every so many facts written so far one is asked at a point
    kl      number of unrelated prompts
    """

    def __init__(self, lm: lib.LM, cases: Sequence[lib.Case], settings: Mapping[str, Any]) -> None:
        self.lm, self.cases, self.settings = lm, list(cases), settings
        self.known: dict[lib.Fact, torch.Tensor] = {}  # values searched on the base model
        spread = dict.fromkeys(prompt for c in lib.classroom() for prompt in c.locality)
        self.prompts = list(spread)[:: len(spread) // settings["kl"]][: settings["kl"]]

    @cached_property
    def before(self) -> torch.Tensor:
        """log p of the next token at the unrelated prompts, base model."""
        with self.lm.patched(lib.EMPTY, only=True):
            return self.lm.next_token(self.prompts)

    @cached_property
    def base(self) -> dict[str, Any]:
        """The base model's row, measured on all of the stream's sample, and the first batch."""
        facts = [vars(case.fact) for case in self.cases[: self.settings["batch"]]]
        look = self.look(len(self.cases), lib.EMPTY)
        return {"line": "base", "edits": 0, "facts": facts} | look

    def editor(self, name: str) -> lib.Editor:
        """The editor of a line; where values are those of the base model it takes the known."""
        editor, own = self.settings["lines"][name]
        templates = tuple(self.settings["templates"])
        if editor == "rome":
            return lib.EDITORS[editor](self.lm, templates=templates, **own)
        settings = {**self.settings["shared"], **own}
        shared = settings["values_on"] == "base"
        made = (KNOWN if shared else lib.EDITORS)[editor](self.lm, templates=templates, **settings)
        if shared:
            made.known = self.known
        return made

    def line(self, name: str) -> Iterator[dict[str, Any]]:
        """Write the stream with one editor; one row per batch. ROME writes one by one, 25 to a row.

        written  efficacy of the batch right after it
        change   ‖ΔW‖/‖W₀‖ of every edited matrix
        size     ‖W‖/‖W₀‖ of every edited matrix
        sigma    σ_max(W)/σ_max(W₀) of every edited matrix

        At the points a row has everything else as well.
        """
        lm, editor = self.lm, self.editor(name)
        step = 25 if editor.name == "rome" else self.settings["batch"]
        each = 1 if editor.name == "rome" else step
        run = lib.stream(lm, editor, self.cases, each, (), {"events": EVENTS, "metrics": ()})
        count = min(len(self.cases), self.settings["rome"] if each == 1 else len(self.cases))
        for end in range(step, count + 1, step):
            done = list(islice(run, step // each))
            norms = damage.early_warning(lm, run.patch)
            sizes = [lm.weight(module).norm().item() for module in norms.module]
            row = {
                "line": name,
                "edits": end,
                "seconds": round(sum(row["seconds"] for row in done), 1),
                "written": {e: sum(row["efficacy"][e] for row in done) / len(done) for e in EVENTS},
                "change": (norms.change / sizes).round(4).tolist(),
                "size": norms.norm_ratio.round(4).tolist(),
                "sigma": norms.sigma_ratio.round(4).tolist(),
            }
            if end in self.settings["points"] or each == 1:
                row |= self.look(end, run.patch)
            yield row
            if row.get("perplexity", 0) > BROKEN * self.base["perplexity"]:
                break

    def lines(self) -> Iterator[list[dict[str, Any]]]:
        """All rows so far, base model first, after each line of the settings."""
        rows = [self.base]
        for name in self.settings["lines"]:
            rows += self.line(name)
            yield rows

    def look(self, end: int, patch: lib.Patch) -> dict[str, Any]:
        """Ask a sample of all facts so far, their other prompts, unrelated prompts and a text."""
        lm, cases = self.lm, self.cases[: end : self.settings["sample"]]
        found = lib.evaluate(lm, cases, patch, EVENTS, metrics=()).json()
        others = ["generalization", "specificity"]
        rest = lib.evaluate(lm, cases, patch, EVENTS[:2], metrics=others).json()
        with lm.patched(patch, only=True):
            now, perplexity = lm.next_token(self.prompts), lib.perplexity(lm)
        return {
            "retention": found["efficacy"],
            **{metric: rest[metric] for metric in others},
            "kl": (self.before.exp() * (self.before - now)).sum(1).mean().item(),
            "perplexity": perplexity,
        }


def over(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, list], dict[str, list]]:
    """Return numbers of edits and, at each, the share of facts still held in %, by line.

    Facts are held by generation. Lines of fewer than three points are left out.
    """
    x, held = {}, {}
    for name in dict.fromkeys(row["line"] for row in rows[1:]):
        own = [row for row in rows if row["line"] == name and "perplexity" in row]
        if len(own) > 2:
            x[name] = [row["edits"] for row in own]
            held[name] = [100 * row["retention"]["generation"] for row in own]
    return x, held


def curves(x: Mapping[str, list], held: Mapping[str, list]) -> plot.Figure:
    """Facts held over the edits: a color per kind of editor, full lines where keys are kept."""
    colors = {name: plot.CYCLE[not name.startswith("MEMIT")] for name in x}
    colors |= {name: plot.CYCLE[2] for name in x if "30" in name} | {"ROME": plot.CYCLE[3]}
    dashes = {name: "-" if "kept" in name or name == "AlphaEdit" else "--" for name in x}
    axes = "edits", "facts held so far (%, generation)"
    figure = plot.lines(x, held, *axes, colors=colors, dashes=dashes, ylim=(0, 105))
    for line in figure.axes[0].lines:
        if line.get_color() == plot.CYCLE[0]:  # the projector's lie right on top of these
            line.set(linewidth=5, markersize=8)
    return figure


def ends(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The last row of every line, for a table: shares in %, perplexity over the base's."""
    last = {row["line"]: row for row in rows if "perplexity" in row}
    base, table = last["base"]["perplexity"], []
    for name, row in last.items():
        line = {"editor": name, "edits": row["edits"]}
        line["held"] = 100 * row["retention"]["generation"]
        line["held, p"] = 100 * row["retention"]["probability"]
        line["reworded, p"] = 100 * row["generalization"]["probability"]
        line["neighbors, p"] = 100 * row["specificity"]["probability"]
        table.append(line | {"KL": row["kl"], "perplexity / base": row["perplexity"] / base})
    return table


def warnings(rows: Sequence[Mapping[str, Any]], low: float, high: float) -> list[dict[str, Any]]:
    """For every line the edits at which each norm first left [low, high], and the first harm.

    Harm: perplexity a quarter over the base's, at one of the points.
    """
    base, table = rows[0]["perplexity"], []
    for name in dict.fromkeys(row["line"] for row in rows[1:]):
        own, line = [row for row in rows if row["line"] == name], {"editor": name}
        for norm in ("change", "size", "sigma"):
            shift = float(norm == "change")  # ‖ΔW‖ starts at 0, the others at 1
            line[norm] = _first(
                row["edits"] for row in own if not _within(row[norm], low, high, shift)
            )
        line["sigma after 100"] = max(
            (max(row["sigma"]) for row in own if row["edits"] <= 100), default=1.0
        )
        line["perplexity + 25 %"] = _first(
            row["edits"] for row in own if row.get("perplexity", 0) > 1.25 * base
        )
        table.append(line)
    return table


def _first(edits: Iterable[int]) -> str:
    return str(next(iter(edits), "never"))


def _within(values: Sequence[float], low: float, high: float, shift: float) -> bool:
    return all(low <= value + shift <= high for value in values)


def lands(
    ways: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
    odd: torch.Tensor,
    even: torch.Tensor,
    C: torch.Tensor,
) -> list[dict[str, Any]]:
    """Each odd key written alone by each way, k (d_in, 1) -> B (1, d_in): who else hears of it.

    Root mean squares, as shares of what arrives at the own key; medians over the odd keys.
    """
    rows = []
    for name, solve in ways.items():
        B = torch.cat([solve(odd[:, i : i + 1]) for i in range(odd.shape[1])])  # (n, d_in)
        arrives = (B * odd.T).sum(1)
        shares = B / arrives[:, None]
        heard = {
            "on text": (shares @ C * shares).sum(1),
            "on even subjects": (shares @ even).pow(2).mean(1),
            "on other odd ones": (shares @ odd).fill_diagonal_(0).pow(2).mean(1),
        }
        row = {"method": name, "arrives": arrives.median().item()}
        rows.append(row | {where: x.sqrt().median().item() for where, x in heard.items()})
    return rows


def braked(
    updates: Mapping[str, torch.Tensor], K: torch.Tensor, R: torch.Tensor, C: torch.Tensor
) -> list[dict[str, float]]:
    """What each change of W gives the keys K of what R asks for, its damage on text, and the damage
    of the first change made smaller by a factor until it gives just as much.
    """
    table, first = [], {}
    for way, change in updates.items():
        row = {"change of W": way, "arrives (%)": 100 * ((change @ K * R).sum() / R.norm() ** 2)}
        row["damage"] = (change @ C * change).sum()
        first = first or row
        factor = row["arrives (%)"] / first["arrives (%)"]
        row["damage of a plain factor"] = factor**2 * first["damage"]
        table.append({key: v if isinstance(v, str) else v.item() for key, v in row.items()})
    return table
