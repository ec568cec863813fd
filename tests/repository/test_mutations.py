"""The list of mutations is in step with the code, and none of them survives its tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ..benchmarks.mutations import mutations, survivors

ROOT = Path(__file__).parents[2]
ALL = mutations()


def test_every_mutation_has_its_place_and_its_tests():
    assert len(ALL) == 43
    for one in ALL:
        text = (ROOT / one.file).read_text(encoding="utf-8")
        assert text.count(one.old) == 1, one.name
        if one.file.endswith(".py"):
            ast.parse(text.replace(one.old, one.new))
        assert one.old != one.new and one.tests, one.name
        for test in one.tests:
            path, _, name = test.partition("::")
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            named = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
            assert name.partition("[")[0] in named, test


@pytest.mark.slow
def test_no_mutation_survives():
    assert survivors(ALL) == []
