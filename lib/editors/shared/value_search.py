"""Values of routed entries by gradient descent: the outputs that make a model give its new answers.

Every entry has one value, which replaces a module's output at the prompts of the entry's facts
(GRACE) or is added to it (HoReN). It is moved until the model gives their answers. Nothing below
the module changes, and with "last" nothing before the prompt's last token either, so only the
blocks above and the positions from there on run (model/partial_forward.py). Source: GRACE, section
3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ...errors import TargetError
from ...keys_values.target_value import most_positions
from ...model.answer_rows import AnswerRows, select_labels
from ...model.batching import BATCH_TOKENS
from ...model.lm import LM
from ...model.partial_forward import Replay

Replacement = Literal["last", "prompt", "all"]


class Place(NamedTuple):
    """Where values stand: a module of a layer, and at which positions they replace its output.

    "last": the prompt's last token; "prompt": every token of it; "all": every token that comes.
    With `added` a value is added to the output at the prompt's last token.
    """

    module: str
    layer: int
    replacement: Replacement = "last"
    added: bool = False


@dataclass(frozen=True)
class ValueSearch:
    """Settings of the search: Adam with rate lr for at most n_iter steps.

    An entry is done once every answer token of its facts is the argmax and every fact's loss is
    under `enough` (0: never).
    """

    lr: float = 0.5
    n_iter: int = 50
    enough: float = 0.05


class Values(NamedTuple):
    """What a search found.

    values  (d_out, n): the value of every entry
    keys    (rows, d_in): the module's input at each prompt's end, as read beside longer rows
    losses  the loss of each entry at every step
    """

    values: Tensor
    keys: Tensor
    losses: list[list[float]]


def descend(
    lm: LM,
    place: Place,
    rows: AnswerRows,
    entries: Sequence[int],
    start: Tensor,
    scale: Tensor,
    settings: ValueSearch,
) -> Values:
    """Train the values (columns of `start`) until the model, as it is patched, gives the answers.

    entries names the value that each row must be answered by. Rows of one entry add their losses,
    entries do not mix. Steps are taken in units of `scale` (n,). Raises TargetError when a loss is
    not finite.
    """
    values = start.clone()
    losses: list[list[float]] = [[] for _ in range(start.shape[1])]
    keys: list[Tensor] = [start] * len(rows)
    for group in _groups(lm, place, rows, entries):
        mine = [entries[i] for i in group]
        columns = list(dict.fromkeys(mine))
        batch = _Batch(lm, place, rows.take(group), [columns.index(entry) for entry in mine])
        values[:, columns], curves = batch.run(start[:, columns], scale[columns], settings)
        for column, curve in zip(columns, curves, strict=True):
            losses[column] = curve
        for i, key in zip(group, batch.keys, strict=True):
            keys[i] = key
    return Values(values, torch.stack(keys), losses)


def _groups(lm: LM, place: Place, rows: AnswerRows, entries: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers in groups of bounded work.

    The rows of an entry stay together, and entries of similar length share a group.
    """
    of: dict[int, list[int]] = {}
    for i, entry in enumerate(entries):
        of.setdefault(entry, []).append(i)
    whole = [len(ids) for ids in rows.ids]
    # positions that are replayed: from the prompt's last token on, or all
    width = [len(answer) for answer in rows.answers] if place.replacement == "last" else whole
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


class _Batch:
    """Some entries at once: values (n, d_out), one forward and backward pass per step.

    Entries do not mix, so each has its own gradient, Adam state (elementwise) and end; the rows of
    a finished one do not run any more.
    """

    def __init__(self, lm: LM, place: Place, rows: AnswerRows, owner: list[int]) -> None:
        self.lm, self.place = lm, place
        self.replay = replay = Replay.at_mlp(
            lm,
            rows.ids,
            place.layer,
            (place.module,),
            lookup=rows.ends if place.replacement == "last" else None,
            watch=[place.module],
            behind=rows.behind,
        )
        device = replay.device
        marks = replay.seqs.real if place.replacement == "all" else replay.seqs.prompt
        self.places = marks[:, -replay.hidden.shape[1] :]  # of the replayed positions
        ends = [replay.column(i, end) for i, end in enumerate(rows.ends)]
        self.keys = replay.seen[place.module][0][range(len(rows)), ends].float().cpu()
        self.owner = torch.tensor(owner, device=device)  # the entry of each row
        self.labels = replay.labels(rows)
        self.share = rows.share.float().to(device)

    def run(
        self, start: Tensor, scale: Tensor, settings: ValueSearch
    ) -> tuple[Tensor, list[list[float]]]:
        """Values (d_out, n) from `start`, and each entry's losses."""
        n, device = start.shape[1], self.owner.device
        init, scale = start.T.to(device), scale[:, None].to(device)  # (n, d_out), (n, 1)
        moved = torch.zeros_like(init).requires_grad_()
        optimizer = torch.optim.Adam([moved], lr=settings.lr)
        active = list(range(n))
        curves: list[list[float]] = [[] for _ in range(n)]
        for _ in range(settings.n_iter):
            with torch.enable_grad():
                nll, right = self.look((init + scale * moved)[self.owner])
                loss = nll.new_zeros(n).index_add(0, self.owner, nll)
            # an entry goes on with its rows that are not right, or not surely enough
            open_rows = ~right | (nll >= settings.enough)
            going = loss.new_zeros(n).index_add(0, self.owner, open_rows.to(loss.dtype)) > 0
            # all numbers of the step come to the CPU at once, as a card waits for each that is read
            losses, still = torch.stack([loss.detach(), going.to(loss.dtype)]).tolist()
            if not all(math.isfinite(losses[entry]) for entry in active):
                raise TargetError(
                    f"a value at {self.place.module} left the finite numbers; nothing was changed "
                    "(try a smaller lr)"
                )
            for entry in active:
                curves[entry].append(losses[entry])
            if not any(still):
                break
            # entries do not mix: the gradient of the sum over those going on gives each its own
            (moved.grad,) = torch.autograd.grad(loss, moved, grad_outputs=going.to(loss.dtype))
            held = moved.detach().clone()
            optimizer.step()
            with torch.no_grad():
                # a finished entry stays where it is
                moved.copy_(torch.where(going[:, None], moved, held))
            if not all(still[entry] for entry in active):
                self.keep(going)
                active = [entry for entry in active if still[entry]]
        return (init + scale * moved).detach().T.cpu(), curves

    def look(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss over each row's target, and whether all of it is the argmax, (rows,) each."""
        (row, column, token), n = self.labels, len(self.owner)
        if self.place.added:
            states = self.replay.with_added(values[:, None])
        else:
            states = self.replay.with_replaced(values, self.places)
        log_probs = self.lm.head(states[row, column]).log_softmax(-1)
        hit = log_probs.gather(1, token[:, None])[:, 0]
        nll = hit.new_zeros(n).index_add(0, row, -hit * self.share)
        wrong = hit.new_zeros(n).index_add(0, row, (log_probs.argmax(1) != token).float())
        return nll, wrong == 0

    def keep(self, going: Tensor) -> None:
        """Leave the rows of finished entries out of all that follows."""
        stays = going[self.owner]
        self.labels, kept = select_labels(self.labels, stays)
        self.share = self.share[kept]
        self.replay = self.replay.take(stays.nonzero()[:, 0].tolist())
        self.owner, self.places = self.owner[stays], self.places[stays]
