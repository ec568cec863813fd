"""What LEMoE trains an expert on, and how: rows of facts, captured once, run from the layer on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .experts import Expert, answer
from .facts import encode_prompt, encode_target
from .lm import LM
from .replay import Replay


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
        self.means = seqs.prompt_mean(self.replay.seen[lm.arch.embed][1], bos)
        self.hidden = seqs.prompt_mean(inputs, bos)
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
