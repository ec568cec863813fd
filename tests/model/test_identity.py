"""A patch belongs to weights and to the prepended token; weights that change are noticed."""

from __future__ import annotations

import copy
import io
import shutil
import warnings

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

import lib
from lib.errors import EditWarning, FamilyError, PatchError
from lib.keys_values.second_moment import second_moment
from lib.patch.patch import same_model

from ..support import tiny

FACT = lib.Fact("Rome", "{} is in", " xy")


def edited(lm: lib.LM) -> lib.Patch:
    return lib.EDITORS["ft_m"](lm, layer=1, epochs=1).edit([FACT], check=False)


def moment(lm: lib.LM) -> torch.Tensor:
    return second_moment(lm, [1], tokens=500)[1].C


@pytest.fixture
def lm():
    """A model of its own, because these tests change its weights."""
    made = tiny.model("llama")
    return lib.LM(copy.deepcopy(made.model), made.tokenizer, name="tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made, kept = tiny.model("llama"), tmp_path_factory.mktemp("tiny")
    made.model.save_pretrained(kept)
    made.tokenizer.save_pretrained(kept)
    return kept


def step(lm: lib.LM) -> None:
    lm.model.requires_grad_(True)
    optimizer = torch.optim.SGD(lm.model.parameters(), lr=0.5)
    ids = torch.tensor([[1, 2, 3, 4]])
    lm.model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    lm.model.requires_grad_(False)


def other_state(lm: lib.LM) -> None:
    lm.model.load_state_dict({k: v + 0.1 for k, v in lm.model.state_dict().items()})


def through_data(lm: lib.LM) -> None:
    lm.model.get_submodule(lm.mlp_out(1)).weight.data += 0.1


def merged_adapter(lm: lib.LM) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
    peft.get_peft_model(lm.model, config).merge_and_unload()


def new_layers(lm: lib.LM) -> None:
    lm.model.model.layers = torch.nn.ModuleList(copy.deepcopy(lm.blocks)[::-1])


CHANGES = [step, other_state, through_data, merged_adapter, new_layers]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_weights_that_change_make_another_model(lm, change):
    before, old = edited(lm), lm.identity
    moment(lm)
    change(lm)
    with pytest.warns(EditWarning, match="weights of tiny have changed") as said:
        assert not same_model(lm.identity, old)
    assert len(said) == 1
    fresh = lib.LM(copy.deepcopy(lm.model), lm.tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error", EditWarning)  # it is said once
        assert torch.equal(moment(lm), moment(fresh))
        after = edited(lm)
    assert same_model(after.base, fresh.identity)
    with fresh.patched(after), pytest.raises(PatchError, match="This patch is for"):
        lm.check(before)


def test_an_own_edit_and_a_cast_are_no_change(lm):
    old, patch = lm.identity, edited(lm)
    with warnings.catch_warnings():
        warnings.simplefilter("error", EditWarning)
        with lm.patched(patch):
            assert lm.identity == old
        lm.model.to(torch.bfloat16)
        assert lm.identity == old and str(lm.dtype) in lm.stored_identity
        with lm.patched(patch):
            lm.answer("Rome is in", 1)
        assert lm.identity == old


def test_a_change_under_another_patch_is_noticed_afterwards(lm):
    patch, norm = edited(lm), lm.model.model.norm.weight
    with lm.patched(patch):
        norm.add_(0.5)
    with pytest.warns(EditWarning, match="have changed"), pytest.raises(PatchError):
        lm.check(patch)


def test_statistics_networks_and_base_answers_follow_the_weights(lm):
    base, editor = lib.evaluate(lm, [lib.Case(FACT)], lib.EMPTY).base, lib.EDITORS["mend"](lm)
    editor._networks = {lm.fingerprint: "trained"}
    other_state(lm)
    with pytest.warns(EditWarning), pytest.raises(ValueError, match="These base answers are from"):
        lib.evaluate(lm, [lib.Case(FACT)], lib.EMPTY, base=base)
    with pytest.raises(lib.errors.EditError, match="no trained network"):
        editor.networks()


# ---- names ----------------------------------------------------------------------------------


def test_a_copied_folder_takes_the_patch(folder, tmp_path):
    one = lib.load(folder)
    patch = edited(one)
    shutil.copytree(folder, tmp_path / "a copy, renamed")
    two = lib.load(tmp_path / "a copy, renamed", dtype="bfloat16")
    three = lib.LM(AutoModelForCausalLM.from_pretrained(folder), one.tokenizer, name="org/hub-id")
    for other in (two, three):
        assert other.name != one.name
        with other.patched(patch):
            pass
        after = lib.EDITORS["ft_m"](other, layer=2, epochs=1).edit([FACT], after=patch, check=False)
        assert len(after.log) == 2
        assert (edited(other) | lib.Patch(base=patch.base)).base == other.identity


def test_a_journal_goes_on_under_another_name(folder, tmp_path):
    cases = [lib.Case(FACT), lib.Case(lib.Fact("Oslo", "{} is in", " qz"))]
    shutil.copytree(folder, tmp_path / "copy")
    for place in (folder, tmp_path / "copy"):
        run = lib.stream(lib.load(place), "retrieval", cases, batch_size=1,
                         journal=tmp_path / "journal", eval_at=[2])  # fmt: skip
        assert next(iter(run))["edits"] == (1 if place == folder else 2)


def test_a_prepended_token_is_saved_with_the_tokenizer(folder, tmp_path):
    lm = lib.load(folder, sink="<|end|>")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    copied = lib.load(tmp_path)
    again = lib.LM(lm.model, lm.tokenizer)
    for other in (copied, again):
        assert other.sink == "<|end|>" and same_model(other.identity, lm.identity)
        with other.patched(edited(lm)):
            pass


def test_a_copy_of_the_default_model_has_its_presets(default_lm, tmp_path):
    default_lm.model.save_pretrained(tmp_path / "mine")
    default_lm.tokenizer.save_pretrained(tmp_path / "mine")
    copied = lib.load(tmp_path / "mine", dtype="float32")
    assert copied.name == default_lm.name and len(lib.classroom(copied.name)) > 100
    assert lib.EDITORS["rome"](copied).config == lib.EDITORS["rome"](default_lm).config


# ---- writing inside `patched` -----------------------------------------------------------------


def weights(lm: lib.LM) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in lm.model.named_parameters()}


def loaded(lm):
    lm.model.load_state_dict(lm.model.state_dict())


def written(lm):
    lm.model.get_submodule(lm.mlp_out(1)).weight.add_(1)


def trained(lm):
    weight = lm.model.get_submodule(lm.mlp_out(1)).weight.requires_grad_(True)
    lm.model(input_ids=torch.tensor([[1, 2]])).logits.sum().backward()
    torch.optim.SGD([weight], lr=0.1).step()


def replaced(lm):
    module = lm.model.get_submodule(lm.mlp_out(1))
    module.weight = torch.nn.Parameter(torch.ones_like(module.weight))


@pytest.mark.parametrize("inside", [loaded, written, trained, replaced])
def test_writing_a_bound_matrix_inside_is_said_at_the_end(lm, inside):
    patch, name = edited(lm), lm.mlp_out(1)
    before = weights(lm)[name + ".weight"]
    with pytest.raises(PatchError, match=f"{name} was written inside"), lm.patched(patch):
        inside(lm)
    assert torch.equal(before, weights(lm)[name + ".weight"]) and not lm.is_patched


def test_an_error_in_the_body_is_the_one_that_is_raised(lm):
    with pytest.raises(KeyError, match="mine"), lm.patched(edited(lm)):
        written(lm)
        raise KeyError("mine")


def test_a_matrix_that_is_being_trained_is_not_bound(lm):
    patch = edited(lm)
    lm.model.requires_grad_(True)
    with pytest.raises(PatchError, match="requires gradients"), lm.patched(patch):
        pass
    lm.model.requires_grad_(False)
    with lm.patched(patch):
        pass


def pickled(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("made", [copy.deepcopy, pickled])
def test_a_copy_made_inside_is_a_model_of_its_own(lm, made):
    patch = edited(lm)
    with lm.patched(patch):
        copied = made(lm.model)
        copied.to(torch.float64).load_state_dict(copied.state_dict())
    copied.requires_grad_(True)
    assert not lm.model.get_submodule(lm.mlp_out(1)).weight.requires_grad


def test_training_mode_does_not_reach_the_answers():
    lm = tiny.model("gpt2", resid_pdrop=0.9, embd_pdrop=0.9)
    lm = lib.LM(copy.deepcopy(lm.model), lm.tokenizer)
    said = lm.score("Rome is in", " xy")
    lm.model.train()
    assert torch.equal(lm.score("Rome is in", " xy"), said)
    assert lm.model.training and lm.blocks[0].training


# ---- models as people hold them ---------------------------------------------------------------


def test_a_model_with_adapters_says_to_merge_them(lm):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(copy.deepcopy(lm.model), config)
    for held in (adapted, adapted.base_model.model):
        with pytest.raises(FamilyError, match=r"merge_and_unload"):
            lib.LM(held, lm.tokenizer)
    edited(lib.LM(adapted.merge_and_unload(), lm.tokenizer))
    patch = edited(lm)
    peft.get_peft_model(lm.model, config)  # under a living LM
    with pytest.raises(FamilyError, match="merge_and_unload"), lm.patched(patch):
        pass


def test_a_model_without_a_head(folder, lm):
    with pytest.raises(FamilyError, match="LlamaModel has no head .* AutoModelForCausalLM"):
        lib.LM(AutoModel.from_pretrained(folder), lm.tokenizer)
    with pytest.raises(FamilyError, match="has no head"):
        lib.LM(torch.nn.Linear(2, 2), lm.tokenizer)


def test_a_token_without_a_row_of_the_table(lm):
    tokenizer = copy.deepcopy(lm.tokenizer)
    living = lib.LM(copy.deepcopy(lm.model), tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    with pytest.raises(FamilyError, match=r"resize_token_embeddings\(len\(tokenizer\)\)"):
        lib.LM(lm.model, tokenizer)
    with pytest.raises(lib.Error, match=r"resize_token_embeddings\(len\(tokenizer\)\)"):
        living.answer("Rome is [PAD]", 1)
    lm.model.resize_token_embeddings(len(tokenizer))
    lib.LM(lm.model, tokenizer).answer("Rome is [PAD]", 1)


def test_a_token_of_images_needs_no_row(lm):
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<image>"]})
    tokenizer.init_kwargs["image_token"] = "<image>"
    lib.LM(lm.model, tokenizer).answer("Rome is in", 1)
