"""Patches as values and as files: joining, order, memory, and every way in which a file is
wrong.
"""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import lib
from lib.patch.patch import LowRank

from ..support import tiny

FACT = lib.Fact("cat", "A {} sat", "here", "there")


def patch(**more) -> lib.Patch:
    a, b = torch.randn(3, 2), torch.randn(2, 4)
    chain = LowRank(((a, b),)).plus(torch.randn(3, 1), torch.randn(1, 4))
    memory = {
        "some": {
            "K": torch.eye(2),
            "n": 3,
            "names": ("x", ("y", 1.5)),
            "deep": {"t": torch.ones(1)},
        }
    }
    log = (lib.Edit("rome", {"layer": 3, "templates": ("{}",)}, (FACT,)),)
    return lib.Patch(
        {"m.one": chain, "m.two": torch.randn(2, 2)}, memory=memory, log=log, base="x 1", **more
    )


def rewritten(path, **changes):
    """The same file with its header changed, and without the checksum that would tell."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["patch"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    header |= changes
    del header["sha256"]
    save_file(tensors, path, metadata={"patch": json.dumps(header)})
    return path


def test_round_trip_keeps_everything(tmp_path):
    p = patch()
    q = lib.Patch.load(p.save(tmp_path / "a" / "p.safetensors"))
    assert q.log == p.log and q.base == p.base and q.facts == (FACT,)
    assert torch.equal(q.weights["m.one"].dense(), p.weights["m.one"].dense())
    assert torch.equal(q.weights["m.two"], p.weights["m.two"])
    state = q.memory["some"]
    assert state["n"] == 3 and state["names"] == ("x", ("y", 1.5))
    assert torch.equal(state["K"], torch.eye(2)) and torch.equal(state["deep"]["t"], torch.ones(1))
    assert [f.name for f in (tmp_path / "a").iterdir()] == ["p.safetensors"]  # no temporary is left
    assert not lib.Patch.load(lib.EMPTY.save(tmp_path / "empty.safetensors"))


def test_patches_of_two_models_do_not_join():
    with pytest.raises(lib.errors.PatchError, match="x 1.*y 2"):
        lib.Patch(base="x 1") | lib.Patch(base="y 2")


def test_a_patch_cannot_be_changed():
    p = patch()
    with pytest.raises(TypeError):
        p.weights["m.one"] = torch.zeros(1)
    with pytest.raises(AttributeError):
        p.base = "other"


def test_wrong_and_newer_headers_are_one_sentence(tmp_path):
    path = patch().save(tmp_path / "p.safetensors")
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(lib.errors.PatchError, match="not a patch file"):
        lib.Patch.load(path)
    with pytest.raises(lib.errors.PatchError, match="no patch file at"):
        lib.Patch.load(tmp_path / "missing")
    wrong = {
        "written by a newer version. Update the library": {"format": 99},
        "not a patch file, or is damaged": {"format": "one"},
        "damaged: it lacks a tensor 'w/m.one/2/a'": {"weights": {"m.one": 7}},
        "damaged: the route kind 'os.system' is unknown": {
            "routes": {"m": {"kind": "os.system", "header": {}}}
        },
        "damaged: object missing required field `settings` at `log": {
            "log": [{"editor": "x", "facts": []}]
        },
        "damaged: object contains unknown field `no` at `log": {
            "log": [{"editor": "x", "settings": {}, "facts": [{"no": 1}]}]
        },
        "damaged: the state at `m/e` does not have its own tensor": {
            "memory": {"e": {"tensor": "m/none"}}
        },
    }
    for message, changes in wrong.items():
        patch().save(path)
        with pytest.raises(lib.errors.PatchError, match=message):
            lib.Patch.load(rewritten(path, **changes))
    bad = lib.Patch({"m": torch.full((2, 2), torch.nan)})
    with pytest.raises(lib.errors.PatchError, match="NaN"):
        lib.Patch.load(bad.save(path))


def test_without_folds_the_log_again():
    lm = tiny.model("llama")
    settings = {"layer": 1, "steps": 5, "templates": ("{}",), "tokens": 600}
    editor = lib.EDITORS["rome"](lm, **settings)
    facts = [lib.Fact("tower", f"{word} {{}}", "xy") for word in ("The", "A", "That")]
    whole = lib.EMPTY
    for fact in facts:
        whole = editor.edit([fact], after=whole)
    rest = whole.without(1, lm)
    direct = editor.edit([facts[2]], after=editor.edit([facts[0]]))
    assert rest.facts == (facts[0], facts[2])
    name = lm.mlp_out(1)
    assert torch.equal(rest.weights[name].dense(), direct.weights[name].dense())
    assert whole.without(-1, lm).facts == tuple(facts[:2])
    with pytest.raises(lib.errors.PatchError, match="3 edits; there is no edit 5"):
        whole.without(5, lm)


def test_a_long_chain_is_folded_into_one_matrix():
    from lib.editors.shared.base import add_low_rank

    lm = tiny.model("llama")
    name, p, total = lm.mlp_out(1), lib.EMPTY, 0
    for seed in range(40):
        g = torch.Generator().manual_seed(seed)
        a, b = torch.randn(32, 1, generator=g), torch.randn(1, 48, generator=g)
        p, total = add_low_rank(lm, p, {name: (a, b)}), total + a @ b
    assert isinstance(p.weights[name], torch.Tensor)
    torch.testing.assert_close(p.weights[name], lm.weight(name) + total, atol=1e-4, rtol=1e-4)


def test_a_repr_has_ten_lines_at_most_and_no_tensors():
    tensor = torch.ones(40, 30)
    facts = tuple(lib.Fact(None, f"Prompt {i}", "x" * 900) for i in range(9))
    low = LowRank(((tensor[:, :2], tensor[:2]),))
    edits = tuple(lib.Edit("rome", {"layer": 5}, facts) for _ in range(30))
    weights = {f"blocks.{i}.mlp": low if i % 2 else tensor for i in range(8)}
    whole = lib.Patch(weights, memory={"rome": {"K": tensor}}, log=edits)
    for shown in (whole, edits[0], low, [low], lib.Patch()):
        text = repr(shown)
        assert len(text.splitlines()) <= 10 and len(text) < 8000 and "tensor" not in text
    assert "facts: 270" in repr(whole) and "and 27 more" in repr(whole)
    assert repr(low) == "LowRank(40 x 30, rank 2)"
    assert f"bytes: {4 * (4 * 1200 + 4 * 140 + 1200):,}" in repr(whole)
