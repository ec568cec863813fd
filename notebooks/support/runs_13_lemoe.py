"""The experiments of notebook 13: LEMoE as it is here, as we read it, and without each of its parts.

All lines write the same facts in batches of four, one call per batch. A row keeps one share per
case and not the mean, so that the page can draw which fact is held when. The editor without
one part of its router is `Variant`; the other parts are settings of the library's editor.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

import lib
from lib.editors.lemoe import routers
from lib.editors.lemoe.clusters import cluster_facts, text_means
from lib.editors.lemoe.learning import Anchored
from lib.editors.lemoe.routers import AnchorFit

from . import stored_runs
from .runs_11_grace import STREAMS, streams
from .score_tables import by_case

FACTS = 16  # of a stream
LEMOE = {**stored_runs.OURS, "batch_size": 4, "steps": 20, "templates": ("{}",)}
INSERTION = {"insert": False, "experts": 4}
LINES = {  # name: settings beside those; "part" is one of `Variant`
    "LEMoE": {},
    "no refit": {"part": "no refit"},
    "MEMoE": {**INSERTION, "routing": "hidden", "order": "given", "gate": "softmax"},
    "our reading": {"routing": "paper", "gate": "softmax"},
    "no null anchor": {"part": "no null"},
}
PUBLISHED = {"LEMoE, published": {"preset": None}}  # the default, the paper's algorithm
ASKED = {"events": ["generation"], "metrics": ["generalization", "specificity", "locality"]}


def editor(lm: lib.LM, part: str = "", **settings: Any) -> lib.Editor:
    """LEMoE with the settings above and these; in a toy at the toy's own layer."""
    made = (Variant if part else lib.EDITORS["lemoe"])(lm, **{**LEMOE, **settings})
    made.part = part
    return made


# ---- LEMoE with another router -------------------------------------------------------------------


class Variant(lib.EDITORS["lemoe"]):
    """LEMoE with one part of its router changed.

    no null   anchors without a null anchor: some expert answers every prompt
    no refit  anchors that are trained with the expert and nothing else, beside the null anchor
    """

    part = ""

    def _routing(self, state: dict, router: Any, texts: Sequence[str], calm: Tensor) -> Any:
        """The router of this part; see `Lemoe._routing`."""
        c, fit = self.config, AnchorFit(reserve=self.config.reserve)
        null, fit = {"no null": (None, fit), "no refit": (c.null * c.kappa, None)}[self.part]
        if router is None:
            scale = state["mu"], state["sigma"]
            router = routers.start(*scale, c.width, routers.D_K, c.kappa, null, c.seed)
        return Anchored(self.lm, state, router, calm, fit)


# ---- writing, and who answers --------------------------------------------------------------------


def chosen(patch: lib.Patch) -> list[int]:
    """Which expert every stored prompt is routed to now, -1: none."""
    state, (route,) = patch.memory["lemoe"], patch.routes.values()
    if "hidden" not in state:
        return route.router.choose(state["e"][state["prompt"]]).tolist()
    rows = [state["rows"][i] for i in state["row"].tolist()]
    return route.router.choose(route.router.features(state["hidden"], rows)).tolist()


def written(
    lm: lib.LM, facts: Sequence[lib.Fact], settings: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], lib.Patch]]:
    """After each batch, a call of its own: a row, and the patch.

    A row has the number of edits, the facts of the batch, and who answers which prompt so far.
    """
    settings = dict(settings)
    means = text_means(lm, [fact.text for fact in facts])  # distances need no centering
    plan = cluster_facts(means, LEMOE["batch_size"], settings.pop("order", "cluster"))
    made, patch, edits = editor(lm, order="given", **settings), lib.EMPTY, 0
    for batch in plan:
        with warnings.catch_warnings():  # misrouted facts are counted here
            warnings.simplefilter("ignore", lib.errors.EditWarning)
            patch = made.edit([facts[i] for i in batch], after=patch, check=False)
        edits += len(batch)
        yield {"edits": edits, "batch": batch, "expert": chosen(patch)}, patch


# ---- the long run --------------------------------------------------------------------------------


def line(lm: lib.LM, stream: int, name: str) -> Iterator[dict[str, Any]]:
    """The rows of one line, batch by batch, for one stream.

    Before the last batch a row has only "held", of the facts so far in the order of their batches;
    after it all facts are asked, in the order of the stream.
    """
    cases, row = streams(FACTS)[stream], {"stream": stream, "line": name}
    base = lib.baseline(lm, cases[:1], **ASKED)
    if name == "unedited":
        yield row | {"edits": 0, **by_case(lib.evaluate(lm, cases, base=base, **ASKED))}
        return
    order: list[int] = []
    for found, patch in written(lm, [case.fact for case in cases], (LINES | PUBLISHED)[name]):
        order += found["batch"]
        last = found["edits"] == len(cases)
        some = cases if last else [cases[i] for i in order]
        metrics = ASKED["metrics"] if last else []
        settings = {"events": ["generation"], "metrics": metrics, "base": base}
        yield row | found | by_case(lib.evaluate(lm, some, patch, **settings))


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Every line on three streams of facts in batches of four, stream by stream.

    The paper's LEMoE is a run of its own, which came later.
    """
    found = []
    for run, some in ("13_streams", LINES), ("13_papers", PUBLISHED):
        without = {
            name: {key: value for key, value in {**LEMOE, **more}.items() if key != "part"}
            for name, more in some.items()
        }
        lines = {name: (lib.EDITORS["lemoe"], more) for name, more in without.items()}
        settings: dict[str, Any] = {
            "cases": [[case.id for case in cases] for cases in streams(FACTS)],
            "parts": {name: more["part"] for name, more in some.items() if "part" in more},
        }
        jobs = {
            f"{i}, {name}": partial(line, lm, i, name)
            for i in range(STREAMS)
            for name in ["unedited"] * (some is LINES) + [*some]
        }
        found.append(stored_runs.long_run(lm, run, lines, jobs, **settings))
    return found
