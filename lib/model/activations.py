"""Activations of a language model: the inputs and outputs of its modules on given texts.

Editors need the input of one matrix at one token (a key), statistics need it at every token, and
the demo's views need whole states. Hooks record them during a forward pass, ending it after seeing
the last requested module.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .batching import batches, check_length, sequences
from .hooks import StopForward, hooked_all, watched
from .sequences import Sequences

if TYPE_CHECKING:
    from .lm import LM


@dataclass
class Recording:
    """One whole forward pass of n rows, padded on the left to the same length L.

    ids     (n, L) token ids, 0 at padding.
    real    (n, L) bool: false at padding.
    logits  (n, L, vocabulary) float32.
    seen    for each watched module its input and its output, both (n, L, width), on its device.
    """

    ids: Tensor
    real: Tensor
    logits: Tensor
    seen: dict[str, tuple[Tensor, Tensor]]


def record(lm: LM, rows: list[list[int]], watch: Sequence[str] = ()) -> Recording:
    """Run all rows in one forward pass, recording inputs and outputs of the modules in `watch`."""
    seqs = sequences(lm, rows)
    with lm.opened(seqs):
        with watched(lm.model, watch, len(rows)) as seen:
            hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
        return Recording(seqs.ids, seqs.real, lm.head(hidden), seen)


def module_inputs(
    lm: LM, rows: list[list[int]], modules: Sequence[str], skip: int = 0
) -> dict[str, Tensor]:
    """Return {module: its inputs (tokens, width)} at all tokens except each row's first `skip`.

    All rows run in one forward pass. Nothing above the last of the modules runs.
    """
    seqs = sequences(lm, rows)
    # a running count of the row's real tokens: 1 at the first, whatever padding precedes it
    wanted = seqs.real & (seqs.real.long().cumsum(1) > skip)
    found = padded_inputs(lm, seqs, modules)  # dropped one by one: two copies of all take memory
    return {name: (wide := found.pop(name))[wanted.to(wide.device)] for name in modules}


def module_inputs_at(
    lm: LM, rows: Sequence[Sequence[int]], at: Sequence[int], modules: Sequence[str]
) -> dict[str, Tensor]:
    """Return {module: its inputs (n, width)} at token `at[i]` of row i, counted without padding.

    Rows run in batches of similar length. Nothing above the last of the modules runs.
    """
    check_length(lm, rows)
    found: dict[str, Tensor] = {}
    for group in batches(rows):
        seqs = sequences(lm, [rows[i] for i in group])
        # rows are padded on the left, so a token keeps its distance from the row's end
        column = torch.tensor([at[i] - len(rows[i]) for i in group]) + seqs.ids.shape[1]
        for name, wide in padded_inputs(lm, seqs, modules).items():
            into = found.setdefault(name, wide.new_empty(len(rows), wide.shape[-1]))
            into[group] = wide[torch.arange(len(group)), column]
    return found


def states_at_ends(lm: LM, texts: Sequence[str], block: int) -> Tensor:
    """Return the states (n, d) before a block, at the last token of each text."""
    name = f"{lm.arch.blocks}.{block}"
    rows, _ = lm.rows(texts)
    return module_inputs_at(lm, rows, [len(row) - 1 for row in rows], [name])[name]


def padded_inputs(lm: LM, seqs: Sequences, modules: Sequence[str]) -> dict[str, Tensor]:
    """Return {module: its inputs (rows, length, width)} on padded rows, in one forward pass.

    Nothing above the last of the modules runs.
    """
    seen: dict[str, Tensor] = {}

    def look(name: str, _: nn.Module, given: tuple, named: dict[str, Any]) -> None:
        hidden = (
            given[0] if given else named["hidden_states"]
        )  # a block's input is a keyword argument
        seen[name] = hidden.detach().reshape(*seqs.ids.shape, -1)
        if len(seen) == len(modules):
            raise StopForward  # the results of the blocks above are not needed

    looks = {name: partial(look, name) for name in modules}
    with lm.opened(seqs), hooked_all(lm.model, looks, before=True), suppress(StopForward):
        lm.backbone(seqs.ids, seqs.real, use_cache=False)
    return seen
