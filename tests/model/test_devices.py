"""Products by oneDNN are those of PyTorch, for what they are meant for; all else is left alone."""

from __future__ import annotations

import threading

import pytest
import torch
from torch.nn.functional import linear

import lib
from lib.model import devices

from ..support import tiny

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this PyTorch has no oneDNN"
)

SETTINGS = {
    "rome": {"steps": 4, "second_moment": False},
    "memit": {"steps": 4, "second_moment": False},
    "wise": {"layer": 1, "n_iter": 3, "enough": 0.0},
}


@pytest.fixture
def asked(monkeypatch):
    """The mode as on AMD's processors; the list of products that oneDNN made."""
    plain, made = devices._product, []

    def product(x, weight, bias):
        made.append(tuple(weight.shape))
        return plain(x, weight, bias)

    monkeypatch.setattr(devices, "FASTER", True)
    monkeypatch.setattr(devices, "_product", product)
    return made


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [None, draw(700, seed=3)], ids=["plain", "bias"])
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5)], ids=str)
def test_value_and_gradient_are_those_of_pytorch(asked, bias, shape):
    weight, found = draw(700, 5, seed=1), []
    for fast in (True, False):
        x = draw(*shape, seed=2).requires_grad_()
        if fast:
            with devices.fast_products():
                y = linear(x, weight, bias)
        else:
            y = linear(x, weight, bias)
        y.square().sum().backward()
        found.append((y.detach(), x.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    assert asked == [(700, 5), (5, 700)]


@pytest.mark.parametrize(
    "what", ["no rows", "few", "bfloat16", "trained", "trained bias", "a name"]
)
def test_what_it_is_not_meant_for_is_left_alone(asked, what):
    x, weight, bias = draw(6, 5), draw(700, 5), draw(700)
    if what == "no rows":
        x = x[:0]
    elif what == "few":
        x = x[:5]
    elif what == "bfloat16":
        x, weight, bias = x.bfloat16(), weight.bfloat16(), bias.bfloat16()
    elif what == "trained":
        weight.requires_grad_()
    elif what == "trained bias":
        bias.requires_grad_()
    with devices.fast_products():
        y = linear(x, weight, bias=bias) if what == "a name" else linear(x, weight, bias)
    assert torch.equal(y, linear(x, weight, bias)) and not asked


def test_a_write_before_the_backward_pass_is_refused(asked):
    x, weight = draw(6, 5).requires_grad_(), draw(700, 5)
    with devices.fast_products():
        y = linear(x, weight)
    weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_it_holds_for_its_own_thread_and_ends_with_an_error(asked):
    def run():
        linear(draw(6, 5), draw(700, 5))

    with pytest.raises(ZeroDivisionError), devices.fast_products():
        other = threading.Thread(target=run)
        other.start()
        other.join()
        1 / 0  # noqa: B018
    run()
    assert not asked


@pytest.mark.parametrize("name", ["rome", "memit", "wise"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_edits_are_the_same_within_rounding(asked, monkeypatch, family, name):
    monkeypatch.setattr(devices, "LEAST", 1)  # products of a tiny model are small
    lm, patches = tiny.model(family), []
    fact = lib.Fact("tower", "The {} leans to", "xy", "qz")
    settings = {"templates": ("{}",), **SETTINGS[name]}
    for fast in (True, False):
        monkeypatch.setattr(devices, "FASTER", fast)
        patches.append(lib.EDITORS[name](lm, **settings).edit([fact]))
    mine, theirs = ([*p.weights.values()] for p in patches)
    if name == "wise":
        mine, theirs = ([m.tau for r in p.routes.values() for m in r.memories] for p in patches)
    assert asked or family == "gpt2"  # its layers are Conv1D, no `linear`
    for a, b in zip(mine, theirs, strict=True):
        a, b = (value if torch.is_tensor(value) else value.dense() for value in (a, b))
        assert (a - b).norm() <= 1e-3 * b.norm()
