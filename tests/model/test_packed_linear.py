"""Packed products: equal to the plain ones in both directions, and only where the base weights
run.
"""

from __future__ import annotations

import pytest
import torch

from lib.model.packed_linear import Packs, available

from ..support import tiny

pytestmark = pytest.mark.skipif(not available(), reason="this build of torch has no packed product")


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_equal_the_plain_product(bias):
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 40, bias=bias).requires_grad_(False)
    packs = Packs(layer)
    x = torch.randn(3, 5, 24, requires_grad=True)
    plain = layer(x)
    (wanted,) = torch.autograd.grad(plain.sin().sum(), x)
    with packs.used():
        fast = layer(x)
        assert "forward" in vars(layer)
    (grad,) = torch.autograd.grad(fast.sin().sum(), x)  # also behind the `with`
    assert "forward" not in vars(layer)
    torch.testing.assert_close(fast, plain)
    torch.testing.assert_close(grad, wanted)


def test_a_bound_matrix_runs_as_it_is_and_learns():
    layer = torch.nn.Linear(8, 8, bias=False).requires_grad_(False)
    packs = Packs(layer)
    other = torch.randn(8, 8, requires_grad=True)
    x = torch.randn(2, 8)
    with packs.used():
        layer(x)
        base, layer._parameters["weight"] = layer._parameters["weight"], other
        torch.testing.assert_close(layer(x), x @ other.T)
        assert torch.autograd.grad(layer(x).sum(), other)[0].abs().sum() > 0
        layer._parameters["weight"] = base
        torch.testing.assert_close(layer(x), x @ base.T)


def test_a_base_weight_that_is_itself_written_is_packed_again():
    layer = torch.nn.Linear(8, 8, bias=False).requires_grad_(False)
    packs, x = Packs(layer), torch.randn(2, 8)
    with packs.used():
        layer(x)
        with torch.no_grad():
            layer.weight.mul_(2.0)
        torch.testing.assert_close(layer(x), x @ layer.weight.T)
        layer.to(torch.float64)  # moved: no longer what was packed
        torch.testing.assert_close(layer(x.double()), x.double() @ layer.weight.T)


def test_large_models_and_other_types_are_left_alone(monkeypatch):
    assert not Packs(tiny.model("llama", dtype=torch.bfloat16).model).modules
    monkeypatch.setattr("lib.model.packed_linear.LIMIT", 1000)
    assert not Packs(tiny.model("llama").model).modules
