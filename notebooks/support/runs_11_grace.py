"""What notebook 11 reads: the keys of prompts around many edits, and of general text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import lib
from lib.keys_values.general_text import general_text
from lib.model import activations

STREAMS = 3
ROWS = 50  # prompts of one forward


def streams(facts: int) -> list[list[lib.Case]]:
    """Three streams of the classroom that share no fact; short ones begin as long ones do."""
    odd = lib.classroom()[1::2]
    return [odd[i::STREAMS][:facts] for i in range(STREAMS)]


class Keys(NamedTuple):
    """The keys of n edits and of the prompts around them.

    edits   (n, d), a key per edit
    labels  each edit's answer
    others  {group: (m, d)}, keys of rewordings, neighbors and unrelated prompts
    owner   (m,), to which edit each rewording belongs
    """

    edits: Tensor
    labels: list[str]
    others: dict[str, Tensor]
    owner: Tensor


def read(lm: lib.LM, cases: Sequence[lib.Case], module: str) -> Keys:
    """Keys of the cases' edits, rewordings, neighbors and unrelated prompts at a module."""
    texts = {
        "edit": [case.fact.text for case in cases],
        "rewording": [text for case in cases for text in case.paraphrases],
        "neighbor": [probe.prompt for case in cases for probe in case.neighborhood],
        "unrelated": list(dict.fromkeys(text for case in cases for text in case.locality)),
    }
    found = {group: at_ends(lm, lm.rows(some)[0], module) for group, some in texts.items()}
    labels = [case.fact.target_new for case in cases]
    owner = torch.tensor([i for i, case in enumerate(cases) for _ in case.paraphrases])
    return Keys(found.pop("edit"), labels, found, owner)


def general(lm: lib.LM, module: str, count: int) -> Tensor:
    """Keys (count, d) of pieces of general text, one after another, of 4 to 24 tokens."""
    ids = lm.tokenizer(general_text(None), add_special_tokens=False)["input_ids"]
    sizes, rows, first = random.Random(0), [], 0
    while len(rows) < count:
        size = sizes.randint(4, 24)
        rows.append(ids[first : first + size])
        first += size
    return at_ends(lm, rows, module)


def at_ends(lm: lib.LM, rows: list[list[int]], module: str) -> Tensor:
    """What a module reads at the last token of each row, (rows, d)."""
    parts = []
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        ends = [len(row) - 1 for row in part]
        parts.append(activations.module_inputs_at(lm, part, ends, [module])[module].float().cpu())
    return torch.cat(parts)
