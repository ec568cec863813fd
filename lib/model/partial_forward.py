"""Partial forward passes: running only the part of a forward pass that a change can reach.

While one layer is being edited, everything below it is constant. A single whole forward pass
therefore captures the arguments of the blocks above, which are then called again with other hidden
states. If the change is at one position (the search for a target value), a causal model does not
compute anything new at earlier positions either. In this case, rows are aligned at this lookup
token, attention keys and values of the preceding positions are stored once per layer, and every run
begins at the lookup. Both savings are exact. A replay uses the device of its first block (for the
rule, see devices.py).

Most editors change the output of one MLP. `Replay.at_mlp` determines from the architecture where
such a change first has an effect, and `with_added` and `with_replaced` apply it there. The file is
longer than 300 lines because capturing arguments and running with them again belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from .answer_rows import AnswerRows
from .architectures import POSITIONS, below_head, block_signature, cache_argument
from .batching import check_length, sequences
from .hooks import StopForward, hooked, hooked_all, watched

if TYPE_CHECKING:
    from .lm import LM


@dataclass(eq=False)
class PrefixKeys:
    """Attention keys and values of the positions that do not run, in the form of a cache.

    positions  number of positions at the start of a row that do not run.
    prefix     their keys and values, each (rows, heads, positions, width); None before the capture.

    The first call sees whole rows and stores their first positions. Every later call prepends these
    to the positions that run. transformers' own cache would also store the later positions; here,
    any number of replays can start from the same prefix, without keeping a graph alive between
    them.
    """

    is_compileable: ClassVar[bool] = False
    positions: int
    prefix: tuple[Tensor, Tensor] | None = None

    def update(self, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return the keys and values of all positions, storing a prefix in the first call.

        The first call contains whole rows.
        """
        if not self.positions:
            return key, value
        if self.prefix is None:
            c = self.positions
            self.prefix = key[:, :, :c].detach().clone(), value[:, :, :c].detach().clone()
            return key, value
        return torch.cat([self.prefix[0], key], 2), torch.cat([self.prefix[1], value], 2)

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of positions before the replayed ones."""
        return 0 if self.prefix is None else self.positions


class Replay:
    """The blocks from `start` on, for one batch of n rows, ready to be run repeatedly.

    The arguments:

    rows      token ids of each row.
    start     first block running again; n_layers runs only the final norm.
    lookup    index of the changed token in each row; None replays all positions.
    watch     names of modules whose input and output at the replayed positions are stored in
              `seen`.
    behind    number of tokens at each row's end after the prompt, for routes that decide at its
              end.
    grad      whether the states of `top` are differentiable.

    The attributes:

    hidden    (n, L, d) the states entering block `start` at the L replayed positions.
    top       the output of this whole forward pass, as returned by `LM.backbone`.
    seen      for each watched module its input and output, each (n, L, width).
    seqs      the rows as `Sequences`.
    device    the device of block `start`, holding all of these and all results.
    calls     the other arguments of each block, each on its block's device.
    changing  with `at_mlp`, the modules whose output changes.
    above     whether this change is added to `hidden`, which then enters the block above.

    `run(hidden)` returns the model's own states after the final norm, and `run(changed)` returns
    the changed model's. With `lookup`, the changed token is column 0 of every row. `column(i, p)`
    is the column of token p of row i, and `labels(answers)` gives the positions that predict
    answers.
    """

    changing: tuple[str, ...] = ()
    above: bool = False

    def __new__(cls, lm: LM | None = None, *_: Any, **__: Any) -> Replay:
        """Return a replay, or a `WholeRun` if this model's blocks cannot run individually."""
        return super().__new__(WholeRun if lm is not None and lm.arch.whole else cls)

    def __init__(
        self,
        lm: LM,
        rows: Sequence[Sequence[int]],
        start: int,
        lookup: Sequence[int] | None = None,
        watch: Sequence[str] = (),
        behind: Sequence[int] | None = None,
        grad: bool = False,
    ) -> None:
        check_length(lm, rows)
        self.lm, self.start, self.device = lm, start, lm.block_device(start)
        self.blocks = list(lm.blocks)[start:]
        self.norm = lm.model.get_submodule(lm.arch.final_norm)
        # align the rows at their lookup token, padding before the parts to its left and after the
        # parts to its right
        at = [0] * len(rows) if lookup is None else list(lookup)
        self._first = max(at)  # the column of the lookup token in every row
        self._shift = [self._first - a for a in at]
        # number of columns of a module's output before the replayed ones
        self.lead = self._first if lm.arch.whole else 0
        seqs = sequences(lm, rows, behind, self._shift)
        # one whole forward pass captures the arguments of all blocks, and watched modules
        self.calls: tuple[dict[str, Any], ...] = ()
        with lm.opened(seqs, grad=grad), ExitStack() as hooks:
            # the input of the first of these is the starting point of later runs
            hooks.enter_context(hooked([*self.blocks, self.norm][0], self._enter, before=True))
            for block in self.blocks:
                hooks.enter_context(hooked(block, self._capture, before=True))
            seen = hooks.enter_context(watched(lm.model, watch, len(rows)))
            # without a cache, which would be among the captured arguments and make replays wrong
            self.top = lm.backbone(seqs.ids, seqs.real, use_cache=False)
        self.seqs = seqs.on(self.device)
        self.seen = {
            name: (given[:, self._first :].to(self.device), put[:, self._first :].to(self.device))
            for name, (given, put) in seen.items()
        }

    @classmethod
    def at_mlp(
        cls,
        lm: LM,
        rows: Sequence[Sequence[int]],
        layer: int,
        modules: Sequence[str] | None = None,
        *,
        lookup: Sequence[int] | None = None,
        watch: Sequence[str] = (),
        behind: Sequence[int] | None = None,
    ) -> Replay:
        """Return a replay starting where a changed output of a layer's MLP first has an effect.

        A block adds its MLP's output to the stream, so a change of this output can be added to the
        states entering the block above, without running the layer's own block again. If a norm
        follows the MLP (`lm.arch.post_norm`), the change first passes through that norm. In this
        case, the layer's block runs again, and the change enters at the module. The same applies to
        any other `modules` of the layer; by default, only the MLP's output projection is changed.
        """
        mlp_out = lm.mlp_out(layer)
        modules = (mlp_out,) if modules is None else tuple(modules)
        above = modules == (mlp_out,) and not lm.arch.post_norm
        replay = cls(lm, rows, layer + above, lookup, watch, behind)
        replay.changing, replay.above = modules, above
        return replay

    def column(self, row: int, position: int) -> int:
        """Return the column, among the replayed positions, of the token at a position of a row."""
        return self._shift[row] + position - self._first

    def labels(self, answers: AnswerRows) -> Tensor:
        """Return labels (3, m), each a row, column and token predicted by `run(…)[row, column]`.

        `answers` belong to this replay's rows. Their positions become columns.
        """
        row, position, token = answers.labels
        column = torch.tensor(self._shift)[row] + position - self._first
        return torch.stack([row, column, token]).to(self.device)

    def run(self, hidden: Tensor, upto: int | None = None, since: int = 0) -> Tensor:
        """Return the states (n, L, d) after the final norm, given `hidden` (n, L, d) at `start`.

        upto=m stops before block `start + m`, returning its input instead, without the norm;
        since=m begins at this block. The states are differentiable in `hidden`.
        """
        with self.lm.opened(self.seqs, grad=torch.is_grad_enabled()):
            for block, call in list(zip(self.blocks, self.calls, strict=True))[since:upto]:
                hidden = block(hidden_states=hidden, **call)
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            hidden = hidden if upto is not None else self._finish(hidden)
        return hidden.to(self.device)  # with several GPUs, the last block may be on another

    def with_added(self, *deltas: Tensor) -> Tensor:
        """Return the states of `run` with these deltas added to the outputs of the changed modules.

        There is one delta (n, l, d) for each module of `at_mlp`. It is added at the first l of the
        replayed positions, in float32, so l = 1 with a `lookup` changes only this token. The states
        are differentiable in the deltas.
        """
        if self.above:
            return self.run(add_first(self.hidden, *deltas))
        return self._changed([partial(add_first, delta=delta) for delta in deltas])

    def with_replaced(self, values: Tensor, places: Tensor) -> Tensor:
        """Return the states of `run` with the changed module's output replaced at some places.

        values (n, d) is the new output of each row, and places (n, L) bool marks its positions. The
        module must be watched. The states are differentiable in the values.
        """
        (module,), places = self.changing, places[..., None]
        if self.above:
            # h′ = h + (v − y): remove the module's own output y from the stream and add the value v
            output = self.seen[module][1].float()
            moved = (self.hidden + (values[:, None] - output)).to(self.hidden.dtype)
            return self.run(torch.where(places, moved, self.hidden))
        return self._changed(
            [lambda output: torch.where(places, values[:, None].to(output.dtype), output)]
        )

    def _changed(self, changes: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """Run with hooks changing the output (n, L, d) of each module in `changing`."""
        n = len(self.hidden)

        def hook(change: Callable, _: nn.Module, __: tuple, output: Tensor) -> Tensor:
            # opt's MLP sees rows and positions as one dimension
            wide = output.reshape(n, -1, output.shape[-1])
            moved = torch.cat([wide[:, : self.lead], change(wide[:, self.lead :])], 1)
            return moved.reshape(output.shape)

        hooks = dict(zip(self.changing, (partial(hook, one) for one in changes), strict=True))
        with hooked_all(self.lm.model, hooks):
            return self.run(self.hidden)

    def take(self, rows: Sequence[int]) -> Replay:
        """Return the same replay for some of its rows, selecting tensors, not capturing again."""
        n, index = len(self.seqs.ids), torch.tensor(rows, device=self.device)
        part = copy(self)
        part.hidden = self.hidden[index]
        part.seen = {name: (k[index], v[index]) for name, (k, v) in self.seen.items()}
        part._shift = [self._shift[i] for i in rows]
        part.seqs = copy(self.seqs)
        part.seqs.select(index)
        part.calls = _mapped(self.calls, partial(_pick, index=index, n=n))
        return part

    def _finish(self, hidden: Tensor) -> Tensor:
        """Return the states after the final norm, projected if the family does this (opt-350m)."""
        hidden = self.norm(hidden)
        project = getattr(below_head(self.lm.model), "decoder", None)
        project = getattr(project, "project_out", None)
        return hidden if project is None else project(hidden)

    def _enter(self, _: nn.Module, args: tuple, named: dict[str, Any]) -> None:
        """Store the states entering the first block of the first pass, or the norm without one."""
        self.hidden = _entering(args, named)[1][:, self._first :].detach().to(self.device)

    def _capture(self, block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Store a block's arguments before it runs in the first forward pass, as a hook.

        The block is given a cache for storing keys and values of the positions before the lookup.
        """
        bound = block_signature(block).bind(*args, **kwargs)
        call = dict(bound.arguments)
        call.update(call.pop("kwargs", {}))  # the signature's **kwargs, passed by name
        hidden = call.pop("hidden_states")
        kept = PrefixKeys(self._first)
        mask = call.get("attention_mask")
        now = {**call, cache_argument(block): kept}
        # arguments come from the GPU of the block below; move them here once for all runs
        device = next(block.parameters()).device
        call = self._window(now, mask, hidden)
        self.calls += (_mapped(call, lambda v: v.to(device) if isinstance(v, Tensor) else v),)
        return (), {"hidden_states": hidden, **now}

    def _window(self, call: dict[str, Any], mask: Tensor | None, hidden: Tensor) -> dict[str, Any]:
        """Return a block's arguments, cut to the positions from the lookup on."""
        first, length = self._first, hidden.shape[1]
        call = dict(call)
        if mask is not None and mask.ndim == 4:
            call["attention_mask"] = mask[:, :, first:]
        elif mask is None and first and self.lm.model.config._attn_implementation == "sdpa":
            # without a mask, the kernel aligns causality at the first key, not at the last
            causal = torch.ones(length, length, dtype=torch.bool, device=hidden.device).tril()
            call["attention_mask"] = causal[None, None, first:].expand(len(hidden), 1, -1, -1)
        for name in POSITIONS:
            if isinstance(call.get(name), Tensor):
                call[name] = call[name][..., first:]
        if (angles := call.get("position_embeddings")) is not None:  # cos and sin, or one e^iθ
            call["position_embeddings"] = _mapped(angles, lambda t: t[:, first:])
        return call


class WholeRun(Replay):
    """A replay running the whole model, entering it at block `start` using a hook.

    It replaces `Replay` if a block cannot be run again individually: its state is not an attention
    cache, it reads keys of other layers, or its arguments cannot be cut by this library. It costs a
    run of the whole model each time, and is correct for any model whose blocks read states.
    """

    def run(self, hidden: Tensor, upto: int | None = None, since: int = 0) -> Tensor:
        """Return the states as in `Replay.run`."""
        around = [*self.blocks, self.norm]
        caught: list[Tensor] = []

        def enter(_: nn.Module, args: tuple, named: dict[str, Any]) -> tuple[tuple, dict]:
            name, own = _entering(args, named)
            # the columns of an unchanged run come before the changed columns
            whole = torch.cat([own[:, : self.lead], hidden.to(own)], 1)
            return ((whole, *args[1:]), named) if name is None else (args, {**named, name: whole})

        def leave(_: nn.Module, args: tuple, named: dict[str, Any]) -> None:
            caught.append(_entering(args, named)[1][:, self.lead :])
            raise StopForward

        with ExitStack() as hooks:
            hooks.enter_context(self.lm.opened(self.seqs, grad=torch.is_grad_enabled()))
            hooks.enter_context(hooked(around[since], enter, before=True))
            if upto is not None:
                hooks.enter_context(hooked(around[upto], leave, before=True))
            with suppress(StopForward):
                out = self.lm.backbone(self.seqs.ids, self.seqs.real, use_cache=False)
                caught.append(out.last_hidden_state[:, self.lead :])
        return caught[0].to(self.device)

    def _capture(self, block: nn.Module, args: tuple, kwargs: dict) -> None:
        """Do nothing: a whole run does not need any block's arguments."""


def _entering(args: tuple, named: dict[str, Any]) -> tuple[str | None, Tensor]:
    """Return the states that a block reads, and their argument's name, None if it is the first."""
    if args:
        return None, args[0]
    name = next(name for name, value in named.items() if getattr(value, "ndim", 0) == 3)
    return name, named[name]


def add_first(wide: Tensor, delta: Tensor) -> Tensor:
    """Return the states `wide` (n, L, d) with delta (n, l, d) added to their first l columns."""
    columns = delta.shape[1]
    # summed in float32, so that a bf16 state is rounded only once
    moved = (wide[:, :columns].float() + delta.to(wide.device)).to(wide.dtype)
    return moved if columns == wide.shape[1] else torch.cat([moved, wide[:, columns:]], 1)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a captured argument, or a mapping or tuple of them, with each changed."""
    if isinstance(value, dict):
        return {name: _mapped(part, change) for name, part in value.items()}
    return tuple(_mapped(part, change) for part in value) if type(value) is tuple else change(value)


def _pick(value: Any, index: Tensor, n: int) -> Any:
    """Return some of the n rows of a captured argument; an argument shared by rows stays whole."""
    if isinstance(value, PrefixKeys):
        kept = value.prefix and tuple(_pick(side, index, n) for side in value.prefix)
        return PrefixKeys(value.positions, kept)
    if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[0] % n or value.shape[0] < n:
        return value
    per_row = value.reshape(n, value.shape[0] // n, *value.shape[1:])  # alibi: rows x heads in one
    return per_row[index.to(value.device)].reshape(-1, *value.shape[1:])
