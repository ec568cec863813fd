"""Demonstrations before a stored fact (IKE): which are chosen, in which order, and how many fit."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

import lib
from lib.editors.retrieval import Entry, Notes
from lib.editors.retrieval.demonstrations import _parts, choose, pool
from lib.editors.retrieval.tfidf import cosine, plain, vector

from ..support import tiny

TOWER = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")


def long(text: str) -> bool:
    return len(text) < 10**6


def chosen(fact=TOWER, count=8, ratio=(1, 3, 4), order="last", fits=long, cases=None):
    return choose(fact, pool(None) if cases is None else cases, count, ratio, order, fits)


def parts(demo: str) -> tuple[str, str]:
    """The new fact and the probe with its answer."""
    new, probe = demo.removesuffix("\n\n").split("\n")
    return new.removeprefix("New Fact: ").removesuffix("."), probe.removeprefix("Prompt: ")


def test_without_demonstrations_it_is_the_string_that_it_was():
    entry = Entry(TOWER.subject, TOWER.prompt, "Rome")
    before = "New Fact: The Eiffel Tower is located in the city of Rome.\nPrompt: "
    assert Notes((entry,))([TOWER.text]) == [before + TOWER.text]
    assert Notes((entry,)).header().keys() == {"entries", "tau_rel", "tau_free"}
    shown = Entry(TOWER.subject, TOWER.prompt, "Rome", ("one\n\n", "two\n\n"))
    assert Notes((shown,))([TOWER.text]) == ["one\n\ntwo\n\n" + before + TOWER.text]


def test_the_kinds_are_in_their_ratio_and_right():
    cases = pool(None)
    facts = {f"{c.fact.text} {c.fact.target_new.strip()}": c for c in cases}
    found = [parts(demo) for demo in chosen()]
    kinds = []
    for new, probe in found:
        case = facts[new]
        answer = case.fact.target_new.strip()
        if probe == new:
            kinds.append("copy")
        elif probe in {f"{text} {answer}" for text in case.paraphrases}:
            kinds.append("update")
        else:
            assert probe in {f"{p.prompt} {p.target.strip()}" for p in case.neighborhood}
            kinds.append("retain")
    assert sorted(kinds) == ["copy", *["retain"] * 4, *["update"] * 3]
    of_kind = [(kind, new) for kind, (new, _) in zip(kinds, found, strict=True)]
    assert len(set(of_kind)) == 8  # one of a kind from a case
    assert {case.id % 2 for case in cases} == {0}


@pytest.mark.parametrize("count", [0, 1, 2, 4, 8, 31])
def test_the_parts_add_up(count):
    assert sum(_parts(count, (1, 3, 4))) == count
    assert _parts(8, (1, 3, 4)) == [1, 3, 4] and _parts(4, (1, 3, 4)) == [1, 1, 2]
    assert _parts(5, (0, 0, 1)) == [0, 0, 5]


def test_no_demonstration_names_the_subject_or_the_answer():
    for case in [case for case in lib.classroom() if case.id % 2][:8]:
        for demo in chosen(case.fact, 16):
            for name in (case.fact.subject, case.fact.target_new):
                assert f" {plain(name)} " not in f" {plain(demo)} "
    own = lib.Case(TOWER, paraphrases=("Where is the tower? In",))
    assert chosen(cases=[own]) == ()


def test_the_most_similar_stands_next_to_the_prompt_or_first():
    query = vector(plain(f"New Fact: {TOWER.text} Rome.\nPrompt: {TOWER.text} \n\n"))
    for order, sign in (("last", 1), ("first", -1)):
        scores = [sign * cosine(query, vector(plain(demo))) for demo in chosen(order=order)]
        assert all(a <= b + 1e-12 for a, b in pairwise(scores))
    assert chosen(order="first") == chosen(order="last")[::-1]


def test_the_least_similar_are_left_out_where_they_do_not_fit():
    whole = chosen()
    size = len("".join(whole[3:]))
    assert chosen(fits=lambda text: len(text) <= size) == whole[3:]
    assert chosen(fits=lambda text: False) == ()


def editor(**more):
    return lib.EDITORS["retrieval"](tiny.model("llama"), **more)


def test_a_patch_holds_them_and_they_come_only_with_a_stored_fact(tmp_path):
    """A model that reads 256 letters has room for one or none; one that reads 8,192 for all."""
    lm = tiny.model("llama", max_position_embeddings=8192)
    given = {"demos": 4}
    patch = lib.EDITORS["retrieval"](lm, **given).edit([TOWER])
    (notes,) = patch.rewrites
    assert len(notes.entries[0].demos) == 4
    again = lib.Patch.load(patch.save(tmp_path / "patch.safetensors"))
    assert again.rewrites[0].entries == notes.entries
    prompt = "The recipe for bread begins with"
    assert notes([prompt])[0] is prompt
    assert notes([TOWER.text])[0].startswith("".join(notes.entries[0].demos))
    few = editor(**given).edit([lib.Fact("Oslo", "{} is", "big")]).rewrites[0].entries[0].demos
    assert len("".join(few)) <= 128


def test_always_puts_the_nearest_fact_before_every_prompt(tmp_path):
    entries = (Entry(TOWER.subject, TOWER.prompt, "Rome"), Entry("Bread", "{} is made of", "rye"))
    notes = Notes(entries, always=True)
    assert notes.find("The recipe for bread begins with")[0] == 1
    assert notes.find("The Eiffel Tower was designed by the engineer")[0] == 0
    assert all(notes([text])[0].startswith("New Fact: ") for text in ("", "Seven days"))
    assert Notes.load({}, notes.header()).always and notes.header()["always"] is True
    assert Notes((), always=True)(["x"]) == ["x"]


def test_a_pool_from_a_file(tmp_path):
    row = {
        "subject": "Mount Fuji", "prompt": "{} lies in", "target_new": "Peru",
        "target_true": "Japan", "paraphrases": [], "neighborhood": [], "locality": [],
    }  # fmt: skip
    path = tmp_path / "cases.json"
    path.write_text(json.dumps([row]))
    lm = tiny.model("llama", max_position_embeddings=8192)
    patch = lib.EDITORS["retrieval"](lm, demos=8, pool=str(path)).edit([TOWER])
    demos = patch.rewrites[0].entries[0].demos
    assert demos == ("New Fact: Mount Fuji lies in Peru.\nPrompt: Mount Fuji lies in Peru\n\n",)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"demos": -1}, "demos is at least 0"),
        ({"ratio": (1, 2)}, "ratio is three parts"),
        ({"ratio": (0, 0, 0)}, "ratio is three parts"),
        ({"order": "middle"}, "order is last or first"),
    ],
)
def test_settings_that_are_none_are_one_sentence(wrong, said):
    with pytest.raises(lib.EditError, match=said):
        editor(**wrong)


def test_a_missing_pool_and_a_made_up_header_are_sentences(tmp_path):
    with pytest.raises((ValueError, OSError), match="none.json"):
        editor(demos=2, pool=str(tmp_path / "none.json")).edit([TOWER])
    head = Notes((Entry(None, "Seven days", "xy", ("demo",)),)).header()
    assert Notes.load({}, head).entries[0].demos == ("demo",)
    for wrong in ({"demos": [["a"], ["b"]]}, {"demos": "x"}, {"always": 1}):
        with pytest.raises(ValueError):
            Notes.load({}, {**head, **wrong})
