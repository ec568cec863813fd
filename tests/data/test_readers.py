"""The formats of the gradient editors' benchmarks, packed files, and cases read when asked for."""

from __future__ import annotations

import gzip
import json
import random
import warnings

import pytest

from lib.data import readers
from lib.data.facts import Case, Fact, Probe
from lib.data.readers import Cases, LazyCases, read_cases, read_facts
from lib.errors import FactError

from ..support.data_files import (
    CLASSROOM,
    FLAT,
    FULL,
    ZSRE,
    places,
)

BENCH = [
    {
        "prompt": "Which river flows through Bath?",
        "ans": "Avon",
        "subject": "Bath",
        "rephrase_prompt": "Name the river of Bath.",
        "loc": "Who wrote Emma?",
        "loc_ans": "Jane Austen",
    },
]
BENCH.append({**BENCH[0], "subject": "York"})
FEVER = [
    {
        "prompt": "Bath lies on the Avon.",
        "pred": "SUPPORTS",
        "alt": "REFUTES",
        "equiv_prompt": ["The Avon flows through Bath.", "Bath is on the Avon.", "Avon: Bath"],
        "unrel_prompt": "Emma is a novel.",
        "unrel_ans": "SUPPORTS",
    },
]
FEVER.append({**FEVER[0], "prompt": "York lies on the Ouse."})
WIKI = [
    {
        "tag": "new",
        "subject": "Bath",
        "update": "Which river flows through Bath?",
        "ans": "Avon",
        "rephrase": "What is the river of Bath?",
        "personas": "Arr, what river be flowing through Bath?",
        "mhop": "Into what does the river of Bath flow?",
        "mhop_ans": "Severn Estuary",
        "loc": "Who wrote Emma?",
        "loc_ans": "Jane Austen",
    },
]
WIKI.append({**WIKI[0], "mhop": None, "mhop_ans": None, "personas": None})
ULTRA_ZSRE = [{"subject": "Bath", "src": "Where is Bath?", "rephrase": "Bath is where?",
               "ans": "Somerset", "loc": "nq question: who", "loc_ans": "she"}]  # fmt: skip
FILES = {"bench": BENCH, "fever": FEVER, "wiki": WIKI, "zsre": ULTRA_ZSRE * 2}
READ = {"bench": BENCH[0], "fever": FEVER[0], "wiki": WIKI[0], "zsre": ULTRA_ZSRE[0]}


def lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def test_ultraeditbench(write):  # noqa: F811
    for target in ("new", "true"):
        first, second = read_cases(write(BENCH), target=target)
        assert first == Case(
            Fact("Bath", "Which river flows through {}?", "Avon"),
            paraphrases=("Name the river of Bath.",),
            neighborhood=(Probe("Who wrote Emma?", "Jane Austen"),),
            locality=("Who wrote Emma?",),
        )
        assert second.fact == Fact(None, BENCH[0]["prompt"], "Avon") and second.id == 1


def test_fever_draws_one_rewording_by_its_row(write):  # noqa: F811
    many = read_cases(write(FEVER * 20))
    assert many[0].fact == Fact(None, "Bath lies on the Avon.", "REFUTES")
    assert many[0].neighborhood == (Probe("Emma is a novel.", "SUPPORTS"),)
    drawn = [case.paraphrases for case in many]
    assert {text for (text,) in drawn} == set(FEVER[0]["equiv_prompt"])
    assert [case.paraphrases for case in read_cases(write(lines(FEVER * 9)))] == drawn[:18]
    assert read_cases(write([{**FEVER[0], "equiv_prompt": []}]))[0].paraphrases == ()
    with pytest.warns(UserWarning, match="without a new answer: 1$"):
        assert len(read_cases(write([FEVER[0], {**FEVER[0], "alt": ""}]))) == 1


def test_wikibigedit(write):  # noqa: F811
    first, second = read_cases(write(WIKI))
    assert first == Case(
        Fact("Bath", "Which river flows through {}?", "Avon"),
        paraphrases=(WIKI[0]["rephrase"], WIKI[0]["personas"]),
        neighborhood=(Probe("Who wrote Emma?", "Jane Austen"),),
        locality=("Who wrote Emma?",),
        portability=(Probe(WIKI[0]["mhop"], "Severn Estuary", kind="multi-hop"),),
    )
    assert second.portability == () and second.paraphrases == (WIKI[0]["rephrase"],)
    several = read_cases(write([{**WIKI[0], "personas": ["a", "b"], "mhop_ans": None}]))[0]
    assert several.paraphrases[1:] == ("a", "b") and several.portability == ()


def test_ultraedits_copy_of_zsre_teaches_its_one_answer(write):  # noqa: F811
    for target in ("new", "true"):
        (case,) = read_cases(write(ULTRA_ZSRE), target=target, unrelated_suffix="?")
        assert case.fact == Fact("Bath", "Where is {}?", "Somerset")
        assert case.locality == ("nq question: who?",)


@pytest.mark.parametrize("name", FILES)
def test_damaged_rows_are_read_or_refused_by_row_and_key(write, name):  # noqa: F811
    refused = 0
    for path in places(FILES[name][1]):
        for value in ("missing", "", None, 3, ["x", 3], {"x": 1}, "\ud800"):
            damaged = json.loads(json.dumps(FILES[name]))
            inner = damaged[1]
            for key in path[:-1]:
                inner = inner[key]
            if value == "missing":
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read_cases(write(damaged))
            except FactError as error:
                refused += 1
                assert "row 1: " in str(error) and "\n" not in str(error)
                key = next(k for k in reversed(path) if isinstance(k, str))
                assert key in str(error) or (name, key) == ("zsre", "ans")  # then it lacks `alt`
    assert refused > 20


@pytest.mark.parametrize("name", FILES)
def test_packed_files_read_like_plain_ones(write, name):  # noqa: F811
    content = FILES[name]
    expected = read_cases(write(content))
    for text in (json.dumps(content), json.dumps({"data": content}), lines(content)):
        packed = write(gzip.compress(text.encode()), "data.json.gz")
        assert read_cases(packed) == expected
        assert read_cases(packed, limit=1) == expected[:1]
    assert list(read_cases(packed, lazy=True)) == expected  # the last of them is JSONL


def test_damaged_packed_files_are_one_sentence(write):  # noqa: F811
    whole = gzip.compress(lines([BENCH[0]] * 3000).encode())
    flipped = whole[: len(whole) // 2] + bytes(40) + whole[len(whole) // 2 + 40 :]
    for damaged in (whole[: len(whole) // 2], whole[:12], flipped, whole[:-8] + bytes(8)):
        path = write(damaged, "data.jsonl.gz")
        for lazy in (False, True):
            with pytest.raises(FactError) as error:
                read_cases(path, lazy=lazy)
            assert str(path) in str(error.value) and "\n" not in str(error.value)
            assert "gzip" in str(error.value) or "not valid JSON" in str(error.value)


def test_jsonl_is_read_row_by_row(write, monkeypatch):  # noqa: F811
    packed = write(gzip.compress(lines(BENCH * 50_000).encode(), 1), "data.jsonl.gz")
    taken = []
    read1 = gzip.GzipFile.read1
    monkeypatch.setattr(gzip.GzipFile, "read1", lambda *a: taken.append(got := read1(*a)) or got)
    assert len(read_cases(packed, limit=3)) == 3
    assert sum(map(len, taken)) < 100_000
    assert [f.target_new for f in read_facts(packed, 70_000, 70_002)] == ["Avon", "Avon"]


def odd_rows():
    """Rows of many lengths, with letters of several bytes, and some with nothing to teach."""
    draw = random.Random(0)
    for i in range(300):
        text = "".join(draw.choices('aé東 }],{\n"', k=draw.randint(1, 60))) + str(i)
        text = text.replace("{}", "{ }")  # no fact may hold a mark without a subject
        yield {**ZSRE[0], "src": text, "alt": "" if i % 7 == 3 else f"Łódź {i}"}


@pytest.mark.parametrize("start", ["\ufeff\n \r\n", "\ufeff", ""])
@pytest.mark.parametrize("packed", [False, True])
def test_lazy_cases_are_the_same_cases(write, start, packed):  # noqa: F811
    text = start + "\n\n".join(json.dumps(row, ensure_ascii=False) for row in odd_rows())
    path = write(gzip.compress(text.encode()) if packed else text.encode(), "d.gz")
    with pytest.warns(UserWarning, match="left out rows"):
        eager = read_cases(path)
    with pytest.warns(UserWarning, match="left out rows"):
        lazy = read_cases(path, lazy=True)
    assert isinstance(lazy, LazyCases) and len(lazy) == len(eager) == 257
    assert list(lazy) == eager and lazy[200] == eager[200] and lazy[-1] == eager[-1]
    assert lazy[5] == eager[5]  # going back
    part = lazy[50:90][10:20]
    assert isinstance(part, LazyCases) and list(part) == eager[60:70]
    assert part.rows(2, 5) == eager[60:70].rows(2, 5) == (62, 65)
    assert lazy[20:10:-3] == eager[20:10:-3] and list(lazy[::-1]) == eager[::-1]
    with pytest.raises(IndexError):
        lazy[257]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(read_cases(path, limit=9, lazy=True)) == eager[:9]
        assert list(read_facts(path, 60, 70)) == [case.fact for case in eager[60:70]]
        with pytest.raises(FactError, match="holds 257 facts now, not the 300"):
            list(read_facts(path, 10, 300))
    assert len(read_cases(path, limit=0, lazy=True)) == 0 == len(read_cases(path, limit=0))


def test_lazy_files_that_cannot_be_read_are_one_sentence(write):  # noqa: F811
    for content, words in {
        "": "is empty",
        " \n ": "is empty",
        "[]": "is one JSON value: read it without lazy=True, or write it as JSONL",
        "hello": "begins with 'hello'",
        '{"data": []}': "no known format",
        '{\n"data": []}': "read it without lazy=True",
        "1\n2": "begins with '1'",
        "\ufeff[\n{}]": "is one JSON value",
        lines(BENCH) + "\n{broken": "row 2 is not valid JSON",
        lines(BENCH)[:-9]: "row 1 is not valid JSON",
        '{"a":' * 200_000: "nested too deeply",
        b"\0\0": "binary",
        b'{"a": "\xe9"}': "UTF-8",
    }.items():
        with pytest.raises(FactError, match=words):
            read_cases(write(content), lazy=True)
    path = write(lines(BENCH * 20))
    lazy = read_cases(path, lazy=True)
    path.write_text(" " * 9 + lines(BENCH))
    with pytest.raises(FactError, match="changed"):
        list(lazy)


def test_a_list_knows_its_rows_as_long_as_it_is_what_was_read(write):  # noqa: F811
    path = write(FULL * 10)
    cases = read_cases(path, target="true")
    assert isinstance(cases, Cases) and cases.source == str(path.resolve())
    assert cases.reader == {"target": "true", "unrelated_suffix": ""}
    part = cases[4:12][1:5]
    assert part.rows(0, 4) == (5, 9) and cases.rows(3, 7) == (3, 7)
    assert read_cases(cases.source, limit=9, **cases.reader)[5:9] == part
    assert cases.rows(10, 30) is None and not isinstance(cases[::2], Cases)
    changed = cases[:]
    changed[0] = Case(cases[0].fact)
    assert changed.rows(0, 2) is None and changed.rows(1, 3) == (1, 3)
    del changed[0]
    assert changed.rows(0, 2) is None and not isinstance(changed[:3], Cases)
    assert type(cases + part) is list
    assert type(readers.classroom()) is list
    assert read_cases(write(FLAT)) == list(read_cases(write(lines(FLAT))))
    assert isinstance(read_cases(write(CLASSROOM)), Cases)
