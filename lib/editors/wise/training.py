"""Training of WISE's side memory on one fact, together with texts that it must not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ...keys_values.second_moment import second_moment
from ...model import activations
from ...model.answer_rows import AnswerRows
from ...model.batching import BATCH_TOKENS, planned, sequences
from ...model.lm import LM
from ...model.sequences import Counted
from ..shared.routed import CapturedRows
from .route import ActivationDifference, hinges
from .settings import WiseConfig

Rows = Sequence[Sequence[int]]  # token ids of some texts


@dataclass
class TextReader:
    """Inputs and outputs of a module at the counted tokens of some texts.

    The irrelevant texts are read together, and any other text individually, so that no number
    depends on earlier calls, not even in the last bit: a stream continuing from a file is then the
    same as a stream that was never interrupted.

    lm        the model, which must run on the same weights at every call
    module    the linear module that has the side memory
    score     the measurement of Δ
    together  ids of the irrelevant texts
    base      the base model's `stored_identity`: all editors share its texts; None for another
              model
    pairs     the results: ids of a text -> inputs (n, d_in) and outputs (n, d_out)
    """

    lm: LM
    module: str
    score: ActivationDifference
    together: frozenset[tuple[int, ...]] = frozenset()
    base: str | None = None
    pairs: dict[tuple[int, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def whitening(self, layer: int, damping: float) -> Tensor:
        """Return C⁻¹ · (mean eigenvalue of C), (d_in, d_in) float32, computed once.

        C is the damped second moment of the inputs of the layer's MLP output on general text. With
        this matrix, a step moves the features distinguishing a prompt from other texts, and barely
        those shared by all texts. A direction of the mean eigenvalue keeps about its length; a rare
        direction is lengthened, at most by one over the damping.
        """
        C = second_moment(self.lm, [layer], damping=damping)[layer]

        def make() -> Tensor:
            mean = C.diagonal.mean() / (1 + damping)
            return (torch.cholesky_inverse(C.factor) * mean).float()

        found = self.lm.once(("whitening", self.lm.stored_identity, layer, damping), make)
        return found.to(self.lm.weight(self.module).device)

    def delta(self, tau: Tensor, rows: Rows) -> Tensor:
        """Return Δ (n,) of rows of ids under τ; differentiable."""
        pairs = self.read(rows)
        a, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        each = self.score.tokens(a.to(tau) @ tau.T, y.to(tau))
        sizes = [len(pair[0]) for pair in pairs]
        return torch.stack([part.mean() for part in each.split(sizes)])

    def read(self, rows: Rows) -> list[tuple[Tensor, Tensor]]:
        """Return inputs (n, d_in) and outputs (n, d_out) of the module for each text."""
        for ids in map(tuple, rows):
            if ids not in self.pairs:
                some = sorted(self.together) if ids in self.together else [ids]
                label = "inputs and outputs", self.base, self.lm.device, self.module, self.score
                read = partial(self._read, some)
                self.pairs |= self.lm.once((*label, *some), read) if self.base else read()
        return [self.pairs[tuple(row)] for row in rows]

    @torch.no_grad()
    def _read(self, texts: Rows) -> dict[tuple[int, ...], tuple[Tensor, Tensor]]:
        found = {}
        for group in planned(list(map(len, texts)), BATCH_TOKENS):
            seqs = sequences(self.lm, [texts[i] for i in group])
            wide = activations.padded_inputs(self.lm, seqs, [self.module])[self.module]
            counted = self.score.counted(seqs).to(wide.device)
            for i, inputs, one in zip(group, wide, counted, strict=True):
                a = inputs[one]
                found[tuple(texts[i])] = a.float(), self.lm.output(self.module, a)
        return found


class Margins(NamedTuple):
    """The bounds and texts compared with Δ while training a fact.

    config      holds the margins alpha, beta and gamma (`hinges`)
    unit        the unit of the margins and Δ: the two parts of the loss then have the same scale
                whatever the model's own outputs are
    irrelevant  texts that must not change
    past        prompts of other memories, whose Δ must stay under α (L_memo)
    present     prompts of this memory, whose Δ must stay over β (L_memo)
    """

    config: WiseConfig
    unit: float
    irrelevant: Rows
    past: Rows = ()
    present: Rows = ()


class FactTraining:
    """One fact to train: its rows, captured once, and everything compared in a side memory's loss.

    layer    the layer whose `mlp_out` has the side memory; everything below it is constant, and so
             is the side memory's own input
    own      rows of the fact under each template
    chat     rows of the fact in its chat forms
    earlier  rows of facts trained together with it
    """

    def __init__(
        self,
        texts: TextReader,
        layer: int,
        margins: Margins,
        own: AnswerRows,
        chat: AnswerRows,
        earlier: AnswerRows,
    ) -> None:
        self.texts, self.margins = texts, margins
        self.plain, self.own = len(own), len(own) + len(chat)
        rows = own.plus(chat).plus(earlier)
        self.captured = CapturedRows(texts.lm, rows, layer, texts.module, self.own)
        # the tokens that Δ is a mean over, and the module's inputs and outputs there
        self.counted = Counted(texts.score.counted(self.captured.replay.seqs))
        self.inputs = self.counted.values(self.captured.inputs)
        self.output = self.counted.values(self.captured.output)

    def losses(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Return the NLL of all rows' answers through W′, and of the margins, differentiable at τ.

        The latter measures how far Δ is on the wrong side.
        """
        states = self.captured.replay.with_added(self.captured.inputs.float() @ tau.T)
        texts, (c, unit, irrelevant, past, present) = self.texts, self.margins
        inside, outside = self.delta(tau) / unit, texts.delta(tau, irrelevant) / unit
        margin = cast(Tensor, sum(hinges(inside, outside, c.alpha, c.beta, c.gamma)))
        # L_memo = Σ max(0, Δ(x_past) − α) + Σ max(0, β − Δ(x_present))
        if past:
            margin = margin + (texts.delta(tau, past) / unit - c.alpha).clamp(min=0).sum()
        if present:
            margin = margin + (c.beta - texts.delta(tau, present) / unit).clamp(min=0).sum()
        return self.captured.nll(states), margin

    def delta(self, tau: Tensor) -> Tensor:
        """Return Δ (rows,) of the prompts under τ."""
        moved = self.inputs.float() @ tau.T  # τ a (n, d_out)
        return self.counted.means(self.texts.score.tokens(moved, self.output))
