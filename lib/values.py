"""Values of routed entries by gradient descent: what a module should put out at a prompt's end.

One value per entry, in the place of the module's output at its facts' prompts, is moved until the
model gives their answers. Nothing below the module changes, and with "last" nothing before the
prompt's last token either, so only the blocks above and the positions from there on run
(replay.py). Source: GRACE, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from .batching import BATCH_TOKENS
from .errors import TargetError
from .lm import LM
from .replay import Replay
from .target import POSITIONS

Replacement = Literal["last", "prompt", "all"]


class Place(NamedTuple):
    """Where values stand: a module of a layer, and at which positions they replace its output.

    "last": the prompt's last token; "prompt": every token of it; "all": every token that comes.
    """

    module: str
    layer: int
    replacement: Replacement = "last"


@dataclass(frozen=True)
class Descent:
    """Settings: Adam with rate lr for n_iter steps; an entry is done once every target token of its
    facts is the argmax and every fact's loss is under `enough` (0: never).
    """

    lr: float = 0.5
    n_iter: int = 50
    enough: float = 0.05


class Values(NamedTuple):
    """values (d_out, n); keys (rows, d_in) as read beside longer rows; the losses of each entry."""

    values: Tensor
    keys: Tensor
    losses: list[list[float]]


class Row(NamedTuple):
    """A prompt, its answer, and the entry (column of the values) that shall give it."""

    prompt: list[int]
    target: list[int]
    entry: int

    @property
    def ids(self) -> list[int]:
        """What the model reads; the answer's last token is only predicted."""
        return [*self.prompt, *self.target[:-1]]


def descend(
    lm: LM, place: Place, rows: Sequence[Row], start: Tensor, scale: Tensor, settings: Descent
) -> Values:
    """Train the values (columns of `start`) on the rows that they answer, on the model as patched.

    Rows of one entry add their losses, entries do not mix. Steps are taken in units of `scale`
    (n,). Raises TargetError when a loss is not finite.
    """
    values, losses = start.clone(), [[] for _ in range(start.shape[1])]
    keys: list[Tensor] = [start] * len(rows)
    for group in _groups(lm, place, rows):
        some = [rows[i] for i in group]
        columns = list(dict.fromkeys(row.entry for row in some))
        batch = _Batch(lm, place, some, [columns.index(row.entry) for row in some])
        values[:, columns], curves = batch.run(start[:, columns], scale[columns], settings)
        for column, curve in zip(columns, curves, strict=True):
            losses[column] = curve
        for i, key in zip(group, batch.keys, strict=True):
            keys[i] = key
    return Values(values, torch.stack(keys), losses)


def _groups(lm: LM, place: Place, rows: Sequence[Row]) -> Iterator[list[int]]:
    """Row numbers, those of an entry together, entries of similar length, of bounded work."""
    of: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        of.setdefault(row.entry, []).append(i)
    last = place.replacement == "last"
    width = [len(row.target) if last else len(row.ids) for row in rows]  # replayed positions
    limit = POSITIONS.get(lm.device.type, POSITIONS["cpu"])
    group: list[int] = []
    for mine in sorted(of.values(), key=lambda mine: max(width[i] for i in mine)):
        more = [*group, *mine]
        wide = len(more) * max(width[i] for i in more) > limit
        long = len(more) * max(len(rows[i].ids) for i in more) > BATCH_TOKENS
        if group and (wide or long):
            yield group
            more = mine
        group = more
    if group:
        yield group


class _Batch:
    """Some entries at once: values (n, d_out), one forward and backward per step.

    Entries do not mix, so each has its own gradient, Adam state (elementwise) and end; the rows of
    a finished one are not run any more.
    """

    def __init__(self, lm: LM, place: Place, rows: list[Row], owner: list[int]) -> None:
        self.lm, self.place = lm, place
        # what the MLP puts out is added to what enters the block above, unless a norm stands there
        self.above = place.module == lm.mlp_out(place.layer) and not lm.arch.post_norm
        self.replay = replay = Replay(
            lm,
            [row.ids for row in rows],
            place.layer + self.above,
            lookup=[len(row.prompt) - 1 for row in rows] if place.replacement == "last" else None,
            watch=[place.module],
            behind=[len(row.target) - 1 for row in rows],
        )
        device = replay.hidden.device
        marks = replay.seqs.real if place.replacement == "all" else replay.seqs.prompt
        self.places = marks[:, -replay.hidden.shape[1] :].to(device)  # of the replayed positions
        ends = [replay.column(i, len(row.prompt) - 1) for i, row in enumerate(rows)]
        self.keys = replay.seen[place.module][0][range(len(rows)), ends].float().cpu()
        self.owner = torch.tensor(owner, device=device)
        self.labels = torch.tensor(  # row, column that predicts it, token
            [(i, ends[i] + j, token) for i, row in enumerate(rows)
             for j, token in enumerate(row.target)], device=device,
        ).T  # fmt: skip
        self.share = 1.0 / torch.tensor([len(row.target) for row in rows], device=device)

    def run(
        self, start: Tensor, scale: Tensor, settings: Descent
    ) -> tuple[Tensor, list[list[float]]]:
        """Values (d_out, n) from `start`, and each entry's losses."""
        n, device = start.shape[1], self.owner.device
        init, scale = start.T.to(device), scale[:, None].to(device)  # (n, d_out), (n, 1)
        moved = torch.zeros_like(init).requires_grad_()
        optimizer = torch.optim.Adam([moved], lr=settings.lr)
        active = torch.arange(n, device=device)
        curves: list[list[float]] = [[] for _ in range(n)]
        for _ in range(settings.n_iter):
            with torch.enable_grad():
                nll, right = self.look((init + scale * moved)[self.owner])
                loss = nll.new_zeros(n).index_add(0, self.owner, nll)
            if not torch.isfinite(nll).all():
                raise TargetError(
                    f"a value at {self.place.module} left the finite numbers; nothing was changed "
                    "(try a smaller lr)"
                )
            for entry in active.tolist():
                curves[entry].append(loss[entry].item())
            open_rows = ~right | (nll >= settings.enough)
            going = torch.zeros(n, dtype=torch.bool, device=device)
            going[self.owner[open_rows]] = True
            if not going.any():
                break
            # entries do not mix: the gradient of the sum gives each its own
            (moved.grad,) = torch.autograd.grad(loss[going].sum(), moved)
            held = moved.detach().clone()
            optimizer.step()
            with torch.no_grad():
                moved[~going] = held[~going]  # a finished entry stays where it is
            if not going[active].all():
                self.keep(going)
                active = going.nonzero()[:, 0]
        return (init + scale * moved).detach().T.cpu(), curves

    def look(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss over each row's target, and whether all of it is the argmax, (rows,) each."""
        (which, column, token), rows = self.labels, len(self.owner)
        log_probs = self.lm.head(self.forward(values)[which, column]).log_softmax(-1)
        hit = log_probs.gather(1, token[:, None])[:, 0]
        nll = hit.new_zeros(rows).index_add(0, which, -hit * self.share[which])
        wrong = hit.new_zeros(rows).index_add(0, which, (log_probs.argmax(1) != token).float())
        return nll, wrong == 0

    def forward(self, values: Tensor) -> Tensor:
        """States behind the final norm with a row's value in place of the module's output."""
        places, hidden = self.places[..., None], self.replay.hidden
        if self.above:  # without its output y and with v instead
            output = self.replay.seen[self.place.module][1].float()
            changed = hidden + (values[:, None] - output)
            return self.replay.run(torch.where(places, changed.to(hidden.dtype), hidden))

        def put(_: nn.Module, __: tuple, output: Tensor) -> Tensor:
            wide = output.reshape(*self.places.shape, -1)  # opt sees rows and positions as one
            wide = torch.where(places, values[:, None].to(wide.dtype), wide)
            return wide.reshape(output.shape)

        hook = self.lm.model.get_submodule(self.place.module).register_forward_hook(put)
        try:
            return self.replay.run(hidden)
        finally:
            hook.remove()

    def keep(self, going: Tensor) -> None:
        """Leave the rows of finished entries out of all that follows."""
        rows = going[self.owner].nonzero()[:, 0]
        place = torch.zeros_like(self.owner)
        place[rows] = torch.arange(len(rows), device=rows.device)
        self.labels = self.labels[:, going[self.owner[self.labels[0]]]].clone()
        self.labels[0] = place[self.labels[0]]
        self.replay = self.replay.take(rows.tolist())
        self.owner, self.share, self.places = self.owner[rows], self.share[rows], self.places[rows]
