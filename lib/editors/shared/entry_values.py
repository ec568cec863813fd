"""Finding routed entries' values by gradient descent: outputs making a model give new answers.

Every entry has one value, which either replaces a module's output at the prompts of the entry's
facts (GRACE) or is added to it (HoReN). Training moves it until the model gives their answers.
Nothing below the module changes, and with "last", nothing before the prompt's last token changes
either, so only the blocks above and the later positions run (model/partial_forward.py). Source:
GRACE, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ...keys_values.value_search import VectorSearch, most_positions
from ...model.answer_rows import AnswerRows
from ...model.batching import BATCH_TOKENS, grouped
from ...model.lm import LM
from ...model.partial_forward import Replay
from .shared_settings import EntryTraining

Replacement = Literal["last", "prompt", "all"]


class EntrySite(NamedTuple):
    """The place of values: a module of a layer, and the positions where they replace its output.

    "last": the prompt's last token; "prompt": every token of it; "all": every later token. With
    `added`, a value is added to the output at the prompt's last token.
    """

    module: str
    layer: int
    replacement: Replacement = "last"
    added: bool = False


class Values(NamedTuple):
    """The result of a search.

    values  (d_out, n): the value of every entry
    keys    (rows, d_in): the module's input at each prompt's end, as read in a batch with longer
            rows
    """

    values: Tensor
    keys: Tensor


def descend(
    lm: LM,
    site: EntrySite,
    rows: AnswerRows,
    entries: Sequence[int],
    start: Tensor,
    scale: Tensor,
    settings: EntryTraining,
) -> Values:
    """Train the values (columns of `start`) until the model, as patched, gives the answers.

    entries gives the value that must answer each row. Rows of one entry add their losses; entries
    do not mix. An entry is done once every answer token of its facts is the argmax and every fact's
    loss is under `settings.enough` (0: never). Steps are in units of `scale` (n,). Raises EditError
    if a loss is not finite.
    """
    values = start.clone()
    keys: list[Tensor] = [start] * len(rows)
    for group in _groups(lm, site, rows, entries):
        mine = [entries[i] for i in group]
        columns = list(dict.fromkeys(mine))
        owner = [columns.index(entry) for entry in mine]
        given = owner, start[:, columns], scale[columns], settings
        batch = EntrySearch(lm, site, rows.take(group), *given)
        values[:, columns] = batch.values()
        for i, key in zip(group, batch.keys, strict=True):
            keys[i] = key
    return Values(values, torch.stack(keys))


def _groups(
    lm: LM, site: EntrySite, rows: AnswerRows, entries: Sequence[int]
) -> Iterator[list[int]]:
    """Yield row numbers in groups of bounded work.

    The rows of an entry stay together, and entries of similar length share a group.
    """
    of = grouped((entry, i) for i, entry in enumerate(entries))
    whole = [len(ids) for ids in rows.ids]
    # the replayed positions: from the prompt's last token on, or all
    width = [len(answer) for answer in rows.answers] if site.replacement == "last" else whole
    limit = most_positions(lm)
    group: list[int] = []
    for mine in sorted(of.values(), key=lambda mine: max(width[i] for i in mine)):
        more = [*group, *mine]
        wide = len(more) * max(width[i] for i in more) > limit
        long = len(more) * max(whole[i] for i in more) > BATCH_TOKENS
        if group and (wide or long):
            yield group
            more = mine
        group = more
    if group:
        yield group


class EntrySearch(VectorSearch):
    """The search for the values of some entries; only the rows' answers count."""

    def __init__(
        self,
        lm: LM,
        site: EntrySite,
        rows: AnswerRows,
        owner: list[int],
        start: Tensor,
        scale: Tensor,
        settings: EntryTraining,
    ) -> None:
        self.site, self.settings = site, settings
        self.replay = replay = Replay.at_mlp(
            lm,
            rows.ids,
            site.layer,
            (site.module,),
            lookup=rows.ends if site.replacement == "last" else None,
            watch=[site.module],
            behind=rows.behind,
        )
        device = replay.device
        marks = replay.seqs.real if site.replacement == "all" else replay.seqs.prompt
        self.positions = marks[:, -replay.hidden.shape[1] :]  # of the replayed positions
        ends = [replay.column(i, end) for i, end in enumerate(rows.ends)]
        self.keys = replay.seen[site.module][0][range(len(rows)), ends].float().cpu()
        self.scale = scale[:, None].to(device)  # (n, 1)
        super().__init__(
            lm=lm,
            where=site.module,
            init=start.T.to(device),  # (n, d_out)
            labels=replay.labels(rows),
            share=rows.share,
            owner=torch.tensor(owner, device=device),
        )

    def values(self) -> Tensor:
        """Return the values found, (d_out, n)."""
        steps = self.settings.n_iter
        moved, _ = self.run(self.settings.lr, steps, steps)
        return (self.init + self.scale * moved[0]).T.cpu()

    def terms(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss (1, active), summing over an entry's rows, and which entries continue."""
        row, column, _ = self.labels
        values = (self.init + self.scale * delta[0])[self.active[self.owner]]
        if self.site.added:
            states = self.replay.with_added(values[:, None])
        else:
            states = self.replay.with_replaced(values, self.positions)
        nll, right, _ = self.answers(self.lm.head(states[row, column]).log_softmax(-1))
        # an entry continues with its rows that are not right, or not sure enough
        going = self.sums(~right | (nll >= self.settings.enough)) > 0
        return self.sums(nll)[None], going

    def drop(self, rows: list[int], vectors: list[int]) -> None:
        """Select the remaining rows in the captured replay."""
        self.replay, self.positions = self.replay.take(rows), self.positions[rows]
