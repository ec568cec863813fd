"""Exports: peft and transformers load the patched model again; all is written, or nothing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import lib
from lib import cancellation
from lib.patch.patch import LowRank
from lib.workbench.cli.main import main
from lib.workbench.export import export
from lib.workbench.export.model_card import write_card

from ..support import tiny
from ..support.exported import TEXTS, logits, patched_logits, with_adapter

FACT = lib.Fact("The old tower", "I saw {} | <b>twice</b>", "xy")


def low_rank(lm: lib.LM, *ranks: int, layer: int = 1, seed: int = 0) -> LowRank:
    g = torch.Generator().manual_seed(seed)
    d_out, d_in = lm.weight(lm.mlp_out(layer)).shape
    pairs = [(torch.randn(d_out, r, generator=g), torch.randn(r, d_in, generator=g)) for r in ranks]
    return LowRank(tuple((0.3 * a, b) for a, b in pairs))


def patch_of(lm: lib.LM, **weights) -> lib.Patch:
    """Two modules of different rank, or the weights given, and a log of one line."""
    if not weights:
        weights = {lm.mlp_out(1): low_rank(lm, 2, 1), lm.mlp_out(2): low_rank(lm, 1, seed=1)}
    return lib.Patch(weights, log=(lib.Edit("ft", {}, (FACT,)),), base=lm.identity)


def state(lm: lib.LM) -> tuple:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.model.modules()]
    tensors = [(n, p.data_ptr(), p.sum().item()) for n, p in lm.model.named_parameters()]
    return tensors, hooks, lm.model.config.to_dict(), lm.tokenizer.name_or_path


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "gemma3_text"])
def test_peft_loads_an_adapter_that_is_the_patch(family, tmp_path):
    lm = tiny.model(family)
    patch, before = patch_of(lm), state(lm)
    found = lib.workbench.export_peft(lm, patch, tmp_path / "adapter")
    assert state(lm) == before
    assert found.exact and [w.rank for w in found.modules.values()] == [3, 1]
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] == (family == "gpt2")
    plain, wanted = logits(lm.model), patched_logits(lm, patch)
    for got, want, base in zip(
        with_adapter(lm, family, tmp_path / "adapter"), wanted, plain, strict=True
    ):
        assert (want - base).abs().max() > 0.01
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_a_dense_change_is_cut_at_the_nearest_matrix_of_that_rank(tmp_path, monkeypatch):
    lm = tiny.model("llama")
    name = lm.mlp_out(1)
    W = lm.weight(name)
    change = torch.randn(W.shape, generator=torch.Generator().manual_seed(3))
    patch = patch_of(lm, **{name: W + change})
    U, S, Vh = torch.linalg.svd(change, full_matrices=False)
    found = lib.workbench.export_peft(lm, patch, tmp_path / "cut", rank=5)
    wanted = float(S[5:].norm() / S.norm())
    assert found.modules[name].rank == 5 and not found.exact
    assert found.modules[name].error == pytest.approx(wanted, rel=1e-3)
    assert f"{wanted:.2g}" in (tmp_path / "cut" / "README.md").read_text()
    assert f"{name}: rank 5, relative error {wanted:.3g}" in str(found)
    nearest = patch_of(lm, **{name: W + (U[:, :5] * S[:5]) @ Vh[:5]})
    for got, want in zip(
        with_adapter(lm, "llama", tmp_path / "cut"), patched_logits(lm, nearest), strict=True
    ):
        torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)
    whole = lib.workbench.export_peft(lm, patch, tmp_path / "whole", rank=99)
    assert whole.exact and whole.modules[name].rank == 32
    monkeypatch.setattr(export, "DENSE_RANK", 7)
    assert lib.workbench.export_peft(lm, patch, tmp_path / "default").modules[name].rank == 7
    low = lib.workbench.export_peft(
        lm, patch_of(lm, **{name: low_rank(lm, 9, 1)}), tmp_path / "low"
    )
    assert low.exact and low.modules[name].rank == 10  # what is low rank is never cut by default


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text"])
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_the_patched_model_bit_for_bit(family, tied, tmp_path):
    lm = tiny.model(family, tie_word_embeddings=tied)
    patch, before = patch_of(lm), state(lm)
    plain = logits(lm.model)
    found = lib.workbench.export_model(lm, patch, tmp_path / "edited")
    assert state(lm) == before and all(map(torch.equal, logits(lm.model), plain))
    assert found.exact and found.bytes > 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "edited")
    assert model.config.tie_word_embeddings == tied
    wanted = patched_logits(lm, patch)
    assert all(map(torch.equal, logits(model), wanted))
    assert not torch.equal(wanted[0], plain[0])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "edited")
    assert tokenizer(TEXTS[0]).input_ids == lm.tokenizer(TEXTS[0]).input_ids
    assert [p.name for p in tmp_path.iterdir()] == ["edited"]  # no temporary is left


@pytest.mark.parametrize("ends", [1, 2])  # both ask twice
def test_an_export_that_nobody_wants_any_more_leaves_nothing(ends, tmp_path):
    lm, asked = tiny.model("llama"), []
    before = state(lm)

    def ask(*_: object) -> None:
        asked.append(1)
        if len(asked) == ends:
            raise InterruptedError

    for write in (lib.workbench.export_peft, lib.workbench.export_model):
        asked.clear()
        with cancellation.cancellable(ask), pytest.raises(InterruptedError):
            write(lm, patch_of(lm), tmp_path / "new")
    assert not list(tmp_path.iterdir()) and state(lm) == before


def test_an_edited_head_is_no_longer_tied(tmp_path):
    lm = tiny.model("llama", tie_word_embeddings=True)
    patch = patch_of(lm, lm_head=lm.weight("lm_head") + 0.1)
    lib.workbench.export_model(lm, patch, tmp_path / "edited")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "edited")
    assert all(map(torch.equal, logits(model), patched_logits(lm, patch)))
    assert lm.model.config.tie_word_embeddings and not model.config.tie_word_embeddings


def test_the_outer_patch_is_not_exported(tmp_path):
    lm = tiny.model("llama")
    outer = patch_of(lm, **{lm.mlp_out(0): lm.weight(lm.mlp_out(0)) + 1})
    with lm.patched(outer):
        lib.workbench.export_model(lm, lib.EMPTY, tmp_path / "base")
        lib.workbench.export_peft(lm, patch_of(lm), tmp_path / "adapter")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert all(map(torch.equal, logits(model), logits(lm.model)))
    assert "None: this is the base model." in (tmp_path / "base" / "README.md").read_text()


def test_the_embedded_model_comes_back_bit_for_bit(default_lm, tmp_path):
    name = default_lm.mlp_out(20)
    g = torch.Generator().manual_seed(0)
    W = default_lm.weight(name)
    dense = W + 0.01 * torch.randn(W.shape, generator=g)
    patch = lib.Patch(
        {name: dense, default_lm.mlp_out(5): low_rank(default_lm, 2, layer=5)},
        log=(lib.Edit("ft", {}, (FACT,)),), base=default_lm.identity,
    )  # fmt: skip
    lib.workbench.export_model(default_lm, patch, tmp_path / "edited")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "edited", dtype="float32")
    assert model.config.tie_word_embeddings
    assert all(map(torch.equal, logits(model), patched_logits(default_lm, patch)))
    again = lib.LM(model, default_lm.tokenizer, "edited")
    with default_lm.patched(patch):  # the library's own kernels: not those of bound matrices
        wanted = default_lm.run(["The Eiffel Tower is in"]).logits
    torch.testing.assert_close(
        again.run(["The Eiffel Tower is in"]).logits, wanted, atol=1e-3, rtol=1e-3
    )
    card = (tmp_path / "edited" / "README.md").read_text()
    assert "license: apache-2.0" in card and "base model SmolLM2-135M-Instruct: Apache-2.0." in card
    cached = getattr(default_lm.model.config, "_name_or_path", "")
    for file in (tmp_path / "edited").iterdir():  # nothing says where things lie on this machine
        if file.suffix in (".json", ".md", ".txt"):
            text = file.read_text(encoding="utf-8")
            assert str(tmp_path) not in text and os.getcwd() not in text
            assert not cached.startswith("/") or cached not in text, file.name


def test_the_card_lists_edits_and_how_to_load(tmp_path):
    lm = tiny.model("llama")
    stream = lib.Edit("ultraedit", {}, (FACT,) * 300, batch=100)
    patch = patch_of(lm)
    patch = lib.Patch(patch.weights, log=(*patch.log, stream), base=patch.base)
    lib.workbench.export_peft(lm, patch, tmp_path / "adapter")
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "| The old tower | I saw The old tower \\| &lt;b&gt;twice&lt;/b&gt; | xy | ft |" in card
    assert "and 101 more" in card
    assert "writing 301 facts" in card
    assert 'PeftModel.from_pretrained(base, "adapter")' in card and lm.identity in card


def test_what_plain_weights_cannot_say_is_refused_by_name(tmp_path):
    lm = tiny.model("llama")
    routed = lib.EDITORS["grace"](lm, layer=1, n_iter=2).edit([FACT])
    asked = lib.EDITORS["retrieval"](lm).edit([FACT])
    (place,) = routed.routes
    with pytest.raises(
        lib.errors.ExportError, match=f"^grace decides .* to replace the answer of {place}"
    ):
        lib.workbench.export_peft(lm, routed, tmp_path / "new" / "a")
    with pytest.raises(lib.errors.ExportError, match="^retrieval changes the prompt's text"):
        lib.workbench.export_peft(lm, asked, tmp_path / "new" / "a")
    mixed = lib.Patch(patch_of(lm).weights, {"x": routed.routes[place]}, log=routed.log)
    with pytest.raises(
        lib.errors.ExportError, match="^grace decides"
    ):  # weights beside a route too
        lib.workbench.export_peft(lm, mixed, tmp_path / "new" / "a")
    with pytest.raises(lib.errors.ExportError, match="does not change any weights"):
        lib.workbench.export_peft(lm, lib.EMPTY, tmp_path / "new" / "a")
    with pytest.raises(lib.errors.ArgumentError, match="rank should be a number of at least 1"):
        lib.workbench.export_peft(lm, patch_of(lm), tmp_path / "new" / "a", rank=0)
    other = lib.Patch(patch_of(lm).weights, base="other 1")
    for write in (lib.workbench.export_peft, lib.workbench.export_model):
        with pytest.raises(lib.errors.PatchError, match="This patch is for other 1"):
            write(lm, other, tmp_path / "new" / "a")
    name = lm.mlp_out(1)
    unmoved = patch_of(lm, **{name: lm.weight(name)})
    with pytest.raises(lib.errors.ExportError, match="does not change any weights"):
        lib.workbench.export_peft(lm, unmoved, tmp_path / "a")
    assert not any(p.is_file() for p in tmp_path.rglob("*"))
    assert not (tmp_path / "a").exists()


def test_folders_are_whole_or_absent_and_never_overwritten(tmp_path, monkeypatch):
    lm = tiny.model("llama")
    patch = patch_of(lm)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "note.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for write in (lib.workbench.export_peft, lib.workbench.export_model):
        for name in ("taken", "file"):
            with pytest.raises(
                lib.errors.ExportError, match=f"{name} exists and is not an empty folder"
            ):
                write(lm, patch, tmp_path / name)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for here in (".", "..", "/", tmp_path / "empty"):
        name = re.escape(str(Path(here).resolve()))
        with pytest.raises(
            lib.errors.ExportError, match=f"^{name} is the folder that you work in, or"
        ):
            lib.workbench.export_peft(lm, patch, here)
    monkeypatch.chdir(tmp_path / "taken")
    lib.workbench.export_peft(lm, patch, tmp_path / "empty")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(export, "write_card", fail)  # the last thing written
    before, had = sorted(p.name for p in tmp_path.iterdir()), state(lm)
    for write in (lib.workbench.export_peft, lib.workbench.export_model):
        with pytest.raises(OSError, match="disk full"):
            write(lm, patch, tmp_path / "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert state(lm) == had and (taken / "note.txt").read_text() == "mine"


def test_the_command_writes_both_forms_and_refuses_in_one_sentence(tmp_path, capsys, monkeypatch):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    file = patch_of(lm).save(tmp_path / "p.safetensors")
    words = ["export", "--patch", str(file), "--to"]
    assert main([*words, str(tmp_path / "adapter"), "--as", "peft", "--rank", "2"]) == 0
    shown = capsys.readouterr().out
    assert "saved: adapter" in shown and f"{lm.mlp_out(1)}: rank 2, relative error" in shown
    assert main([*words, str(tmp_path / "model"), "--as", "model"]) == 0
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert main([*words, str(tmp_path / "model"), "--as", "model"]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "other"), "--as", "model", "--rank", "2"]) == 2
    assert "--rank only applies to --as peft" in capsys.readouterr().err
    monkeypatch.setattr("lib.workbench.cli.options.load", None)  # refused before a model is loaded
    routed = lib.EDITORS["retrieval"](lm).edit([FACT]).save(tmp_path / "r.safetensors")
    assert (
        main(["export", "--patch", str(routed), "--to", str(tmp_path / "x"), "--as", "peft"]) == 2
    )
    assert "retrieval changes the prompt" in capsys.readouterr().err


HOSTILE = [
    ("![x](https://evil.example/seen.png)", "!\\[x\\](https\\://evil.example/seen.png)"),
    ("a\n---\nlicense: mit\n| b | `c`", "a --- license: mit \\| b \\| \\`c\\`"),
    (
        "&lt;b> $x$ **bold** _so_ ft_m",
        "&amp;lt;b&gt; \\$x\\$ \\*\\*bold\\*\\* \\_so\\_ ft_m",
    ),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_nothing_in_a_card_is_markup_of_somebody_else(tmp_path, text, shown):
    fact = lib.Fact("The cat", "I saw {} in", text)
    patch = lib.Patch(base="tiny `x` 1", log=(lib.Edit("ft_m", {}, (fact,)),))
    write_card(tmp_path, patch, "model", "tiny", {})
    said = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"| The cat | I saw The cat in | {shown} | ft_m |" in said
    assert "Made on `tiny 'x' 1`" in said
    lines = said.splitlines()
    assert lines.count("---") == 2 and "license: mit" not in lines
