"""The experiments of notebook 13: LEMoE as it is here, as we read it, and without each of its parts.

All lines write the same facts in batches of five, one call per batch. A row keeps one share per
case and not the mean, so that the page can draw intervals and compare in pairs. The editor without
one part of its router is `Variant`; the other parts are settings of the library's editor.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import lib
from lib.editors.lemoe import routers
from lib.editors.lemoe.clusters import cluster_facts, text_means
from lib.editors.lemoe.learning import Anchored, ByHidden
from lib.editors.lemoe.routers import AnchorFit, AnchorRouter, HiddenStateRouter

from . import runs_04_rome as runs_04
from . import stored_runs
from .score_tables import by_case

# The one place for the settings: change them, then `--long 13` again.
INSERTION = {"insert": False, "experts": 4}
STREAM = {
    "data": "classroom()[1::2]",
    "edits": 40,
    "lemoe": {"batch_size": 5, "steps": 20, "templates": ("{}",)},
    "lines": {  # name: settings; "part" is one of `Variant`, "our reading" that of the paper
        "LEMoE": {},
        "our reading": {"routing": "paper", "gate": "softmax"},
        "our reading, low rate": {"routing": "paper", "gate": "softmax", "lr": 2e-4, "steps": 150},
        "MEMoE": {**INSERTION, "routing": "hidden", "order": "given", "gate": "softmax"},
        "no insertion": INSERTION,
        "no planning": {"order": "given"},
        "reads hidden states": {"part": "hidden"},
        "no null anchor": {"part": "no null"},
        "no refit, no null anchor": {"routing": "paper"},
        "MEMoE's matrix, old rows frozen": {"routing": "hidden", "part": "frozen rows"},
        "MEMoE's matrix": {"routing": "hidden"},
        "rank 16": {"expert": "lora", "rank": 16},
    },
    "orders": {"lines": ["LEMoE", "no planning", "MEMoE"], "shuffles": 4},
}
PARTS = {  # the gate alone and the refit alone, on the line that works
    **{name: STREAM[name] for name in ("data", "edits", "lemoe")},
    "lines": {"softmax gate": {"gate": "softmax"}, "no refit": {"part": "no refit"}},
}
OTHER = PARTS | {  # the next forty facts
    "data": "classroom()[81::2]",
    "first": 81,
    "lines": {"LEMoE": {}, "no refit": {"part": "no refit"}},
}
ASKED = {"events": ["generation"], "metrics": ["generalization", "specificity", "locality"]}


def editor(lm: lib.LM, part: str = "", **settings: Any) -> lib.Editor:
    """LEMoE with the settings above and these; in a toy at the toy's own layer."""
    made = (Variant if part else lib.EDITORS["lemoe"])(lm, **{**STREAM["lemoe"], **settings})
    made.part = part
    return made


# ---- LEMoE with another router -------------------------------------------------------------------


class Variant(lib.EDITORS["lemoe"]):
    """LEMoE with one part of its router changed.

    hidden       anchors that read hidden states; they are fitted, frozen and bounded as before
    no null      anchors without a null anchor: some expert answers every prompt
    no refit     anchors that are trained with the expert and nothing else, beside the null anchor
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
        null, fit = {"no null": (None, fit), "no refit": (c.null * c.kappa, None)}[self.part]
        if router is None:
            scale = state["mu"], state["sigma"]
            router = routers.start(*scale, c.width, routers.D_K, c.kappa, null, c.seed)
        return Anchored(self.lm, state, router, calm, fit)


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


def chosen(patch: lib.Patch) -> list[int]:
    """Which expert every stored prompt is routed to now, -1: none."""
    state, (route,) = patch.memory["lemoe"], patch.routes.values()
    if "hidden" not in state:
        return route.router.choose(state["e"][state["prompt"]]).tolist()
    rows = [state["rows"][i] for i in state["row"].tolist()]
    return route.router.choose(route.router.features(state["hidden"], rows)).tolist()


def written(
    lm: lib.LM, facts: Sequence[lib.Fact], settings: Mapping[str, Any], batches: int | None = None
) -> Iterator[tuple[dict[str, Any], lib.Patch]]:
    """After each batch, a call of its own: a row, and the patch.

    A row has the number of edits, the facts of the batch, and who answers which prompt so far.

    batches  the most that are written; all facts are planned in any case
    """
    settings = dict(settings)
    means = text_means(lm, [fact.text for fact in facts])  # distances need no centering
    plan = cluster_facts(means, STREAM["lemoe"]["batch_size"], settings.pop("order", "cluster"))
    made, patch, edits = editor(lm, order="given", **settings), lib.EMPTY, 0
    for batch in plan[:batches]:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", lib.errors.EditWarning
            )  # misrouted facts are counted here
            patch = made.edit([facts[i] for i in batch], after=patch, check=False)
        edits += len(batch)
        yield {"edits": edits, "batch": batch, "expert": chosen(patch)}, patch


# ---- the long run --------------------------------------------------------------------------------


def every(lm: lib.LM, settings: Mapping[str, Any] = STREAM) -> Iterator[dict[str, Any]]:
    """All rows: the unedited model, every line call by call, then the shuffled orders.

    What a patched model says is judged by generation, one share per case: held and reworded are
    prompts whose answer begins with the new one, neighbors those whose answer still begins with the
    true one, unrelated those whose first sentence, up to eight tokens, is the base model's own.
    """
    first, lines = settings.get("first", 1), settings["lines"]
    some = lib.classroom()[first::2][: settings["edits"]]
    facts = [case.fact for case in some]
    base = lib.baseline(lm, some[:1], **ASKED)
    judge = partial(lib.evaluate, lm, some, base=base, **ASKED)
    if settings is STREAM:
        yield {"line": "unedited", "edits": 0, **by_case(judge(lib.EMPTY))}
    for name, line in lines.items():
        for row, patch in list(written(lm, facts, line)):
            if row["edits"] == len(some):
                row |= by_case(judge(patch))
            yield {"line": name, **row}
    orders = settings.get("orders", {"shuffles": 0})
    for seed in range(1, orders["shuffles"] + 1):
        shuffled = random.Random(seed).sample(facts, len(facts))
        for name in orders["lines"]:
            *_, (row, patch) = written(lm, shuffled, lines[name])
            found = by_case(judge(patch, metrics=["generalization"]))
            yield {"line": name, "order": seed, "edits": row["edits"], **found}


# ---- the runs on the model that `lib.load()` gives -----------------------------------------------

LEFT_OUT = "our reading, low rate", "MEMoE's matrix", "rank 16"
EVERY = {name: more for name, more in STREAM["lines"].items() if name not in LEFT_OUT}
EVERY |= PARTS["lines"]


def drawn(lm: lib.LM, draw: str, line: str, cases: Sequence[lib.Case]) -> Iterator[dict[str, Any]]:
    """The rows of one line, batch by batch, for one draw of facts; at the end all facts are asked."""
    base, row = lib.baseline(lm, cases[:1], **ASKED), {"draw": draw, "line": line}
    if line == "unedited":
        yield row | {"edits": 0, **by_case(lib.evaluate(lm, cases, base=base, **ASKED))}
        return
    for found, patch in written(lm, [case.fact for case in cases], EVERY[line]):
        if found["edits"] == len(cases):
            found |= by_case(lib.evaluate(lm, cases, patch, base=base, **ASKED))
        yield row | found


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Every line on three draws of forty facts in batches of five."""
    some = runs_04.draws(STREAM["edits"])
    without = {
        name: {key: value for key, value in {**STREAM["lemoe"], **more}.items() if key != "part"}
        for name, more in EVERY.items()
    }
    lines = {name: (lib.EDITORS["lemoe"], more) for name, more in without.items()}
    settings = {
        "reading": stored_runs.reading(lm),
        "editors": stored_runs.configs(lm, lines),
        "parts": {name: more["part"] for name, more in EVERY.items() if "part" in more},
        "cases": {draw: [case.id for case in cases] for draw, cases in some.items()},
    }
    jobs = {
        f"{draw}, {line}": partial(drawn, lm, draw, line, cases)
        for draw, cases in some.items()
        for line in ("unedited", *EVERY)
    }
    return [stored_runs.LongRun("13_forty", settings, jobs)]
