"""Scores of given answers, and distributions of the next token.

Scores are teacher-forced: the probability of each token of an answer is computed with the true
tokens before it. Rows run in batches, and the head is applied only where logits are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..data.facts import encode_target
from .answer_rows import AnswerRows
from .batching import BATCH_TOKENS, batches, check_length, padded_labels, sequences

if TYPE_CHECKING:
    from .lm import LM


# Padded tokens per forward that is not continued, by kind of device. On a CPU products are large
# enough with 512, rows of one length need no padding, and states stay in the processor's cache.
# This is 1.6 times faster than 4096.
SCORED_TOKENS = {"cpu": 512}


class TokenScores(NamedTuple):
    """The scores of one target's tokens, each given the true tokens before it.

    log_probs  (n_t,) log-probability of each token in nats.
    hits       (n_t,) bool: the token is the most probable one.
    """

    log_probs: Tensor
    hits: Tensor


def score(
    lm: LM, rows: list[list[int]], targets: Sequence[str | Sequence[int]]
) -> list[TokenScores]:
    """The TokenScores of each target, a text or token ids, after its row.

    Raises ValueError for an empty target, and for rows that exceed the context.
    """
    ends = [encode_target(lm.tokenizer, t) if isinstance(t, str) else list(t) for t in targets]
    if len(ends) != len(rows):
        raise ValueError(f"{len(rows)} prompts but {len(ends)} targets")
    if not all(ends):
        raise ValueError("an empty target cannot be scored")
    answers = AnswerRows(rows, ends)
    check_length(lm, answers.ids)
    scores: list[TokenScores | None] = [None] * len(rows)
    # targets that differ only in their last token share a run, because the model reads the same
    runs: dict[tuple[int, ...], list[int]] = {}
    for i, ids in enumerate(answers.ids):
        runs.setdefault((*ids, len(ends[i])), []).append(i)
    shared = list(runs.values())
    limit = SCORED_TOKENS.get(lm.device.type, BATCH_TOKENS)
    for some in batches([answers.ids[first] for first, *_ in shared], limit):
        read = answers.take(shared[j][0] for j in some)
        group = [i for j in some for i in shared[j]]
        seqs = sequences(lm, read.ids, read.behind)
        with lm.opened(seqs):
            hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
            # the states that predict the tokens of all targets of these runs
            row, column, labels = padded_labels(answers.take(group)).to(hidden.device)
            run = [j for j, k in enumerate(some) for _ in shared[k]]  # the run of each target
            wanted = hidden[torch.tensor(run, device=hidden.device)[row], column]
            wanted, labels = wanted.to(lm.head_device), labels.to(lm.head_device)
            sizes, found = [len(ends[i]) for i in group], []
            # logits are large (one per token of the vocabulary), so only a few rows at a time
            for wide, label in _few(wanted, labels, sizes):
                logits = lm.head(wide)
                log_probs = logits.gather(1, label[:, None])[:, 0] - logits.logsumexp(1)
                found.append(torch.stack([log_probs, logits.argmax(1) == label]))
            # one transfer for all of them
            log_probs, hits = torch.cat(found, 1).cpu()
        each = zip(group, log_probs.split(sizes), hits.bool().split(sizes), strict=True)
        for i, lp, hit in each:
            scores[i] = TokenScores(lp, hit)
    return scores


def next_token(lm: LM, rows: list[list[int]]) -> Tensor:
    """Log-probabilities (n, vocabulary) of the token after each row, float32, on the CPU."""
    table: Tensor | None = None
    limit = SCORED_TOKENS.get(lm.device.type, BATCH_TOKENS)
    for group in batches(rows, limit):
        seqs = sequences(lm, [rows[i] for i in group])
        with lm.opened(seqs):
            hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state[:, -1]
            log_probs = lm.head(hidden).log_softmax(-1).cpu()
        table = log_probs.new_empty(len(rows), log_probs.shape[1]) if table is None else table
        table[group] = log_probs
    return table


def _few(wanted: Tensor, labels: Tensor, sizes: list[int], limit: int = 64) -> Iterator[tuple]:
    """(states, labels) in parts of about `limit` states; a target is never divided.

    sizes[j] is the number of states of target j.
    """
    start, width = 0, 0
    for j, size in enumerate(sizes):
        width += size
        if width >= limit or j == len(sizes) - 1:
            yield wanted[start : start + width], labels[start : start + width]
            start, width = start + width, 0
