"""What experts.py rests on in transformers, whose own module gives the same model and state."""

from __future__ import annotations

import inspect

import pytest
import torch
from transformers import AutoModelForCausalLM

from lib.model.experts import ModuleExperts, mixtures
from lib.model.recognition import arch_of

from ..support import tiny


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_the_model_and_its_state_are_those_of_transformers(family):
    ours = tiny.model(family).model
    plain = AutoModelForCausalLM.from_config(ours.config).eval()
    (mlp, *_), (own, *_) = (list(mixtures(m, arch_of(m)).values()) for m in (plain, ours))
    assert isinstance(own.experts, ModuleExperts)
    assert {"gate_up_proj", "down_proj"} == set(dict(mlp.experts.named_parameters()))
    assert mlp.experts.act_fn and len(inspect.signature(mlp.experts.forward).parameters) == 3
    state = ours.state_dict()
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)
