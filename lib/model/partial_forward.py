"""Run only what can have changed: replay along layers and along positions.

While one layer is edited everything below it is constant, so the blocks above are called again with
the arguments that they had. Where only one position is changed (v*), a causal model computes
nothing new before it either: rows are aligned at that lookup token, keys and values of the earlier
positions are kept once per layer, and every step runs from the lookup on. Both are exact.

Most editors change what one MLP puts out. `Replay.at_mlp` knows from the architecture where such a
change is first felt, and `with_added` and `with_replaced` enter it there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .answer_rows import AnswerRows
from .architectures import block_signature, cache_argument
from .batching import check_length
from .hooks import hooked
from .sequences import Sequences

if TYPE_CHECKING:
    from .lm import LM


class PrefixKeys:
    """The cache that a block is given: attention keys and values of the positions that do not run.

    The first call sees whole rows and keeps their first positions; every later call puts these in
    front of the positions that run. It stands in for transformers' cache because it stores nothing
    later on: any number of replays start from the same prefix, and no graph is kept alive between
    them.
    """

    is_compileable = False

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.prefix: tuple[Tensor, Tensor] | None = None

    def update(self, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of all positions; the first call, of the whole row, keeps its start."""
        if not self.positions:
            return key, value
        if self.prefix is None:
            c = self.positions
            self.prefix = key[:, :, :c].detach().clone(), value[:, :, :c].detach().clone()
            return key, value
        return torch.cat([self.prefix[0], key], 2), torch.cat([self.prefix[1], value], 2)

    def get_seq_length(self, *_: Any) -> int:
        """How many positions stand before the replayed ones."""
        return 0 if self.prefix is None else self.positions


class Replay:
    """The blocks from `start` on, for one batch of rows, as often as wanted.

    rows    token ids per row
    start   first block that runs again (n_layers: only the final norm)
    lookup  index of the changed token in each row; None replays all positions
    watch   module names whose input and output at the replayed positions are kept in `seen`
    behind  how many tokens at each row's end are no prompt, for routes that decide at its end

    `hidden` (n, L, d) is what enters block `start` at the replayed positions: `run(hidden)` gives
    the model's own states after the final norm, `run(changed)` those of the changed model. With
    `lookup` the changed token is column 0 of every row. `column(i, p)` is where token p of row i
    stands, and `labels(answers)` is where answers are predicted.
    """

    changing: tuple[str, ...] = ()  # of `at_mlp`: the modules whose output changes
    above: bool = False  # whether their change is added to `hidden`, which enters the block above

    def __init__(
        self,
        lm: LM,
        rows: Sequence[Sequence[int]],
        start: int,
        lookup: Sequence[int] | None = None,
        watch: Sequence[str] = (),
        behind: Sequence[int] | None = None,
    ) -> None:
        check_length(lm, rows)
        self.lm, self.start = lm, start
        self.blocks = list(lm.blocks)[start:]
        self.norm = lm.model.get_submodule(lm.arch.final_norm)
        at = [0] * len(rows) if lookup is None else list(lookup)
        self._first = max(at)  # prefixes are padded on the left up to here, suffixes on the right
        self._shift = [self._first - a for a in at]
        ids, real = _align(lm, rows, self._shift)
        ends = [len(row) - b for row, b in zip(rows, behind or [0] * len(rows), strict=True)]
        last = torch.tensor([s + end - 1 for s, end in zip(self._shift, ends, strict=True)])
        last = last.to(ids.device)
        prompt = real & (torch.arange(ids.shape[1], device=ids.device) <= last[:, None])
        seqs = Sequences(ids, real, prompt, last)
        self.seqs = seqs
        self.seen: dict[str, Any] = {}
        self.calls: list[Any] = []
        with lm.opened(seqs), ExitStack() as hooks:
            for block in self.blocks:
                hooks.enter_context(hooked(block, self._capture, before=True))
            if not self.blocks:
                hook = self.norm.register_forward_pre_hook(self._top)
                hooks.callback(hook.remove)
            for name in watch:
                module = lm.model.get_submodule(name)
                hooks.enter_context(hooked(module, self._watch(name, len(rows))))
            lm.backbone(
                ids, real, use_cache=False
            )  # a cache in the arguments would make replays wrong

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
        """A replay that starts where a change of what the MLP of `layer` puts out is first felt.

        A block adds the output of its MLP to the stream, so a change of this output can be added to
        what enters the block above, and the layer's own block need not run again. Where a norm
        follows the MLP (`lm.arch.post_norm`) the change passes that norm first: then the layer's
        block runs again, and the change enters at the module. So it does at any other `modules` of
        the layer; by default only the MLP's output projection is changed.
        """
        mlp_out = lm.mlp_out(layer)
        modules = (mlp_out,) if modules is None else tuple(modules)
        above = modules == (mlp_out,) and not lm.arch.post_norm
        replay = cls(lm, rows, layer + above, lookup, watch, behind)
        replay.changing, replay.above = modules, above
        return replay

    def column(self, row: int, position: int) -> int:
        """Column of the replayed window in which a row's token stands."""
        return self._shift[row] + position - self._first

    def labels(self, answers: AnswerRows) -> Tensor:
        """Labels (3, m) of this replay's rows with columns for positions: row, column, token.

        They are where the states are that `run` gives: `run(hidden)[row, column]` predicts `token`.
        """
        row, position, token = answers.labels
        column = torch.tensor(self._shift)[row] + position - self._first
        device = next(self.norm.parameters()).device
        return torch.stack([row, column, token]).to(device)

    def run(self, hidden: Tensor, upto: int | None = None, since: int = 0) -> Tensor:
        """States behind the final norm (n, L, d) when `hidden` enters block `start`;
        differentiable.

        upto=m stops before block `start + m` and gives its input instead, without the norm;
        since=m begins there.
        """
        with self.lm.opened(self.seqs, grad=torch.is_grad_enabled()):
            for block, call in list(zip(self.blocks, self.calls, strict=True))[since:upto]:
                hidden = block(hidden_states=hidden, **call)
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            return hidden if upto is not None else self._finish(hidden)

    def with_added(self, *deltas: Tensor) -> Tensor:
        """The states of `run` when the outputs of the changed modules move by these deltas.

        There is one delta (n, l, d) for each module of `at_mlp`. It is added at the first l of the
        replayed positions, in float32, so l = 1 with a `lookup` moves this token only.
        Differentiable in the deltas.
        """
        if self.above:
            return self.run(add_first(self.hidden, *deltas))
        return self._changed([partial(add_first, delta=delta) for delta in deltas])

    def with_replaced(self, values: Tensor, places: Tensor) -> Tensor:
        """The states of `run` when the changed module, which must be watched, puts out `values`.

        values (n, d) stand at those positions of a row that places (n, L) marks; differentiable in
        them.
        """
        (module,), places = self.changing, places[..., None]
        if self.above:
            # h′ = h + (v − y): the module's own output y leaves the stream, the value v enters
            output = self.seen[module][1].float()
            moved = (self.hidden + (values[:, None] - output)).to(self.hidden.dtype)
            return self.run(torch.where(places, moved, self.hidden))
        return self._changed(
            [lambda output: torch.where(places, values[:, None].to(output.dtype), output)]
        )

    def _changed(self, changes: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """A run in which a hook changes the output (n, L, d) of each module in `changing`."""
        n = len(self.hidden)
        with ExitStack() as hooks:
            for name, change in zip(self.changing, changes, strict=True):

                def hook(_: nn.Module, __: tuple, output: Tensor, change=change) -> Tensor:
                    # opt's MLP sees rows and positions as one dimension
                    return change(output.reshape(n, -1, output.shape[-1])).reshape(output.shape)

                module = self.lm.model.get_submodule(name)
                hooks.callback(module.register_forward_hook(hook).remove)
            return self.run(self.hidden)

    def take(self, rows: Sequence[int]) -> Replay:
        """The same replay for some of its rows: nothing is captured again, tensors are selected."""
        n, index = len(self.seqs.ids), torch.tensor(rows, device=self.hidden.device)
        part = copy(self)
        part.hidden = self.hidden[index]
        part.seen = {name: (k[index], v[index]) for name, (k, v) in self.seen.items()}
        part._shift = [self._shift[i] for i in rows]
        part.seqs = copy(self.seqs)
        part.seqs.select(index)
        part.calls = [{k: _pick(v, index, n) for k, v in call.items()} for call in self.calls]
        return part

    def _finish(self, hidden: Tensor) -> Tensor:
        hidden = self.norm(hidden)
        project = getattr(self.lm.model.base_model, "decoder", None)  # opt-350m: behind the norm
        project = getattr(project, "project_out", None)
        return hidden if project is None else project(hidden)

    def _capture(self, block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        bound = block_signature(block).bind(*args, **kwargs)
        call = dict(bound.arguments)
        call.update(call.pop("kwargs", {}))  # the signature's **kwargs, passed on by name
        hidden = call.pop("hidden_states")
        if not self.calls:
            self.hidden = hidden[:, self._first :].detach()
        kept = PrefixKeys(self._first)
        mask = call.get("attention_mask")
        now = {**call, cache_argument(block): kept}
        self.calls.append(self._window(now, mask, hidden))
        return (), {"hidden_states": hidden, **now}

    def _window(self, call: dict[str, Any], mask: Tensor | None, hidden: Tensor) -> dict[str, Any]:
        """A block's arguments for the positions from the lookup on."""
        first, length = self._first, hidden.shape[1]
        call = dict(call)
        if mask is not None and mask.ndim == 4:
            call["attention_mask"] = mask[:, :, first:]
        elif mask is None and first and self.lm.model.config._attn_implementation == "sdpa":
            # without a mask the kernel aligns causality at the first key, not at the last
            causal = torch.ones(length, length, dtype=torch.bool, device=hidden.device).tril()
            call["attention_mask"] = causal[None, None, first:].expand(len(hidden), 1, -1, -1)
        for name in ("position_ids", "cache_position"):
            if isinstance(call.get(name), Tensor):
                call[name] = call[name][..., first:]
        if isinstance(call.get("position_embeddings"), tuple):
            call["position_embeddings"] = tuple(t[:, first:] for t in call["position_embeddings"])
        return call

    def _top(self, _: nn.Module, inputs: tuple) -> None:
        self.hidden = inputs[0][:, self._first :].detach()

    def _watch(self, name: str, n: int):
        def hook(_: nn.Module, inputs: tuple, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            output = output.clone()  # falcon adds the attention's output to it in place
            self.seen[name] = tuple(
                t.detach().reshape(n, -1, t.shape[-1])[:, self._first :]
                for t in (inputs[0], output)
            )

        return hook


def add_first(wide: Tensor, delta: Tensor) -> Tensor:
    """The states `wide` (n, L, d) with delta (n, l, d) added to their first l columns."""
    columns = delta.shape[1]
    # summed in float32, so that a bf16 state is rounded once
    moved = (wide[:, :columns].float() + delta.to(wide.device)).to(wide.dtype)
    return moved if columns == wide.shape[1] else torch.cat([moved, wide[:, columns:]], 1)


def _pick(value: Any, index: Tensor, n: int) -> Any:
    """Rows of one captured argument; what all rows share stays whole."""
    if isinstance(value, PrefixKeys):
        part = PrefixKeys(value.positions)
        part.prefix = value.prefix and (value.prefix[0][index], value.prefix[1][index])
        return part
    if isinstance(value, tuple):
        return tuple(_pick(v, index, n) for v in value)
    if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[0] % n or value.shape[0] < n:
        return value
    per_row = value.reshape(n, value.shape[0] // n, *value.shape[1:])  # alibi: rows x heads in one
    return per_row[index].reshape(-1, *value.shape[1:])


def _align(lm: LM, rows: Sequence[Sequence[int]], shift: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(n, L) ids and mask, row i moved right by shift[i], padded on both sides."""
    length = max(s + len(row) for s, row in zip(shift, rows, strict=True))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    real = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, (row, s) in enumerate(zip(rows, shift, strict=True)):
        ids[i, s : s + len(row)] = torch.tensor(row)
        real[i, s : s + len(row)] = True
    return ids.to(lm.device), real.to(lm.device)
