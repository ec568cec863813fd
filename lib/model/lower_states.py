"""States at two depths of the model, kept for the rows that one evaluation after another asks.

A stream, a table of editors and a sweep ask the same prompts under many patches. Below the lowest
block that a patch writes, the model is the base model, so the states that enter this block are the
same each time. They are kept for each row of token ids when it is read first, at two depths, and a
later run begins at the deeper one of those that the patch leaves alone. The result is exact but for
the last digits, which hang on how many rows are multiplied at once; a row's own states do not
depend on the rows that it was first read with.

Runs with a key-value cache go through the whole model: keys and values of the skipped blocks would
need eight times the memory of the states. `Prefix` does the same for training, at one depth and for
the time of one `with`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .batching import pad
from .hooks import Enough, hooked
from .prefix_cache import entered, real_rows

if TYPE_CHECKING:
    from .lm import LM

LIMIT = 64 * 2**20  # bytes of kept states
# No sweep chose these. They are where the presets of the embedded model begin to write: UltraEdit
# in block 12 of 30, WISE, GRACE and MEMOIR in 25. Locate-and-edit methods write in block 3, where
# there is little to save.
DEPTHS = (2 / 5, 5 / 6)
OVERHEAD = 2048  # bytes that the entry of a row needs beside its states
RUN = 512  # padded tokens of one run that fills, as in `questions`
ROUND = 4  # a row is padded to a multiple of so many tokens, so that more rows can share a run


class LowerStates:
    """The states (length, d) that enter blocks at two depths, for each row of ids that was run.

    depths  numbers of these blocks, ascending; none where the model has too few blocks.
    limit   bound on the bytes that are kept. Rows beyond it are read anew each time.
    states  {row of ids: {depth: states}}.
    bytes   size of all that is kept.
    """

    def __init__(self, lm: LM, limit: int = LIMIT) -> None:
        self.lm, self.limit = lm, limit
        found = {round(share * lm.n_layers) for share in DEPTHS}
        self.depths = sorted(depth for depth in found if 0 < depth < lm.n_layers)
        self.states: dict[tuple[int, ...], dict[int, Tensor]] = {}
        self.bytes = 0
        self._width: int | None = None  # length of a block's output where it is a tuple
        self._weights = ""  # a hash of the weights that the states are of

    @contextmanager
    def used(self) -> Iterator[None]:
        """In the body, runs of the model without a cache begin at kept states where that is exact.

        Weights that somebody has written to since the last time are noticed by the same few entries
        of every matrix by which a patch knows its model.
        """
        now = self.lm._fingerprint()
        if now != self._weights:
            self.states.clear()
            self.bytes, self._weights = 0, now
        before, self.lm.prefix = self.lm.prefix, self
        try:
            yield
        finally:
            self.lm.prefix = before

    @contextmanager
    def skipped(self, ids: Tensor, real: Tensor, more: dict[str, Any]) -> Iterator[None]:
        """In the body, a run of the model with these arguments skips what its kept states replace.

        ids and real (rows, length) are the run's tokens and their mask, `more` its other arguments.
        """
        cached = more.get("use_cache", True) or "past_key_values" in more
        depth = 0 if cached or torch.is_grad_enabled() else self._depth()
        if not depth:
            yield
            return
        rows = real_rows(ids, real)
        fresh = [row for row in dict.fromkeys(rows) if depth not in self.states.get(row, ())]
        found = self._read(fresh, depth)
        kept = [found[row] if row in found else self.states[row][depth] for row in rows]
        with entered(self.lm, depth, torch.cat(kept), real, self._width):
            yield

    def _depth(self) -> int:
        """The deepest kept block below which the model is the base model; 0 for none."""
        lm, free = self.lm, self.lm.n_layers
        base = f"{lm.arch.blocks}."
        for name in lm._base:  # modules bound at the moment
            layer = name.removeprefix(base).split(".")[0]
            if not (name.startswith(base) and layer.isdigit()):
                return 0
            free = min(free, int(layer))
        for number in range(free):
            if any(m._forward_hooks or m._forward_pre_hooks for m in lm.blocks[number].modules()):
                free = number
                break
        return max((depth for depth in self.depths if depth <= free), default=0)

    @torch.no_grad()
    def _read(self, rows: Sequence[tuple[int, ...]], depth: int) -> dict[tuple[int, ...], Tensor]:
        """The states of new rows that enter the block `depth`; keeps them as long as there is room.

        A row is padded to a length that depends on nothing but its own. So are its numbers.
        """
        before, self.lm.prefix = self.lm.prefix, None
        found: dict[tuple[int, ...], Tensor] = {}
        passed = [d for d in self.depths if d <= depth]
        seen: dict[int, Tensor] = {}
        try:
            with ExitStack() as hooks:
                for d in passed:
                    look = _looking(seen, d, depth)
                    hooks.enter_context(hooked(self.lm.blocks[d], look, before=True))
                hooks.enter_context(hooked(self.lm.blocks[0], self._form))
                for some, length in _groups(rows):
                    ids, real = pad(self.lm, some)
                    more = (length - ids.shape[1], 0)
                    ids, real = nn.functional.pad(ids, more), nn.functional.pad(real, more)
                    try:
                        self.lm.backbone(ids, real, use_cache=False)
                    except Enough:
                        pass
                    for j, row in enumerate(some):
                        ends = {d: wide[j, -len(row) :].clone() for d, wide in seen.items()}
                        found[row] = ends[depth]
                        self._keep(row, ends)
                    seen.clear()
        finally:
            self.lm.prefix = before
        return found

    def _keep(self, row: tuple[int, ...], states: dict[int, Tensor]) -> None:
        """Keep a row's states if they fit within the limit."""
        have = self.states.get(row, {})
        new = {d: state for d, state in states.items() if d not in have}
        size = sum(state.nbytes for state in new.values()) + (0 if have else OVERHEAD)
        if self.bytes + size <= self.limit:
            self.states[row] = {**have, **new}
            self.bytes += size

    def _form(self, _: nn.Module, __: Any, output: Any) -> None:
        """The hook that looks at the form of a block's output."""
        self._width = len(output) if isinstance(output, tuple) else None


def _looking(seen: dict[int, Tensor], depth: int, last: int) -> Any:
    """A hook before a block that notes what enters it, and ends the run at the last one."""

    def look(_: nn.Module, given: tuple, named: dict) -> None:
        seen[depth] = given[0] if given else named["hidden_states"]
        if depth == last:
            raise Enough

    return look


def _groups(
    rows: Sequence[tuple[int, ...]],
) -> Iterator[tuple[list[tuple[int, ...]], int]]:
    """The rows in groups of one padded length, with that length, at most RUN tokens each."""
    by_length: dict[int, list[tuple[int, ...]]] = {}
    for row in rows:
        by_length.setdefault(-(-len(row) // ROUND) * ROUND, []).append(row)
    for length, some in by_length.items():
        size = max(1, RUN // length)
        yield from ((some[i : i + size], length) for i in range(0, len(some), size))
