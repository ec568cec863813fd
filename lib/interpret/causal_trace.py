"""Where a fact is recalled: causal tracing (Meng et al., 2022, section 2).

Noise on the subject's tokens makes the model forget the answer; one clean state put back into the
noisy run may bring it back. How much of the answer's probability returns, for each token and layer,
is the indirect effect of that state. Tracing shows where information flows; it does not say which
layer edits best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ..data.facts import Fact
from ..evaluation.intervals import interval
from ..model.lm import LM
from .corrupted_runs import KINDS, Cell, Corrupted, embedding_deviation

__all__ = ["Cell", "Trace", "average", "average_total", "embedding_deviation", "restore", "trace"]
ROLES = ("first subject", "middle subject", "last subject", "first after", "further", "last")


@dataclass(frozen=True)
class Trace:
    """One traced fact; p is the probability of `answer`, the clean run's next token.

    tokens    text of every token; subject: first and last token of the subject
    table     kind -> p of the restored runs, (tokens, layers); NaN where nothing was asked
    layers    numbers of the table's columns
    known     whether `answer` begins the fact's target_true; None without one
    """

    tokens: tuple[str, ...]
    subject: tuple[int, int]
    answer: str
    known: bool | None
    p_clean: float
    p_corrupted: float
    layers: tuple[int, ...]
    table: dict[str, Tensor]

    @property
    def total_effect(self) -> float:
        """TE = p_clean − p_corrupted: what the noise costs."""
        return self.p_clean - self.p_corrupted

    def indirect(self, kind: str) -> Tensor:
        """IE = p_restored − p_corrupted, (tokens, layers): what one state brings back."""
        return self.table[kind] - self.p_corrupted

    @property
    def roles(self) -> tuple[str | None, ...]:
        """The role of each token, one of ROLES; None in front of the subject.

        The prompt's last token is "last" even inside the subject, since restoring it late is
        trivial; the one token of a short subject is "last subject".
        """
        (first, last), end = self.subject, len(self.tokens) - 1

        def role(i: int) -> str | None:
            if i < first:
                return None
            if i == end:
                return "last"
            if i <= last:
                return ROLES[2 if i == last else 0 if i == first else 1]
            return ROLES[3 if i == last + 1 else 4]

        return tuple(map(role, range(end + 1)))


def trace(
    lm: LM,
    fact: Fact | str,
    subject: str | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    layers: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
    samples: int = 10,
    noise: float = 3.0,
    deviation: float | None = None,
    window: int = 10,
    seed: int = 1,
) -> Trace:
    """Probability of the model's own answer with one clean state put back, for every place.

    fact       a Fact, or a prompt in plain text together with its `subject`
    samples    noisy runs; every cell sees the same noise, N(0, (noise · deviation)²)
    deviation  σ of embedding entries over all subjects of a study (`embedding_deviation`); None:
               over the tokens of this subject
    window     how many layers are restored at once around each layer for "mlp" and "attention"
    layers, tokens   which cells are wanted; None: all

    Runs the model as it is patched at present, on the prompt as it is (no rewrite). Tokens in front
    of the subject get p_corrupted: the noise changes nothing there. Raises ValueError for a layer,
    token or kind that is not there, and without a subject. Source: ROME, section 2.1; there σ is
    pooled over 1,000 facts.
    """
    layers = tuple(range(lm.n_layers) if layers is None else layers)
    with Corrupted.opened(lm, fact, subject, samples, noise, deviation, seed) as runs:
        length, first = len(runs.ids), runs.subject[0]
        wanted = range(length) if tokens is None else [range(length)[t] for t in tokens]
        cells = [
            Cell(kind, (t,), layers_around(lm, kind, layer, window))
            for kind in kinds
            for t in wanted
            for layer in layers
        ]
        p_clean, p_corrupted, p = runs.restore([c for c in cells if c.tokens[0] >= first])
        found, table = iter(p.tolist()), {}
        for kind in kinds:
            table[kind] = torch.full((length, len(layers)), torch.nan)
            for t in wanted:
                row = [p_corrupted if t < first else next(found) for _ in layers]
                table[kind][t] = torch.tensor(row)
        texts = tuple(lm.tokenizer.decode([i]) for i in runs.ids)
        answer = lm.tokenizer.decode([runs.answer])
        return Trace(
            texts, runs.subject, answer, runs.known, p_clean, p_corrupted, layers, table
        )  # fmt: skip


def restore(
    lm: LM,
    fact: Fact | str,
    cells: Sequence[Cell],
    subject: str | None = None,
    *,
    samples: int = 10,
    noise: float = 3.0,
    deviation: float | None = None,
    seed: int = 1,
) -> tuple[float, float, Tensor]:
    """p_clean, p_corrupted and p of any cells, (cells,): several tokens or layers put back at once.

    The settings are those of `trace`. Cell("hidden", (3, 4), (7,)) restores the outputs of block 7
    at tokens 3 and 4; Cell("hidden", (), ()) restores nothing.
    """
    with Corrupted.opened(lm, fact, subject, samples, noise, deviation, seed) as runs:
        return runs.restore(cells)


def layers_around(lm: LM, kind: str, layer: int, window: int = 10) -> tuple[int, ...]:
    """The layers restored for one cell: itself for "hidden", else l − window/2 … l + window/2 − 1.

    Clipped to the model. Raises ValueError for a layer or a window that is not there.
    """
    lm.mlp_out(layer)
    if window < 1:
        raise ValueError(f"the window needs at least one layer, not {window}")
    if kind == "hidden":
        return (layer,)
    return tuple(range(max(0, layer - window // 2), min(lm.n_layers, layer + (window + 1) // 2)))


def average(traces: Sequence[Trace]) -> pd.DataFrame:
    """Average indirect effect by kind, layer and role: effect, low, high (95 %), facts.

    A fact's tokens of one role are averaged first; the interval is a bootstrap over facts. Roles
    that no fact has are left out. Raises ValueError when the traces cover other kinds or layers.
    """
    if not traces:
        raise ValueError("there is no trace to average")
    if len({(t.layers, tuple(t.table)) for t in traces}) > 1:
        raise ValueError("the traces cover different kinds or layers")
    rows = []
    for kind in traces[0].table:
        for role in ROLES:
            where = [[i for i, r in enumerate(t.roles) if r == role] for t in traces]
            means = [
                t.indirect(kind)[at].nanmean(0) for t, at in zip(traces, where, strict=True) if at
            ]
            for column, layer in enumerate(traces[0].layers):
                values = [m[column].item() for m in means if not m[column].isnan()]
                if values:
                    low, high = interval(values, share=False)
                    effect = sum(values) / len(values)
                    rows.append((kind, layer, role, effect, low, high, len(values)))
    return pd.DataFrame(
        rows, columns=["kind", "layer", "role", "effect", "low", "high", "facts"]
    )  # fmt: skip


def average_total(traces: Sequence[Trace]) -> tuple[float, float, float]:
    """ATE, the mean of p_clean − p_corrupted over facts, and its 95 % interval."""
    effects = [t.total_effect for t in traces]
    if not effects:
        raise ValueError("there is no trace to average")
    return sum(effects) / len(effects), *interval(effects, share=False)
