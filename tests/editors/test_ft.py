"""Fine-tuning: its bound, the loss of FT-L, and batches of one that are read once."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.editors.shared import fine_tuning

from ..support import tiny
from ..support.spread import FACTS, delta


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_no_entry_leaves_the_box(lm):
    for box, bound in ((1e-3, 1e-3), (None, torch.inf)):
        patch = lib.EDITORS["ft_l"](lm, layer=1, lr=0.02, epochs=5, box=box).edit(FACTS)
        most = delta(lm, patch, 1).abs().max()
        assert 1e-3 * (1 - 1e-4) <= most <= bound * (1 + 1e-4)


def test_ft_l_predicts_every_token_from_the_prompts_end(lm):
    editor = lib.EDITORS["ft_l"](lm, layer=1)
    assert editor.config.loss == "prompt_last"
    rows = fine_tuning.fact_rows(editor, FACTS, at_prompt=True)
    row, position, _ = rows.labels
    assert [rows.ends[i] for i in row] == position.tolist()


@pytest.mark.parametrize("name", ["ft", "lora"])
def test_batches_of_one_are_read_once_and_to_the_same_bits(lm, monkeypatch, name):
    where = {"layer": 1} if name == "ft" else {"layers": (1,)}
    editor = lib.EDITORS[name](lm, **where, batch_size=1, epochs=4, enough=0.0)
    made, found = [], []

    class Counted(fine_tuning._BatchLoss):
        def __init__(self, *given):
            made.append(given)
            super().__init__(*given)

    monkeypatch.setattr(fine_tuning, "_BatchLoss", Counted)
    for kept, count in ((fine_tuning.KEPT, 3), (0, 12)):
        monkeypatch.setattr(fine_tuning, "KEPT", kept)
        made.clear()
        found.append(delta(lm, editor.edit(FACTS, check=False), 1))
        assert len(made) == count
    assert torch.equal(*found)
