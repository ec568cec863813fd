"""`Corrupted` runs the model for causal tracing: noisy copies of a prompt, restoring clean states.

`causal_trace` selects the states to test. This file runs them, many in one pass through the layers,
without computing anything twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...data import as_facts
from ...data.facts import Fact, encode_target, lookup
from ...errors import ArgumentError
from ...model.batching import sequences
from ...model.hooks import hooked, hooked_all
from ...model.lm import LM
from ...model.partial_forward import Replay

KINDS = ("hidden", "mlp", "attention")
POSITIONS = 2048  # rows × tokens of one forward pass, which was faster than 512 and 8192 on a CPU


@dataclass(frozen=True)
class Cell:
    """The clean states restored in one run.

    kind    "hidden" for a block's output, "mlp" and "attention" for the output of the modules
            `mlp_out` and `attn_out`.
    tokens  The tokens whose states are restored.
    layers  The layers at which they are restored.
    """

    kind: str
    tokens: tuple[int, ...]
    layers: tuple[int, ...]


def embedding_deviation(lm: LM, subjects: Sequence[Fact | str]) -> float:
    """Return the standard deviation σ of the embedding's entries over all subject tokens.

    It is one number. A Fact's subject is read inside its prompt, a subject given as text by itself.
    In families that scale embeddings inside the module, σ is also scaled, since the noise is added
    afterwards.
    """
    found = []
    for one in subjects:
        fact = Fact(one, "{}", one) if isinstance(one, str) else one
        ids, first, last = span(lm, fact)
        found += ids[first : last + 1]
    if len(found) < 1:
        raise ArgumentError("There is no subject to measure. Provide at least one.")
    with lm.opened(sequences(lm, [found])) as seqs:
        return lm.model.get_submodule(lm.arch.embed)(seqs.ids).float().std().item()


def span(lm: LM, fact: Fact) -> tuple[list[int], int, int]:
    """Return the ids of the fact's prompt, and its subject's first and last token numbers."""
    ids, last = lookup(lm.tokenizer, fact)
    begin = fact.prompt.index("{}") + len(fact.subject) - len(fact.subject.lstrip())
    read = lm.tokenizer(fact.text, return_offsets_mapping=True)
    first = next(i for i, (_, end) in enumerate(read["offset_mapping"]) if end > begin)
    return ids, first, last


class Corrupted:
    """One prompt in `samples` noisy rows and a clean one, for restoring cells in few runs.

    Cells with the same first restored token share their runs, because everything before that token
    is the same as in the noisy run and is kept by `Replay`. A cell joins the batch only at its
    first restored layer, as a copy of the noisy rows. This avoids running blocks for it in vain,
    and each weight is read once for all cells.

    ids      The ids of the prompt.
    subject  The numbers of the subject's first and last token.
    answer   The id of the clean run's most probable next token.
    known    Whether `answer` begins the fact's target_true; None without one.
    scale    The standard deviation of the noise.
    """

    def __init__(
        self, lm: LM, fact: Fact, samples: int, noise: float, sigma: float | None, seed: int
    ) -> None:
        self.lm, self.samples = lm, samples
        self.ids, *ends = span(lm, fact)
        self.subject = tuple(ends)
        self.answer = int(lm.next_token([self.ids]).argmax())
        self.known = None
        if fact.target_true is not None:
            self.known = encode_target(lm.tokenizer, fact.target_true)[0] == self.answer
        sigma = embedding_deviation(lm, [fact]) if sigma is None else sigma
        self.scale = noise * sigma
        self.seed = seed

    @classmethod
    @contextmanager
    def opened(cls, lm: LM, fact: as_facts.Given | str, subject: str | None, *settings: Any):
        """Hold the model for all runs of one call, so its hooks never see another thread's run."""
        if isinstance(fact, str):
            if subject is None:
                raise ArgumentError("A prompt in plain text is traced with its subject. Give both.")
            fact = Fact.find(fact, subject, subject)  # the new answer has no effect here
        elif subject is not None:
            raise ArgumentError("A Fact already has a subject. Omit the other subject.")
        fact = as_facts.fact(fact)
        ids, _, _ = span(lm, fact)
        with lm.opened(sequences(lm, [ids])):
            yield cls(lm, fact, *settings)

    def restore(self, cells: Sequence[Cell]) -> tuple[float, float, Tensor]:
        """Return the probabilities p_clean and p_corrupted, and p of every cell, (cells,)."""
        # cells beginning at the same token share their runs; the subject's first token always has
        # one, for p_clean and p_corrupted
        starts: dict[int, list[int]] = {self.subject[0]: []}
        for i, cell in enumerate(cells):
            self._check(cell)
            starts.setdefault(min(cell.tokens, default=self.subject[0]), []).append(i)
        p = torch.zeros(len(cells))
        ends: dict[int, tuple[float, float]] = {}  # first token -> p_clean, p_corrupted
        for token, members in starts.items():
            replay = self._replay(token)
            size = max(1, POSITIONS // (self.samples * (len(self.ids) - token)) - 1)
            # neighbors join the batch at about the same layer
            members.sort(key=lambda i: min(cells[i].layers, default=0))
            for j in range(0, max(1, len(members)), size):
                part = members[j : j + size]
                clean, noisy, p[part] = self._run(replay, token, [cells[i] for i in part])
                ends[token] = clean, noisy
        return *ends[self.subject[0]], p

    def _check(self, cell: Cell) -> None:
        """Reject a kind, a layer or a token that does not exist."""
        if cell.kind not in KINDS:
            raise ArgumentError(f"kind should be one of {', '.join(KINDS)}, not '{cell.kind}'.")
        for layer in cell.layers:
            self.lm.mlp_out(layer)
        if not all(0 <= t < len(self.ids) for t in cell.tokens):
            raise ArgumentError(
                f"The prompt has tokens 0 to {len(self.ids) - 1}, not {cell.tokens}."
            )

    def _replay(self, token: int) -> Replay:
        """Return all blocks from `token` on, for the noisy rows followed by the clean one."""
        first, last = self.subject

        def corrupt(_: nn.Module, __: tuple, output: Tensor) -> Tensor:
            draw = torch.Generator().manual_seed(self.seed)
            shape = (self.samples, last - first + 1, output.shape[-1])
            change = self.scale * torch.randn(shape, generator=draw)
            output = output.clone()
            output[: self.samples, first : last + 1] += change.to(output)
            return output

        with hooked(self.lm.model.get_submodule(self.lm.arch.embed), corrupt):
            rows = [self.ids] * (self.samples + 1)
            return Replay(self.lm, rows, 0, lookup=[token] * len(rows))

    def _run(
        self, replay: Replay, token: int, cells: Sequence[Cell]
    ) -> tuple[float, float, Tensor]:
        """Run some cells whose first restored token is `token` through all layers in one pass."""
        n, hidden = self.samples, replay.hidden  # (rows, tokens, d)
        where: dict[int, slice] = {}  # the rows of each cell that has joined

        def join(i: int, states: Tensor) -> Tensor:
            """Add the rows of cell i, which are identical to the noisy run's so far."""
            where[i] = slice(len(states), len(states) + n)
            return torch.cat([states, states[:n]])

        def put_back(kind: str, layer: int, states: Tensor) -> None:
            """Overwrite the restored states of every cell that has joined with the clean ones."""
            for i, rows in where.items():
                if cells[i].kind == kind and layer in cells[i].layers:
                    columns = [t - token for t in cells[i].tokens]
                    states[rows, columns] = states[n, columns]  # row n is the clean row

        def restore(kind: str, layer: int, _: nn.Module, __: tuple, output: Tensor) -> None:
            """Restore a module's states in place, as a hook; nothing else holds its output.

            opt flattens the output.
            """
            wide = output.view(len(hidden), -1, output.shape[-1])
            put_back(kind, layer, wide[:, replay.lead :])

        names = {"mlp": self.lm.mlp_out, "attention": self.lm.attn_out}
        for layer in range(self.lm.n_layers):
            # a cell of module outputs joins before the first block in which it restores
            for i, cell in enumerate(cells):
                if cell.kind != "hidden" and layer == min(cell.layers, default=0):
                    hidden = join(i, hidden)
            # run the block for all rows; its hooks restore inside it. Each joined row reads the
            # keys and values before `token` of the noisy row that it was copied from
            hooks = {name(layer): partial(restore, kind, layer) for kind, name in names.items()}
            with hooked_all(self.lm.model, hooks):
                source = [*range(n + 1), *list(range(n)) * len(where)]
                hidden = _blocks(replay, slice(layer, layer + 1), source).run(hidden, upto=1)
            # a cell of block outputs joins only now, and its first state is restored immediately
            for i, cell in enumerate(cells):
                if cell.kind == "hidden" and layer == min(cell.layers, default=0):
                    hidden = join(i, hidden)
            put_back("hidden", layer, hidden)
        # above the last block: the final norm at the last token, then p of the answer, per row
        source = [*range(n + 1), *list(range(n)) * len(where)]
        states = _blocks(replay, slice(0), source).run(hidden[:, -1:])[:, 0]
        p = torch.cat(
            [self.lm.head(s).softmax(-1)[:, self.answer].cpu() for s in states.split(128)]
        )
        restored = torch.tensor([p[where[i]].mean().item() for i in range(len(cells))])
        return p[n].item(), p[:n].mean().item(), restored


def _blocks(replay: Replay, which: slice, source: list[int]) -> Replay:
    """Return some blocks of a replay; `source` gives the row that each new row continues."""
    part = copy(replay)
    part.blocks, part.calls, part.seen = replay.blocks[which], replay.calls[which], {}
    return part.take(source)
