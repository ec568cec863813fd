"""Products of oneDNN: equal to the plain ones in both directions, and always of the weights of now.

The library once kept packed copies of the weights, which a write through `.data` left behind.
"""

from __future__ import annotations

import pytest
import torch

import lib
from lib.model import onednn_linear
from lib.model.onednn_linear import Linears, available
from lib.patch.patch import LowRank

from ..support import tiny

pytestmark = pytest.mark.skipif(not available(), reason="this build of torch has no such product")


@pytest.mark.parametrize("mkl", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_equal_the_plain_product(bias, mkl, monkeypatch):
    monkeypatch.setattr(onednn_linear, "gradient_by_mkl", lambda: mkl)
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 40, bias=bias).requires_grad_(False)
    linears = Linears(layer)
    x = torch.randn(3, 5, 24, requires_grad=True)
    plain = layer(x)
    (wanted,) = torch.autograd.grad(plain.sin().sum(), x)
    with linears.used():
        fast = layer(x)
        assert "forward" in vars(layer)
        turned = layer(x.detach().transpose(0, 1))  # not contiguous
    (grad,) = torch.autograd.grad(fast.sin().sum(), x)  # also behind the `with`
    assert "forward" not in vars(layer)
    torch.testing.assert_close(fast, plain)
    torch.testing.assert_close(turned, plain.transpose(0, 1))
    torch.testing.assert_close(grad, wanted)


def test_a_bound_matrix_runs_and_learns():
    layer = torch.nn.Linear(8, 8, bias=False).requires_grad_(False)
    linears = Linears(layer)
    other = torch.randn(8, 8, requires_grad=True)
    x = torch.randn(2, 8)
    with linears.used():
        layer(x)
        base, layer._parameters["weight"] = layer._parameters["weight"], other
        torch.testing.assert_close(layer(x), x @ other.T)
        assert torch.autograd.grad(layer(x).sum(), other)[0].abs().sum() > 0
        layer._parameters["weight"] = base
        torch.testing.assert_close(layer(x), x @ base.T)
        layer.to(torch.float64)  # moved: no longer what oneDNN takes
        torch.testing.assert_close(layer(x.double()), x.double() @ layer.weight.T)


def test_other_types_are_left_alone():
    assert not Linears(tiny.model("llama", dtype=torch.bfloat16).model).modules
    assert len(Linears(tiny.model("llama").model).modules) == 4 * 7 + 1


def every_entry(weight: torch.Tensor) -> None:
    weight.data.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)))


def one_row(weight: torch.Tensor) -> None:
    weight.data[3] += 2.0


def one_entry(weight: torch.Tensor) -> None:
    weight.data[3, 5] += 20.0


def rank_one(weight: torch.Tensor) -> None:
    g = torch.Generator().manual_seed(6)
    d_out, d_in = weight.shape
    weight.data.add_(
        torch.randn(d_out, 1, generator=g) @ torch.randn(1, d_in, generator=g), alpha=0.3
    )


def in_place(weight: torch.Tensor) -> None:
    with torch.no_grad():
        weight.add_(torch.ones_like(weight).tril())


def storage(weight: torch.Tensor) -> None:
    weight.detach().numpy()[:, 1] += 1.0  # below torch altogether


def optimizer(weight: torch.Tensor) -> None:
    weight.requires_grad_(True)
    (weight.sin().sum() * 9).backward()
    torch.optim.SGD([weight], lr=0.1).step()
    weight.requires_grad_(False)
    weight.grad = None


WRITES = (every_entry, one_row, one_entry, rank_one, in_place, storage, optimizer)


def agrees(lm: lib.LM, before: torch.Tensor) -> None:
    """The model's own logits are what `run`, `next_token` and `answer` say, and they moved."""
    prompt = "I saw the old tower"
    ids = torch.tensor([lm.tokenizer(prompt).input_ids])
    with torch.no_grad():
        plain = lm.model(ids).logits[0]
    assert (plain - before).abs().max() > 1e-3
    torch.testing.assert_close(lm.run([prompt]).logits[0], plain, atol=1e-4, rtol=1e-4)
    table = plain[-1].log_softmax(-1)
    torch.testing.assert_close(lm.next_token(prompt), table, atol=1e-4, rtol=1e-4)
    fresh = lib.LM(lm.model, lm.tokenizer, lm.name)
    assert lm.answer(prompt) == fresh.answer(prompt)


def logits(lm: lib.LM) -> torch.Tensor:
    lm.answer("I saw the old tower")  # whatever may be kept is kept now
    return lm.run(["I saw the old tower"]).logits[0].clone()


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("place", ["model.layers.1.mlp.down_proj", "lm_head"])
def test_any_write_to_a_weight_is_answered_for(write, place):
    lm = tiny.model("llama")
    before = logits(lm)
    write(lm.model.get_submodule(place).weight)
    agrees(lm, before)


def test_a_loaded_state_is_answered_for():
    lm = tiny.model("llama")
    before = logits(lm)
    lm.model.load_state_dict(tiny.model("llama", seed=1).model.state_dict())
    agrees(lm, before)
    assert lm.answer("Seven") == tiny.model("llama", seed=1).answer("Seven")


def test_a_write_under_a_patch_is_answered_for():
    lm = tiny.model("llama")
    pair = torch.randn(32, 1), torch.randn(1, 48)
    patch = lib.Patch({lm.mlp_out(2): LowRank((pair,))}, base=lm.identity)
    with lm.patched(patch):
        before = logits(lm)
        one_row(lm.model.get_submodule(lm.mlp_out(2)).weight)  # the bound matrix
        agrees_here = lm.run(["I saw the old tower"]).logits[0]
    assert (agrees_here - before).abs().max() > 1e-3


def test_peft_merges_and_unmerges():
    peft = pytest.importorskip("peft")
    model = tiny.model("llama").model
    config = peft.LoraConfig(
        r=8, target_modules=["down_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    wrapped = peft.get_peft_model(model, config).eval()
    lm = lib.LM(wrapped.get_base_model(), tiny.tokenizer(), "merged")
    prompt = "I saw the old tower"

    def plain() -> torch.Tensor:
        with torch.no_grad():
            return lm.model(torch.tensor([lm.tokenizer(prompt).input_ids])).logits[0]

    apart = plain()
    torch.testing.assert_close(lm.run([prompt]).logits[0], apart, atol=1e-4, rtol=1e-4)
    base = lm.model.get_submodule("model.layers.1.mlp.down_proj").base_layer.weight.clone()
    wrapped.merge_adapter()
    moved = lm.model.get_submodule("model.layers.1.mlp.down_proj").base_layer.weight
    assert (moved - base).abs().max() > 1e-4
    merged = lm.run([prompt]).logits[0]
    torch.testing.assert_close(merged, plain(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(merged, apart, atol=1e-3, rtol=1e-3)  # the same change, added in
    wrapped.unmerge_adapter()
    without = lm.model.get_submodule("model.layers.1.mlp.down_proj").base_layer.weight
    torch.testing.assert_close(without, base, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(lm.run([prompt]).logits[0], plain(), atol=1e-4, rtol=1e-4)
