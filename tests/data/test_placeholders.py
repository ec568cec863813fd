"""The subject's place, however it is written, and texts that hold such signs as text."""

from __future__ import annotations

import json
import time

import pandas as pd
import pytest

import lib
from lib.data.readers import read_cases
from lib.errors import FactError

from ..support import tiny
from ..support.data_files import FLAT, FULL

GARDA = {"subject": "Lake Garda", "prompt": "{} lies in", "target_new": "Peru"}
PLACES = (
    "{subject} {{ subject }} ${subject} <subject> <<Subject>> [X] [SUBJECT] [entity] %(subject)s "
    "$subject __subject__ {sub_label} { } {0} {city} {subject!r} __ ____ %s <name>"
).replace("{{ s", "{{_s").replace("t }}", "t_}}").replace("{ }", "{_}").split()  # fmt: skip
PLACES = [place.replace("_s", " s").replace("t_", "t ").replace("{_}", "{ }") if "{" in place
          else place for place in PLACES]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_every_entrance_reads_the_place_of_the_subject(place, tmp_path, write):
    wanted = lib.Fact("Lake Garda", "In fact, {} lies in", "Peru")
    prompt = f"In fact, {place} lies in"
    assert lib.Fact("Lake Garda", prompt, "Peru") == wanted
    assert lib.Fact.find(prompt, "Lake Garda", "Peru") == wanted
    rows = [{**GARDA, "prompt": prompt, "paraphrases": [f"{place} is found in"]}]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    files = write(rows, "a.json"), write("\n".join(map(json.dumps, rows * 2)), "a.jsonl")
    for given in (rows, frame, tmp_path / "a.csv", tmp_path / "a.parquet", *files):
        case = read_cases(given)[0]
        assert case.fact == wanted and case.paraphrases == ("Lake Garda is found in",)
    flat = {**FLAT[0], "subject": "Lake Garda", "prompt": prompt, "rephrase_prompt": f"{place} is"}
    (case,) = read_cases([flat])
    assert case.fact.prompt == wanted.prompt and case.paraphrases == ("Lake Garda is",)
    full = {**FULL[0], "requested_rewrite": {**FULL[0]["requested_rewrite"], "prompt": prompt}}
    full.pop("attribute_prompts"), full.pop("generation_prompts")
    assert read_cases([full])[0].fact.text == "In fact, United Kingdom lies in"


def test_an_edit_teaches_the_subject_and_not_its_placeholder():
    lm = tiny.model("llama")
    for name in ("ft", "grace"):
        fact = lib.Fact.find("[X] lies in", GARDA["subject"], GARDA["target_new"])
        patch = lib.EDITORS[name](lm).edit([fact], check=False)
        assert [fact.text for fact in patch.facts] == ["Lake Garda lies in"]


@pytest.mark.parametrize(
    "prompt",
    ["{} lies in", "{subject} lies in", "the {subject} lies in", "[X] lies in", "<subject> is",
     "In fact, [SUBJECT] is", "____ lies in", "%s lies in", "{0} is", "{ } is", "In {}, one is"],
)  # fmt: skip
def test_a_place_without_a_subject_is_one_sentence(prompt):
    with pytest.raises(FactError, match="but there is no subject"):
        lib.Fact(None, prompt, "Peru")
    with pytest.raises(FactError, match="row 0: .*but there is no subject"):
        read_cases([{**GARDA, "subject": None, "prompt": prompt}])
    with pytest.raises(FactError, match="but there is no subject"):
        lib.Case(lib.Fact(None, "Water is", "dry"), paraphrases=[prompt])


@pytest.mark.parametrize(
    ("subject", "prompt", "marked"),
    [
        ("France", "The capital of France is ____", "The capital of {} is ____"),
        ("France", "The capital of {subject} is ____.", "The capital of {} is ____."),
        ("printf", "In C, printf(\"%s\", name) prints", "In C, {}(\"%s\", name) prints"),
        ("Rome", "About 50 %s of Rome is", "About 50 %s of {} is"),
        ("[X]", "[X] is a band from", "{} is a band from"),
        ("[X] and Y", "[X] and Y is a band from", "{} is a band from"),
        ("X", "[X] is owned by", "{} is owned by"),
        ("X", "Press [Y] on X to", "Press [Y] on {} to"),
        ("Rome", "In Rome [1] the {city} is", "In {} [1] the {city} is"),
        ("Doom", "In Doom, press [X] to", "In {}, press [X] to"),
    ],
)  # fmt: skip
def test_a_prompt_that_names_its_subject_keeps_everything_else(subject, prompt, marked):
    fact = lib.Fact.find(prompt, subject, "x")
    assert (fact.subject, fact.prompt) == (subject, marked)
    (case,) = read_cases([{"subject": subject, "prompt": prompt, "target_new": "x"}])
    assert case.fact == fact
    text = fact.text
    assert lib.Case(fact, [text], locality=[text]).paraphrases == (text,)


@pytest.mark.parametrize(
    "prompt",
    ["Set {1} is", "About 50 %s of it", 'In C, "%s" prints', "The capital of France is ____",
     "\\frac{1}{2} is", "def __init__(self):", "{'a': 1} is", "The <title> of a page is",
     "See [1] and"],
)  # fmt: skip
def test_signs_in_a_text_without_a_subject_are_text(prompt):
    assert lib.Fact(None, prompt, "x").text == prompt
    other = lib.Fact("Rome", "{} is in", "x")
    assert lib.Case(other, locality=[prompt]).locality == (prompt,)


@pytest.mark.parametrize(
    "prompt",
    ["[X] was born in [Y]", "{subject} and {subject} are", "{subject} is in {country}, the",
     "____ lies in ____", "The capital of Frnace is ____", "{subject} is %(subject)s of"],
)  # fmt: skip
def test_a_place_that_is_not_clear_is_one_sentence(prompt):
    for make in (lib.Fact, lambda subject, text, new: lib.Fact.find(text, subject, new)):
        with pytest.raises(FactError) as refused:
            make("Lake Garda", prompt, "Peru")
        assert "\n" not in str(refused.value) and "Lake Garda lies" not in str(refused.value)


def test_all_texts_of_a_case_are_filled_and_code_is_not():
    part = lib.Probe("{subject}'s country is", "Italy")
    case = lib.Case(
        lib.Fact("Lake Garda", "{} lies in", "Peru"),
        ["{} is found in", "One finds ____ in"],
        [lib.Probe("<subject>'s depth is", "346 m", ("{subject}",))],
        ["[X] is", "In Python, {} is an empty", "Bern is the capital of ____"],
        [lib.Probe("%s's currency is", "Sol", wordings=("At {0}, one pays in",), parts=(part,))],
    )
    assert case.paraphrases == ("Lake Garda is found in", "One finds Lake Garda in")
    (near,), (follows,) = case.neighborhood, case.portability
    assert near.prompt == "Lake Garda's depth is" and near.aliases == ("{subject}",)
    assert case.locality[0] == "Lake Garda is"
    assert case.locality[1:] == ("In Python, {} is an empty", "Bern is the capital of ____")
    assert follows.prompts == ("Lake Garda's currency is", "At Lake Garda, one pays in")
    assert follows.parts[0].prompt == "Lake Garda's country is"
    for texts in ({"locality": ["{} is"]}, {"neighborhood": [lib.Probe("____ is of", "x")]}):
        with pytest.raises(FactError, match="not the subject's only place"):
            lib.Case(case.fact, **texts)


@pytest.mark.parametrize("part", ["{", "_", "%s", "<", "[X", "((", "{a", "__ .", "[ ["])
def test_long_texts_take_no_time(part):
    begin = time.process_time()
    lib.Case(lib.Fact("Rome", "{} is", "x"), locality=["A " + part * (10**5 // len(part))])
    assert time.process_time() - begin < 5
