"""What WISE trains on: one fact's rows behind a side memory, and texts that it must leave alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from . import inside
from .facts import encode_prompt, encode_target
from .lm import LM
from .replay import Replay
from .side import ActivationDifference, hinges


class Step(NamedTuple):
    """The two parts of one step's loss, and Δ (n,) of the fact's own rows."""

    answer: Tensor
    margin: Tensor
    delta: Tensor


@dataclass
class Texts:
    """Inputs and outputs of a module at the counted tokens of some texts, read one text at a time.

    One by one, so that a text's numbers do not depend on the texts beside it, not in the last bit:
    a stream that goes on from a file is the stream that was never interrupted. Kept from call to
    call as long as the weights are the same.
    """

    lm: LM
    module: str
    score: ActivationDifference
    kept: dict[tuple[int, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def delta(self, tau: Tensor, rows: list[list[int]]) -> Tensor:
        """Δ (n,) of rows of ids under τ; differentiable."""
        pairs = [self._pair(tuple(row)) for row in rows]
        a, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        each = self.score.tokens(a.to(tau) @ tau.T, y)
        sizes = [len(pair[0]) for pair in pairs]
        return torch.stack([part.mean() for part in each.split(sizes)])

    def output_norm(self, rows: list[list[int]]) -> float:
        """Mean over texts of the mean ‖W a‖: the unit of the margins."""
        norms = [self._pair(tuple(row))[1].norm(dim=1).mean() for row in rows]
        return torch.stack(norms).mean().item()

    def _pair(self, ids: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        if ids not in self.kept:
            skip = int(self.score.pool == "mean" and len(ids) > 1 and ids[0] == self.score.bos)
            with torch.no_grad():
                a = inside.inputs(self.lm, [list(ids)], [self.module], skip)[self.module]
                self.kept[ids] = a.float(), self.lm.output(self.module, a)
        return self.kept[ids]


class Lesson:
    """One fact to train: its rows behind the side memory, captured once, and what they must say.

    own      (prompt, target) of the fact under each template; their rows stand first
    earlier  (prompt, target) of facts trained along
    start    the block from which on the model runs again: everything below is constant, and so is
             the side memory's own input. The block above it, or its own where a norm follows the
             MLP, which makes the block's output nonlinear in W
    margins  α, β, γ in units of `unit`, in which Δ is measured by the loss too: the two parts of
             the loss are then of one size whatever the model's own outputs are
    past     prompts of other memories, whose Δ here must stay under α (L_memo, with `held`)
    held     prompts of this memory, whose Δ must stay over β
    """

    def __init__(
        self,
        texts: Texts,
        start: int,
        own: Sequence[tuple[str, str]],
        earlier: Sequence[tuple[str, str]],
        irrelevant: list[list[int]],
        margins: tuple[float, float, float],
        unit: float = 1.0,
        target_eos: bool = False,
        past: list[list[int]] | None = None,
        held: list[list[int]] | None = None,
    ) -> None:
        self.lm, self.texts, self.irrelevant = texts.lm, texts, irrelevant
        self.past, self.held = past or [], held or []
        self.margins, self.unit = margins, unit
        lm, tokenizer, score, self.own = texts.lm, texts.lm.tokenizer, texts.score, len(own)
        rows, self.labels, starts = [], [], []
        for text, target in [*own, *earlier]:
            prompt, answer = encode_prompt(tokenizer, text), encode_target(tokenizer, target)
            answer += [tokenizer.eos_token_id] if target_eos else []
            # the last answer token is no input; the published Δ counts it all the same
            rows.append(prompt + (answer if score.pool == "row" else answer[:-1]))
            self.labels.append(answer)
            starts.append(len(prompt))
        with torch.no_grad():
            behind = [len(row) - s for row, s in zip(rows, starts, strict=True)]
            self.replay = Replay(lm, rows, start, watch=[texts.module], behind=behind)
        self.inputs, self.output = self.replay.seen[texts.module]
        self.counted = score.counted(self.replay.seqs)
        self.places = [
            (i, s - 1 + j) for i, s in enumerate(starts) for j in range(len(self.labels[i]))
        ]

    def step(self, tau: Tensor) -> Step:
        """Loss parts at τ, differentiable: answers by every row through W′, and the margins."""
        delta = self.delta(tau)
        outside = self.texts.delta(tau, self.irrelevant)
        margin = sum(hinges(delta / self.unit, outside / self.unit, *self.margins))
        margin = margin + self.remembered(tau)
        return Step(self.answer(tau), margin, delta)

    def remembered(self, tau: Tensor) -> Tensor | float:
        """L_memo = Σ max(0, Δ(x_past) − α) + Σ max(0, β − Δ(x_held)), in units; 0 without any."""
        alpha, beta, _ = self.margins
        loss = 0.0
        if self.past:
            loss = loss + (self.texts.delta(tau, self.past) / self.unit - alpha).clamp(min=0).sum()
        if self.held:
            loss = loss + (beta - self.texts.delta(tau, self.held) / self.unit).clamp(min=0).sum()
        return loss

    def delta(self, tau: Tensor) -> Tensor:
        """Δ (rows,) of the prompts under τ."""
        return self.texts.score.rows(tau, self.inputs, self.output, self.counted)

    def answer(self, tau: Tensor) -> Tensor:
        """Mean NLL of the fact's rows, each a mean over its answer, plus that of earlier facts."""
        which, column = zip(*self.places, strict=True)
        log_probs = self.lm.head(self._states(tau)[list(which), list(column)]).log_softmax(-1)
        labels = torch.tensor(sum(self.labels, []), device=log_probs.device)
        old = len(self.labels) - self.own
        share = torch.tensor(
            [1 / len(self.labels[i]) / (self.own if i < self.own else old) for i in which],
            device=log_probs.device,
        )
        return -(log_probs.gather(1, labels[:, None])[:, 0] * share).sum()

    def _states(self, tau: Tensor) -> Tensor:
        lm, replay = self.lm, self.replay
        if lm.arch.post_norm:
            with lm.bind({self.texts.module: lm.weight(self.texts.module) + tau}):
                return replay.run(replay.hidden)
        # h′ = h + τ a: the block adds what its MLP puts out to the stream
        moved = (self.inputs.float() @ tau.T).to(replay.hidden.device)
        return replay.run((replay.hidden.float() + moved).to(replay.hidden.dtype))
