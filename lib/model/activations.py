"""Looking inside a run: inputs and outputs of modules, and no more of the model than they need."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .batching import batches, check_length, sequences
from .hooks import Enough, hooked
from .sequences import Sequences

if TYPE_CHECKING:
    from .lm import LM


@dataclass
class Run:
    """One whole forward, padded on the left: ids, real (n, L); logits (n, L, vocabulary).

    seen: module name -> (its input, its output), (n, L, width).
    """

    ids: Tensor
    real: Tensor
    logits: Tensor
    seen: dict[str, tuple[Tensor, Tensor]]


def run(lm: LM, rows: list[list[int]], watch: Sequence[str] = ()) -> Run:
    """All rows in one forward, with the inputs and outputs of the modules in `watch`."""
    seqs = sequences(lm, rows)
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def look(name: str):
        def hook(_, inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            output = output.clone()  # falcon adds the attention's output to it in place
            both = (inputs[0], output) if inputs else (output, output)
            seen[name] = tuple(t.detach().reshape(len(rows), -1, t.shape[-1]) for t in both)

        return hook

    with lm.opened(seqs):
        with ExitStack() as hooks:
            for name in watch:
                hooks.enter_context(hooked(lm.model.get_submodule(name), look(name)))
            hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
        return Run(seqs.ids, seqs.real, lm.head(hidden), seen)


def inputs(
    lm: LM, rows: list[list[int]], modules: Sequence[str], skip: int = 0
) -> dict[str, Tensor]:
    """Inputs of modules at all real tokens but each row's first `skip`, {module: (tokens, width)}.

    One forward for all rows; nothing above the last module runs.
    """
    seqs = sequences(lm, rows)
    wanted = seqs.real & (seqs.real.long().cumsum(1) > skip)
    return {name: wide[wanted] for name, wide in _inputs(lm, seqs, modules).items()}


def inputs_at(
    lm: LM, rows: list[list[int]], at: Sequence[int], modules: Sequence[str]
) -> dict[str, Tensor]:
    """Inputs of modules at one token per row, {module: (n, width)}; nothing above runs."""
    check_length(lm, rows)
    found: dict[str, Tensor] = {}
    for group in batches(rows):
        seqs = sequences(lm, [rows[i] for i in group])
        column = torch.tensor([at[i] - len(rows[i]) for i in group]) + seqs.ids.shape[1]
        for name, wide in _inputs(lm, seqs, modules).items():
            into = found.setdefault(name, wide.new_empty(len(rows), wide.shape[-1]))
            into[group] = wide[torch.arange(len(group)), column]
    return found


def _inputs(lm: LM, seqs: Sequences, modules: Sequence[str]) -> dict[str, Tensor]:
    """Inputs of modules in one forward, {module: (rows, length, width)}."""
    seen: dict[str, Tensor] = {}

    def look(name: str):
        def hook(_, given, named):
            given = given[0] if given else named["hidden_states"]  # a block's input is named
            seen[name] = given.detach().reshape(*seqs.ids.shape, -1)
            if len(seen) == len(modules):
                raise Enough

        return hook

    with lm.opened(seqs), ExitStack() as hooks, suppress(Enough):
        for name in modules:
            module = lm.model.get_submodule(name)
            hooks.enter_context(hooked(module, look(name), before=True))
        lm.backbone(seqs.ids, seqs.real, use_cache=False)
    return seen
