"""`InterferenceExplorer` shows the effect that an edit of one fact has on another fact.

The share ρ of the edit that lands on the other fact's key is known before the edit is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import memory
from ..data.facts import Fact, lookup
from ..model.lm import LM
from ..patch.patch import EMPTY
from ..plot import points
from ..registry import EDITORS
from .panel import Panel, View

MOST = 5  # rows of the table after the watched fact


class _Landed(NamedTuple):
    """The effect of one edit at every fact.

    predicted  (n,) The share of its residual at the fact's key in %, before the edit.
    measured   (n,) The same in the patched model.
    change     (n,) The change of log p of the fact's answer, in nats.
    """

    predicted: Tensor
    measured: Tensor
    change: Tensor


class InterferenceExplorer(Panel):
    """A panel to choose the fact to edit and the fact to watch.

    On the left are the whitened keys in the plane that they span, in units of the edited one's
    length; the foot of key j falls at ρ(i, j). On the right is the change that the edit makes at
    every fact's key, predicted before it (ΔW k) and measured in the patched model.

    facts    The facts to choose from.
    edited   The place in `facts` of the fact to edit, i.
    watched  The place in `facts` of the fact to watch, j.
    editor   An editor that writes one fact into its one layer and has `update`; by default ROME.
    """

    def __init__(
        self,
        lm: LM,
        facts: Sequence[Fact],
        edited: int = 0,
        watched: int = 1,
        editor: Any = None,
    ) -> None:
        self.lm, self.facts = lm, list(facts)
        self.editor = EDITORS["rome"](lm) if editor is None else editor
        if not hasattr(self.editor, "update"):
            raise ValueError(f"{self.editor.name} does not say beforehand what it will add")
        self.layer, subjects = self.editor.config.layer, [fact.subject for fact in self.facts]
        self.names = [
            fact.subject if subjects.count(fact.subject) == 1 else fact.text for fact in self.facts
        ]
        self.answers = [fact.target_true or fact.target_new for fact in self.facts]
        self._landed: dict[int, _Landed] = {}
        super().__init__(edited=edited, watched=watched)

    def controls(self) -> dict[str, Any]:
        import ipywidgets

        options = [(name, i) for i, name in enumerate(self.names)]
        labels = {"edited": "Edit i", "watched": "Watch j"}
        return {
            name: ipywidgets.Dropdown(options=options, value=self.values[name], description=label)
            for name, label in labels.items()
        }

    @cached_property
    def K(self) -> Tensor:
        """(d_in, n) keys in float64: ρ of nearly orthogonal keys loses digits in float32."""
        return self.lm.keys(self.facts, self.layer).cpu().double()

    def look(self, edited: int, watched: int) -> View:
        """The keys of the pair, and predicted against measured changes of all facts."""
        i, j = edited, watched
        if i == j:
            raise ValueError(f"choose two different facts: '{self.names[i]}' hears itself whole")
        moment = self.editor.moment(self.layer)
        every = memory.interference(self.K, moment)
        q = (self.K * memory.whiten(self.K, moment)).sum(0)
        if i not in self._landed:
            self._landed[i] = self._measure(i)
        landed = self._landed[i]
        rho, back = every[i, j].item(), every[j, i].item()
        length = (q[j] / q[i]).sqrt().item()
        angle = math.degrees(math.acos(max(-1.0, min(1.0, rho / length))))
        # the watched fact is drawn apart from all others, and the table lists the five most moved
        others = [n for n in range(len(self.facts)) if n not in (i, j)]
        shares = landed.predicted, landed.measured
        figure = points.overlap(
            rho,
            length,
            (self.names[i], self.names[j]),
            {
                "watched": ([shares[0][j].item()], [shares[1][j].item()]),
                "other facts": (shares[0][others].tolist(), shares[1][others].tolist()),
            },
        )
        most = sorted(others, key=lambda n: -landed.predicted[n].item())[:MOST]
        rows = [
            {
                "fact": self.names[n],
                "ρ(i, j)": every[i, n].item(),
                "predicted (%)": landed.predicted[n].item(),
                "measured (%)": landed.measured[n].item(),
                "change of log p (nats)": landed.change[n].item(),
            }
            for n in [j, *most]
        ]
        text = (
            f"Layer {self.layer}: ρ(i, j) = {rho:.3f} and ρ(j, i) = {back:.3f}, whitened keys "
            f"{angle:.0f}° apart. Writing '{self.names[i]}' moves the layer's output at "
            f"'{self.names[j]}' by {landed.predicted[j]:.1f} % of what it writes (predicted) and "
            f"{landed.measured[j]:.1f} % (measured); log p of '{self.answers[j].strip()}' there "
            f"changes by {landed.change[j]:+.3f} nats. "
        )
        if abs(landed.predicted[j] - 100 * abs(rho)) > 1:
            text += "(The editor writes at more keys than i alone, so the share is not quite |ρ|.) "
        text += "First in the table is j, then whom the edit moves most."
        return View(figure, text, rows)

    def _measure(self, i: int) -> _Landed:
        """The effect of one edit at every key; the model runs twice."""
        lm, module, fact = self.lm, self.lm.mlp_out(self.layer), self.facts[i]
        update, _ = self.editor.update(fact)
        predicted = memory.change(tuple(part.double() for part in update), self.K)  # (d_out, n)
        patch = self.editor.edit([fact])
        texts = [one.text for one in self.facts]
        rows = [ids[: at + 1] for ids, at in (lookup(lm.tokenizer, one) for one in self.facts)]
        found = []
        for held in (EMPTY, patch):
            with lm.patched(held, only=True):
                out = lm.run(rows, watch=[module]).seen[module][1][:, -1].double().cpu()  # (n, d)
                scores = torch.stack([x.sum() for x in lm.score(texts, self.answers)])
                found.append((out, scores.cpu()))
        (before, old), (after, new) = found
        whole = predicted[:, i].norm()
        shares = predicted.norm(dim=0), (after - before).norm(dim=1)
        there, moved = (100 * share / whole for share in shares)
        return _Landed(there, moved, new - old)
