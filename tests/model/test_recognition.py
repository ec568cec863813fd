"""What `recognition` finds by running: the rows of ARCHS again, and shapes that no row has."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lib
from lib.errors import FamilyError
from lib.model.architectures import ARCHS, ByLayer
from lib.model.lm import LM
from lib.model.partial_forward import Replay, WholeRun
from lib.model.recognition import arch_of, recognize

from ..support import tiny, written
from ..support.editor_settings import A, quick
from . import families

FOUND = {  # what is found in shapes that are recognized, beside `mlp_out` and the like
    "plain": {},
    "parallel": {},
    "twice": {"post_norm": True, "into": "stem.stack.{}.feed.close"},
    "two mlps": {"mlp_out": "stem.stack.{}.second.close", "mlp": "stem.stack.{}.second"},
    "scaled": {"post_norm": True, "into": "stem.stack.{}.feed.close"},
    "scaled once": {"post_norm": True, "into": "stem.stack.{}.feed.close"},
    "normed": {"post_norm": True, "into": "stem.stack.{}.behind"},
    "head with a bias": {},
    "capped": {"logit_cap": 30.0},
    "divided": {"logit_factor": 0.125},
    "normed head": {},
    "named states": {},
    "idle cross": {},
    "norm on the stream": {"post_norm": True, "into": "stem.stack.{}.behind"},
    "no last norm": {"final_norm": "stem.end_of_blocks"},
    "deep head": {"head": "speak"},
    "factors on the stream": {},
}
REFUSED = {
    "turned": "weights that stem.stack.0 stores in one direction",
    "tied": "an MLP in stem.stack.0 that runs once: stem.stack.0.feed.close runs again",
    "tied sides": "a matrix of its own in stem.stack.0.feed.close: something else has it",
    "no attention": "an attention in stem.stack.0",
    "no mlp": "an MLP in stem.stack.0: no linear module outside stem.stack.0.mixing",
    "a third path": "what stem.stack.0 adds beside mixing and feed.close",
    "looks ahead": "that stem.stack.0 looks back only: a later token reaches others",
    "experts": r"mixture of experts \(stem.stack.0.feed.some.0.wide\)",
    "counted from the edge": "a padded batch gives other states than its rows by themselves",
    "divided by a number of its own": "by no factor and no cap of its configuration",
    "length first": "a run from a layer on gives other states than the whole run",
    "squared logits": "how logits come from the head",
}


@pytest.mark.parametrize("family", sorted(ARCHS))
def test_the_rows_of_families_are_found_again(family):
    model, row = tiny.model(family).model, ARCHS[family]
    found = recognize(model)
    for name in ("blocks", "mlp_out", "mlp_in", "attn_out", "final_norm", "embed", "transposed",
                 "post_norm", "fused_in", "into_stream"):  # fmt: skip
        assert getattr(found, name) == getattr(row, name), name
    assert found.mlp == row.mlp or found.mlp is None  # none where the module adds the residual
    cap = getattr(model.config, row.softcap) if row.softcap else None
    assert (found.logit_factor, found.logit_cap) == (1.0, cap)
    assert arch_of(model) is row  # a row wins


@pytest.mark.parametrize("shape", sorted(FOUND))
def test_a_shape_of_its_own_is_recognized_and_edited(shape):
    model = written.network(shape)
    lm = LM(model, tiny.tokenizer(), name="written")
    wanted = {"blocks": "stem.stack", "mlp_out": "stem.stack.{}.feed.close", "final_norm":
              "stem.last", "embed": "stem.words", "mlp": "stem.stack.{}.feed", "attn_out":
              "stem.stack.{}.mixing.back", "post_norm": False, "into": None, "logit_cap": None,
              "logit_factor": 1.0, "transposed": False, "whole": True, **FOUND[shape]}  # fmt: skip
    assert {name: getattr(lm.arch, name) for name in wanted} == wanted
    # the gate stands first, whatever the order in which they run
    within = lm.arch.mlp
    assert lm.arch.mlp_in == (f"{within}.door", f"{within}.wide")
    assert repr(lm).endswith(")") and f"to {lm.arch.mlp_out}" in repr(lm)
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
    "granite": ("exact", families.EDITORS, "a norm or a factor"),
    "qwen3_5_text": ("exact", families.EDITORS, "replays run the whole model"),
    "nemotron_h": ("limits", families.EDITORS, "layers 0, 2 are stepped over"),
    "deepseek_v2": ("refused", (), "as mixtures of experts do"),
}
LONG = {
    "gemma": ("exact", families.EDITORS, ""),
    "olmo3": ("exact", families.EDITORS, "a norm or a factor"),
    "gpt_oss": ("refused", (), "as mixtures of experts do"),
    "gemma3": ("exact", families.EDITORS, "a norm or a factor"),  # with its part for pictures
    "roberta": (
        "exact",
        [name for name in families.EDITORS if name != "lemoe"],
        "has no MLP module",
    ),
    "mamba": ("refused", (), "an MLP in backbone.layers.0"),
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


@families.of_older
def test_layers_without_an_mlp_are_stepped_over_by_name():
    lm = families.built("nemotron_h")
    assert lm.written_layers == [1, 3] and "without layers 0, 2" in repr(lm)
    with pytest.raises(
        lib.Error, match="layer 2 .* cannot be written, only layers 1, 3: .* MLP in"
    ):
        lm.mlp_out(2)
    assert lib.EDITORS["rome"].Config.preset(lm, "rome").layer in (1, 3)
    assert set(lib.EDITORS["memit"].Config.preset(lm, "memit").layers) <= {1, 3}


def test_names_that_differ_by_layer():
    name = ByLayer(["b.{}.x", "b.{}.y"])
    assert [name.format(i) for i in (0, 1)] == ["b.0.x", "b.1.y"] and name == "b.{}.x"
    assert name.format("*") == "b.*.x"


def test_a_cache_that_cannot_forget_is_asked_one_by_one():
    """Linear attention keeps a sum of what it read, from which nothing can be taken back."""
    lm = tiny.model("qwen3_5_text", **{
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
        "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"] * 2,
    })  # fmt: skip
    assert lm.arch.whole and not lm.arch.rewinds and len(set(lm.arch.attn_out.names)) == 2
    text, targets = "A cat sat on", [" the mat", " a hat", " xy"]
    together = lm.score([text] * 3, targets)
    for target, found in zip(targets, together, strict=True):
        ids, more = lm.tokenizer(text).input_ids, lm.tokenizer(target).input_ids
        logits = lm.model(torch.tensor([[*ids, *more]])).logits[0].log_softmax(-1)
        direct = torch.stack([logits[len(ids) - 1 + i, t] for i, t in enumerate(more)])
        torch.testing.assert_close(found, direct, atol=1e-4, rtol=1e-4)
