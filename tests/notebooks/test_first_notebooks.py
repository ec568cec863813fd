"""What notebooks 00 to 02 compute beside the library: KL of answers, overlaps of groups, ranks."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

import lib
from notebooks.support import drawings_00, models, moved, own_fact
from notebooks.support import runs_02_insert as runs_02

PROMPTS = ["The young of a goat is called a", "Bread is"]


@pytest.fixture(scope="module")
def lm():
    return models.load("tiny")


@pytest.fixture(scope="module")
def patch(lm):
    name, draw = lm.mlp_out(1), torch.Generator().manual_seed(0)
    d_out, d_in = lm.weight(name).shape
    A, B = torch.randn(d_out, 2, generator=draw), torch.randn(2, d_in, generator=draw)
    return lib.Patch(weights={name: lib.LowRank(((A, B),))})


def test_the_kl_of_an_answer_is_the_sum_over_its_tokens(lm, patch):
    prompt = PROMPTS[0]
    found = moved.answers(lm, PROMPTS, patch, tokens=3)[0]
    kl, ids = 0.0, lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    for _ in range(3):  # token by token, each from a run of its own
        base = lm.next_token([ids])[0]
        with lm.patched(patch):
            edited = lm.next_token([ids])[0]
        kl += (base.exp() * (base - edited)).sum().item()
        ids.append(int(base.argmax()))
    assert found == pytest.approx(kl, rel=1e-4) and kl > 0.01


def test_an_empty_patch_moves_no_answer(lm):
    assert moved.answers(lm, PROMPTS, lib.EMPTY) == pytest.approx([0] * len(PROMPTS), abs=1e-6)
    assert moved.next_token(lm, PROMPTS)(lib.EMPTY) == pytest.approx(0, abs=1e-6)


def test_what_is_drawn_as_touched_is_counted(lm, patch):
    title = drawings_00.touched(lm, patch).axes[0].get_title(loc="left")
    assert title == f"{7 * lm.n_layers} matrices, 1 changed"


def test_an_own_fact_is_typed_once_and_comes_along(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("notebooks.support.hand_ins.MY", tmp_path / "my")
    assert own_fact.read() is own_fact.keep() is None and not (tmp_path / "my").exists()
    assert (
        capsys.readouterr().out.splitlines()
        == ["There is no fact of your own yet: type one on page 00, and it comes along."] * 2
    )
    typed = own_fact.keep("Käthe", "{} lives in", "Köln")
    assert typed == own_fact.read() == own_fact.keep() == lib.Fact("Käthe", "{} lives in", "Köln")
    assert capsys.readouterr().out.count("Käthe lives in → Köln") == 3
    with pytest.raises(ValueError, match="does not occur"):
        own_fact.keep("Käthe", "She lives in", "Bonn")
    assert own_fact.read() == typed
    (tmp_path / "my/own_fact.json").write_text('{"subject": "Käthe"}', encoding="utf-8")
    assert own_fact.read() is None


def test_a_folder_that_cannot_be_made_leaves_the_fact_on_its_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("notebooks.support.hand_ins.MY", tmp_path / "my")
    (tmp_path / "my").write_text("a file")
    assert own_fact.keep("Käthe", "{} lives in", "Köln").target_new == "Köln"
    assert "It could not be kept for other pages" in capsys.readouterr().out


def test_loudness_is_the_root_mean_square_of_the_chosen_pairs():
    rho = torch.tensor([[1.0, 3.0, 0.0], [4.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    pairs = torch.zeros(3, 3, dtype=torch.bool)
    pairs[0, 1] = pairs[1, 0] = True
    found, again = (runs_02.loudness(rho, pairs) for _ in range(2))
    assert found == again and found[0] == pytest.approx(math.sqrt((9 + 16) / 2))
    assert found[1] < found[0] <= found[2]


def test_a_rank_correlation_sees_order_alone():
    x = pd.Series(range(12), dtype=float)
    assert runs_02.rank_correlation(x, x.pow(3)) == pytest.approx((1.0, 1.0, 1.0))
    assert runs_02.rank_correlation(x, -x)[0] == pytest.approx(-1.0)
