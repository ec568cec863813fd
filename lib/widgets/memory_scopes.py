"""Two panels show which prompts a memory beside the weights answers: GRACE's, and WISE's.

`RadiusExplorer` moves the radius of GRACE, and `ThresholdExplorer` the threshold of WISE. Both work
on numbers that were read once, distances of keys and activation differences Δ, to which they apply
the library's own rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from .. import plot
from ..data.facts import encode_prompt
from ..editors.grace.codebook import Codebook, Found, Label
from ..editors.wise.side_memory import Side
from ..editors.wise.training import IrrelevantTexts
from ..model.lm import LM
from ..patch.patch import Patch
from ..plot import points as maps
from .panel import Control, Panel, View, between, one_of

KINDS = {
    "edit": plot.EDITED,
    "edited": plot.EDITED,
    "rewording": plot.CYCLE[0],  # as in the figures of the notebooks
    "neighbor": plot.NEIGHBOR,
    "unrelated": plot.UNRELATED,
}


class RadiusExplorer(Panel):
    """A panel of the prompts that GRACE's codebook answers if all edits begin with a given radius.

    edits    (n, d) The keys of the edits, in the order in which they are written.
    labels   The label of each edit, which tells whether two edits have the same answer.
    others   {group: (m, d)}, the keys of prompts.
    owner    (m,) The number of the edit that each prompt in the group "rewording" rewords. Such a
             prompt counts as right with that edit's label alone.
    radius   The radius at the beginning.
    rule     The rule at the beginning, one of RULES.
    limit    The end of the slider.
    prompts  {group: [text]}, to name a few prompts that are answered.
    """

    LABELS = {"radius": "Radius ε at the start", "rule": "Rule"}
    RULES = ("with splits", "one radius")
    radius = traitlets.Float(1.0)
    rule = traitlets.Unicode("with splits")

    def __init__(
        self,
        edits: Tensor,
        labels: Sequence[Label],
        others: Mapping[str, Tensor],
        owner: Tensor | None = None,
        *,
        radius: float = 1.0,
        rule: str = "with splits",
        limit: float | None = None,
        prompts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.edits, self.labels, self.others = edits.float(), [*map(tuple, labels)], dict(others)
        self.owner, self.prompts = owner, dict(prompts or {})
        if not len(self.edits) == len(self.labels) > 0:
            raise ValueError(f"there are {len(self.edits)} keys of edits and {len(labels)} labels")
        if not self.others:
            raise ValueError("there is no group of prompts to ask about")
        for group, keys in self.others.items():
            if keys.shape[1:] != self.edits.shape[1:]:
                raise ValueError(f"the keys of '{group}' are not as wide as those of the edits")
        self.limit = max(2.5 * radius, 1.0) if limit is None else limit
        super().__init__(radius=radius, rule=rule)

    @traitlets.validate("radius")
    def _possible(self, proposal: Any) -> float:
        return between(proposal["value"], 0, self.limit, "the radius")

    @traitlets.validate("rule")
    def _known(self, proposal: Any) -> str:
        return one_of(proposal["value"], self.RULES, "the rule")

    def controls(self) -> dict[str, Control]:
        """A slider over radii, and a list of the two rules."""
        slider = {
            "min": 0.0,
            "max": self.limit,
            "step": self.limit / 80,
            "readout_format": ".2f",
            "continuous_update": False,
        }
        return {
            "radius": ("FloatSlider", slider),
            "rule": ("Dropdown", {"options": self.RULES}),
        }

    def book(self) -> Codebook:
        """The codebook of the present radius and rule, without values."""
        values = self.radius, self.rule
        if values not in self._kept:
            n = len(self.edits)
            if self.rule == "one radius":
                K, eps = self.edits.T.contiguous(), torch.full((n,), self.radius)
                book = Codebook(K, torch.zeros(1, n), eps, self.labels, [(i,) for i in range(n)])
            else:
                book = Codebook.empty(self.edits.shape[1], 1)
                book.write(
                    self.edits, self.labels, torch.zeros(n, 1), range(n), eps_init=self.radius
                )
            self._kept[values] = book
        return self._kept[values]

    def look(self) -> View:
        """The scope map, or the distances alone with one radius, and the number answered."""
        book = self.book()
        found = {group: book.lookup(keys.float()) for group, keys in self.others.items()}
        figure = self._draw(found)
        held = book.lookup(self.edits).entry.tolist()
        own = sum(e >= 0 and book.labels[e] == y for e, y in zip(held, self.labels, strict=True))
        rows = [_row("edit", sum(e >= 0 for e in held), own, len(held))]
        for group, f in found.items():
            entries, own = f.entry.tolist(), "–"
            if group == "rewording" and self.owner is not None:
                wanted = [self.labels[i] for i in self.owner.tolist()]
                own = sum(
                    e >= 0 and book.labels[e] == y for e, y in zip(entries, wanted, strict=True)
                )
            rows.append(_row(group, sum(e >= 0 for e in entries), own, len(entries)))
        text = (
            f"Radius {self.radius:g}, {self.rule}: {len(book)} entries with a median radius of "
            f"{book.eps.median():.2f}."
        )
        named = [
            f"'{self.prompts[group][i]}' ({group})"
            for group, f in found.items()
            for i in (f.entry >= 0).nonzero()[:2, 0].tolist()
            if group in self.prompts
        ]
        text += f" Answered are for example {', '.join(named)}." if named else ""
        return View(figure, text, rows)

    def _draw(self, found: Mapping[str, Found]) -> Figure:
        """A histogram where all keys have one radius, otherwise distance against radius."""
        distance = "distance to the nearest key"
        if self.rule == "one radius":
            distances = {group: f.distance.tolist() for group, f in found.items()}
            marks = {f"radius {self.radius:g}": self.radius}
            return plot.histogram(distances, distance, bins=30, marks=marks, colors=KINDS)
        points = {g: (f.distance.tolist(), f.radius.tolist()) for g, f in found.items()}
        top = 1.15 * max(*(f.radius.max().item() for f in found.values()), 0.05 * self.limit)
        return maps.scope_map(points, distance, "radius of that key", colors=KINDS, top=top)


class ThresholdExplorer(Panel):
    """A panel of the prompts that WISE's side memories answer, by a share of their thresholds.

    route      The patch's route, a `Side`.
    scores     {group: Δ (prompts,) or (prompts, memories)}; `read` gets them from the model.
    act_ratio  The share at the beginning, by default the route's own.
    limit      The end of the slider.

    The figure shows Δ/ε, the largest over the memories, so that one line serves them all.
    """

    LABELS = {"act_ratio": "act_ratio, share of ε"}
    act_ratio = traitlets.Float(1.0)

    def __init__(
        self,
        route: Side,
        scores: Mapping[str, Any],
        act_ratio: float | None = None,
        limit: float = 2.0,
    ) -> None:
        self.route, self.limit, count = route, limit, len(route.memories)
        self.eps = torch.tensor([memory.eps for memory in route.memories])
        if not (self.eps.isfinite() & (self.eps > 0)).all():
            raise ValueError(f"thresholds ε should be above 0, and they are {self.eps.tolist()}")
        self.scores = {
            group: torch.as_tensor(found, dtype=torch.float32) for group, found in scores.items()
        }
        for group, found in self.scores.items():
            self.scores[group] = found = found[:, None] if found.ndim == 1 else found
            if found.shape[1] != count:
                raise ValueError(
                    f"'{group}' has scores of {found.shape[1]} memories, and there are {count}"
                )
        if not self.scores:
            raise ValueError("there is no group of prompts to ask about")
        super().__init__(act_ratio=route.act_ratio if act_ratio is None else act_ratio)

    @classmethod
    def read(cls, lm: LM, patch: Patch, groups: Mapping[str, Sequence[str]]) -> ThresholdExplorer:
        """The explorer of a patch of WISE, with Δ of {group: [prompt]} read from the model.

        Raises ValueError unless the patch has one route of side memories.
        """
        found = {name: route for name, route in patch.routes.items() if isinstance(route, Side)}
        if len(found) != 1:
            raise ValueError(f"the patch has {len(found)} routes of side memories, not one")
        ((module, route),) = found.items()
        others = {name: one for name, one in patch.routes.items() if name != module}
        # Δ is read below the route itself, with all other routes of the patch in place
        texts, scores = IrrelevantTexts(lm, module, route.score), {}
        with lm.patched(replace(patch, routes=others), only=True), torch.no_grad():
            for group, some in groups.items():
                rows = [encode_prompt(lm.tokenizer, text) for text in some]
                each = [texts.delta(m.tau.to(lm.device), rows).cpu() for m in route.memories]
                scores[group] = torch.stack(each, 1)
        return cls(route, scores)

    @traitlets.validate("act_ratio")
    def _possible(self, proposal: Any) -> float:
        return between(proposal["value"], 0, self.limit, "act_ratio")

    def controls(self) -> dict[str, Control]:
        """A slider over shares."""
        slider = {"min": 0.0, "max": self.limit, "step": 0.02, "continuous_update": False}
        return {"act_ratio": ("FloatSlider", slider)}

    def look(self) -> View:
        """Histograms of Δ/ε with the threshold, and the number of each group that is routed."""
        rule = Side(self.route.memories, self.act_ratio, self.route.score, self.route.module)
        shares = {group: (found / self.eps).amax(1) for group, found in self.scores.items()}
        figure = plot.histogram(
            {group: found.tolist() for group, found in shares.items()},
            "Δ/ε, how far the memory moves the output (1 is its threshold)",
            bins=30,
            marks={f"act_ratio {self.act_ratio:g}": self.act_ratio},
            colors=KINDS,
        )
        rows = [
            {
                "group": group,
                "routed": int((rule.choose(found) >= 0).sum()),
                "prompts": len(found),
                "median Δ/ε": shares[group].median().item(),
            }
            for group, found in self.scores.items()
        ]
        limits = ", ".join(f"{x:.3g}" for x in rule.thresholds().tolist())
        limits += " (one per memory)" if len(self.eps) > 1 else ""
        text = f"act_ratio {self.act_ratio:g}: a prompt goes to a memory from Δ = {limits} on. "
        text += ", ".join(f"{r['group']} {r['routed']} of {r['prompts']}" for r in rows) + "."
        return View(figure, text, rows)


def _row(group: str, answered: int, own: int | str, prompts: int) -> dict[str, object]:
    """A row of the radius explorer's table."""
    return {"group": group, "answered": answered, "with its own answer": own, "prompts": prompts}
