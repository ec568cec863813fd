"""Beam search over the model as it is patched: several continuations of each prompt compete.

Beams never cross prompts, so what a route decided at the prompt is copied with the rows. It gives
what transformers' beam search gives with early_stopping=True and a length penalty of 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import batching, decode
from .batching import BATCH_TOKENS

if TYPE_CHECKING:
    from .lm import LM


def search(
    lm: LM, rows: list[list[int]], max_new_tokens: int, beams: int, *, cache: bool = True
) -> decode.Generated:
    """The best of `beams` continuations of every row, by mean log-probability of its new tokens.

    A continuation ends at an end-of-text token or after `max_new_tokens`; a row is done as soon as
    `beams` of its continuations have ended. cache=False runs the whole text at every step, for
    tests. Raises ValueError for fewer than one beam.
    """
    if beams < 1:
        raise ValueError(f"the number of beams should be at least 1, not {beams}")
    new: list[list[int]] = [[] for _ in rows]
    choices: dict[str, Tensor] = {}
    for group in batching.batches(rows, BATCH_TOKENS // beams):
        # one length per batch of beams: rows of one prompt end together or not at all
        longest = max(len(rows[i]) for i in group)
        limit = min(max_new_tokens, (lm.context or 10**9) - longest)
        found = _Search(lm, [rows[i] for i in group], limit, beams, cache)
        for name, choice in found.choices.items():
            kept = choices.setdefault(name, torch.full((len(rows),), -1, dtype=choice.dtype))
            kept[group] = choice.cpu()
        for i, ids in zip(group, found.best(), strict=True):
            new[i] = ids
    return decode.Generated(new, choices)


class _Search:
    """One batch of prompts: live beams as rows of the model, ended ones as (score, ids)."""

    def __init__(self, lm: LM, rows: list[list[int]], limit: int, beams: int, cache: bool) -> None:
        self.stops = decode._stop_ids(lm)
        self.ended: list[list[tuple[float, list[int]]]] = [[] for _ in rows]
        self.choices: dict[str, Tensor] = {}
        seqs, past = batching.sequences(lm, rows), None
        live = [(i, 0.0, []) for i in range(len(rows))]  # prompt, log-probability, new ids
        with lm.opened(seqs):
            mask = seqs.real
            for step in range(limit):
                out = lm.backbone(
                    seqs.ids, seqs.real, mask=mask, past_key_values=past, use_cache=cache
                )
                past = getattr(out, "past_key_values", None) if cache else None
                if step == 0:
                    self.choices = {name: kept.clone() for name, kept in seqs.memo.items()}
                table = lm.head(out.last_hidden_state[:, -1]).float().log_softmax(-1)
                live, source = self._extend(live, table, beams, step + 1 == limit)
                if not live:
                    break
                rest = torch.tensor(source, device=lm.device)
                seqs.select(rest)
                mask = mask[rest]
                if past is not None:
                    past.batch_select_indices(rest)
                ids = torch.tensor([new[-1] for *_, new in live], device=lm.device)[:, None]
                mask = torch.cat([mask, torch.ones_like(ids, dtype=torch.bool)], 1)
                (seqs.step if cache else seqs.extend)(ids)

    def _extend(
        self, live: list[tuple], table: Tensor, beams: int, last: bool
    ) -> tuple[list[tuple], list[int]]:
        """The beams of the next step, and which present row each of them continues."""
        more, source = [], []
        wide = beams * (1 + len(self.stops))  # enough that `beams` of them go on
        for prompt in dict.fromkeys(i for i, *_ in live):
            own = [j for j, (i, *_) in enumerate(live) if i == prompt]
            sums = torch.stack([table[j] + live[j][1] for j in own])
            values, places = sums.flatten().topk(min(wide, sums.numel()))
            going = []
            pairs = zip(values.tolist(), places.tolist(), strict=True)
            for rank, (value, place) in enumerate(pairs):
                j, token = own[place // table.shape[1]], place % table.shape[1]
                ids = [*live[j][2], token]
                if last or token in self.stops:
                    if rank < beams:  # a worse end than `beams` candidates is no end
                        kept = ids[:-1] if token in self.stops else ids
                        self.ended[prompt].append((value / len(ids), kept))
                elif len(going) < beams:
                    going.append((j, (prompt, value, ids)))
            self.ended[prompt] = sorted(self.ended[prompt], key=lambda e: -e[0])[:beams]
            if len(self.ended[prompt]) < beams:
                source += [j for j, _ in going]
                more += [beam for _, beam in going]
        return more, source

    def best(self) -> list[list[int]]:
        """New ids of the best continuation of every prompt, without the end-of-text token."""
        return [max(ended, key=lambda e: e[0])[1] if ended else [] for ended in self.ended]
