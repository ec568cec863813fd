"""Running the model: batched generation with a cache, scoring, next-token distributions, inputs.

Rows are lists of token ids. Batches are sorted by length and padded on the left; the head is
applied only where logits are wanted. Every function opens a `Sequences`, so that routes know the
prompts.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .batching import batches, sequences

if TYPE_CHECKING:
    from .lm import LM


class Generated(NamedTuple):
    """New ids per row, and per routed module which entry answered each row.

    Whatever else a route noted per row stands beside it as `MODULE/NAME`.
    """

    ids: list[list[int]]
    choices: dict[str, Tensor]


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
