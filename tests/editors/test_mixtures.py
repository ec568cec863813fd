"""Mixtures of experts: which expert is edited, by what, and that others stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

import lib
from lib.data.facts import lookup
from lib.keys_values.general_text import general_text
from lib.keys_values.second_moment import windows
from lib.model import apply_patch
from lib.model.hooks import hooked

from ..support import tiny
from ..support.editor_settings import ELSEWHERE, TINY, A, model, quick

FAMILIES = ("qwen3_moe", "mixtral")
ABLE = {"rome", "memit", "ft", "ft_l", "ft_m", "retrieval", "grace", "horen", "steer"}
LAYER = 1  # the one that TINY edits
C = lib.Fact("A blue cup", "I saw {}", "qz")  # another expert than A's

families = pytest.mark.parametrize("family", FAMILIES)


def layer_of(lm: lib.LM, fact: lib.Fact, patch: lib.Patch = lib.EMPTY, layer: int = LAYER):
    """MLP input, MLP output, weights and experts at the subject, seen as transformers runs it."""
    ids, at = lookup(lm.tokenizer, fact)
    found = {}

    def see(name):
        return lambda _, given, put: found.__setitem__(name, (given[0], put))

    mlp = lm.model.model.layers[layer].mlp
    with lm.patched(patch), hooked(mlp, see("mlp")), hooked(mlp.gate, see("gate")):
        lm.model(torch.tensor([ids[: at + 1]]))
    (given, put), (_, (_, weights, experts)) = found["mlp"], found["gate"]
    return given[0, -1], put[0, -1], weights[-1], experts[-1]


@families
def test_the_numbers_are_those_of_transformers(family, monkeypatch):
    lm = tiny.model(family)
    with monkeypatch.context() as without:
        without.setattr(apply_patch, "separate", lambda *_: None)
        plain = tiny.model(family).model
    ids = torch.tensor([lm.tokenizer("The old tower stands").input_ids])
    for way in ("eager", "grouped_mm"):
        plain.set_experts_implementation(way)
        torch.testing.assert_close(lm.model(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)
    ours, theirs = lm.model.state_dict(), plain.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert lib.LM(lm.model, tiny.tokenizer()).fingerprint == lm.fingerprint  # separated once


@families
def test_an_expert_that_is_watched_runs_on_all_tokens_and_reads_zero_where_none_is_sent(family):
    lm = tiny.model(family)
    plain = lm.run(ELSEWHERE).logits
    names = [f"model.layers.{LAYER}.mlp.experts.{number}.down_proj" for number in range(4)]
    found = lm.run(ELSEWHERE, watch=names)
    torch.testing.assert_close(found.logits, plain, atol=1e-5, rtol=1e-5)
    seen = torch.stack([found.seen[name][0].norm(dim=-1) for name in names])  # (experts, n, L)
    assert seen.shape[1:] == found.ids.shape
    assert (seen > 0).sum(0)[found.real].eq(2).all()  # each token is sent to two of four


@pytest.mark.slow
@families
def test_the_edited_expert_has_the_largest_weight_at_the_subjects_last_token(family):
    lm = model(family)
    chosen = set()
    for fact in (A, C):
        _, _, weights, experts = layer_of(lm, fact)
        expert = experts[weights.argmax()].item()
        chosen.add(expert)
        patch = lib.EDITORS["rome"](lm, **quick("rome")).edit([fact])
        assert [*patch.weights] == [f"model.layers.{LAYER}.mlp.experts.{expert}.down_proj"]
    assert len(chosen) == 2
    # without a subject it is the prompt's last token, which A's subject ends with
    bare = lib.Fact(None, A.text, "xy")
    with lm.sent(A):
        ours = lm.mlp_out(LAYER)
    assert [*lib.EDITORS["ft"](lm, **quick("ft")).edit([bare]).weights] == [ours]
    assert lm.mlp_out(LAYER) == f"model.layers.{LAYER}.mlp"


def test_a_dense_layer_has_one_matrix():
    lm = model("qwen3_moe")
    patch = lib.EDITORS["rome"](lm, **{**quick("rome"), "layer": 0}).edit([A])
    assert [*patch.weights] == ["model.layers.0.mlp.down_proj"]
    with lm.patched(patch):
        assert lm.answer(A.text, 1) == " xy"


@families
def test_what_the_layer_puts_out_moves_by_the_weight_times_the_change(family):
    lm = model(family)
    editor = lib.EDITORS["rome"](lm, **{**quick("rome"), "keys": "prompt"})
    patch = editor.edit([A])
    ((name, change),) = patch.weights.items()
    h, before, weights, experts = layer_of(lm, A)
    number = int(name.split(".")[-2])
    w = weights[experts == number]
    experts_here = lm.model.model.layers[LAYER].mlp.experts
    gate, up = F.linear(h, experts_here.gate_up_proj[number]).chunk(2)
    moved = layer_of(lm, A, patch)[1] - before
    # w ΔW k, and it is the δ that was searched at the layer's output
    torch.testing.assert_close(
        moved, w * (change.dense() @ (F.silu(gate) * up)), atol=1e-3, rtol=1e-3
    )
    with lm.sent(A):
        found = editor.update(A)[1]
    torch.testing.assert_close(moved, found.delta, atol=1e-2, rtol=1e-2)


@families
@pytest.mark.parametrize("name", ["rome", "ft"])
def test_other_experts_stay_as_they_are(name, family):
    lm = model(family)
    patch = lib.EDITORS[name](lm, **quick(name)).edit([A])
    (edited,) = patch.weights
    plain = {n: p.clone() for n, p in lm.model.named_parameters()}
    with lm.patched(patch):
        moved = [n for n, p in lm.model.named_parameters() if not torch.equal(p, plain[n])]
    assert moved == [f"{edited}.weight"]
    assert all(torch.equal(p, plain[n]) for n, p in lm.model.named_parameters())


@pytest.mark.slow
@families
def test_facts_of_one_call_are_written_one_after_another(family):
    lm = model(family)
    editor = lib.EDITORS["rome"](lm, **quick("rome"))
    together, first = editor.edit([A, C]), editor.edit([A])
    apart = editor.edit([C], after=first)
    assert len(together.weights) == 2 and together.weights.keys() == apart.weights.keys()
    for name, value in together.weights.items():
        assert torch.equal(value.dense(), apart.weights[name].dense())
    with lm.patched(together):
        assert lm.answer([A.text, C.text], 1) == [" xy", " qz"]


def test_the_second_moment_is_that_of_the_edited_expert():
    lm = model("mixtral")
    names = []
    for fact in (A, C):
        with lm.sent(fact):
            names.append(lm.mlp_out(LAYER))
            editor = lib.EDITORS["rome"](lm, **quick("rome"))
            (stored,) = editor.statistics()
            rows = windows(lm, general_text(None), TINY["rome"]["tokens"])
            keys = [lm.run([ids], watch=names[-1:]).seen[names[-1]][0][0, 1:] for ids in rows]
            K = torch.cat(keys)  # w k, 0 where a token is sent elsewhere
            torch.testing.assert_close(stored.tensors()["C"], K.T @ K / len(K))
    assert len(set(names)) == 2


@families
@pytest.mark.parametrize("name", sorted(set(lib.EDITORS) - ABLE))
def test_the_others_refuse_in_a_sentence(name, family):
    lm = model(family)
    said = f"tiny-{family} has mixtures of experts .*'{family}'.*, which {name} cannot edit; .*rome"
    with pytest.raises(lib.errors.EditError, match=said):
        lib.EDITORS[name](lm, **TINY.get(name, {}))


def test_the_list_of_those_that_can_is_this_one():
    assert {name for name, editor in lib.EDITORS.items() if editor.mixtures} == ABLE


@families
def test_a_layer_without_a_choice_has_no_matrix(family):
    lm = model(family)
    with pytest.raises(lib.errors.FamilyError, match="layers.1.mlp of .* has no matrix; lm.sent"):
        lm.weight(lm.mlp_out(1))


@families
def test_the_exported_model_says_the_same(family, tmp_path):
    lm = tiny.model(family)
    patch = lib.EDITORS["rome"](lm, **quick("rome")).edit([A, C])
    texts = [A.text, C.text, *ELSEWHERE]
    with lm.patched(patch):
        said, scores = lm.generate(texts, 8), lm.run(texts).logits
    lib.workbench.export_model(lm, patch, tmp_path / "model")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    again = lib.LM(plain, tiny.tokenizer())
    plain.generation_config.eos_token_id = None
    assert again.generate(texts, 8) == said
    torch.testing.assert_close(again.run(texts).logits, scores, atol=1e-4, rtol=1e-4)
    with pytest.raises(
        lib.errors.ExportError, match="changes single experts.*export the whole model"
    ):
        lib.workbench.export_peft(lm, patch, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
