"""What LEMoE trains an expert on, and how: rows of facts, captured once, run from the layer on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .errors import EditError
from .experts import Expert, answer
from .facts import encode_prompt, encode_target
from .pooled import prompt_means
from .replay import Replay

if TYPE_CHECKING:
    from .lm import LM
    from .routing import Routing


@dataclass(frozen=True)
class Descent:
    """AdamW with rate lr, until the loss is `enough` or for `steps` steps; λ; the gate."""

    lr: float
    steps: int
    enough: float
    scale: float
    gate: str


class ExpertLesson:
    """Rows (prompt and answer) with what the module reads there; everything below is constant.

    means (n, d): mean input embeddings of the rows' prompts; hidden (n, w): mean inputs of the
    module there; prompts: their ids. Experts are added at every real token, as in use.
    """

    def __init__(
        self,
        lm: LM,
        module: str,
        layer: int,
        pairs: Sequence[tuple[str, str]],
        bos: int | None,
        target_eos: bool = False,
    ) -> None:
        self.lm, self.module = lm, module
        self.prompts = [encode_prompt(lm.tokenizer, text) for text, _ in pairs]
        end = [lm.tokenizer.eos_token_id] if target_eos else []
        answers = [encode_target(lm.tokenizer, target) + end for _, target in pairs]
        rows = [p + t[:-1] for p, t in zip(self.prompts, answers, strict=True)]
        # what the MLP puts out is added to what enters the block above, unless a norm stands there
        self.above = not lm.arch.post_norm
        with torch.no_grad():
            self.replay = Replay(
                lm, rows, layer + self.above, watch=[module, lm.arch.embed],
                behind=[len(t) - 1 for t in answers],
            )  # fmt: skip
        seqs, inputs = self.replay.seqs, self.replay.seen[module][0]
        self.means = prompt_means(self.replay.seen[lm.arch.embed][1], seqs, bos)
        self.hidden = prompt_means(inputs, seqs, bos)
        self.real = seqs.real.to(inputs.device)
        self.owner = self.real.nonzero()[:, 0]  # of every real token: its row
        self.inputs = inputs[self.real].float()  # (tokens, w)
        places = [
            (i, len(prompt) - 1 + j, token)
            for i, (prompt, target) in enumerate(zip(self.prompts, answers, strict=True))
            for j, token in enumerate(target)
        ]
        self.labels = torch.tensor(places, device=lm.device).T
        share = [1 / len(target) / len(rows) for target in answers for _ in target]
        self.share = torch.tensor(share, device=lm.device)

    def loss(self, experts: dict[int, Expert], choice: Tensor, weight: Tensor, act: str) -> Tensor:
        """Mean over rows of the mean NLL of their answers when row i has weight[i] of expert
        choice[i]; differentiable in both.
        """
        moved = self.inputs.new_zeros(len(self.inputs), self.replay.hidden.shape[-1])
        per_token = choice.to(self.owner.device)[self.owner]
        for m in choice.unique().tolist():
            here = (per_token == m).nonzero()[:, 0]
            said = answer(experts[m], self.inputs[here], act)
            moved = moved.index_add(0, here, weight[self.owner[here]][:, None] * said)
        wide = moved.new_zeros(*self.real.shape, moved.shape[-1])
        wide[self.real] = moved
        which, column, token = self.labels
        log_probs = self.lm.head(self._run(wide)[which, column]).log_softmax(-1)
        return -(log_probs.gather(1, token[:, None])[:, 0] * self.share).sum()

    def _run(self, moved: Tensor) -> Tensor:
        replay = self.replay
        if self.above:
            hidden = replay.hidden.float() + moved.to(replay.hidden.device)
            return replay.run(hidden.to(replay.hidden.dtype))

        def put(_: nn.Module, __: tuple, output: Any) -> Tensor:
            wide = output.reshape(moved.shape).float() + moved
            return wide.to(output.dtype).reshape(output.shape)

        hook = self.lm.model.get_submodule(self.module).register_forward_hook(put)
        try:
            return replay.run(replay.hidden)
        finally:
            hook.remove()


def train(
    lesson: ExpertLesson,
    experts: Sequence[Expert],
    routing: Routing,
    which: int | None,
    act: str,
    by: Descent,
) -> list[Expert]:
    """The experts after `which` has learned to answer all rows; None: all learn, as routed.

    What `routing` learns by the experts' loss is trained with them. The hard gate weighs 1 and has
    the gradient of the share.
    """
    device = lesson.owner.device
    mine = range(len(experts)) if which is None else (which,)
    made = {
        m: {n: t.to(device, copy=True).requires_grad_() for n, t in experts[m].items()}
        for m in mine
    }
    routed, scores = routing.learning(lesson, which)
    leaves = [t for expert in made.values() for t in expert.values()] + routed
    optimizer = torch.optim.AdamW(leaves, lr=by.lr, weight_decay=0.0)
    for _ in range(by.steps):
        with torch.enable_grad():
            logits = scores()
            if which is None:
                choice = logits.argmax(1) - 1
            else:
                choice = torch.full((len(logits),), which, device=device)
            share = logits.softmax(1).gather(1, choice[:, None] + 1)[:, 0]
            weight = share if by.gate == "softmax" else 1 + share - share.detach()
            loss = lesson.loss(made, choice, by.scale * weight, act)
        if not torch.isfinite(loss):
            raise EditError("lemoe: the loss is not finite; try a smaller lr")
        if loss <= by.enough:
            break
        grads = torch.autograd.grad(loss, leaves, allow_unused=True)
        for leaf, grad in zip(leaves, grads, strict=True):
            leaf.grad = grad
        optimizer.step()
    done = {m: {n: t.detach().cpu() for n, t in e.items()} for m, e in made.items()}
    if not all(torch.isfinite(t).all() for e in done.values() for t in e.values()):
        raise EditError("lemoe produced NaN or infinite weights; try a smaller lr")
    routing.learned([part.detach().cpu() for part in routed], which)
    return [done.get(m, expert) for m, expert in enumerate(experts)]
