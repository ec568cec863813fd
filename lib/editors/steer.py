"""Steering: one direction added to every prompt (contrastive activation addition, Rimsky, 2024).

v is a mean over pairs of texts differing only in their answer: one layer's states at the wanted
answer minus its states at the other. It is added to the layer's output, with a multiplier, for
every prompt. Steering therefore does not edit facts and is included here only for contrast. A
rank-one edit adds r (bᵀk), which is large at its own key and small elsewhere. In steering, bᵀk is
the same for all keys: it changes every prompt in the same way as the fact.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..data.facts import Fact
from ..errors import EditError
from ..keys_values.answer_gradients import answer_rows
from ..model import activations, batching, generation
from ..model.answer_rows import AnswerRows
from ..model.sequences import Sequences
from ..patch.patch import Patch
from ..patch.route import Part, Route
from ..patch.tensor_file import Schema, Size
from ..setting_fields import Count, Real, from_paper
from .shared import routed
from .shared.base import Editor
from .shared.config import Config

Positions = Literal["prompt_end", "all"]


@dataclass(frozen=True)
class SteerConfig(Config):
    """Settings of steering."""

    layer: Count = from_paper(20, "Layer, counted from 0, whose output is shifted.")
    multiplier: Real = from_paper(1.0, "Factor multiplying the mean difference; 0 changes nothing.")
    positions: Positions = from_paper(
        "prompt_end", "Tokens whose states are shifted: from the prompt's last token on, or all."
    )


@dataclass(eq=False, repr=False)
class Shift(Route):
    """A vector added to a module's output, regardless of the prompt.

    v          (d_out,) float32
    inputs     width of the module's inputs
    positions  "prompt_end": from the prompt's last token on, "all": at every token
    """

    kind = "steer"
    reads_states: ClassVar[bool] = False
    parts = {"v": Part("d_out")}

    class Header(Schema):
        """The shifted module, and the token where shifting begins."""

        module: str
        inputs: Size
        positions: Positions

    module: str = field()  # without the default of `Route`
    v: Tensor
    inputs: int
    positions: Positions

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """Return entry 0 for every sequence, since there is nothing to decide."""
        size = self.v.norm().to(inputs.device).expand(len(inputs))
        self.note(seqs, score=size, threshold=torch.zeros_like(size))
        return torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """Return `output` with v added at the positions; `output` itself if v is zero."""
        if not bool(self.v.any()):
            return output
        shifted = seqs.real
        if self.positions == "prompt_end":
            shifted = seqs.real & (~seqs.prompt | seqs.prompt_end())
        moved = (output.float() + self.on(output.device)["v"]).to(output.dtype)
        return torch.where(shifted[:, -output.shape[1] :, None], moved, output)

    @property
    def widths(self) -> tuple[int, int]:
        """Return the widths of the module's inputs and outputs."""
        return self.inputs, len(self.v)


class Steer(Editor[SteerConfig]):
    """A mean difference of states added to every prompt: it does not write facts."""

    name = "steer"
    title = "Steering (CAA)"
    paper = "Rimsky et al., Contrastive Activation Addition, 2024 (arXiv:2312.06681)"
    speed = "fast"
    writes = "routes"
    factual = False

    def modules(self) -> list[str]:
        """Return the module whose output is shifted: the layer's addition to the stream."""
        return [self.lm.arch.into_stream.format(self.config.layer)]

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Add the facts' vector to an existing shift, so vectors of several calls add up."""
        c, lm = self.config, self.lm
        (module,) = self.modules()
        old: Any = after.routes.get(module)
        with lm.patched(routed.without_route(after, module), only=True):
            v = c.multiplier * self.difference(facts)
            seen: dict[str, Tensor] = activations.padded_inputs(
                lm, batching.sequences(lm, lm.rows([facts[0].text])[0]), [module]
            )
        if old is not None:
            if old.positions != c.positions:
                raise EditError(
                    f"The shift at {module} is at '{old.positions}', not '{c.positions}'. Use the "
                    "same positions."
                )
            v = old.v + v
        route = Shift(module, v, seen[module].shape[-1], c.positions)
        return replace(after, routes={**after.routes, module: route})

    def difference(self, facts: list[Fact]) -> Tensor:
        """Return v (d,) of multiplier 1: states at the new answers' tokens minus states at the old.

        Each answer counts as the mean over its tokens. The old answer is `target_true`, or, if a
        fact has none, the answer that the model, as patched, generates in the same number of
        tokens.
        """
        lm = self.lm
        new = answer_rows(lm, facts)
        known = [replace(fact, target_new=fact.target_true or fact.target_new) for fact in facts]
        old = [list(answer) for answer in answer_rows(lm, known).answers]
        for i, answer in enumerate(new.answers):
            if facts[i].target_true is None:
                said = generation.generate(lm, [list(new.prompts[i])], len(answer)).ids[0]
                old[i] = list(said) or [lm.tokenizer.eos_token_id]
        wanted, other = (
            self.states(AnswerRows(new.prompts, answers, read_whole=True))
            for answers in (new.answers, old)
        )
        return (wanted - other).mean(0)

    def states(self, rows: AnswerRows) -> Tensor:
        """Return the layer's mean output state (n, d) over each answer, float32, on the CPU."""
        lm, name = self.lm, self.lm.above(self.config.layer)
        batching.check_length(lm, rows.ids)
        found: dict[int, Tensor] = {}
        for group in batching.batches(rows.ids):
            part = rows.take(group)
            seqs = batching.sequences(lm, part.ids, part.behind)
            wide = activations.padded_inputs(lm, seqs, [name])[name].float().cpu()
            for i, states in zip(group, wide, strict=True):  # padded on the left
                found[i] = states[-len(rows.answers[i]) :].mean(0)
        return torch.stack([found[i] for i in range(len(rows))])
