"""Running the model: batched generation with a cache, scoring, next-token distributions, inputs.

Rows are lists of token ids. Batches are sorted by length and padded on the left; the head is
applied only where logits are wanted. Every function opens a `Sequences`, so that routes know the
prompts.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .answer_rows import AnswerRows
from .facts import encode_target
from .sequences import Sequences

if TYPE_CHECKING:
    from .lm import LM

BATCH_TOKENS = 4096  # padded tokens per forward: bounds memory, keeps products large
# Of a forward that is not continued. On a CPU products are large enough by then, rows of one length
# need no padding, and states stay in the cache: 1.6 times faster than 4096.
SCORED_TOKENS = {"cpu": 512}


class Generated(NamedTuple):
    """New ids per row, and per routed module which entry answered each row.

    Whatever else a route noted per row stands beside it as `MODULE/NAME`.
    """

    ids: list[list[int]]
    choices: dict[str, Tensor]


class Score(NamedTuple):
    """Teacher-forced target: log-probability (nats) and argmax hit of each token, both (n_t,)."""

    log_probs: Tensor
    hits: Tensor


def batches(rows: Sequence[Sequence[int]], limit: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Row numbers in groups of similar length, at most `limit` padded tokens each."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    while order:
        size = max(1, limit // len(rows[order[0]]))
        yield order[:size]
        order = order[size:]


def pad(lm: LM, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(n, L) ids and which of them are real, padded on the left."""
    length = max(map(len, rows))
    ids = torch.tensor([[0] * (length - len(row)) + list(row) for row in rows], device=lm.device)
    real = torch.tensor([[False] * (length - len(row)) + [True] * len(row) for row in rows])
    return ids, real.to(lm.device)


def sequences(
    lm: LM, rows: Sequence[Sequence[int]], behind: Sequence[int] | None = None
) -> Sequences:
    """A `Sequences` of padded rows whose last `behind[i]` tokens are no part of the prompt."""
    ids, real = pad(lm, rows)
    behind = torch.zeros(len(rows), dtype=torch.long) if behind is None else torch.tensor(behind)
    last = ids.shape[1] - 1 - behind.to(lm.device)
    columns = torch.arange(ids.shape[1], device=lm.device)
    return Sequences(ids, real, real & (columns <= last[:, None]), last)


def padded_labels(answers: AnswerRows) -> Tensor:
    """Labels (3, m) of rows that are padded on the left: row, column that predicts, token."""
    row, position, token = answers.labels
    lengths = torch.tensor([len(ids) for ids in answers.ids])
    return torch.stack([row, position + (lengths.max() - lengths)[row], token])


def generate(
    lm: LM,
    rows: list[list[int]],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
    until: Callable[[int, list[int]], bool] | None = None,
    on_token: Callable[[int, int], bool] | None = None,
    cache: bool = True,
) -> Generated:
    """Continue every row by at most `max_new_tokens`, until its end-of-text token.

    until(i, new_ids) ends row i early; on_token(i, id) is told each token and may end the row.
    cache=False runs the whole text again at every step, for tests.
    """
    new: list[list[int]] = [[] for _ in rows]
    choices: dict[str, Tensor] = {}
    draw = torch.Generator().manual_seed(seed)
    stops = _stop_ids(lm)
    for group in batches(rows):
        seqs = sequences(lm, [rows[i] for i in group])
        limits = {i: min(max_new_tokens, (lm.context or 10**9) - len(rows[i])) for i in group}
        with lm.opened(seqs):
            mask, past, alive = seqs.real, None, list(group)
            for step in range(max(limits.values())):
                out = lm.backbone(
                    seqs.ids, seqs.real, mask=mask, past_key_values=past, use_cache=cache
                )
                past = getattr(out, "past_key_values", None) if cache else None
                if step == 0:
                    for name, choice in seqs.memo.items():
                        whole = choices.setdefault(
                            name, torch.full((len(rows),), -1, dtype=choice.dtype)
                        )
                        whole[group] = choice.cpu()
                chosen = _choose(lm.head(out.last_hidden_state[:, -1]), temperature, top_k, draw)
                keep = []
                for j, (i, token) in enumerate(zip(alive, chosen.tolist(), strict=True)):
                    if token in stops or step >= limits[i]:
                        continue
                    new[i].append(token)
                    ended = (until and until(i, new[i])) or (on_token and on_token(i, token))
                    if not ended and step + 1 < limits[i]:
                        keep.append(j)
                if not keep:
                    break
                if len(keep) < len(alive):  # finished rows cost nothing any more
                    rest = torch.tensor(keep, device=lm.device)
                    seqs.select(rest)
                    mask, chosen = mask[rest], chosen[rest]
                    alive = [alive[j] for j in keep]
                    if past is not None:
                        past.batch_select_indices(rest)
                ids = chosen[:, None]
                mask = torch.cat([mask, torch.ones_like(ids, dtype=torch.bool)], 1)
                (seqs.step if cache else seqs.extend)(ids)
    return Generated(new, choices)


def stream(lm: LM, rows: list[list[int]], max_new_tokens: int, **settings) -> Iterator[str]:
    """Pieces of text as they come, from a thread that owns the model like the code that asks."""
    pieces: queue.Queue[str | BaseException | None] = queue.Queue()
    closed = threading.Event()
    ids: list[int] = []
    said = ""

    def on_token(_: int, token: int) -> bool:
        nonlocal said
        ids.append(token)
        text = lm.texts(rows, [ids])[0]
        if not text.endswith("\ufffd"):  # a character of several tokens is not complete yet
            pieces.put(text[len(said) :])
            said = text
        return closed.is_set()

    def work() -> None:
        try:
            generate(lm, rows, max_new_tokens, on_token=on_token, **settings)
            pieces.put(None)
        except BaseException as error:
            pieces.put(error)

    thread = threading.Thread(target=copy_context().run, args=(work,), daemon=True)
    if lm.owner.held:  # `patched` waits for it before it puts the old weights back
        lm.owner.token.streams.append(thread)
    thread.start()  # now, not at the first `next`: the patch is still bound

    def read() -> Iterator[str]:
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            closed.set()

    return read()


def score(
    lm: LM, rows: list[list[int]], targets: Sequence[str] | Sequence[list[int]]
) -> list[Score]:
    """Log-probability and argmax hit of every target token, given the true tokens before it."""
    ends = [encode_target(lm.tokenizer, t) if isinstance(t, str) else list(t) for t in targets]
    if len(ends) != len(rows):
        raise ValueError(f"{len(rows)} prompts but {len(ends)} targets")
    if not all(ends):
        raise ValueError("an empty target cannot be scored")
    answers = AnswerRows(rows, ends)
    fit(lm, answers.ids)
    scores: list[Score | None] = [None] * len(rows)
    runs: dict[tuple[int, ...], list[int]] = {}  # targets that differ in the last token share a run
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
            row, column, labels = padded_labels(answers.take(group)).to(hidden.device)
            run = [j for j, k in enumerate(some) for _ in shared[k]]  # the run of each target
            wanted = hidden[torch.tensor(run, device=hidden.device)[row], column]
            for part, wide, label in _few(wanted, labels, [len(ends[i]) for i in group]):
                logits = lm.head(wide)
                label = label.to(logits.device)
                log_probs = logits.gather(1, label[:, None])[:, 0] - logits.logsumexp(1)
                hits = logits.argmax(1) == label
                sizes = [len(ends[group[j]]) for j in part]
                for j, lp, hit in zip(part, log_probs.split(sizes), hits.split(sizes), strict=True):
                    scores[group[j]] = Score(lp.cpu(), hit.cpu())
    return scores


def next_token(lm: LM, rows: list[list[int]]) -> Tensor:
    """Log-probabilities of the next token, (n, vocabulary), float32, on the CPU."""
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


def _few(wanted: Tensor, labels: Tensor, sizes: list[int], limit: int = 256) -> Iterator[tuple]:
    """Label positions in parts of about `limit` rows: bounds the logits; targets stay whole."""
    start, part, width = 0, [], 0
    for j, size in enumerate(sizes):
        part.append(j)
        width += size
        if width >= limit or j == len(sizes) - 1:
            yield part, wanted[start : start + width], labels[start : start + width]
            start, part, width = start + width, [], 0


def _choose(logits: Tensor, temperature: float, top_k: int | None, draw: torch.Generator) -> Tensor:
    if not temperature:
        return logits.argmax(-1)
    if top_k:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    chances = (logits / temperature).softmax(-1).cpu()
    return torch.multinomial(chances, 1, generator=draw)[:, 0].to(logits.device)


def _stop_ids(lm: LM) -> set[int]:
    config = getattr(lm.model, "generation_config", None)  # the place where transformers looks too
    ids = config.eos_token_id if config else lm.tokenizer.eos_token_id
    return set(ids if isinstance(ids, list | tuple) else [] if ids is None else [ids])


def fit(lm: LM, rows: Sequence[Sequence[int]]) -> None:
    """Raise ValueError when a row is longer than the context."""
    longest = max(map(len, rows), default=0)
    if lm.context and longest > lm.context:
        raise ValueError(
            f"prompt and target together have {longest} tokens, the context {lm.context}"
        )
