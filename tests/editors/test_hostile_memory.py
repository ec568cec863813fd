"""A patch whose memory somebody has made up is gone on from, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
import torch

import lib

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
def written(name: str) -> tuple[lib.Editor, lib.Patch]:
    editor = lib.EDITORS[name](model("llama"), **settings(name, "llama"))
    return editor, editor.edit([A])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "name", few(sorted(lib.EDITORS), ("grace", "memit", "retrieval", "rledit"), drawn=5)
)
def test_a_made_up_memory_is_gone_on_from_or_refused_in_one_sentence(name, change):
    editor, patch = written(name)
    if name not in patch.memory:
        pytest.skip("keeps no memory")
    before = patch.memory[name]
    hostile = replace(patch, memory={**patch.memory, name: CHANGES[change](before)})
    try:
        editor.edit([B], after=hostile)
    except ValueError as error:
        assert str(error) and "\n" not in str(error) and len(str(error)) < 500
    assert patch.memory[name] is before
