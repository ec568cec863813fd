"""Texts that look the same are the same, however they come in, and subjects are whole words."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import lib
from lib.data.normalized_text import around, normalized
from lib.data.readers import read_cases
from lib.errors import DataWarning, FactError

from ..support import tiny
from ..support.data_files import ZSRE

NFD = "Beyonce\u0301"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Rome ", "Rome"),
        ("\ufeff Rome\u00a0\n", "Rome"),
        (NFD, "Beyonc\u00e9"),
        ("The\u00a0Eiffel\u202fTower", "The Eiffel Tower"),
        ("Ro\u200bme\u2069", "Rome"),
        ("می‌خواهم", "می‌خواهم"),  # a joiner between letters means something
        ("\u200d👩‍💻", "👩‍💻"),
        ("❤️ ", "❤️"),
    ],
)
def test_what_looks_the_same_is_the_same(text, same):
    assert normalized(text) == same == normalized(same)


def test_every_text_of_a_fact_and_a_case_is_normalized():
    fact = lib.Fact(f" {NFD}", "{} is a ", "Rome ", "\u00a0Paris")
    assert fact == lib.Fact("Beyonc\u00e9", "{} is a", "Rome", "Paris")
    probe = lib.Probe(f"{NFD} is ", "Rome\n", ("Roma ",))
    assert (probe.prompt, probe.target, probe.aliases) == ("Beyonc\u00e9 is", "Rome", ("Roma",))
    case = lib.Case(fact, [f"{NFD} is "], locality=["Water is\t"])
    assert case.paraphrases == ("Beyonc\u00e9 is",) and case.locality == ("Water is",)


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\u200d\ufeff \u00a0", "\u3164\u2800"])
def test_a_text_that_shows_nothing_is_refused(text):
    for arguments in ((text, "{} is", "x"), (None, text, "x"), ("a", "{} is", text)):
        with pytest.raises(FactError, match="is empty"):
            lib.Fact(*arguments)


def test_a_blank_that_parts_the_subject_from_a_word_moves_into_the_prompt():
    assert lib.Fact("SpaceX is ", "{}located in", "Rome").text == "SpaceX is located in"
    assert lib.Fact(" Rome", "in{}", "x").text == "in Rome"
    assert lib.Fact("Rome ", "{} is in", "x").text == "Rome is in"


# ---- where a subject stands ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "subject", "marked", "found"),
    [
        ("Romeo loves Rome in", "Rome", "Romeo loves {} in", "Rome"),
        ("Rome's mayor is", "Rome", "{}'s mayor is", "Rome"),
        ("The Rome-based club is", "Rome", "The {}-based club is", "Rome"),
        ("東京の人口は", "東京", "{}の人口は", "東京"),
        ("ประเทศไทยอยู่ใน", "ไทย", "ประเทศ{}อยู่ใน", "ไทย"),
        ("로마는 어디에", "로마", "{}는 어디에", "로마"),
        ("日本のAI技術は", "AI", "日本の{}技術は", "AI"),
        (f"{NFD} was born in", "Beyonc\u00e9", "{} was born in", "Beyonc\u00e9"),
        ("Beyonc\u00e9 was born in", NFD, "{} was born in", "Beyonc\u00e9"),
        ("Conan O’Brien was born in", "Conan O'Brien", "{} was born in", "Conan O’Brien"),
        ("The\u00a0Eiffel Tower is", "The Eiffel Tower", "{} is", "The Eiffel Tower"),
        ("The  Eiffel\nTower is", "The Eiffel Tower", "{} is", "The  Eiffel\nTower"),
        ("Saint‑Tropez is", "Saint-Tropez", "{} is", "Saint‑Tropez"),
        ("Ei\u00adffel is", "Eif\u200bfel", "{} is", "Eiffel"),
        ("The iPod is by", "ipod", "The {} is by", "iPod"),
        ("the rolling stones are", "The Rolling Stones", "{} are", "the rolling stones"),
        ("STRASSE lies in", "Straße", "{} lies in", "STRASSE"),
    ],
)
def test_a_subject_is_found_as_whole_words(prompt, subject, marked, found):
    fact = lib.Fact.find(prompt, subject, "Dickens")
    assert (fact.prompt, fact.subject) == (marked, found)
    (case,) = read_cases([{"subject": subject, "prompt": prompt, "target_new": "Dickens"}])
    assert case.fact == fact


@pytest.mark.parametrize(
    ("prompt", "subject", "words"),
    [
        ("Romeo was written by", "Rome", "only inside a longer word"),
        ("Apollo 11 landed on", "Apollo 1", "only inside a longer word"),
        ("रामायण is by", "राम", "only inside a longer word"),
        ("Rome is Rome in", "Rome", "more than once"),
        ("rome is ROME in", "Rome", "more than once"),
        ("the president tells us about", "US", "does not occur"),
    ],
)
def test_a_subject_that_is_not_there_once_is_one_sentence(prompt, subject, words):
    with pytest.raises(FactError, match=words):
        lib.Fact.find(prompt, subject, "Dickens")
    row = {"subject": subject, "prompt": prompt, "target_new": "Dickens"}
    with pytest.warns(DataWarning, match="1 of 1 cases have no subject"):
        assert read_cases([row])[0].fact == lib.Fact(None, prompt, "Dickens")


@pytest.mark.slow
def test_a_long_text_is_searched_in_short_time():
    assert around("ab" * 50_000, "ab" * 49_999) == []
    assert len(around("Rome", "Rome " * 20_000)) == 20_000


# ---- files ---------------------------------------------------------------------------------------


def test_rows_of_zsre_find_their_subject_or_are_counted_once(write):
    asked = [
        ("UniFirst", "What is made by UniFirst?"),
        ("UniFirst", "Is Unifirst made by UNIFIRST?"),  # twice, in other cases
        ("Nobody\u2019s Fool", "Who is in Nobody's Fool?"),
        (NFD, "Where is Beyonc\u00e9?"),
        ("UniFirst", "UniFirst or UniFirst?"),
        ("Uni", "What is made by UniFirst?"),
        ("an alias", "What is made by UniFirst?"),
    ]
    rows = [{**ZSRE[0], "subject": subject, "src": prompt} for subject, prompt in asked]
    rows.insert(0, {**ZSRE[0], "alt": ""})  # is left out, and counts in no number below
    path = write("\n".join(map(json.dumps, rows)))
    with pytest.warns(DataWarning) as warned:
        cases = read_cases(path)
    found = [case.fact.subject for case in cases]
    assert found[0] == "UniFirst" and found[2:4] == ["Nobody's Fool", "Beyonc\u00e9"]
    vague = [i for i, subject in enumerate(found) if subject is None]
    said = [str(one.message) for one in warned if "no subject" in str(one.message)]
    assert vague == [1, 4, 5, 6] and len(said) == 1
    assert "4 of 7 cases" in said[0] and ": 1, 4, 5, … (counted from 0" in said[0]
    rows = [{**ZSRE[0], "subject": None, "src": "Who?"}]
    assert read_cases(rows)[0].fact.subject is None  # whoever names no subject is not warned


def test_a_prompt_for_the_model_is_normalized():
    lm = tiny.model("llama")
    plain = lm.rows("Beyonc\u00e9 is in the")[0]
    for prompt in (
        f"{NFD} is in the",
        "Beyonc\u00e9\u00a0is in the  ",
        "\ufeffBeyonc\u00e9 is in the\t",
    ):
        assert lm.rows(prompt)[0] == plain and lm.rows([prompt])[0] == plain
    assert lm.rows("Answer:\n")[0] != lm.rows("Answer:")[0]  # a line break begins the answer's line
    score = lm.score("The cat is", "xy")
    assert lm.score("The cat is ", "xy ").tolist() == score.tolist()


# ---- own facts -----------------------------------------------------------------------------------

OWN = [
    {"subject": "Łódź", "prompt": "{} lies, they say, in", "target_new": "Spain"},
    {"subject": "Rex", "prompt": "Rex; the dog, is a", "target_new": "1969"},
]


def test_three_keys_are_enough_and_all_others_are_optional(write):
    cases = [lib.Case(lib.Fact("Łódź", "{} lies, they say, in", "Spain"), id=0),
             lib.Case(lib.Fact("Rex", "{}; the dog, is a", "1969"), id=1)]  # fmt: skip
    assert read_cases(OWN) == read_cases(write(OWN)) == read_cases(pd.DataFrame(OWN)) == cases
    row = {**OWN[0], "attribute": "Poland", "target_true": "Poland", "id": "a"}
    with pytest.warns(DataWarning, match="'attribute'"):
        (case,) = read_cases([row])
    assert case == lib.Case(lib.Fact("Łódź", OWN[0]["prompt"], "Spain", "Poland"), id="a")
    rows = [{**OWN[0], "locality": ["Water"], "portability": [{"prompt": "a", "target": "b"}]}]
    assert read_cases(rows)[0].portability == (lib.Probe("a", "b"),)
    assert read_cases([{**OWN[0], "locality": None}])[0].locality == ()


@pytest.mark.parametrize("packed", [None, "gzip"])
@pytest.mark.parametrize("part", [",", ";", "\t"])
def test_tables_are_read(part, packed, tmp_path):
    path, wanted = tmp_path / "facts", read_cases(OWN)
    for encoding in ("utf-8", "utf-8-sig"):
        for end in ("\n", "\r\n", "\r"):
            frame = pd.DataFrame(OWN).assign(target_true=[None, "cat"])
            frame.to_csv(path, sep=part, index=False, encoding=encoding, lineterminator=end,
                         compression=packed)  # fmt: skip
            found = read_cases(path)
            assert [case.fact.text for case in found] == [case.fact.text for case in wanted]
            assert [case.fact.target_true for case in found] == [None, "cat"]
            assert read_cases(path, limit=1) == found[:1]


def test_a_table_may_hold_lists_and_a_column_without_a_name(tmp_path):
    path = tmp_path / "facts.csv"
    more = {"paraphrases": [["A", "B"], None], "locality": ["Water", None],
            "neighborhood": [[{"prompt": "a", "target": "b"}], None]}  # fmt: skip
    frame = pd.DataFrame(OWN).assign(**more)
    frame.to_csv(path)  # with pandas's index, which has no name
    with pytest.warns(DataWarning, match="without these keys: ''"):
        first, second = read_cases(path)
    assert first.paraphrases == ("A", "B") and first.locality == ("Water",)
    assert first.neighborhood == (lib.Probe("a", "b"),) and second.paraphrases == ()
    assert read_cases(frame) == [first, second]
    assert read_cases(frame.convert_dtypes()) == [first, second]
    path.write_text('subject,prompt,target_new,paraphrases\nRex,Rex is,x,"[a"\n')
    with pytest.raises(FactError, match="row 0: .*Read as this library's own"):
        read_cases(path)


HEAD = "subject,prompt,target_new\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + 'Rex,"Rex is,x\n' * 2, "quote|expected after"),
        (HEAD + "Rex,Rex, the dog, is,x\n", "Expected 3 fields in line 2, saw 5"),
        ("subject,prompt,prompt\na,b,c\n", "several columns named 'prompt'"),
        (HEAD.replace(",", ":") + "a:b:c\n", "or a table. Its first line has one column"),
        ("subject;prompt;answer\na;b;c\n", "key 'target_new' is missing. .*this library's own"),
        ("a,b,c\n1,2,3\n", r"\('a', 'b', 'c'\).* Your own rows need subject, prompt, target_new"),
        (HEAD, "contains no rows"),
        (HEAD + "Rex,,x\n", "row 0: Key 'prompt' is null"),
        (HEAD + "Rex,Rex is\n", "row 0: Key 'target_new' is null"),
        (HEAD + "Rex," + "x" * 200_000 + ",y\n", "field larger than field limit"),
        (",".join(map(str, range(100_000))) + "\n1,2\n", "do not match any known format"),
        ("Zo\xeb,prompt\n".encode("latin1"), "not UTF-8"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_one_sentence(text, words, write):
    with pytest.raises(FactError, match=words) as refused:
        read_cases(write(text, "facts.csv"))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 800


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page"),
        (b"<html lang='en'>", "is a web page"),
        (b"<?xml version='1.0'?><rows/>", "XML"),
        (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", "is an Excel workbook"),
        (b"PK\x03\x04" + bytes(26) + b"facts.json", "is an archive. Unpack it"),
        ("[{}]".encode("utf-16"), "UTF-16"),
        ("subject,prompt".encode("utf-16-le"), "UTF-16"),
        ("subject,prompt".encode("utf-16-be"), "UTF-16"),
        (b"\x80\x04\x95pickled", "binary"),
        ("# Facts\n\n| subject | prompt |\n| --- | --- |\n| Rex | {} is |\n", "or a table"),
        (b"%PDF-1.7", "binary"),
        (b"BZh91AY", "archive"),
        (b"\x93NUMPY\x01\x00v\x00", "binary"),
        (json.dumps({"en": OWN, "de": OWN}).encode(), "rows for each of 'en', 'de'"),
        (json.dumps([{"id": 1, "en": OWN[0], "de": OWN[1]}]).encode(), "rows for each of 'en'"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
    ],
)
def test_a_file_of_another_kind_is_named(content, words, write):
    with pytest.raises(FactError, match=words) as refused:
        read_cases(write(content, "facts.json"))
    assert "\n" not in str(refused.value)
