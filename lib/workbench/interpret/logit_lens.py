"""The logit lens reads the model's answer after every block (nostalgebraist, 2020).

Every block's output is passed through the final norm and the head, as if the model stopped there.
This makes it possible to follow the rank of an answer over the layers, up to the layer where an
edit replaces the old answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ...data.facts import encode_target
from ...errors import ArgumentError
from ...model.batching import batches
from ...model.lm import LM
from ...model.partial_forward import Replay
from ...patch.patch import EMPTY, Patch


def lens(
    lm: LM, prompts: Any, targets: Sequence[str] | Sequence[Sequence[str]], patch: Patch = EMPTY
) -> pd.DataFrame:
    """Return rank and log-probability of answers after every block, at the prompt's last token.

    Columns: prompt, layer, answer, rank, log_prob. Rank 1 is the top of the vocabulary, and
    log_prob is in nats. Both refer to the answer's first token. Source: nostalgebraist, 2020.

    prompts  One prompt or a list of them.
    targets  The answers for all prompts, or one list of answers per prompt.

    Raises ValueError if there are not as many lists of answers as prompts.
    """
    with lm.patched(patch):
        rows, single = lm.rows(prompts)
        shared = all(isinstance(t, str) for t in targets)
        answers: list[list[Any]]
        answers = [list(targets)] * len(rows) if shared else [list(t) for t in targets]
        if len(answers) != len(rows):
            raise ArgumentError(
                f"There are {len(rows)} prompts but {len(answers)} lists of answers. Give one "
                "list per prompt."
            )
        names: list[Any] = [prompts] if single else list(prompts)
        found: dict[int, Any] = {}
        for group in batches(rows):
            for i, table in zip(group, _read(lm, [rows[i] for i in group]), strict=True):
                ids = [encode_target(lm.tokenizer, a)[0] for a in answers[i]]
                chosen = table[:, ids]  # (layers, answers)
                # counted, not sorted: ties do not lower an answer's rank
                ranks = torch.stack([1 + (table > c[:, None]).sum(1) for c in chosen.T], 1)
                found[i] = ranks.tolist(), chosen.tolist()
    return pd.DataFrame(
        [
            (names[i], layer, answer, found[i][0][layer][j], found[i][1][layer][j])
            for i in range(len(rows))
            for layer in range(lm.n_layers)
            for j, answer in enumerate(answers[i])
        ],
        columns=["prompt", "layer", "answer", "rank", "log_prob"],
    )


def _read(lm: LM, rows: list[list[int]]) -> Iterator[Tensor]:
    """Yield each row's log-probabilities after every block, (layers, vocabulary), in one pass."""
    at = [len(row) - 1 for row in rows]  # `Replay` pads on the right
    names = [f"{lm.arch.blocks}.{layer}" for layer in range(lm.n_layers)]
    top = Replay(lm, rows, lm.n_layers, watch=names)  # nothing above: `run` is only the final norm
    states = torch.stack([top.seen[name][1][range(len(rows)), at] for name in names], 1)
    for state in top.run(states):  # one row (layers, d) at a time: bounds the logits
        yield lm.head(state).log_softmax(-1).cpu()
