"""Training of WISE's side memory on one fact, beside texts that the memory must leave alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ...keys_values.second_moment import second_moment
from ...model import activations
from ...model.answer_rows import AnswerRows
from ...model.lm import LM
from ...model.partial_forward import Replay
from ...model.sequences import Counted
from .side_memory import ActivationDifference, hinges


class Step(NamedTuple):
    """The loss of one step in two parts.

    answer  NLL of the answers
    margin  how far Δ is on the wrong side of its margins
    delta   (rows,): Δ of all rows, the fact's own first
    """

    answer: Tensor
    margin: Tensor
    delta: Tensor


@dataclass
class IrrelevantTexts:
    """Inputs and outputs of a module at the counted tokens of some texts, read one text at a time.

    A text is read alone so that its numbers do not depend on the texts beside it, not even in the
    last bit: a stream that goes on from a file is then the same as one that was never interrupted.

    lm      the model, which must run on the same weights at every call
    module  the linear module that has the side memory
    score   how Δ is measured
    kept    what was read: ids of a text -> inputs (n, d_in) and outputs (n, d_out)
    white   the last result of `whitening`
    """

    lm: LM
    module: str
    score: ActivationDifference
    kept: dict[tuple[int, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)
    white: Tensor | None = None

    def whitening(self, layer: int, damping: float) -> Tensor:
        """C⁻¹ · (mean eigenvalue of C), (d_in, d_in) float32, made once.

        C is the damped second moment of what the layer's MLP output reads on general text. Beside
        this matrix a step moves what tells a prompt from other texts, and hardly what all texts
        share. A direction of the mean eigenvalue keeps about its length; a rare one is made longer,
        at most by one over the damping.
        """
        if self.white is None:
            C = second_moment(self.lm, [layer], damping=damping)[layer]
            mean = C.C.diagonal().mean() / (1 + damping)
            white = (torch.cholesky_inverse(C.factor) * mean).float()
            self.white = white.to(self.lm.weight(self.module).device)
        return self.white

    def delta(self, tau: Tensor, rows: list[list[int]]) -> Tensor:
        """Δ (n,) of rows of ids under τ; differentiable."""
        pairs = [self._pair(tuple(row)) for row in rows]
        a, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        each = self.score.tokens(a.to(tau) @ tau.T, y.to(tau))
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
                a = activations.module_inputs(self.lm, [list(ids)], [self.module], skip)[
                    self.module
                ]
                self.kept[ids] = a.float(), self.lm.output(self.module, a)
        return self.kept[ids]


class FactTraining:
    """One fact to train: its rows, captured once, and all that the loss of a side memory compares.

    layer    the layer whose `mlp_out` has the side memory; everything below it is constant, and so
             is the side memory's own input
    own      (prompt, target) of the fact under each template; their rows stand first
    earlier  (prompt, target) of facts trained along
    margins  α, β, γ in units of `unit`, in which Δ is measured by the loss too: the two parts of
             the loss are then of one size whatever the model's own outputs are
    past     prompts of other memories, whose Δ here must stay under α (L_memo, with `held`)
    held     prompts of this memory, whose Δ must stay over β
    forms    rows of the fact in its forms of conversation, which stand behind those of `own`
    """

    def __init__(
        self,
        texts: IrrelevantTexts,
        layer: int,
        own: Sequence[tuple[str, str]],
        earlier: Sequence[tuple[str, str]],
        irrelevant: list[list[int]],
        margins: tuple[float, float, float],
        unit: float = 1.0,
        target_eos: bool = False,
        past: list[list[int]] | None = None,
        held: list[list[int]] | None = None,
        forms: AnswerRows | None = None,
    ) -> None:
        self.lm, self.texts, self.irrelevant = texts.lm, texts, irrelevant
        forms = AnswerRows([], []) if forms is None else forms
        self.past, self.held = past or [], held or []
        self.margins, self.unit = margins, unit
        lm, score = texts.lm, texts.score
        self.plain, self.own = len(own), len(own) + len(forms)
        # the last answer token predicts nothing; the published Δ counts it all the same
        whole = score.pool == "row"
        self.rows = AnswerRows.of(lm.tokenizer, own, target_eos, read_whole=whole).plus(forms)
        self.rows = self.rows.plus(AnswerRows.of(lm.tokenizer, earlier, target_eos))
        with torch.no_grad():
            self.replay = Replay.at_mlp(
                lm, self.rows.ids, layer, watch=[texts.module], behind=self.rows.behind
            )
        self.inputs, output = self.replay.seen[texts.module]
        # the tokens that Δ is a mean over, and what the module reads and puts out there
        self.counted = Counted(score.counted(self.replay.seqs))
        self.read, self.said = self.counted.values(self.inputs), self.counted.values(output)
        self.labels = self.replay.labels(self.rows)
        # the mean of the fact's own rows, plus the mean of the earlier facts' rows
        sizes = torch.where(self.rows.labels[0] < self.own, self.own, max(1, len(earlier)))
        self.share = (self.rows.share / sizes).float().to(self.replay.device)

    def step(self, tau: Tensor) -> Step:
        """Loss parts at τ, differentiable: answers by every row through W′, and the margins."""
        delta = self.delta(tau)
        outside = self.texts.delta(tau, self.irrelevant)
        parts = hinges(delta / self.unit, outside / self.unit, *self.margins)
        margin = cast(Tensor, sum(parts)) + self.remembered(tau)
        return Step(self.answer(tau), margin, delta)

    def remembered(self, tau: Tensor) -> Tensor | float:
        """L_memo = Σ max(0, Δ(x_past) − α) + Σ max(0, β − Δ(x_held)), in units; 0 without any."""
        alpha, beta, _ = self.margins
        loss: Tensor | float = 0.0
        if self.past:
            loss = loss + (self.texts.delta(tau, self.past) / self.unit - alpha).clamp(min=0).sum()
        if self.held:
            loss = loss + (beta - self.texts.delta(tau, self.held) / self.unit).clamp(min=0).sum()
        return loss

    def delta(self, tau: Tensor) -> Tensor:
        """Δ (rows,) of the prompts under τ."""
        return self.texts.score.rows(tau, self.read, self.said, self.counted)

    def answer(self, tau: Tensor) -> Tensor:
        """Mean NLL of the fact's rows, each a mean over its answer, plus that of earlier facts."""
        replay, module = self.replay, self.texts.module
        if replay.above:  # h′ = h + τ a
            states = replay.with_added(self.inputs.float() @ tau.T)
        else:  # a norm follows the MLP, whose block runs again, on W′ = W + τ
            with self.lm.bind({module: self.lm.weight(module) + tau}):
                states = replay.run(replay.hidden)
        row, column, token = self.labels
        log_probs = self.lm.head(states[row, column]).log_softmax(-1)
        chosen = log_probs.gather(1, token[:, None])[:, 0]
        return -(chosen * self.share).sum()
