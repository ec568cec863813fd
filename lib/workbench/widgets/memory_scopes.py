"""Two panels showing which prompts an external memory answers: GRACE's, and WISE's.

`RadiusExplorer` moves the radius of GRACE, and `ThresholdExplorer` the threshold of WISE. Both use
precomputed numbers, distances of keys and activation differences Δ, applying the library's own
rules to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...editors.grace.codebook import Codebook, Label
from ...editors.wise.route import Side
from ...errors import ArgumentError
from .. import plot
from ..plot import points as maps
from .panel import Panel, View

KINDS = {
    "edit": plot.EDITED,
    "edited": plot.EDITED,
    "rewording": plot.CYCLE[2],  # as in the figures of the notebooks
    "neighbor": plot.NEIGHBOR,
    "unrelated": plot.UNRELATED,
}


class RadiusExplorer(Panel):
    """A panel of the prompts answered by GRACE's codebook if all edits start with a given radius.

    edits    (n, d) The keys of the edits, in the order of writing them.
    labels   The label of each edit, for checking whether two edits have the same answer.
    others   {group: (m, d)}, the keys of prompts.
    owner    (m,) The number of the edit that each prompt in the group "rewording" rewords. Such a
             prompt counts as right only with that edit's label.
    radius   The initial radius.
    limit    The end of the slider.
    """

    def __init__(
        self,
        edits: Tensor,
        labels: Sequence[Label],
        others: Mapping[str, Tensor],
        owner: Tensor | None = None,
        *,
        radius: float = 1.0,
        limit: float | None = None,
    ) -> None:
        self.edits, self.labels, self.others = edits.float(), [*map(tuple, labels)], dict(others)
        self.owner = owner
        self.limit = max(2.5 * radius, 1.0) if limit is None else limit
        super().__init__(radius=radius)

    def controls(self) -> dict[str, Any]:
        import ipywidgets

        return {
            "radius": ipywidgets.FloatSlider(
                value=self.values["radius"],
                max=self.limit,
                step=self.limit / 80,
                continuous_update=False,
                description="Radius ε at the start",
            ),
        }

    def look(self, radius: float) -> View:
        """Return the scope map, and the number answered."""
        n = len(self.edits)
        book = Codebook.empty(self.edits.shape[1], 1)  # without values
        book.write(self.edits, self.labels, torch.zeros(n, 1), range(n), eps_init=radius)
        found = {group: book.lookup(keys.float()) for group, keys in self.others.items()}
        points = {g: (f.distance.tolist(), f.radius.tolist()) for g, f in found.items()}
        top = 1.15 * max(*(f.radius.max().item() for f in found.values()), 0.05 * self.limit)
        distance = "distance to the nearest key"
        figure = maps.scope_map(points, distance, "radius of that key", colors=KINDS, top=top)
        wanted = {"edit": self.labels}  # the labels that count as right
        if self.owner is not None:
            wanted["rewording"] = [self.labels[i] for i in self.owner.tolist()]
        rows = []
        for group, f in [("edit", book.lookup(self.edits)), *found.items()]:
            # the label of the entry answering each prompt; None if none does
            given = [book.labels[e] if e >= 0 else None for e in f.entry.tolist()]
            right = zip(given, wanted[group], strict=True) if group in wanted else None
            rows.append(
                {
                    "group": group,
                    "answered": sum(label is not None for label in given),
                    "with its own answer": "–" if right is None else sum(a == b for a, b in right),
                    "prompts": len(given),
                }
            )
        text = (
            f"Radius {radius:g}, with splits: {len(book)} entries with a median radius of "
            f"{book.eps.median():.2f}."
        )
        return View(figure, text, rows)


class ThresholdExplorer(Panel):
    """A panel of the prompts answered by WISE's side memories, by a fraction of their thresholds.

    route      The patch's route, a `Side`.
    scores     {group: Δ (prompts,) or (prompts, memories)}.
    act_ratio  The initial fraction, by default the route's own.

    The figure shows Δ/ε, the largest over the memories, using one line for all of them.
    """

    def __init__(
        self,
        route: Side,
        scores: Mapping[str, Any],
        act_ratio: float | None = None,
    ) -> None:
        self.route, count = route, len(route.memories)
        self.eps = torch.tensor([memory.eps for memory in route.memories])
        if not (self.eps.isfinite() & (self.eps > 0)).all():
            raise ArgumentError(
                f"Thresholds ε should be above 0, but they are {self.eps.tolist()}."
            )
        self.scores = {
            group: torch.as_tensor(found, dtype=torch.float32) for group, found in scores.items()
        }
        for group, found in self.scores.items():
            self.scores[group] = found = found[:, None] if found.ndim == 1 else found
            if found.shape[1] != count:
                raise ArgumentError(
                    f"'{group}' has scores of {found.shape[1]} memories, but there are {count}."
                )
        super().__init__(act_ratio=route.act_ratio if act_ratio is None else act_ratio)

    def controls(self) -> dict[str, Any]:
        import ipywidgets

        return {
            "act_ratio": ipywidgets.FloatSlider(
                value=self.values["act_ratio"],
                max=2.0,
                step=0.02,
                continuous_update=False,
                description="act_ratio, share of ε",
            ),
        }

    def look(self, act_ratio: float) -> View:
        """Return a row of points Δ/ε per group, the threshold, and the number routed per group."""
        rule = Side(self.route.memories, act_ratio, self.route.score, self.route.module)
        shares = {group: (found / self.eps).amax(1) for group, found in self.scores.items()}
        points = {g: (x.tolist(), [-i] * len(x)) for i, (g, x) in enumerate(shares.items())}
        figure = maps.scatter(points, "Δ/ε (1 is the threshold)", "", colors=KINDS, height=3.2)
        figure.axes[0].axvline(act_ratio, color=plot.QUIET, linestyle="--")
        figure.axes[0].set(yticks=[], ylim=(0.5 - len(shares), 0.5))
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
        counts = ", ".join(f"{r['group']} {r['routed']} of {r['prompts']}" for r in rows)
        return View(
            figure,
            f"act_ratio {act_ratio:g}: a memory answers from its Δ = {limits} on. {counts}.",
            rows,
        )
