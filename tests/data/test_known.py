"""What further models know: the stored lists fit the classroom and the abilities."""

from __future__ import annotations

import json
import re

import pytest

import lib
from lib.data.texts import KNOWN, known_by
from lib.model.packaged_models import PACKAGED
from tests.benchmarks.abilities import KINDS, items

STORED = json.loads(KNOWN.read_text(encoding="utf-8"))
GEMMA = "gemma-3-270m"


@pytest.mark.parametrize("model", STORED)
def test_a_model_gets_the_cases_and_neighbors_that_it_knows(model):
    every, some = {case.id: case for case in lib.classroom()}, lib.classroom(model)
    near = STORED[model]["classroom"]["known"]
    assert [str(case.id) for case in some] == list(near) and 0 < len(some) < len(every)
    for case in some:
        whole = every[case.id]
        assert case.neighborhood == tuple(whole.neighborhood[i] for i in near[str(case.id)])
        assert (case.fact, case.paraphrases) == (whole.fact, whole.paraphrases)
    right, asked = STORED[model]["classroom"]["neighbors"]
    assert right == sum(len(case.neighborhood) for case in some)
    assert asked == sum(len(every[case.id].neighborhood) for case in some)


@pytest.mark.parametrize("model", STORED)
def test_a_model_gets_the_items_that_it_has_right(model):
    places = STORED[model]["abilities"]
    assert tuple(places) == KINDS
    for kind in KINDS:
        every = [item for item in items() if item.kind == kind]
        some = [item for item in items(model) if item.kind == kind]
        assert some == [every[place] for place in places[kind]]
    assert 0 < len(items(model)) < len(items())


def test_only_the_last_part_of_a_name_counts_and_others_get_everything():
    assert lib.classroom(f"somebody/{GEMMA.upper()}/") == lib.classroom(GEMMA)
    for model in (None, "SmolLM2-135M-Instruct", "somebody/new", f"{GEMMA}-it", ""):
        assert known_by(model) is None
        assert lib.classroom(model) == lib.classroom() and items(model) == items()


def test_the_lists_were_measured_on_the_packaged_models():
    packaged = {model.name for model in PACKAGED.values()}
    for name, found in STORED.items():
        model, _, sink = name.partition(" behind ")
        assert model in packaged
        assert re.fullmatch(rf"{re.escape(name)} [0-9a-f]{{16}}", found["model"])
        asked = f"python -m tests.make_known {model}"
        assert found["command"] == (f"{asked} --sink '{sink}'" if sink else asked)
