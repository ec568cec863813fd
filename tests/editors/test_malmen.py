"""MALMEN: its first edit, and how it begins with what MEND has learned."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.editors.hypernetwork import network_file
from lib.patch.patch import EMPTY

from ..support import tiny
from ..support.networks import CASES, SMALL


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_the_first_edit_is_scaled_and_no_other_nor_training(lm, tmp_path):
    file, nets = tmp_path / "n.safetensors", []
    for scale in (1.0, 2.5):
        path = tmp_path / f"{scale}.safetensors"
        lib.EDITORS["malmen"](lm, **SMALL, first_scale=scale).fit(CASES, checkpoint=path, steps=1)
        nets.append(network_file.load(path, lm.fingerprint, "malmen")[1]["now"]["32x48"]["net"])
        path.rename(file)
    assert all(map(torch.equal, nets[0].values(), nets[1].values()))
    given = {**SMALL, "network": str(file)}
    plain, bold = (lib.EDITORS["malmen"](lm, **given, first_scale=x) for x in (1.0, 2.5))

    def moved(editor, cases, after=EMPTY):
        patch = editor.edit([case.fact for case in cases], after=after)
        return {m: lm.weight(m, patch) - lm.weight(m, after) for m in patch.weights}

    one, two = (moved(editor, CASES[:1]) for editor in (plain, bold))
    for module in one:
        torch.testing.assert_close(two[module], 2.5 * one[module], rtol=1e-3, atol=1e-6)
    first = plain.edit([CASES[0].fact])
    for cases, after in ((CASES, EMPTY), (CASES[1:2], first)):  # more than `batch`; a second edit
        one, two = (moved(editor, cases, after) for editor in (plain, bold))
        assert all(torch.equal(one[module], two[module]) for module in one)


def test_malmen_begins_with_what_mend_has_learned(lm, tmp_path, monkeypatch):
    """MEND's blocks are of another order and it has no λ, which begins where the settings say."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small = {"down": (1, 2), "rank": 8, "accumulate": 2}
    donor = lib.EDITORS["mend"](lm, **small)
    plain = lib.EDITORS["mend"]
    parts = {"__init__": lambda self, lm: plain.__init__(self, lm, **small)}
    kind = type("Small", (plain,), {**parts, "__module__": plain.__module__})  # as one of ours
    monkeypatch.setitem(lib.EDITORS, "mend", kind)
    donor.fit(CASES, steps=2)
    more = {**small, "begin": "mend", "keys": "network", "tokens": "all", "ridge": 0.5}
    with pytest.raises(lib.errors.EditError, match="needs the same modules and order"):
        lib.EDITORS["malmen"](lm, **more).fresh(CASES)
    editor = lib.EDITORS["malmen"](lm, **more, order="mend")
    (net,), (wanted,) = editor.fresh(CASES).nets.values(), donor.networks().nets.values()
    for name, value in wanted.state_dict().items():
        assert torch.equal(net.state_dict()[name], value)
    torch.testing.assert_close(net.log_ridge.detach().exp(), torch.full((2,), 0.5))
    file = editor.fit(CASES, steps=1, checkpoint=tmp_path / "both.safetensors")
    again = lib.EDITORS["malmen"](lm, **more, order="mend", network=str(file))
    assert set(again.edit(CASES[0].fact).weights) == set(again.modules())
