"""An adapter means the same change by the rules of llama.cpp, of vLLM and of peft."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import lib
from lib.patch.patch import LowRank
from lib.workbench.export.export import RANKS, padded_rank

from ..support import tiny

START, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def patch_with(lm: lib.LM, *ranks: int) -> lib.Patch:
    """One change of each rank, in layers 0, 1, …, as WilKE and stacks of edits make them."""
    g, weights = torch.Generator().manual_seed(0), {}
    for layer, rank in enumerate(ranks):
        d_out, d_in = lm.weight(lm.mlp_out(layer)).shape
        pair = torch.randn(d_out, rank, generator=g), torch.randn(rank, d_in, generator=g)
        weights[lm.mlp_out(layer)] = LowRank((pair,))
    return lib.Patch(weights, base=lm.identity)


def read(folder) -> tuple[dict, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """The config, and A (rank, d_in) and B (d_out, rank) of each module."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    names = [name.removeprefix(START).removesuffix(DOWN) for name in tensors if DOWN in name]
    assert len(tensors) == 2 * len(names)
    return config, {n: (tensors[START + n + DOWN], tensors[START + n + UP]) for n in names}


def by_llama_cpp(folder) -> dict[str, torch.Tensor]:
    """convert_lora_to_gguf.py keeps one alpha, which is divided by the rank of each matrix."""
    config, pairs = read(folder)
    return {n: config["lora_alpha"] / B.shape[1] * (B @ A) for n, (A, B) in pairs.items()}


def by_vllm(folder) -> dict[str, torch.Tensor]:
    """PEFTHelper divides lora_alpha by r, and does not know of patterns."""
    config, pairs = read(folder)
    assert config["r"] in (8, 16, 32, 64, 128, 256, 320, 512)  # those of `--max-lora-rank`
    assert all(len(A) == B.shape[1] <= config["r"] for A, B in pairs.values())
    return {n: config["lora_alpha"] / config["r"] * (B @ A) for n, (A, B) in pairs.items()}


def by_peft(folder, family: str) -> dict[str, torch.Tensor]:
    """What peft would add when it merges, in the model's own orientation."""
    peft = pytest.importorskip("peft")
    found = peft.PeftModel.from_pretrained(tiny.model(family).model, folder)
    layers = {
        name.removeprefix(START): module
        for name, module in found.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    with torch.no_grad():
        return {name: module.get_delta_weight("default") for name, module in layers.items()}


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # gpt2's weights are transposed
@pytest.mark.parametrize("ranks", [(3, 1, 20), (2, 2)])
def test_three_programs_read_the_same_change(family, ranks, tmp_path):
    lm = tiny.model(family)
    patch, folder = patch_with(lm, *ranks), tmp_path / "adapter"
    done = lib.workbench.export_peft(lm, patch, folder)
    wanted = {name: change.dense() for name, change in patch.weights.items()}
    assert done.exact and tuple(w.rank for w in done.modules.values()) == ranks
    assert not {"rank_pattern", "alpha_pattern"} & read(folder)[0].keys()
    for found in (by_llama_cpp(folder), by_vllm(folder), by_peft(folder, family)):
        assert found.keys() == wanted.keys()
        for name, change in wanted.items():
            got = found[name]
            if found[name].shape != change.shape:  # as gpt2 stores it
                got = got.T
            torch.testing.assert_close(got, change, atol=1e-4, rtol=1e-4)
    r = {20: 32, 2: 8}[max(ranks)]
    assert done.rank == r and f"padded to rank {r}" in str(done)
    said = (folder / "README.md").read_text()
    assert f"padded with zeros to rank {r}" in said and f"--max-lora-rank {r}" in said


def test_ranks_are_the_next_allowed_one():
    assert [padded_rank([n, 1]) for n in (1, 8, 9, 257, 320, 321, 512)] == [
        8, 8, 16, 320, 320, 512, 512
    ]  # fmt: skip
    assert padded_rank([513, 600]) == 600 and RANKS[-1] == 512


def test_an_adapter_that_vllm_refuses_says_so(tmp_path):
    lm = tiny.model("llama", hidden_size=544, intermediate_size=560)
    done = lib.workbench.export_peft(lm, patch_with(lm, 520), tmp_path / "a")
    assert done.exact and done.rank == 520
    assert "vLLM rejects ranks above 512" in (tmp_path / "a" / "README.md").read_text()
    cut = lib.workbench.export_peft(lm, patch_with(lm, 520), tmp_path / "b", rank=512)
    assert cut.rank == 512 and not cut.exact
