"""A cache of hidden states, by which the lower blocks of a model run only once per text.

Training a network reads the same texts again and again, while every edited weight lies in a few
blocks near the top. Below them nothing ever changes. So the states that enter block `start` are
kept, and inside `with cache.used():` the model begins at this block for every row of ids it has
seen before. The result is exact. A run that the kept states would not fit (with a key-value cache,
a weight bound below by a patch, or a hook there) goes through the whole model. The states last for
one `with` only, because weights that somebody writes to afterwards would have others. Nothing
inside the body may write to the model's own weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor, nn

from .activations import padded_inputs
from .batching import grouped, sequences
from .hooks import hooked, swapped

if TYPE_CHECKING:
    from .lm import LM

LIMIT = 2 * 2**30  # bytes of kept states
TOGETHER = 4  # rows that run together when states are computed


class LowerBlockCache:
    """The states (length, d) that enter block `start`, for each row of ids that was run.

    start   number of the block at which runs begin.
    limit   bound on the bytes of all states; those unused for longest are dropped.
    states  row of ids -> its states, on the model's own device.
    bytes   size of all states.
    below   the blocks that kept states replace.

    In a causal model the states depend on a row's real tokens alone, so one entry serves every
    padding.
    """

    def __init__(self, lm: LM, start: int, limit: int = LIMIT) -> None:
        self.lm, self.start, self.limit = lm, start, limit
        self.states: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()
        self.bytes = 0
        self.below = list(lm.blocks)[:start]
        self._first = f"{lm.arch.blocks}.{start}"
        # how the names of modules begin to which a patch may be bound
        self._above = tuple(f"{lm.arch.blocks}.{i}." for i in range(start, lm.n_layers))
        self._inner = [module for block in self.below for module in block.modules()]
        self._width: int | None = None  # length of a block's output where it is a tuple

    @contextmanager
    def used(self) -> Iterator[LowerBlockCache]:
        """In the body, `lm.backbone` begins at block `start` wherever that is exact.

        It begins without states.
        """
        self.states.clear()
        self.bytes = 0
        with swapped(self.lm, lower_blocks=self):
            yield self

    @contextmanager
    def skipped(self, ids: Tensor, real: Tensor, more: dict[str, Any]) -> Iterator[None]:
        """In the body, a run of the model with these arguments skips the blocks below `start`.

        ids and real (rows, length) are the run's tokens and their mask, `more` its other arguments.
        """
        if not self._fits(more):
            yield
            return
        # run the rows that are new, then gather the states of all rows
        keys = real_rows(ids, real)
        self._fill([key for key in dict.fromkeys(keys) if key not in self.states])
        for key in keys:
            self.states.move_to_end(key)
        kept = torch.cat([self.states[key] for key in keys])  # (real tokens, d), row by row
        self._trim()

        with entered(self.lm, self.start, kept, real, self._width):
            yield

    def _fits(self, more: dict[str, Any]) -> bool:
        """Whether a run with these arguments has the kept states below block `start`."""
        if not self.start or more.get("use_cache", True) or self.lm.cache_name in more:
            return False
        watched = any(m._forward_hooks or m._forward_pre_hooks for m in self._inner)
        return not watched and all(name.startswith(self._above) for name in self.lm._base)

    def _fill(self, keys: list[tuple[int, ...]]) -> None:
        """Run rows up to block `start` and keep the states that enter it.

        All batches have `TOGETHER` rows of equal length. In such batches a row's numbers do not
        depend on its neighbors, not even in the last bit, so a training that was stopped and starts
        again with an empty cache goes on with the same numbers.
        """

        def form(_: nn.Module, __: Any, output: Any) -> None:
            self._width = len(output) if isinstance(output, tuple) else None

        with hooked(self.below[0], form):  # a run with a hook below skips nothing
            for some in _equal(keys):
                # fill the batch up with its first row
                seqs = sequences(self.lm, [*some, *some[:1] * (TOGETHER - len(some))])
                entering = padded_inputs(self.lm, seqs, [self._first])[self._first]
                for key, hidden in zip(some, entering, strict=False):
                    self.states[key] = hidden.clone()
                    self.bytes += self.states[key].nbytes

    def _trim(self) -> None:
        """Drop the states that were unused for longest, until the rest is within the limit."""
        while self.bytes > self.limit and self.states:
            _, state = self.states.popitem(last=False)
            self.bytes -= state.nbytes


def _equal(keys: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Rows in groups of equal length, at most TOGETHER in each."""
    for rows in grouped((len(key), key) for key in keys).values():
        yield from (rows[i : i + TOGETHER] for i in range(0, len(rows), TOGETHER))


@contextmanager
def entered(lm: LM, start: int, kept: Tensor, real: Tensor, width: int | None) -> Iterator[None]:
    """In the body, a run of the model begins at block `start` with these states.

    kept   (real tokens, d) the states, row by row.
    real   (rows, length) bool: the tokens of the run that are not padding.
    width  the length of a block's output where it is a tuple, None where it is not.
    """

    def put(_: nn.Module, given: tuple, named: dict) -> tuple[tuple, dict]:
        hidden = given[0] if given else named["hidden_states"]
        hidden = hidden.detach().clone()  # states of padding stay: nothing reads them
        hidden[real.to(hidden.device)] = kept.to(hidden)
        if given:
            return (hidden, *given[1:]), named
        return (), {**named, "hidden_states": hidden}

    def hand_on(hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        """The forward of a skipped block: its input, in the form of the block's own output."""
        return hidden_states if width is None else (hidden_states, *[None] * (width - 1))

    # blocks below hand their input on, and the kept states go in before block `start`
    with hooked(lm.blocks[start], put, before=True), ExitStack() as undo:
        for block in list(lm.blocks)[:start]:
            undo.enter_context(mock.patch.object(block, "forward", hand_on))
        yield


def real_rows(ids: Tensor, real: Tensor) -> list[tuple[int, ...]]:
    """The tokens of each row of ids (rows, length) without its padding."""
    pairs = zip(ids.tolist(), real.tolist(), strict=True)
    return [tuple(token for token, here in zip(*pair, strict=True) if here) for pair in pairs]
