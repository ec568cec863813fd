"""Real rows of the published formats, and damaged ones: read as their own format, or refused."""

from __future__ import annotations

import json
import warnings

import pytest

from lib.data.facts import KINDS, Case, Fact, Probe
from lib.data.formats import FORMATS, recognize
from lib.data.readers import read_cases
from lib.errors import FactError

from ..support.published_rows import PUBLISHED, REVERSAL, ROWS

NAMES = [form.name for form in FORMATS]


def read(rows, **options) -> list[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(read_cases(rows, **options))


def published(name: str, number: int = 0) -> tuple[dict, Case]:
    """A real row and its case, read alone."""
    row = PUBLISHED[name]["rows"][number]
    return row, read([row])[0]


# ---- every format reads its rows ---------------------------------------------------------------


def test_every_format_has_rows():
    assert ROWS.keys() == set(NAMES) and len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_recognized_and_read_from_every_source(name, write):
    rows = ROWS[name]
    assert {recognize(row).name for row in rows} == {name}
    expected = read(rows)
    assert len(expected) >= len(rows)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read(write(rows)) == read(write(lines)) == read(iter(rows)) == expected
    assert read(write(json.dumps(rows[0]))) == read(rows[:1])
    for limit in range(len(expected) + 1):
        assert read(rows, limit=limit) == expected[:limit]
    assert len(read(rows, target="true")) == len(expected)
    for case in expected:
        assert {probe.kind for probe in case.portability} <= {*KINDS, None}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rows_leave_no_key_with_tests_unread(name):
    unread = ["attribute_prompts", "generation_prompts"] * PUBLISHED[name]["format"].startswith("C")
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        read_cases(PUBLISHED[name]["rows"])
    said = [str(w.message) for w in noted]
    assert said == [
        "the rows given: CounterFact is read without these keys: 'attribute_prompts', "
        "'generation_prompts'"
    ] * bool(unread)


def test_knowedit():
    row, case = published("knowedit-zsre")
    assert case == Case(
        Fact("Hawkster", "Who was the male parent of {}?", "Hobart", "Silver Hawk"),
        ("Who was Hawkster's male father?",),
        tuple(
            Probe(prompt, "Silver Hawk", kind="same-subject")
            for prompt in ("The father of Hawkster is", "Hawkster father")
        ),
        ("The father of Hawkster is", "Hawkster father"),
        (Probe("What breed is Hawkster's male parent, Hobart?", "Thoroughbred", kind="one-hop"),),
    )
    kinds = [probe.kind for n in range(3) for probe in published("knowedit-zsre", n)[1].portability]
    assert kinds == ["one-hop", "alias", "reverse"]
    assert read([row], target="true")[0].portability == ()  # they follow from the new answer
    row, case = published("knowedit-wiki_counterfact")
    assert case.fact.target_true == "Mexico"
    assert {probe.kind for probe in case.portability} == {"logical", "one-hop", "alias"}
    (alias,) = (probe for probe in case.portability if probe.kind == "alias")
    assert alias.answers == ("Kurdistan", "Greater Kurdistan", "Great Kurdistan", "Curdistan")
    # a published question without any answer is left out, and several answers are all right
    row, case = published("knowedit-wiki_counterfact", 1)
    assert row["portability"]["Reasoning"][0]["ground_truth"] == [[]] and case.portability == ()
    citizen = case.neighborhood[1]
    assert citizen.target == "United States of America" and "Viet Nam" in citizen.aliases
    assert len(case.neighborhood) == len(case.locality) == 6
    kinds = {p.kind for p in published("knowedit-wiki_counterfact", 2)[1].neighborhood}
    assert kinds == {"same-subject", "one-to-many"}
    _, case = published("knowedit-wiki_recent")
    assert case.fact.target_true is None and case.portability


def test_the_edits_of_a_row_are_a_batch_whose_last_case_has_the_question():
    row, single = published("mquake-cf")
    assert single.batch is None and single.id == row["case_id"]
    assert single.paraphrases == (row["requested_rewrite"][0]["question"],)
    (asked,) = single.portability
    assert asked.kind == "multi-hop" and asked.answers[0] == row["new_answer"]
    assert asked.prompts == tuple(row["questions"]) and len(asked.prompts) == 3
    # the parts are the hops that no edit writes
    written = {edit["question"] for edit in row["requested_rewrite"]}
    hops = [hop for hop in row["new_single_hops"] if hop["question"] not in written]
    assert [part.prompt for part in asked.parts] == [hop["cloze"] for hop in hops] != []
    (before,) = read([row], target="true")
    assert before.portability[0].target == row["answer"]
    assert before.fact.target_new == row["requested_rewrite"][0]["target_true"]["str"]
    for number in (1, 2):
        row = PUBLISHED["mquake-cf"]["rows"][number]
        cases = read([row])
        count, name = len(row["requested_rewrite"]), row["case_id"]
        assert [case.id for case in cases] == [f"{name}/{n + 1}" for n in range(count)]
        assert {case.batch for case in cases} == {name} and count == number + 1
        assert [len(case.portability) for case in cases] == [0] * number + [1]
        subjects = [edit["subject"] for edit in row["requested_rewrite"]]
        assert [case.fact.subject for case in cases] == subjects


def test_the_files_called_plus():
    row, case = published("plus-zsre-one_hop")
    asked = row["portability"]
    assert case.portability == (Probe(asked["New Question"], asked["New Answer"], kind="one-hop"),)
    row, case = published("plus-zsre-inverse")
    assert case.portability == (Probe(row["inverse question"], row["subject"], kind="reverse"),)
    assert case.locality == ()
    row, case = published("plus-zsre-subject_replace")
    asked = row["alter_subject_question"]
    assert case.portability == (Probe(asked, row["alt"].strip(), kind="alias"),)
    row, case = published("plus-counterfact-one_hop")
    assert [p.kind for p in case.portability] == ["one-hop"]
    row, case = published("plus-counterfact-subject_replace")
    (alias,) = case.portability
    assert alias.kind == "alias" and row["alternative_subject"] in alias.prompt
    assert alias.target == row["requested_rewrite"]["target_new"]["str"]
    row, case = published("plus-counterfact-distracting")
    distracting = [p for p in case.neighborhood if p.kind == "distracting"]
    assert [p.prompt for p in distracting] == row["distracting_neighborhood_prompts"]
    assert case.neighborhood[-1] == Probe(
        row["unrelated_relation"]["question"],
        row["unrelated_relation"]["object"],
        kind="same-subject",
    )
    assert read([row], target="true")[0].portability == ()


def test_the_files_of_ultraedit():
    (case,) = read(ROWS["FEVER"])
    assert case.fact == Fact(None, "Anne Milbanke was a mathematician.", "SUPPORTS")
    assert len(case.paraphrases) == 2
    assert case.neighborhood == (Probe("The Ouse flows uphill.", "REFUTES"),)
    whole, less = read(ROWS["WikiBigEdit"])
    assert whole.fact == Fact("The Ouse", "Into which sea does {} flow?", "North Sea")
    assert whole.paraphrases[1].startswith("Ahoy!") and less.paraphrases == whole.paraphrases[:1]
    question = "Which ocean has the sea that The Ouse flows into?"
    assert whole.portability == (Probe(question, "Atlantic", kind="multi-hop"),)
    assert less.portability == () and less.locality == ("Where does the Avon end?",)
    (case,) = read(ROWS["UltraEditBench"])
    assert case.fact == Fact("Ada Byron", "Who was the mother of {}?", "Anne Milbanke")
    assert case.paraphrases == ("Whose child was Ada Byron?",)
    assert case.neighborhood == (Probe("Who was the mother of George Boole?", "Mary Joyce"),)


def test_reversals():
    (child,) = read(REVERSAL)
    assert child.fact == Fact("Ada Byron", "{}'s mother is", "Anne Milbanke")
    back = Probe("The child of Anne Milbanke is", "Ada Byron", kind="reverse")
    assert child.portability == (back,)


def test_the_librarys_own_format_has_every_field_of_a_probe():
    part = {"prompt": "Rome is in", "target": "Italy", "aliases": ["Italia"]}
    asked = {
        "prompt": "The country is",
        "target": "Italy",
        "kind": "one-hop",
        "aliases": ["Italia"],
        "wordings": ["In which country?"],
        "parts": [part],
    }
    row = {**ROWS["this library's own"][0], "portability": [asked], "batch": "towers"}
    (case,) = read([row])
    assert case.portability == (
        Probe(
            "The country is", "Italy", ("Italia",), "one-hop", ("In which country?",),
            (Probe("Rome is in", "Italy", ("Italia",)),),
        ),
    )  # fmt: skip
    assert case.batch == "towers" and case.portability[0].kind == "one-hop"
    for key, words in {"aliases": 3, "kind": [], "parts": "x", "wordings": [""]}.items():
        damaged = {**row, "portability": [{**asked, key: words}]}
        with pytest.raises(FactError, match=rf"row 0: Key '{key}"):
            read([damaged])
