"""What is found by running a model: the rows of ARCHS again, and shapes that no row has."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lib
from lib.errors import FamilyError
from lib.model.architectures import ARCHS
from lib.model.infer_architecture import arch_of, infer
from lib.model.lm import LM
from lib.model.partial_forward import Replay, WholeRun

from ..support import tiny, written
from ..support.editor_settings import A, quick
from . import families

FOUND = {  # what is found in shapes that are recognized, beside `mlp_out` and the like
    "plain": {},
    "parallel": {},
    "two mlps": {"mlp_out": "stem.stack.{}.second.close", "mlp": "stem.stack.{}.second",
                 "attn_out": ("stem.stack.{}.feed.close",)},
    "scaled": {"post_norm": True, "into": "stem.stack.{}.feed.close"},
    "normed": {"post_norm": True, "into": "stem.stack.{}.behind"},
    "norm on the stream": {"post_norm": True, "into": "stem.stack.{}.behind"},
    "head with a bias": {},
    "capped": {"softcap": "final_logit_softcapping"},
    "divided": {"logit_factor": pytest.approx(0.125)},
    "named states": {},
}  # fmt: skip
REFUSED = {
    "scaled once": "its blocks add their MLP outputs in different ways",
    "turned": "it stores some matrices",
    "tied": "stem.stack.0.feed.close is not a separate matrix",
    "tied sides": "stem.stack.0.feed.close is not a separate matrix",
    "no attention": "an attention in stem.stack.0",
    "no mlp": "0 modules feed stem.stack.0.mixing.back",
    "looks ahead": "it is not causal",
    "experts": "0 modules feed stem.stack.0.mixing.back",
    "counted from the edge": "a padded batch gives different states from its single rows",
    "length first": "its blocks add their MLP outputs in different ways",
    "squared logits": "the states after its last norm do not give its own logits",
    "no last norm": "a norm between the last block and the head",
}


@pytest.mark.parametrize("family", sorted(ARCHS.keys() - {"opt"}))  # whose base is not run
def test_the_rows_of_families_are_found_again(family):
    model, row = tiny.model(family).model, ARCHS[family]
    with torch.no_grad():
        found = infer(model)
    for name in ("blocks", "mlp_out", "mlp_in", "attn_out", "final_norm", "embed", "transposed",
                 "post_norm", "fused_in", "into"):  # fmt: skip
        assert getattr(found, name) == getattr(row, name), name
    assert found.mlp == row.mlp or found.mlp is None  # none where the module adds the residual
    factor = row.logit_factor(model.config) if callable(row.logit_factor) else row.logit_factor
    assert found.logit_factor == pytest.approx(factor)
    assert arch_of(model) is row  # a row wins


@pytest.mark.parametrize("shape", sorted(FOUND))
def test_a_shape_of_its_own_is_recognized_and_edited(shape):
    model = written.network(shape)
    lm = LM(model, tiny.tokenizer(), name="written")
    wanted = {"blocks": "stem.stack", "mlp_out": "stem.stack.{}.feed.close", "final_norm":
              "stem.last", "embed": "stem.words", "mlp": "stem.stack.{}.feed", "attn_out":
              ("stem.stack.{}.mixing.back",), "post_norm": False, "into": None, "softcap": None,
              "logit_factor": 1.0, "transposed": False, "whole": True, **FOUND[shape]}  # fmt: skip
    assert {name: getattr(lm.arch, name) for name in wanted} == wanted
    # the gate stands first, whatever the order in which they run
    within = lm.arch.mlp
    assert lm.arch.mlp_in == (f"{within}.door", f"{within}.wide")
    assert repr(lm).endswith(f"MLPs end in {lm.arch.mlp_out})")
    ids = torch.tensor([[5, 6, 7]])
    logits = model(ids).logits[0]
    torch.testing.assert_close(lm.run([[5, 6, 7]]).logits[0], logits, atol=1e-5, rtol=1e-5)
    before = lm.score(A.text, A.target_new)
    patch = lib.EDITORS["rome"](lm, **quick("rome")).edit([A])
    with lm.patched(patch):
        assert lm.score(A.text, A.target_new).sum() > before.sum() + 0.5
        assert len(lm.answer(A.text, 3)) > 0
    assert torch.equal(lm.score(A.text, A.target_new), before)
    assert torch.equal(model(ids).logits[0], logits)


@pytest.mark.parametrize("shape", sorted(REFUSED))
def test_a_shape_that_is_not_understood_is_refused_with_the_missing_piece(shape):
    with pytest.raises(FamilyError, match=f"^model family 'written' .*{REFUSED[shape]}") as said:
        LM(written.network(shape), tiny.tokenizer(), name="written")
    assert "\n" not in str(said.value)


def test_every_shape_is_asked():
    assert sorted([*FOUND, *REFUSED]) == sorted(written.SHAPES)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "opt"])
@pytest.mark.parametrize("lookup", [None, [2, 1, 3]])
def test_a_run_of_the_whole_model_is_the_replay(family, lookup, monkeypatch):
    rows = [[5, 6, 7, 8, 9], [4, 3, 2], [11, 12, 13, 14]]
    lm = tiny.model(family)
    name = lm.mlp_out(1)
    made = {}
    for whole in (False, True):
        monkeypatch.setattr(lm, "arch", replace(lm.arch, whole=whole))
        made[whole] = Replay.at_mlp(lm, rows, 1, lookup=lookup, watch=[name])
    assert isinstance(made[True], WholeRun) and type(made[False]) is Replay
    wide = made[False].hidden
    delta = torch.randn(3, 1, 32, generator=torch.Generator().manual_seed(0))
    places = torch.zeros(wide.shape[:2], dtype=torch.bool)
    places[:, 0] = True
    ways = {
        "its own": lambda r: r.run(r.hidden),
        "part": lambda r: r.run(r.hidden, upto=1),
        "from a block on": lambda r: r.run(r.run(r.hidden, upto=1), since=1),
        "added": lambda r: r.with_added(delta),
        "replaced": lambda r: r.with_replaced(delta[:, 0], places),
        "some": lambda r: r.take([2, 0]).with_added(delta[[2, 0]]),
    }
    real = (made[False].seqs.real if lookup is None else made[False].seqs.real[:, 3:]).clone()
    with torch.no_grad():
        for way, run in ways.items():
            a, b = run(made[False]), run(made[True])
            mask = real[[2, 0]] if way == "some" else real
            torch.testing.assert_close(a[mask], b[mask], atol=2e-5, rtol=1e-4, msg=way)


USUAL = {  # a family of each kind of structure: what the page says of it, and who edits it
    "exaone4": ("exact", families.EDITORS, "a norm or a factor"),
    "lfm2": (
        "exact",
        [name for name in families.EDITORS if name != "lemoe"],
        "replays run the whole model",
    ),
    "deepseek_v2": ("refused", (), "like mixtures of experts"),
}
LONG = {
    "cohere": ("exact", families.EDITORS, ""),
    "gemma4": ("exact", families.EDITORS, "a norm or a factor"),  # with its part for pictures
    "nemotron_h": ("refused", (), ""),
    "mamba": ("refused", (), ""),
}


@families.of_older
@pytest.mark.parametrize(
    "family", [*USUAL, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)]
)
def test_a_family_of_each_kind_is_edited_as_the_page_says(family):
    kind, editors, said = {**USUAL, **LONG}[family]
    found = families.tried(family)
    assert (found["kind"], tuple(found.get("editors", ()))) == (kind, tuple(editors))
    assert said in found["said"] and "not undone" not in found["said"]


def test_a_row_of_the_callers_own_is_taken_after_its_numbers_were_seen(tmp_path):
    tiny.model("llama").model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    given = replace(ARCHS["llama"], rewinds=False)
    assert lib.load(tmp_path, arch=given).arch == given
    with pytest.raises(FamilyError, match="do not give its own logits"):
        lib.load(tmp_path, arch=replace(given, logit_factor=2.0))
    with pytest.raises(FamilyError, match="not recognized"):
        lib.load(tmp_path, arch=replace(given, mlp_out="model.layers.{}.mlp.nowhere"))


def test_a_row_of_another_family_is_checked_as_well():
    """It is in ARCHS, and of a model that has its names it may still be wrong."""
    for family, row, said in (
        ("granite", "llama", "do not give its own logits"),
        ("llama", "gpt2", "no attribute `transformer`"),
    ):
        lm = tiny.model(family)
        with pytest.raises(FamilyError, match=said):
            lib.LM(lm.model, lm.tokenizer, arch=ARCHS[row])
        assert lib.LM(lm.model, lm.tokenizer, arch=ARCHS[family]).arch == ARCHS[family]


def test_a_cache_that_cannot_forget_is_asked_one_by_one():
    """Linear attention keeps a sum of what it read, from which nothing can be taken back."""
    lm = tiny.model("qwen3_5_text")
    assert lm.arch.whole and not lm.arch.rewinds and lm.attn_out(0) != lm.attn_out(1)
    text, targets = "A cat sat on", [" the mat", " a hat", " xy"]
    together = lm.score([text] * 3, targets)
    for target, found in zip(targets, together, strict=True):
        ids, more = lm.tokenizer(text).input_ids, lm.tokenizer(target).input_ids
        logits = lm.model(torch.tensor([[*ids, *more]])).logits[0].log_softmax(-1)
        direct = torch.stack([logits[len(ids) - 1 + i, t] for i, t in enumerate(more)])
        torch.testing.assert_close(found, direct, atol=1e-4, rtol=1e-4)
