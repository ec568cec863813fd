"""The matched filter on edits whose subject and layer are known."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.keys_values.second_moment import second_moment
from lib.workbench.forensics.candidates import TOGETHER, key_moments, read_names, rows_of
from lib.workbench.forensics.matched_filter import Filtered, matched_filter, robust_z

from .conftest import LAYER, NAMES, SUBJECT, rank_one, read


def damped(C, share=1e-2):
    return C + share * C.diagonal().mean() * torch.eye(len(C))


def test_key_moments_are_those_of_second_moment(lm, moments, text, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    other = second_moment(lm, [2], text, 4000, damping=0.0, skip_first=True)[2].C.float()
    assert (moments[2] - other).norm() < 2e-2 * other.norm()


def test_moments_and_keys_are_the_suspects_own(lm, text, moments):
    patch = rank_one(lm, damped(moments[0]), layer=0)[0]
    own = key_moments(lm, [0, 1], patch, text, 4000)
    assert torch.equal(own[0], moments[0]) and not torch.equal(own[1], moments[1])
    assert torch.equal(read(lm, [SUBJECT], 0, patch), read(lm, [SUBJECT], 0))
    assert not torch.equal(read(lm, [SUBJECT], 1, patch), read(lm, [SUBJECT], 1))


def test_the_norms_are_those_of_the_slow_way(lm, moments):
    W, K = lm.weight(lm.mlp_out(LAYER)).double(), read(lm, NAMES, LAYER).double()
    U = torch.linalg.solve(damped(moments[LAYER]).double(), K)
    slow = (W @ (U / U.norm(dim=0))).norm(dim=0)
    found = matched_filter(lm, NAMES, {LAYER: moments[LAYER]}, damping=1e-2)
    assert torch.allclose(found.norms[0].double(), slow, rtol=1e-3)


def test_permuting_candidates_permutes_their_scores(lm, moments):
    order = torch.randperm(len(NAMES), generator=torch.Generator().manual_seed(1)).tolist()
    here = {1: moments[1], 2: moments[2]}
    found = matched_filter(lm, NAMES, here)
    other = matched_filter(lm, [NAMES[i] for i in order], here)
    assert torch.allclose(other.z, found.z[:, order], atol=2e-2)


def test_an_edit_is_named_with_its_layer_and_an_unedited_model_is_not(lm, moments):
    patch = rank_one(lm, damped(moments[LAYER]), size=8.0)[0]
    here = {layer: moments[layer] for layer in range(LAYER + 1)}  # above it keys have moved
    before = matched_filter(lm, NAMES, here).top(1)[0]
    found = matched_filter(lm, NAMES, here, patch).top(3)
    assert (found[0].name, found[0].layers) == (SUBJECT, (LAYER,))
    assert found[0].z > 5 > before.z
    assert found[1].name != SUBJECT


def test_without_C_in_the_way_the_edit_adds_its_own_length(lm, moments):
    """T² = T₀² + 2 T₀·… + σ²cos²: along u itself W û = W₀û + r‖u‖/q."""
    patch, r, u, q = rank_one(lm, damped(moments[LAYER]))
    W0 = lm.weight(lm.mlp_out(LAYER)).double()
    expected = (W0 @ u / u.norm() + r * u.norm() / q).norm()
    i = NAMES.index(SUBJECT)
    found = matched_filter(lm, NAMES, {LAYER: moments[LAYER]}, patch, damping=1e-2)
    assert found.norms[0, i].item() == pytest.approx(expected.item(), rel=1e-3)


def test_a_sinks_key_takes_no_part():
    norms = torch.tensor([[1.0, 1.1, 0.9, 50.0, torch.nan]])
    sinks = torch.tensor([[False, False, False, True, False]])
    found = Filtered(tuple("abcde"), (0,), norms, sinks)
    assert found.z[0, 3] == 0 and found.z[0, 4] == 0
    assert found.top(1)[0].name == "b"


def test_z_of_consecutive_layers_are_summed():
    z = torch.tensor([[0.0, 3.0, 0.1], [0.0, 3.0, 0.2], [4.0, 0.0, 0.1]])
    found = Filtered(("one", "two", "three"), (3, 4, 6), z.clone(), torch.zeros(3, 3).bool())
    found.__dict__["z"] = z
    first, second = found.top(2, widths=(1, 2))
    assert (first.name, first.layers, first.z) == ("two", (3, 4), pytest.approx(6 / 2**0.5))
    assert (second.name, second.layers) == ("one", (6,))  # 4 and 6 do not follow each other


def test_robust_z_by_hand():
    z = robust_z(torch.tensor([1.0, 2.0, 3.0, 100.0]))
    assert z.tolist() == pytest.approx([-1.01, -0.34, 0.34, 65.8], abs=0.05)
    assert robust_z(torch.tensor([2.0, 2.0, 2.0])).tolist() == [0, 0, 0]
    assert robust_z(torch.tensor([1.0]), torch.tensor([True])).tolist() == [0]


def test_more_candidates_than_one_part_come_back_in_order(lm, moments, monkeypatch):
    whole = matched_filter(lm, NAMES, {1: moments[1]})
    assert len(NAMES) < TOGETHER
    monkeypatch.setattr("lib.workbench.forensics.candidates.TOGETHER", 7)
    assert torch.allclose(matched_filter(lm, NAMES, {1: moments[1]}).norms, whole.norms, rtol=1e-4)


@pytest.mark.parametrize(
    ("names", "prefix", "said"),
    [
        ([], "About {}", "at least one candidate"),
        (["a", " "], "About {}", "A candidate"),
        (["a"], "{} is", "should end with its one {}"),
        (["a" * 5000], "About {}", "context"),
    ],
)
def test_wrong_candidates_are_refused(lm, names, prefix, said):
    with pytest.raises(ValueError, match=said):
        rows_of(lm, names, prefix)


def test_a_list_of_subjects_is_read_once_each(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("Rome\n\n  Oslo \nRome\n", encoding="utf-8")
    assert read_names(file) == ["Rome", "Oslo"]
    for content, said in ((b"\n \n", "is empty"), (b"\xff\xfe\x00", "not UTF-8")):
        file.write_bytes(content)
        with pytest.raises(lib.errors.ForensicsError, match=said):
            read_names(file)
    with pytest.raises(lib.errors.ForensicsError, match="cannot be read"):
        read_names(tmp_path / "none.txt")
