"""Text generation: rows of token ids are continued in batches, with a key-value cache.

Batches hold rows of similar length and are padded on the left, so that all of them go on at the
same column. The head is applied at the last position only. Each batch opens a `Sequences`, by which
routes know where the prompts end.
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

COLDEST = 1e-30  # a temperature by which float32 can divide logits; below it decoding is greedy


class Generated(NamedTuple):
    """The result of `generate`.

    ids      the new token ids of each row, without the end-of-text token.
    choices  for each routed module the entry (rows,) that answered, -1 for the base model; under
             `MODULE/NAME` the numbers (rows,) that its route noted.
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

    A row that fills the model's context ends there too.

    temperature  0 takes the most probable token, otherwise tokens are drawn.
    top_k        draw among the k most probable tokens only.
    seed         seed of the draws.
    never        ids of tokens that are not written, whatever their probability.
    until        until(i, new_ids) is asked after each token and may end row i.
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
        """One token per row, from its last state."""
        logits = lm.head(states)
        if never:
            logits = logits.index_fill(-1, banned, -torch.inf)
        return _choose(logits, temperature, top_k, draw)

    def accept(i: int, token: int) -> bool:
        """Keep the next token of a row, unless it ends there; whether the row grows further."""
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
            # routes decided at the prompt; their choices go to the caller's rows
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
    """Continue opened sequences token by token, until no row grows any more.

    mask    (rows, columns) bool: the tokens that were read so far and count.
    past    the key-value cache, None where the whole text is run again at every step.
    rows    the number by which `accept` knows each row.
    chosen  (rows,) the next token of each row, which `accept` was not told yet.
    choose  gives the next tokens (rows,) for the last states (rows, d).
    accept  accept(row, token) is told each token and says whether the row grows further.
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
        # the chosen tokens are the next input; without a cache they extend the whole text
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
    """The mask (rows, columns) of the rows that stay in a batch and its cache.

    Finished rows leave, so that they cost nothing more.
    """
    stay = torch.tensor(rows, device=lm.device)
    seqs.select(stay)
    if past is not None:
        recurrent = any(hasattr(layer, "recurrent_states") for layer in getattr(past, "layers", ()))
        # states that are no keys and values know the order of beams only
        select = past.reorder_cache if recurrent else past.batch_select_indices
        # layers on several cards all take an index on the CPU
        select(stay if len(lm.devices) == 1 else stay.cpu())
    return mask[stay]


def _choose(logits: Tensor, temperature: float, top_k: int | None, draw: torch.Generator) -> Tensor:
    """One token id per row (n,) from logits (n, vocabulary): the most probable one, or a draw.

    A draw is made on the CPU, so that a seed means the same everywhere, and its ids are there. With
    top_k only the few likeliest logits leave a card.
    """
    if temperature < COLDEST:
        return logits.argmax(-1)
    if top_k and top_k < logits.shape[-1]:
        # as many again, since other tokens may be as likely as the last of the k
        values, places = logits.topk(min(2 * top_k, logits.shape[-1]))
        values, places = torch.stack([values, places]).cpu()  # one copy: ids are exact in float32
        values = values.masked_fill(values < values[:, top_k - 1 : top_k], -torch.inf)
        whole = values.new_full(logits.shape, -torch.inf)
        logits = whole.scatter(1, places.long(), values)
    chances = (logits / temperature).softmax(-1).cpu()
    return torch.multinomial(chances, 1, generator=draw)[:, 0]


def stop_ids(lm: LM) -> set[int]:
    """The ids of the tokens that end a text."""
    config = getattr(lm.model, "generation_config", None)  # the place where transformers looks too
    ids = config.eos_token_id if config else lm.tokenizer.eos_token_id
    return {*ids} if isinstance(ids, list | tuple) else {ids} - {None}
