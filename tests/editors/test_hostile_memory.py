"""A patch file whose memory somebody has made up is gone on from, or refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
import torch

import lib
from lib.workbench.cli.main import main

from ..support.editor_settings import A, B, model, settings
from ..support.usual import few


def other(state, change):
    """The memory with `change` made at every leaf."""
    if isinstance(state, Mapping):
        return {key: other(value, change) for key, value in state.items()}
    if isinstance(state, tuple | list):
        return tuple(other(value, change) for value in state)
    return change(state)


def halved(leaf):
    """A tensor of another shape; other leaves as they are."""
    return leaf.flatten()[: leaf.numel() // 2] if isinstance(leaf, torch.Tensor) else leaf


CHANGES = {
    "nothing in it": lambda memory: {},
    "unknown keys": lambda memory: {"x": 1, "y": (torch.ones(2),)},
    "other shapes": lambda memory: other(memory, halved),
    "texts": lambda memory: other(memory, lambda leaf: "x"),
    "huge numbers": lambda memory: other(
        memory, lambda leaf: 10**18 if type(leaf) is int else leaf
    ),
}


@cache
def written(name: str) -> tuple[dict, lib.Patch]:
    given = settings(name, "llama")
    return given, lib.EDITORS[name](model("llama"), **given).edit([A])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "name", few(sorted(lib.EDITORS), ("grace", "memit", "retrieval", "rledit"), drawn=5)
)
def test_a_made_up_memory_is_gone_on_from_or_refused_in_one_sentence(
    name, change, tmp_path, monkeypatch, capsys
):
    given, patch = written(name)
    if name not in patch.memory:
        pytest.skip("keeps no memory")
    hostile = replace(patch, memory={name: CHANGES[change](patch.memory[name])})
    path = hostile.save(tmp_path / "p.safetensors")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: model("llama"))
    words = ["edit", "--subject", B.subject, "--prompt", B.prompt, "--target", B.target_new]
    words += ["--relation", "none", "--after", str(path), "--editor", name]
    for key, value in given.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    code = main(words)
    said = capsys.readouterr().err.strip().splitlines()
    assert code in (0, 2) and len(said) == bool(code) and len("".join(said)) < 500
