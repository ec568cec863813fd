"""Text generation: continuing rows of token ids in batches, using a key-value cache.

Batches contain rows of similar length and are padded on the left, so all of them continue at the
same column. The head is applied only at the last position. Each batch opens a `Sequences`, giving
routes the ends of the prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..setting_fields import at_least
from .batching import batches, sequences

if TYPE_CHECKING:
    from .lm import LM
    from .sequences import Sequences

COLDEST = 1e-30  # lowest temperature for dividing logits in float32; decoding is greedy below it


class Generated(NamedTuple):
    """The result of `generate`.

    ids      the new token ids of each row, without the end-of-text token.
    choices  for each routed module the entry (rows,) that answered, -1 for the base model; under
             `MODULE/NAME` the numbers (rows,) noted by its route.
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
    never: Sequence[int] = (),
    until: Callable[[int, list[int]], bool] | None = None,
    cache: bool = True,
) -> Generated:
    """Continue every row by at most `max_new_tokens`, until its end-of-text token.

    A row also ends when it fills the model's context.

    temperature  0 chooses the most probable token, otherwise tokens are sampled.
    top_k        sample only from the k most probable tokens.
    seed         seed for sampling.
    never        ids of tokens that are never generated, whatever their probability.
    until        until(i, new_ids) is called after each token and may end row i.
    cache        False runs the whole text again at every step, for tests.
    """
    at_least(0, max_new_tokens=max_new_tokens, temperature=temperature)
    at_least(1, top_k=top_k)
    new: list[list[int]] = [[] for _ in rows]
    choices: dict[str, Tensor] = {}
    draw = torch.Generator().manual_seed(int(seed))
    stops, banned = stop_ids(lm), torch.tensor(list(never), dtype=torch.long, device=lm.device)
    limits = [min(max_new_tokens, (lm.context or 10**9) - len(row)) for row in rows]

    def choose(states: Tensor) -> Tensor:
        """Return one token per row, from its last state."""
        logits = lm.head(states)
        if never:
            logits = logits.index_fill(-1, banned, -torch.inf)
        return _choose(logits, temperature, top_k, draw)

    def accept(i: int, token: int) -> bool:
        """Keep a row's next token, unless it ends there; return whether the row will continue."""
        if token in stops or len(new[i]) >= limits[i]:
            return False
        new[i].append(token)
        return not (until and until(i, new[i])) and len(new[i]) < limits[i]

    for group in batches(rows):
        if max(limits[i] for i in group) < 1:
            continue
        seqs = sequences(lm, [rows[i] for i in group])
        with lm.opened(seqs):
            out = lm.backbone(seqs.ids, seqs.real, use_cache=cache)
            # routes decided at the prompt; assign their choices to the caller's rows
            for name, choice in seqs.memo.items():
                whole = choices.setdefault(name, torch.full((len(rows),), -1, dtype=choice.dtype))
                whole[group] = choice.cpu()
            past = getattr(out, lm.cache_name, None) if cache else None
            chosen = choose(out.last_hidden_state[:, -1])
            go_on(lm, seqs, seqs.real, past, group, chosen, choose, accept)
    return Generated(new, choices)


def go_on(
    lm: LM,
    seqs: Sequences,
    mask: Tensor,
    past: Any,
    rows: Sequence[int],
    chosen: Tensor,
    choose: Callable[[Tensor], Tensor],
    accept: Callable[[int, int], bool],
) -> None:
    """Continue opened sequences token by token, until all rows stop growing.

    mask    (rows, columns) bool: the tokens that were read so far and count.
    past    the key-value cache, None if the whole text is run again at every step.
    rows    the number that `accept` uses for each row.
    chosen  (rows,) the next token of each row, not yet passed to `accept`.
    choose  returns the next tokens (rows,) for the last states (rows, d).
    accept  accept(row, token) gets each token and returns whether the row grows further.
    """
    alive = list(rows)
    while True:
        told = zip(alive, chosen.tolist(), strict=True)
        stay = [j for j, (i, token) in enumerate(told) if accept(i, token)]
        if not stay:
            return
        if len(stay) < len(alive):
            mask = keep(lm, seqs, mask, past, stay)
            chosen = chosen[torch.tensor(stay, device=chosen.device)]
            alive = [alive[j] for j in stay]
        # the chosen tokens are the next input; without a cache, they extend the whole text
        ids = chosen[:, None].to(lm.device)
        mask = torch.cat([mask, torch.ones_like(ids, dtype=torch.bool)], 1)
        if past is not None:
            seqs.step(ids)
        else:
            seqs.extend(ids)
        out = lm.backbone(
            seqs.ids, seqs.real, mask=mask, use_cache=past is not None, **{lm.cache_name: past}
        )
        chosen = choose(out.last_hidden_state[:, -1])


def keep(lm: LM, seqs: Sequences, mask: Tensor, past: Any, rows: Sequence[int]) -> Tensor:
    """Return the mask (rows, columns) after keeping only these rows in a batch and its cache.

    Removing finished rows avoids any further cost.
    """
    stay = torch.tensor(rows, device=lm.device)
    seqs.select(stay)
    if past is not None:
        recurrent = any(hasattr(layer, "recurrent_states") for layer in getattr(past, "layers", ()))
        # states other than keys and values only support reordering beams
        select = past.reorder_cache if recurrent else past.batch_select_indices
        # layers on several GPUs all accept an index on the CPU
        select(stay if len(lm.devices) == 1 else stay.cpu())
    return mask[stay]


def _choose(logits: Tensor, temperature: float, top_k: int | None, draw: torch.Generator) -> Tensor:
    """Return one token id per row (n,) from logits (n, vocabulary): the most probable, or a sample.

    Sampling runs on the CPU, so that a seed has the same meaning everywhere, and the ids are there.
    With top_k, only the few most likely logits leave the GPU.
    """
    if temperature < COLDEST:
        return logits.argmax(-1)
    if top_k and top_k < logits.shape[-1]:
        # twice as many, since other tokens may be as likely as the last of the k
        values, places = logits.topk(min(2 * top_k, logits.shape[-1]))
        values, places = torch.stack([values, places]).cpu()  # one copy: ids are exact in float32
        values = values.masked_fill(values < values[:, top_k - 1 : top_k], -torch.inf)
        whole = values.new_full(logits.shape, -torch.inf)
        logits = whole.scatter(1, places.long(), values)
    chances = (logits / temperature).softmax(-1).cpu()
    return torch.multinomial(chances, 1, generator=draw)[:, 0]


def stop_ids(lm: LM) -> set[int]:
    """Return the ids of the tokens ending a text."""
    config = getattr(lm.model, "generation_config", None)  # also used by transformers
    ids = config.eos_token_id if config else lm.tokenizer.eos_token_id
    return {*ids} if isinstance(ids, list | tuple) else {ids} - {None}
