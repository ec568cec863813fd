"""The threshold of a codebook's cosines, from prompts that no entry should answer.

The meaning of a cosine between two prompts depends on the model and layer: published thresholds
range between 0.55 and 0.85. The threshold is therefore a quantile of the largest cosine that
general text and the other facts reach with the codebook's keys.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...cancellation import steps
from ...computed_once import CachedTensors, Tensors, text_hash
from ...keys_values.general_text import general_text
from ...model import activations, batching
from ...model.lm import LM
from ...patch.patch import EMPTY
from ..shared.routed import nearest
from .route import Dynamics, Query

PROMPTS = 512  # of general text
LENGTHS = (4, 24)  # tokens of one prompt
FACTS = 512  # entries compared with the others at most, sampled using the seed


def queries(lm: LM, rows: Sequence[Sequence[int]], module: str, query: Query) -> Tensor:
    """Return the queries (n, d_in) of rows of token ids, float32 on the CPU, as patched."""
    batching.check_length(lm, rows)
    found: dict[int, Tensor] = {}
    for group in steps(list(batching.batches(rows)), "prompts read"):
        seqs = batching.sequences(lm, [rows[i] for i in group])
        inputs = activations.padded_inputs(lm, seqs, [module])[module]
        found |= dict(zip(group, query.of(inputs, seqs.on(inputs.device)).cpu(), strict=True))
    return torch.stack([found[i] for i in range(len(rows))])


def general_queries(lm: LM, module: str, query: Query, chat: bool = False) -> CachedTensors:
    """Return the queries `Q` (n, d_in) of at most PROMPTS pieces of general text on the base model.

    chat  whether each piece is a message in the chat template: all of these share its ending,
          making them the comparison texts for entries created there
    """
    source = general_text(None)
    template = lm.chat_text("{}") if chat else ""

    def make(_: list[None]) -> Iterator[tuple[None, Tensors]]:
        ids, sizes = lm.tokenizer(source, add_special_tokens=False)["input_ids"], random.Random(0)
        lead = [] if lm.leading_bos is None else [lm.leading_bos]
        rows: list[list[int]] = []
        first = 0
        while len(rows) < PROMPTS and first < len(ids):
            size = sizes.randint(*LENGTHS)
            rows.append(lead + ids[first : first + size])
            first += size
        if chat:
            texts = [lm.tokenizer.decode(row[len(lead) :]) for row in rows]
            # a piece containing only blanks is not a message
            rows = lm.rows([text for text in texts if text.strip()], chat=True)[0]
        with lm.patched(EMPTY, only=True):
            found = queries(lm, rows, module, query)
        yield None, {"Q": found}

    label = f"{lm.stored_identity} {text_hash(source)} {module} {tuple(query)} {PROMPTS} {LENGTHS}"
    return CachedTensors("queries", f"{label} {template}", make)


def threshold(
    K: Tensor,
    labels: Sequence[Sequence[int]],
    general: Tensor,
    dynamics: Dynamics,
    quantile: float,
    seed: int,
) -> float:
    """Return the quantile of the largest cosines of unrelated queries with keys K (d_in, n).

    Unrelated queries are the general queries (m, d_in), and every entry's own key as a query for
    the entries with other labels. Cosines are taken after the Hopfield steps towards K.
    """
    strangers = [nearest(dynamics.cosines(K, general))[0]]
    numbers: dict[tuple[int, ...], int] = {}
    label = torch.tensor([numbers.setdefault(tuple(one), len(numbers)) for one in labels])
    some = torch.arange(K.shape[1])
    if len(some) > FACTS:
        some = torch.randperm(K.shape[1], generator=torch.Generator().manual_seed(seed))[:FACTS]
    if len(numbers) > 1:
        found = dynamics.cosines(K, K.T[some])
        found = found.masked_fill(label[some][:, None] == label, -1.0)
        strangers.append(found.max(1).values)
    return float(torch.cat(strangers).quantile(quantile, interpolation="higher"))
