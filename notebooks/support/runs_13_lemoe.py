"""The experiments of notebook 13: LEMoE as it is here, as published, and without each of its parts.

All lines write the same facts in batches of five, one call per batch. A row keeps one share per
case and not the mean, so that the page can draw intervals and compare in pairs. The editor without
one part of its router is `Variant`; the other parts are settings of the library's editor.

It is one long file because `build --check` knows one file of runs per notebook.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import lib
from lib.data.facts import encode_prompt
from lib.editors.lemoe import routers
from lib.editors.lemoe.clusters import cluster_facts
from lib.editors.lemoe.learning import Anchored, ByHidden
from lib.editors.lemoe.routers import AnchorFit, AnchorRouter, HiddenStateRouter
from lib.evaluation.intervals import DIFFERENCE, SHARE, interval

# The one place for the settings: change them, then `--long 13` again.
INSERTION = {"insert": False, "experts": 4}
STREAM = {
    "data": "classroom()[1::2]",
    "edits": 40,
    "lemoe": {"batch_size": 5, "steps": 20, "templates": ["{}"]},
    "lines": {  # name: settings; "part" is one of `Variant`
        "LEMoE": {},
        "as published": {"routing": "paper", "gate": "softmax"},
        "published rate": {"routing": "paper", "gate": "softmax", "lr": 2e-4, "steps": 150},
        "MEMoE": {**INSERTION, "routing": "hidden", "order": "given", "gate": "softmax"},
        "no insertion": INSERTION,
        "no order": {"order": "given"},
        "reads hidden states": {"part": "hidden"},
        "no null anchor": {"part": "no null"},
        "no null, no refit": {"routing": "paper"},
        "hidden, old rows frozen": {"routing": "hidden", "part": "frozen rows"},
        "no anchors": {"routing": "hidden"},
        "rank 16": {"expert": "lora", "rank": 16},
    },
    "orders": {"lines": ["LEMoE", "no order", "MEMoE"], "shuffles": 4},
}
ASKED = {"events": ["generation"], "metrics": ["generalization", "specificity", "locality"]}
MEASURED = {
    "held": "efficacy",
    "reworded": "generalization",
    "neighbors": "specificity",
    "unrelated": "locality",
}
Rows = Sequence[Mapping[str, Any]]


def cases(count: int | None = None) -> list[lib.Case]:
    """The facts, every second case of the classroom, as fixed as the shipped file."""
    return lib.classroom()[1::2][: count or STREAM["edits"]]


def editor(lm: lib.LM, part: str = "", **settings: Any) -> lib.Editor:
    """LEMoE with the settings above and these; in a toy at the toy's own layer."""
    chosen = {**STREAM["lemoe"], **settings}
    chosen["templates"] = tuple(chosen["templates"])
    if not part:
        return lib.EDITORS["lemoe"](lm, **chosen)
    made = Variant(lm, **chosen)
    made.part = part
    return made


# ---- LEMoE with another router -------------------------------------------------------------------


class Variant(lib.EDITORS["lemoe"]):
    """LEMoE with one part of its router changed.

    hidden       anchors that read hidden states; they are fitted, frozen and bounded as before
    no null      anchors without a null anchor: some expert answers every prompt
    frozen rows  MEMoE's matrix over hidden states, of which only the new expert's row is trained
    """

    part = ""

    def _routing(self, state: dict, router: Any, texts: Sequence[str], calm: Tensor) -> Any:
        """The router of this part; see `Lemoe._routing`."""
        c, fit = self.config, AnchorFit(reserve=self.config.reserve)
        if self.part == "frozen rows":
            return FrozenRows(self.lm, state, router, c.layer, texts, c.seed)
        if self.part == "hidden":
            shape = c.width, routers.D_K, c.kappa, c.null * c.kappa, c.seed
            return OnHidden(self.lm, state, router, c.layer, texts, fit, shape)
        if self.part == "no null":
            if router is None:
                scale = state["mu"], state["sigma"]
                router = routers.start(*scale, c.width, routers.D_K, c.kappa, None, c.seed)
            return Anchored(self.lm, state, router, calm, fit)
        raise ValueError(f"there is no part {self.part!r} to change.")


@dataclass(frozen=True)
class HiddenAnchors(HiddenStateRouter):
    """Anchors over the mean hidden state of a prompt; it has no matrix and no subjects."""

    anchors: AnchorRouter | None = None

    def features(self, means: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
        """e (n, w) of mean hidden states (n, w), centered and scaled."""
        return self.anchors.pooled(means)

    def scores(self, features: Tensor) -> Tensor:
        """Scores (n, 1 + t), the null anchor's first."""
        return self.anchors.scores(features)

    def to(self, device: torch.device) -> HiddenAnchors:
        """The same router on another device."""
        return replace(super().to(device), anchors=self.anchors.to(device))


class OnHidden(Anchored):
    """LEMoE's fitted anchors, which read the mean input of the experts' layer."""

    router: HiddenAnchors
    read = ByHidden.read

    def __init__(
        self,
        lm: lib.LM,
        state: dict[str, Any],
        router: HiddenAnchors | None,
        layer: int,
        texts: Sequence[str],
        fit: AnchorFit,
        shape: tuple,
    ) -> None:
        self.layer = layer
        super().__init__(lm, state, router, torch.zeros(0), fit)
        hidden = self.read(texts)
        if router is None:
            center = hidden.mean(0)
            spread = (hidden - center).square().mean().sqrt()
            anchors = routers.start(center, spread, *shape)
            none = torch.zeros(0, len(state["mu"]))
            weight = torch.zeros(0, len(center) + len(state["mu"]))
            self.router = HiddenAnchors(center, spread, weight, none, anchors=anchors)
        self.calm = self.router.features(hidden, [])

    def add(self, facts: Sequence[lib.Fact], means: Tensor, which: int, new: int) -> None:
        """Store prompts and subjects, put an anchor into their middle, and fit it."""
        state, prompts = self.state, [fact.text for fact in facts]
        subjects = list(dict.fromkeys(f.subject for f in facts if f.subject))
        e = self.router.features(self.read([*prompts, *subjects]), [])
        prompt = torch.arange(len(e)) < len(prompts)
        self.store(e=e, owner=torch.full((len(e),), which), prompt=prompt)
        anchors = self.router.anchors
        if new:
            mine = state["e"][(state["owner"] == which) & state["prompt"]]
            anchors = routers.grow(anchors, mine)
        anchors = routers.fit_anchors(
            anchors, state["e"], state["owner"], self.calm, which, self.fit
        )
        self.router = replace(self.router, anchors=anchors)

    def learning(self, rows: Any, which: int | None) -> tuple:
        """Nothing is learned with the expert: anchors are fitted before."""
        router = self.router.to(rows.hidden.device)
        e = router.features(rows.hidden, rows.prompts)
        return [], lambda: router.scores(e)


class FrozenRows(ByHidden):
    """MEMoE's router with new experts, whose old rows are frozen with their experts."""

    def learning(self, rows: Any, which: int | None) -> tuple:
        """The new expert's row of the matrix."""
        router = self.router.to(rows.hidden.device)
        features = router.features(rows.hidden, rows.prompts)
        row = router.weight[which : which + 1].clone().requires_grad_()

        def scores() -> Tensor:
            whole = torch.cat([router.weight[:which], row, router.weight[which + 1 :]])
            return replace(router, weight=whole).scores(features)

        return [row], scores

    def learned(self, parts: list[Tensor], which: int | None) -> None:
        """Put the row in its place."""
        weight = self.router.weight.clone()
        weight[which] = parts[0][0].to(weight)
        self.router = replace(self.router, weight=weight)


# ---- writing, and who answers --------------------------------------------------------------------


def planned(lm: lib.LM, facts: Sequence[lib.Fact], order: str) -> list[list[lib.Fact]]:
    """The batches in which LEMoE writes the facts of one call."""
    means = embedded(lm, [fact.text for fact in facts])  # distances need no centering
    batches = cluster_facts(means, STREAM["lemoe"]["batch_size"], order)
    return [[facts[i] for i in batch] for batch in batches]


def embedded(lm: lib.LM, texts: Sequence[str]) -> Tensor:
    """Mean input embeddings (n, d) of texts, without a leading BOS."""
    embed, means = lm.model.get_submodule(lm.arch.embed), []
    for text in texts:
        ids = encode_prompt(lm.tokenizer, text)
        skip = int(len(ids) > 1 and ids[0] == lm.leading_bos)
        with torch.no_grad():
            rows = embed(torch.tensor(ids[skip:], device=lm.device))
        means.append(rows.float().cpu().mean(0))
    return torch.stack(means)


def chosen(patch: lib.Patch) -> list[int]:
    """Which expert every stored prompt is routed to now, -1: none."""
    state, (route,) = patch.memory["lemoe"], patch.routes.values()
    if "hidden" not in state:
        return route.router.choose(state["e"][state["prompt"]]).tolist()
    rows = [state["rows"][i] for i in state["row"].tolist()]
    return route.router.choose(route.router.features(state["hidden"], rows)).tolist()


def written(
    lm: lib.LM,
    facts: Sequence[lib.Fact],
    settings: Mapping[str, Any],
    batches: int | None = None,
) -> Iterator[tuple[dict[str, Any], lib.Patch]]:
    """After each batch, a call of its own: edits, who answers which prompt, and the patch.

    batches  the most that are written; all facts are planned in any case
    """
    settings = dict(settings)
    plan = planned(lm, facts, settings.pop("order", "cluster"))
    made, patch, edits = editor(lm, order="given", **settings), lib.EMPTY, 0
    for batch in plan[:batches]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lib.EditWarning)  # misrouted facts are counted here
            patch = made.edit(batch, after=patch)
        edits += len(batch)
        yield {"edits": edits, "expert": chosen(patch)}, patch


def look(
    lm: lib.LM,
    some: Sequence[lib.Case],
    patch: lib.Patch,
    base: Any,
    metrics: Sequence[str] = ASKED["metrics"],
) -> dict[str, Any]:
    """What the patched model says, by generation: one share per case.

    held, reworded  prompts whose answer begins with the new one
    neighbors       prompts whose answer still begins with the true one
    unrelated       prompts whose first sentence, up to eight tokens, is the base model's own
    """
    asked = {"events": ["generation"], "metrics": metrics}
    by_case = lib.evaluate(lm, some, patch, base=base, **asked).by_case()
    return {
        name: [round(share, 4) for share in by_case[metric, "generation"]["mean"]]
        for name, metric in MEASURED.items()
        if (metric, "generation") in by_case
    }


def goes(lm: lib.LM, some: Sequence[lib.Case], patch: lib.Patch) -> dict[str, list[float]]:
    """By group, the share of each case's prompts that the expert of its own prompt answers."""
    texts = {
        "rewording": [case.paraphrases for case in some],
        "neighbor": [[probe.prompt for probe in case.neighborhood] for case in some],
    }
    own = answering(lm, [case.fact.text for case in some], patch)
    found = {}
    for group, prompts in texts.items():
        who = iter(answering(lm, [text for each in prompts for text in each], patch))
        found[group] = [
            round(sum(next(who) == mine for _ in each) / len(each), 4)
            for mine, each in zip(own, prompts, strict=True)
        ]
    return found


def answering(lm: lib.LM, prompts: Sequence[str], patch: lib.Patch) -> list[int]:
    """Which expert answers each prompt, -1: none."""
    with lm.patched(patch, only=True):
        _, notes = lm.answer(list(prompts), 1, explain=True)
    return [note["entry"] for (note,) in notes]


def scores(lm: lib.LM, route: Any, prompts: Sequence[str]) -> list[tuple[float, float]]:
    """The scores of prompts at the first two anchors of a route."""
    e = route.router.pooled(embedded(lm, list(prompts)))
    return [(a, b) for _, a, b in route.router.scores(e)[:, :3].tolist()]


def scored(
    lm: lib.LM, route: Any, facts: Sequence[lib.Fact], some: Sequence[lib.Case]
) -> dict[str, list[tuple[float, float]]]:
    """The scores of edits, and of the prompts around some cases, at the first two anchors."""
    texts = {
        "edit": [fact.text for fact in facts],
        "rewording": [text for case in some for text in case.paraphrases],
        "neighbor": [probe.prompt for case in some for probe in case.neighborhood],
        "unrelated": [text for case in some for text in case.locality],
    }
    return {g: scores(lm, route, list(dict.fromkeys(each))) for g, each in texts.items()}


def drift(
    lm: lib.LM, first: lib.Patch, second: lib.Patch, facts: Sequence[lib.Fact]
) -> list[dict[str, Any]]:
    """For a table: how a second edit moves the vectors v of facts that the first one wrote."""
    texts = [fact.text for fact in facts]
    means = embedded(lm, texts)
    (before,), (after,) = (patch.routes.values() for patch in (first, second))
    old, new = (r.router.values(r.router.pooled(means)) for r in (before, after))
    scores = after.router.scores(after.router.pooled(means))[:, 1:]
    was = before.router.scores(before.router.pooled(means))[:, 1]
    with lm.patched(second):
        says = lm.answer(texts, 3)
    return [
        {
            "fact of the first batch": f"{fact.text} {fact.target_new}",
            "cos(v before, v after)": (old[i] @ new[i]).item(),
            "own score before": was[i].item(),
            "own score after": scores[i, 0].item(),
            "score at the new anchor": scores[i, 1].item(),
            "says now": says[i],
        }
        for i, fact in enumerate(facts)
    ]


# ---- the long run --------------------------------------------------------------------------------


def every(lm: lib.LM) -> Iterator[dict[str, Any]]:
    """All rows: the unedited model, every line call by call, then the shuffled orders."""
    some, lines = cases(), STREAM["lines"]
    facts = [case.fact for case in some]
    base = lib.baseline(lm, some[:1], **ASKED)
    yield {"line": "unedited", "edits": 0, **look(lm, some, lib.EMPTY, base)}
    for name, settings in lines.items():
        calls = list(written(lm, facts, settings))
        for row, patch in calls:
            row = {"line": name, **row}
            if row["edits"] == len(some):
                row |= look(lm, some, patch, base) | {"goes": goes(lm, some, patch)}
            yield row
    for seed in range(1, STREAM["orders"]["shuffles"] + 1):
        shuffled = random.Random(seed).sample(facts, len(facts))
        for name in STREAM["orders"]["lines"]:
            *_, (row, patch) = written(lm, shuffled, lines[name])
            found = look(lm, some, patch, base, ["generalization"])
            yield {"line": name, "order": seed, "edits": row["edits"], **found}


# ---- tables and figures of the long run ----------------------------------------------------------

TRACED = {  # lines of the figure over time: their names there
    "LEMoE": "anchors, fitted anew (LEMoE)",
    "MEMoE": "matrix, 4 experts (MEMoE)",
    "hidden, old rows frozen": "matrix, old rows frozen",
    "as published": "anchors, as published",
    "no anchors": "matrix, new experts",
}


def percent(shares: Sequence[float]) -> str:
    """The mean of one share per case in percent, and its 95 % interval: "83 [60, 94]"."""
    low, high = interval(shares, SHARE)
    return f"{100 * sum(shares) / len(shares):.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def at(rows: Rows, line: str) -> Mapping[str, Any]:
    """The row of a line after all facts, in the order in which they are given."""
    (row,) = (r for r in rows if r["line"] == line and "held" in r and "order" not in r)
    return row


def routed(rows: Rows) -> tuple[dict[str, list[int]], dict[str, list[float]]]:
    """Return numbers of edits and, by router, the share (%) of prompts that go where they went.

    All prompts written so far are counted, each against the expert that first answered it.
    """
    x: dict[str, list[int]] = {}
    y: dict[str, list[float]] = {}
    for line, name in TRACED.items():
        own, first = [row for row in rows if row["line"] == line and "expert" in row], []
        for row in own:
            first += row["expert"][len(first) :]
            same = [a == b for a, b in zip(row["expert"], first, strict=True)]
            x.setdefault(name, []).append(row["edits"])
            y.setdefault(name, []).append(100 * sum(same) / len(same))
    return x, y


def ends(rows: Rows) -> tuple[list[str], list[list[float]], tuple[list, list]]:
    """The lines, and held, reworded, neighbors, unrelated at their ends in %, with intervals."""
    names = ["unedited", *STREAM["lines"]]
    shares = [[at(rows, name)[group] for group in MEASURED] for name in names]
    means = [[100 * sum(each) / len(each) for each in some] for some in shares]
    both = [[interval(each, SHARE) for each in some] for some in shares]
    between = tuple([[100 * each[side] for each in some] for some in both] for side in (0, 1))
    return names, means, between


def differences(rows: Rows, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """For a table: one line less another, in points, with the 95 % interval of the pairs."""
    table = []
    for one, other in pairs:
        line = {"one line less another (points)": f"{one} less {other}"}
        for group in MEASURED:
            values = at(rows, one)[group], at(rows, other)[group]
            found = [a - b for a, b in zip(*values, strict=True)]
            ends = sum(found) / len(found), *interval(found, DIFFERENCE)
            line[group] = "{:+d} [{:+d}, {:+d}]".format(*(round(100 * x) for x in ends))
        table.append(line)
    return table


def orders(rows: Rows, what: str) -> dict[str, list[float]]:
    """By line, a share in % after each order of the facts, the given one first."""
    return {
        name: [100 * sum(r[what]) / len(r[what]) for r in rows if r["line"] == name and what in r]
        for name in STREAM["orders"]["lines"]
    }


def reached(rows: Rows, names: Sequence[str]) -> list[dict[str, Any]]:
    """For a table: how many rewordings and neighbors the expert of their own fact answers."""
    return [
        {"line": name}
        | {f"{group}s to the fact's expert (%)": percent(at(rows, name)["goes"][group])
           for group in ("rewording", "neighbor")}
        for name in names
    ]  # fmt: skip
