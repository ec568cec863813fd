"""UltraEdit: edits forever, with no training, no subject and no stored facts (Gu et al., 2025).

A call of `edit` is one turn. One forward and backward pass gives the keys k and output gradients g
of the turn's answer tokens. Both are standardized using the moments of everything seen so far. Each
key requires a shift of the output, and one ridge regression writes all shifts.

`turn` and `solve` are the published method. The rest is ours: several passes of one turn, the keys
of earlier turns, and moments before the first turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .. import associative_memory as memory
from .. import distributed
from ..cancellation import steps
from ..computed_once import CachedTensors
from ..data.facts import Fact
from ..errors import EditError
from ..keys_values import answer_gradients
from ..keys_values.running_moments import KeyGradientMoments
from ..keys_values.second_moment import second_moment, stored_moments
from ..patch.patch import EMPTY, Patch
from ..setting_fields import Amount, Count, Real, from_paper, ours
from .shared import warmup_moments
from .shared.base import Editor, add_low_rank
from .shared.config import Config
from .shared.shared_settings import EndOfText, GradientSettings


@dataclass(frozen=True)
class UltraEditConfig(GradientSettings, EndOfText, Config):
    """Settings of UltraEdit."""

    eta: Real | None = from_paper(
        None,
        "The paper's learning rate η; if it is given, it is used instead of `step`.",
        published=1e-6,
    )
    ridge: Amount = from_paper(1.0, "Ridge λ of the regression.")
    whiten: Literal["gradient"] | None = from_paper(
        None,
        "Whether gradients are standardized along all their directions, as in StableEdit, or each "
        "unit by itself.",
    )

    # options of ours: single facts, small models, facts of earlier turns

    step: Real = ours(
        0.015, "Learning rate times the length of a key, the same for models of any width."
    )
    warmup: Literal["statistics", "none"] = ours(
        "statistics",
        "Whether empty moments are filled using fixed texts that are not edited; without them a "
        "single row standardizes to nothing, so that a single fact is not edited.",
        published="none",
    )
    strength: Amount = ours(
        0.0, "Weight of general text in the regression, as MEMIT's λ, for output projections only."
    )
    keep_keys: bool = ours(
        False,
        "Whether outputs at the keys of earlier turns should stay; the memory for it is bounded.",
    )
    repeat: Count = ours(
        1,
        "Maximum number of passes over a turn, each on the result of the last, until every answer "
        "is the argmax.",
    )
    few: tuple[Real, Count] | None = ours(
        None,
        "Step and passes of a turn of at most `group` facts, whose neighbors would otherwise "
        "change too much by a step for a hundred.",
    )


class UltraEdit(Editor[UltraEditConfig]):
    """Standardized keys and gradients, one ridge regression per turn, moments kept for life.

    If the model already knows a fact, its gradients are small. They still change the weights a
    little, because gradients are centered.
    """

    name = "ultraedit"
    title = "UltraEdit"
    paper = "Gu et al., UltraEdit: Training-, Subject- and Memory-Free, 2025 (arXiv:2505.14679)"
    speed = "fast"

    def statistics(self, after: Patch = EMPTY) -> list[CachedTensors]:
        """Return the first moments, and C of the edited layers if `strength` weighs it.

        Raises EditError when weighing any other module, because C belongs to output projections.
        """
        found = list(self.warm(after.memory.get(self.name, {})).values())
        down, gate, up = self.config.edited_layers(self.lm)
        if not self.config.strength:
            return found
        if gate or up:
            raise EditError(
                "strength is for output projections. Edit `down` alone, or set it to 0."
            )
        return [*found, *stored_moments(self.lm, down, None, None).values()]

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write one turn, with up to `repeat` passes until every answer is right."""
        c = self.config
        # a small turn may use another step and more passes
        step, passes = c.step if c.eta is None else None, c.repeat
        if c.few and len(facts) <= c.group:
            step, passes = c.few
        earlier = after.memory.get(self.name, {}).get("keys", {}) if c.keep_keys else {}
        metrics: dict[str, memory.Moment | None] = {}  # filled by the first pass, for all of them
        for left in reversed(range(max(1, passes))):
            after = self.turn(facts, after, step, earlier, metrics)
            if left and not self.unsaid(facts, after):
                break
        return after

    def turn(
        self,
        facts: list[Fact],
        after: Patch,
        step: float | None,
        earlier: Mapping[str, Tensor],
        metrics: dict[str, memory.Moment | None],
    ) -> Patch:
        """Return `after` with one pass over the facts written into all modules.

        step     learning rate times the length of a key, or None for the settings' eta
        earlier  {module: (d_in, m) keys of earlier turns}
        metrics  {module: the ridge with these keys in it}, filled here if it is missing
        """
        lm, c, shapes = self.lm, self.config, self.modules()
        # read keys and gradients of all modules
        with lm.patched(after, only=True):
            found = answer_gradients.read(
                lm, facts, list(shapes), c.group, c.reduction, c.target_eos, on_device=True
            )
        found = {name: pair.nonzero() for name, pair in found.items()}
        # include them all in the moments before standardizing anything
        state = after.memory.get(self.name, {})
        moments = {}
        for shape, both in self.start(state).items():
            same = [pair for name, pair in found.items() if shapes[name] == shape]
            moments[shape] = both.to(same[0].K.device).merge(same)
        # then solve every module separately
        updates = {}
        for name, pair in steps(found.items(), "matrices solved"):
            if name not in metrics:
                metrics[name] = self.metric(name, earlier.get(name), pair.K)
            if pair.K.shape[1]:
                updates[name] = self.solve(pair, moments[shapes[name]], step, metrics[name])
        states = {_name(shape): both.state() for shape, both in moments.items()}
        state = {**state, "turns": state.get("turns", 0) + 1, "warmup": c.warmup, "moments": states}
        if c.keep_keys:
            state["keys"] = {name: _join(earlier.get(name), pair.K) for name, pair in found.items()}
        return add_low_rank(lm, after, updates, memory={**after.memory, self.name: state})

    def metric(self, name: str, earlier: Tensor | None, K: Tensor) -> memory.Moment | None:
        """Return λI + strength·C + Σ kkᵀ over earlier keys, or None for only λI, as published.

        The result is on K's device.
        """
        c = self.config
        if not c.strength and earlier is None:
            return None
        M = c.ridge * torch.eye(len(K), dtype=torch.float64, device=K.device)
        if c.strength:
            i = {self.lm.mlp_out(i): i for i in c.edited_layers(self.lm)[0]}[name]
            known = self.lm.once(
                (stored_moments(self.lm, [i], None, None)[i], c.ridge, c.strength, K.device),
                lambda: memory.Moment(M + c.strength * second_moment(self.lm, [i])[i].C.to(M)),
            )
            if earlier is None:
                return known
            M = known.C
        return memory.Moment(M + earlier.to(M) @ earlier.to(M).T)

    def solve(
        self,
        pair: answer_gradients.KeyGradients,
        moments: KeyGradientMoments,
        step: float | None,
        metric: memory.Moment | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return ΔW = V Kᵀ (K Kᵀ + λI)⁻¹ as factors, with the shifts V = −η ‖k̂‖² ĝ (d_out, n).

        If metric is given, it replaces λI. All processes get the factors of the first process, with
        the same bits even if devices differ, preventing their weights from diverging.
        """
        config, K = self.config, pair.K.double()
        eta = config.eta if step is None else step / len(K)
        # each key requires a shift of the output, v = −η ‖k̂‖² ĝ
        k_hat, g_hat = moments.standardize(pair)
        V = (-eta * k_hat.square().sum(0) * g_hat).to(K.device)
        # one regression solves for all of them
        B = memory.reach(K, metric, config.ridge if metric is None else 1.0)
        return distributed.of_first(V.float()), distributed.of_first(B.float())

    def start(self, state: Mapping[str, Any]) -> dict[tuple[int, int], KeyGradientMoments]:
        """Return {shape: its moments}, from the patch, or from warm-up texts at the first turn."""
        warm, found = self.warm(state), {}
        for shape in dict.fromkeys(self.modules().values()):
            kept = state.get("moments", {}).get(_name(shape))
            if kept is not None:
                found[shape] = KeyGradientMoments.load(kept)
            elif shape in warm:
                found[shape] = warmup_moments.loaded(warm[shape].tensors())
            else:
                found[shape] = KeyGradientMoments.empty(*shape, self.config.whiten == "gradient")
        return found

    def warm(self, state: Mapping[str, Any]) -> dict[tuple[int, int], CachedTensors]:
        """Return {shape: moments of warm-up texts} for all shapes without moments in the patch."""
        c, shapes = self.config, self.modules()
        given = c.group, c.reduction, c.whiten == "gradient"
        return {
            shape: warmup_moments.stored(
                self.lm, [name for name in shapes if shapes[name] == shape], *given
            )
            for shape in dict.fromkeys(shapes.values())
            if c.warmup == "statistics" and _name(shape) not in state.get("moments", {})
        }

    def modules(self) -> dict[str, tuple[int, int]]:
        """Return {edited module: (d_in, d_out)}."""
        return answer_gradients.mlp_modules(self.lm, *self.config.edited_layers(self.lm))


def _join(old: Tensor | None, K: Tensor) -> Tensor:
    """Return kept keys and those of a turn, as in `memory.compressed`, float32 on the CPU."""
    K = K.cpu()
    return memory.compressed(K if old is None else torch.cat([old, K], 1))


def _name(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"
