"""Data files that are damaged, huge or no data files at all: one sentence, and little memory."""

from __future__ import annotations

import gzip
import json
import random
import time
import tracemalloc
import warnings
from pathlib import Path

import pytest

from lib.data import json_rows
from lib.data.readers import read_cases, read_facts
from lib.errors import DataWarning, FactError

from ..support.data_files import CLASSROOM, FILES, FLAT, FULL, ZSRE


def lines(rows) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def refused(path, words: str, lazy: bool) -> None:
    with pytest.raises(FactError, match=words) as error:
        read_cases(path, lazy=lazy)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("blank", [b"\n", b" ", b" \r\n\t"])
def test_blanks_between_rows_cost_next_to_nothing(write, blank):  # noqa: F811
    row = json.dumps(FLAT[0]).encode()
    content = blank * 100 + row + b"\n" + blank * (20_000_000 // len(blank)) + row + blank * 9
    path = write(gzip.compress(content, 1), "blanks.gz")
    before = time.process_time()
    for lazy in (False, True):
        assert [case.fact.target_new for case in read_cases(path, lazy=lazy)] == ["English"] * 2
    assert time.process_time() - before < 2.0  # 0.2 s; one blank at a time takes 8 s


@pytest.mark.parametrize("lazy", [False, True])
def test_a_small_packed_file_does_not_become_a_large_row(write, lazy, monkeypatch):  # noqa: F811
    monkeypatch.setattr(json_rows, "LONGEST_ROW", 100_000)
    monkeypatch.setattr(json_rows, "LONGEST_VALUE", 1_000_000)
    row = json.dumps(FLAT[0])
    bombs = {
        row[:-1] + ', "x": "' + "a" * 200_000 + '"}': "row 0 is longer than|is one JSON value",
        row + "\n" + row[:-1] + " " * 30_000_000: "row 1 is longer than",
        '{"x": ' + "9" * 30_000_000: "is one JSON value of more than|row 0 is longer than",
        "[" + " " * 30_000_000: "is one JSON value",
    }
    for bomb, words in bombs.items():
        path = write(gzip.compress(bomb.encode(), 1), "bomb.gz")
        tracemalloc.start()
        refused(path, words, lazy)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
        tracemalloc.stop()


def test_the_longest_row_is_read(write, monkeypatch):  # noqa: F811
    text = lines(FLAT)
    monkeypatch.setattr(json_rows, "LONGEST_ROW", max(len(line) for line in text.split("\n")) + 1)
    assert list(read_cases(write(text + "\n"), lazy=True)) == read_cases(write(text + "\n"))
    assert read_cases(write(FLAT * 9)) == read_cases(write(lines(FLAT * 9)))  # a longer list


@pytest.mark.parametrize("lazy", [False, True])
def test_what_follows_the_rows_is_not_ignored(write, lazy):  # noqa: F811
    whole = json.dumps(FLAT)
    for content in (whole + "\nx", whole + "\n\n[]", whole + "x", lines(FLAT) + "\n]"):
        refused(write(content), "is not valid JSON|is one JSON value", lazy)
    assert len(read_cases(write(whole + " \n\n"))) == 2


@pytest.mark.parametrize("lazy", [False, True])
def test_deep_nesting_is_one_sentence(write, lazy):  # noqa: F811
    for depth in (700, 900, 980, 5_000, 100_000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            deep = opening * depth + ("1" if closing == "}" else "") + closing * depth
            rows = json.dumps(FLAT[0]) + "\n" + json.dumps(FLAT[0])[:-1] + ', "subject": ' + deep
            refused(write(rows + "}"), "nested|row 1: key 'subject'", lazy)


def test_a_file_that_a_patch_names_is_not_quoted(write):  # noqa: F811
    secrets = {
        "hidden:x:0:0\n": "is not JSON or JSONL$",
        '{"token-77": "secret"}': "row 0: it is no row of a known format$",
        json.dumps([{**FLAT[0], "subject": ["secret"]}]): "row 0: it is no row of a known format$",
        json.dumps([{**FLAT[0], "token-77": 1}]): "holds 1 facts now, not the 3 that were read$",
    }
    for content, words in secrets.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(FactError, match=words) as error:
                list(read_facts(write(content), 0, 3, quote=False))
        assert not any(part in str(error.value) for part in ("hidden", "token", "secret"))
    with pytest.raises(FactError, match="begins with 'hidden:x:0:0'"):
        list(read_facts(write("hidden:x:0:0\n"), 0, 3))


def test_keys_that_no_case_takes_are_named_once(write):  # noqa: F811
    more = {"remark": [], "alternative_subject": "x", "case_id": 4, "known_id": 1}
    rows = [ZSRE[0], *[{**row, **more} for row in ZSRE * 3]]
    for content, lazy in ((rows, False), (lines(rows), False), (lines(rows), True)):
        path = write(content)
        with pytest.warns(DataWarning) as noted:
            read_cases(path, lazy=lazy)
        (one,) = noted
        assert str(one.message) == (
            f"{path}: ZsRE is read without these keys: 'remark', 'alternative_subject'"
        )
    with pytest.warns(DataWarning, match="'attribute_prompts', 'generation_prompts'$"):
        read_cases(write(FULL))


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"full"}))
def test_published_files_are_read_without_a_warning(write, name):  # noqa: F811
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_cases(write(FILES[name]))


class Asked(dict):
    """A row that notes which of its keys are looked at."""

    def __init__(self, row: dict) -> None:
        super().__init__(row)
        self.asked: set[str] = set()

    def __getitem__(self, key):
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.asked.add(key)
        return super().get(key, default)

    def keys(self):  # `{**row}` is how FEVER is read
        self.asked.add("subject")
        return super().keys()


def test_the_keys_that_a_format_takes_are_those_that_it_looks_at():
    from lib.data.formats import IDS, cases_of, recognize
    from lib.data.row_keys import Options

    from .test_readers import FILES as OTHERS

    # ZsRE has two forms; these only describe a row
    apart = {
        "pred",
        "cond",
        "tag",
        "template",
        "prediction",
        "pararel_idx",
        "ans",
        "alt",
        "answers",
    }
    for row in [rows[0] for rows in (*FILES.values(), *OTHERS.values())]:
        form, asked = recognize(row), set()
        for target in ("new", "true"):
            noted = Asked(row)
            cases_of(form, noted, Options(target))
            asked |= noted.asked
        assert asked <= form.takes, form.name
        assert form.takes - apart - set(IDS) <= asked | {"subject"}, form.name


# ---- fuzz -------------------------------------------------------------------------------------

WORDS = (
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\n", b"\n\n\n", b"\r", b" ", b"[", b"]", b"{", b"}",
    b",", b":", b'"', b'"\\ud800"', b"null", b"NaN", b"1e999", b"-", b"9" * 5000, b"[" * 2000,
    b'{"a":' * 2000, b"{}", b"[]", b"\\", b"\\u0000", b"\xed\xa0\x80", b'"subject"', b'"x": 1,',
    "东京".encode(), b"\x1f\x8b", b"\x0b", b"\xc2\x85", b"true",
)  # fmt: skip
FORMS = ("json", "held", "jsonl", "pretty", "jsonl", "jsonl")


def damaged(draw: random.Random) -> bytes:
    """A small data file of a random format and form with up to four wounds, sometimes packed."""
    rows = draw.choice(list(FILES.values())) * draw.randint(1, 3)
    form = draw.choice(FORMS)
    text = {
        "json": json.dumps(rows),
        "held": json.dumps({"data": rows}),
        "pretty": json.dumps(rows, indent=1),
        "jsonl": "\n".join(map(json.dumps, rows)),
    }[form].encode()
    for _ in range(draw.randint(0, 4)):
        at, end = sorted(draw.choices(range(len(text) + 1), k=2))
        kind = draw.random()
        if kind < 0.4:  # some bytes become others
            text = text[:at] + draw.choice(WORDS) + text[at + draw.randint(0, 3) :]
        elif kind < 0.6:  # put behind or before everything
            word = draw.choice(WORDS)
            text = text + word if draw.random() < 0.6 else word + text
        elif kind < 0.8:
            text = text[:at] + bytes([draw.randrange(256)]) + text[at + 1 :]
        elif kind < 0.9:
            text = text[:at] + text[end:]
        else:
            text = text[:end] + text[at:]
    if draw.random() < 0.2:
        text = gzip.compress(text, 1)
        if draw.random() < 0.5:
            at = draw.randrange(len(text))
            text = text[:at] + bytes([draw.randrange(256)]) + text[at + draw.randint(0, 4) :]
    return text


def outcome(read, path: Path):
    """What a reader gives: its cases, or None where it refuses in one sentence."""
    try:
        return list(read())
    except FactError as error:
        said = str(error)
        assert said and "\n" not in said and len(said) < 2000 and str(path) in said
        return None


def fuzz(folder: Path, seeds: range) -> tuple[int, int]:
    """(cases read, cases refused): eager, lazy and `read_facts` agree on every one of them."""
    path, counts = folder / "data.json", [0, 0]
    for seed in seeds:
        content = damaged(random.Random(seed))
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            eager = outcome(lambda: read_cases(path), path)
            lazy = outcome(lambda: read_cases(path, lazy=True), path)
            count = len(eager or ())
            facts = outcome(lambda n=count: read_facts(path, 0, n, quote=False), path)
        if eager is None:
            assert lazy is None, seed
        else:
            assert facts == [case.fact for case in eager], seed
            # lazily, one JSON value that holds the rows is refused by design
            assert lazy == eager or (lazy is None and one_value(content)), seed
        counts[eager is None] += 1
    return counts[0], counts[1]


def one_value(content: bytes) -> bool:
    """Whether a file is one JSON value over all its lines, and not a row."""
    text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    value = json.loads(text.decode("utf-8-sig"))
    if isinstance(value, list) or len(text.strip().splitlines()) > 1:
        return True
    # rows under some key, which only a reader of whole values looks for
    parts = [part for part in value.values() if isinstance(part, list)]
    return any(all(type(row) is dict for row in part) for part in parts)


def test_500_damaged_files(tmp_path):
    read, no = fuzz(tmp_path, range(500))
    assert read > 80 and no > 200


@pytest.mark.slow
def test_10000_damaged_files(tmp_path):
    read, no = fuzz(tmp_path, range(500, 10_500))
    assert read > 1600 and no > 4000
    print(f"{read} read, {no} refused")


def test_a_classroom_row_with_a_wrong_group_names_it(write):  # noqa: F811
    with pytest.raises(FactError, match="row 0: key 'locality' should be a list"):
        read_cases(write([{**CLASSROOM[0], "locality": "x"}]))
