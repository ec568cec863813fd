"""RLEdit: training the network on whole streams of edits, as a trajectory (Li et al., 2025).

When editing in a stream, a network trained on single updates of the base model meets a model that
it has changed many times. RLEdit instead uses a whole stream, called a trajectory, for one
training step. Every turn edits the model left by the preceding turns, and is judged by its own
facts and by theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch

from ..data.facts import Case
from ..patch.patch import EMPTY
from ..setting_fields import Count, Real, Size, from_paper, setting
from .hypernetwork.losses import Text
from .hypernetwork.network_file import Networks
from .hypernetwork.settings import RegressionConfig
from .hypernetwork.trainable import take
from .malmen import Malmen
from .shared.base import add_low_rank

DISCOUNT = 0.95  # γ, the weight of the previous turn's texts
REG = 1e-4  # weight of ‖ΔW‖²


@dataclass(frozen=True)
class RLEditConfig(RegressionConfig):
    """RLEdit's published settings; a trajectory has `turns` edits of `batch` facts each.

    Here `accumulate` counts trajectories, and `varied` has no effect because all turns have the
    same size. Our presets start from MALMEN's network, since trajectories are too slow for learning
    everything from them.
    """

    rank: Size | None = setting(None, published=1024)
    blocks: Size = 4
    batch: Size = 20
    group: Size = 4
    chunk: Size = 128
    loc_weight: Real = 0.6
    turns: Size = from_paper(400, "Number of edits in one trajectory.")
    window: Size = from_paper(10, "Number of most recent turns whose texts also judge a turn.")
    check_every: Size = 1
    patience: Count = 3


class RLEdit(Malmen):
    """MALMEN with its network trained on whole streams of edits, one after another."""

    name = "rledit"
    title = "RLEdit"
    paper = "Li et al., Reinforced Lifelong Editing for Language Models, 2025 (arXiv:2502.05759)"
    Config = RLEditConfig
    config: RLEditConfig

    def gradients(self, networks: Networks, cases: Sequence[Case], step: int) -> float:
        """Add up the gradients of whole trajectories and return the mean loss of a turn."""
        c, size, losses = self.config, min(self.config.batch, len(cases)), []
        for i in range(step * c.accumulate, (step + 1) * c.accumulate):
            first = i * c.turns
            turns = [take(cases, (first + j) * size, size, c.seed) for j in range(c.turns)]
            losses.append(self.trajectory(networks, turns, Random(f"{c.seed} {i}")))
        return sum(losses) / len(losses)

    def validate(self, networks: Networks, cases: Sequence[Case]) -> float:
        """Return the mean loss of a turn in one stream of cases not used for training."""
        before, size = networks.moments, self.config.batch
        turns = [cases[start : start + size] for start in range(0, len(cases), size)]
        loss = self.trajectory(networks, turns, Random("validation"), train=False)
        networks.moments = before
        return loss

    def trajectory(
        self,
        networks: Networks,
        turns: Sequence[Sequence[Case]],
        draw: Random,
        train: bool = True,
    ) -> float:
        """Return the mean loss of a turn in one stream, starting at the base model.

        The stream ends early if a loss is not finite. With train=True, the network's gradients are
        added up and clipped turn by turn.
        """
        c, patch, losses = self.config, EMPTY, []
        every = [p for net in networks.nets.values() for p in net.parameters()]
        for i, cases in enumerate(turns):
            rewordings: list[Text] = []
            unrelated: list[Text] = []
            # the turn is judged by the texts of the last `window` turns:
            # L = Σ_j γ^j (L_gen + loc·KL)(texts of turn i − j)
            for j in range(min(i + 1, c.window)):
                more = self.texts(turns[i - j], draw, DISCOUNT**j)
                rewordings, unrelated = rewordings + more[0], unrelated + more[1]
            texts = rewordings, unrelated
            seen, updates = self.learn(networks, cases, texts, patch, REG, train)
            if not seen.finite:
                break
            losses.append(seen.edit + seen.locality)
            # clip the running sum, so that late turns have no less weight than early ones
            if train:
                torch.nn.utils.clip_grad_norm_(every, c.clip)
            # the next turn edits the model left by this turn
            patch = add_low_rank(self.lm, patch, updates)
        return sum(losses) / len(losses) if losses else float("nan")
