"""Abilities: an empty patch costs nothing, a destroyed model everything, and files are refused."""

from __future__ import annotations

import pytest
import torch

import lib
from tests.benchmarks import abilities as room
from tests.benchmarks.abilities import KINDS, Ability, abilities, items

from ..support import tiny

FEW = 6  # items of each kind: a full measurement takes half a minute


def few() -> list[Ability]:
    return [item for kind in KINDS for item in [i for i in items() if i.kind == kind][:FEW]]


@pytest.fixture(scope="module", autouse=True)
def short_page(tmp_path_factory):
    """The beginning of the held-out page: all of it takes the default model ten seconds."""
    path = tmp_path_factory.mktemp("page") / "held.txt"
    path.write_text(room.HELD_OUT.read_text(encoding="utf-8")[:2500], encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "HELD_OUT", path)
        yield


@pytest.fixture(scope="module")
def base(default_lm):
    return abilities(default_lm, some=few())


@pytest.mark.slow
def test_the_embedded_model_has_these_items_right_and_an_empty_patch_costs_nothing(base):
    assert base.rows["right"].all() and len(base.rows) == sum(base.asked.values()) == 4 * FEW
    assert (base.page["base"] == base.page["edited"]).all()
    kept = base.json()
    assert [kept[kind] for kind in (*KINDS, "all")] == [1] * 5 and kept["page"] == 0
    assert base.table().loc["cloze", "kept"].startswith("100 [")
    assert "<table" in base._repr_html_() and "page" in repr(base)


def shuffled(lm, layer):
    """A patch with the entries of one layer's output matrix in another order."""
    module = lm.mlp_out(layer)
    weight = lm.weight(module)
    order = torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(0))
    return lib.EMPTY.with_weights({module: 30 * weight.flatten()[order].view_as(weight)})


@pytest.mark.slow
def test_a_destroyed_model_loses_what_it_could(default_lm, base):
    found = abilities(default_lm, shuffled(default_lm, 1), few(), base)
    kept = found.json()
    assert kept["arithmetic"] == kept["word relations"] == 0 and kept["cloze"] < 0.7
    assert kept["page"] > 1, "a nat per token"


def test_the_items_are_what_they_say(default_lm):
    assert len(items()) > 200 and {item.kind for item in items()} == set(KINDS)
    assert len({(item.prompt, item.answer) for item in items()}) == len(items())
    for item in items():
        assert item.answer not in item.wrong and item.prompt == item.prompt.rstrip()
        assert bool(item.wrong) == (item.kind in ("cloze", "grammar"))
    subjects = {case.fact.subject.casefold() for case in lib.classroom()}
    cloze = " ".join(item.prompt for item in items() if item.kind == "cloze").casefold()
    assert not [s for s in subjects if f" {s} " in f" {cloze} "], (
        "an item is about no subject of the classroom"
    )


def test_an_empty_patch_costs_nothing_to_the_last_bit(monkeypatch):
    lm = tiny.model("llama")
    monkeypatch.setattr(room, "items", lambda _: tuple(few()))
    abilities(lm, shuffled(lm, 1))
    before = abilities(lm, some=few())
    empty = abilities(lm, lib.EMPTY, few(), base=before)
    assert empty.rows.equals(before.rows) and empty.page.equals(before.page)
    assert (before.page["base"] == before.page["edited"]).all()
