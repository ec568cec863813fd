"""Causal tracing finds the states that recall a fact (Meng et al., 2022, section 2).

Noise on the subject's tokens makes the model forget the answer. Restoring one clean state in the
noisy run may bring the answer back. The fraction of its probability that returns, for each token
and layer, is the indirect effect of that state. Tracing shows where information flows; it does not
show which layer edits best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ...data import as_facts
from ...errors import ArgumentError
from ...evaluation.intervals import interval
from ...model.lm import LM
from ...setting_fields import at_least
from .corrupted_runs import KINDS, Cell, Corrupted, embedding_deviation

__all__ = ["Trace", "average", "average_total", "embedding_deviation", "trace"]
ROLES = ("first subject", "middle subject", "last subject", "first after", "further", "last")


@dataclass(frozen=True)
class Trace:
    """One traced fact; p is the probability of `answer`, the clean run's next token.

    tokens       The text of every token of the prompt.
    subject      The numbers of the subject's first and last token.
    answer       The token whose probability is followed.
    known        Whether `answer` begins the fact's target_true; None without one.
    p_clean      p in the clean run.
    p_corrupted  p with noise on the subject, the mean over the noisy runs.
    layers       The numbers of the table's columns.
    table        {kind: p of the restored runs (tokens, layers)}; NaN if not requested.
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
        """The total effect of the noise, TE = p_clean − p_corrupted."""
        return self.p_clean - self.p_corrupted

    def indirect(self, kind: str) -> Tensor:
        """Return each state's indirect effect, IE = p_restored − p_corrupted, (tokens, layers)."""
        return self.table[kind] - self.p_corrupted

    @property
    def roles(self) -> tuple[str | None, ...]:
        """The role of each token, one of ROLES, and None for tokens before the subject.

        The prompt's last token is "last" even inside the subject, since restoring it in a late
        layer is trivial. The only token of a short subject is "last subject".
        """
        (first, last), end = self.subject, len(self.tokens) - 1

        def role(i: int) -> str | None:
            if i < first:
                return None
            if i == end:
                return "last"
            if i == last:
                return "last subject"
            if i < last:
                return "first subject" if i == first else "middle subject"
            return "first after" if i == last + 1 else "further"

        return tuple(map(role, range(end + 1)))


def trace(
    lm: LM,
    fact: as_facts.Given | str,
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
    """Return the probability of the model's own answer after restoring one clean state, everywhere.

    fact       A Fact, or a prompt in plain text together with its `subject`.
    kinds      The kinds of states to restore, from KINDS.
    layers     The layers to test, by default all.
    tokens     The tokens to test, by default all.
    samples    The number of noisy runs.
    noise      The noise is N(0, (noise · deviation)²), and every cell uses the same noise.
    deviation  σ of the embedding's entries over all subjects of a study, from
               `embedding_deviation`. None uses this subject's tokens.
    window     The number of layers around each layer that "mlp" and "attention" restore at once.
    seed       The seed of the noise.

    The model runs with the currently applied patch, on the prompt itself without a rewrite. Tokens
    before the subject get p_corrupted, since the noise changes nothing there. Raises ValueError for
    a layer, token or kind that does not exist, and without a subject. Source: ROME, section 2.1,
    where σ is pooled over 1,000 facts.
    """
    at_least(1, samples=samples, window=window)
    at_least(0, noise=noise, deviation=deviation)
    layers = tuple(range(lm.n_layers) if layers is None else layers)
    with Corrupted.opened(lm, fact, subject, samples, noise, deviation, seed) as runs:
        # list the cells, one per kind, token and layer; before the subject, there is nothing to run
        length, first = len(runs.ids), runs.subject[0]
        wanted = range(length) if tokens is None else [range(length)[t] for t in tokens]
        cells = [
            Cell(kind, (t,), layers_around(lm, kind, layer, window))
            for kind in kinds
            for t in wanted
            for layer in layers
        ]
        p_clean, p_corrupted, p = runs.restore([c for c in cells if c.tokens[0] >= first])
        # sort the answers back into tables, in the order of listing the cells
        found, table = iter(p.tolist()), {}
        for kind in kinds:
            table[kind] = torch.full((length, len(layers)), torch.nan)
            for t in wanted:
                row = [p_corrupted if t < first else next(found) for _ in layers]
                table[kind][t] = torch.tensor(row)
        texts = tuple(lm.tokenizer.decode([i]) for i in runs.ids)
        answer = lm.tokenizer.decode([runs.answer])
        return Trace(texts, runs.subject, answer, runs.known, p_clean, p_corrupted, layers, table)


def layers_around(lm: LM, kind: str, layer: int, window: int = 10) -> tuple[int, ...]:
    """Return the layers restored by one cell: l for "hidden", else l − window/2 … l + window/2 − 1.

    The window is clipped to the model's layers. Raises ValueError for a layer that does not exist.
    """
    lm.mlp_out(layer)
    if kind == "hidden":
        return (layer,)
    return tuple(range(max(0, layer - window // 2), min(lm.n_layers, layer + (window + 1) // 2)))


def average(traces: Sequence[Trace]) -> pd.DataFrame:
    """Return the average indirect effect of each kind, layer and role of token.

    Columns: kind, layer, role, effect, low, high (95%), facts. A fact's tokens of one role are
    averaged first, and the interval is a bootstrap over facts. Roles that no fact has are left out.
    Raises ValueError if the traces cover different kinds or layers.
    """
    if not traces:
        raise ArgumentError("There is no trace to average. Provide at least one.")
    if len({(t.layers, tuple(t.table)) for t in traces}) > 1:
        raise ArgumentError(
            "The traces cover different kinds or layers. Average only comparable traces."
        )
    rows = []
    for kind in traces[0].table:
        for role in ROLES:
            # per fact the mean over its tokens of this role, then per layer the mean over facts
            where = [[i for i, r in enumerate(t.roles) if r == role] for t in traces]
            means = [
                t.indirect(kind)[at].nanmean(0) for t, at in zip(traces, where, strict=True) if at
            ]
            for column, layer in enumerate(traces[0].layers):
                values = [m[column].item() for m in means if not m[column].isnan()]
                if values:
                    low, high = interval(values, None)
                    effect = sum(values) / len(values)
                    rows.append((kind, layer, role, effect, low, high, len(values)))
    return pd.DataFrame(rows, columns=["kind", "layer", "role", "effect", "low", "high", "facts"])


def average_total(traces: Sequence[Trace]) -> tuple[float, float, float]:
    """Return the average total effect of the noise, p_clean − p_corrupted, and its 95% interval."""
    effects = [t.total_effect for t in traces]
    if not effects:
        raise ArgumentError("There is no trace to average. Provide at least one.")
    return sum(effects) / len(effects), *interval(effects, None)
