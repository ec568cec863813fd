"""The rows of facts that LEMoE's experts learn from, and the experts' loss on them.

Everything below the experts' layer is constant while they learn. So its states are captured once,
and a step runs only the blocks above, which the experts' outputs reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...model.answer_rows import AnswerRows
from ...model.lm import LM
from ...model.partial_forward import Replay
from ...model.sequences import Counted
from .experts import Expert, answer


class ExpertRows:
    """Rows of (prompt, answer) with the inputs of the experts and of their router.

    An expert is added at every token that is not padding, as when the patch is used.

    prompts  token ids of the rows' prompts
    means    (n, d) mean input embedding of each row's prompt, which the anchors read
    hidden   (n, w) mean input of the module at each row's prompt, which MEMoE's router reads
    inputs   (tokens, w) input of the module at every token that is not padding
    owner    (tokens,) the row of each of these tokens
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
        self.lm = lm
        rows = AnswerRows.of(lm.tokenizer, pairs, target_eos)
        self.prompts = rows.prompts
        with torch.no_grad():
            self.replay = Replay.at_mlp(
                lm, rows.ids, layer, watch=[module, lm.arch.embed], behind=rows.behind
            )
        seqs, inputs = self.replay.seqs, self.replay.seen[module][0]
        self.means = seqs.prompt_mean(self.replay.seen[lm.arch.embed][1], bos)
        self.hidden = seqs.prompt_mean(inputs, bos)
        self.real = Counted(seqs.real)
        self.owner = self.real.row  # the row of every real token
        self.everywhere = torch.arange(len(self.owner), device=self.owner.device)
        self.inputs = self.real.values(inputs).float()  # (tokens, w)
        self.labels = self.replay.labels(rows)
        self.share = (rows.share / len(rows)).float().to(self.labels.device)

    def loss(
        self, experts: Mapping[int, Expert], choice: Tensor, weight: Tensor, act: str
    ) -> Tensor:
        """Mean over rows of the mean NLL (nats) of their answers, differentiable.

        Row i gets the output of expert choice[i], times weight[i]. Where there is one expert only,
        all rows get its output.
        """
        # the output that its row's expert adds at every token
        moved = self.inputs.new_zeros(len(self.inputs), self.replay.hidden.shape[-1])
        per_token = choice[self.owner]
        for m in experts if len(experts) == 1 else choice.unique().tolist():
            here = self.everywhere if len(experts) == 1 else (per_token == m).nonzero()[:, 0]
            said = answer(experts[m], self.inputs[here], act)
            moved = moved.index_add(0, here, weight[self.owner[here]][:, None] * said)
        # the blocks above, with these outputs added to the layer's
        wide = moved.new_zeros(*self.replay.seqs.real.shape, moved.shape[-1])
        wide[self.real.row, self.real.column] = moved
        row, column, token = self.labels
        log_probs = self.lm.head(self.replay.with_added(wide)[row, column]).log_softmax(-1)
        chosen = log_probs.gather(1, token[:, None])[:, 0]
        return -(chosen * self.share).sum()
