"""The file of answers: two writers at once, kills, damage, foreign files, and no room."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
import warnings
from contextlib import closing

import pytest

from lib.evaluation import answer_file
from lib.evaluation.answer_file import AnswerFile, Row

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def rows(count: int, said: str = "yes", size: int = 8) -> dict[str, Row]:
    return {f"question {i}": Row(json.dumps([said, i]), bytes(size)) for i in range(count)}


def forked(work) -> int:
    """The number of a new process that does the work and ends with 0."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        warnings.simplefilter("error")
        work()
        code = 0
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def silent(function, *given):
    """What a call gives, where a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*given)


def test_what_is_kept_comes_back_as_it_was():
    given = {'["é\\n",1]': Row('"\\u00e9 \\u0000"', bytes(range(256))), "b": Row("[]")}
    assert silent(AnswerFile("one").read, given) == {}
    assert silent(AnswerFile("one").write, given) == {}
    assert silent(AnswerFile("one").read, [*given, "c"]) == given
    assert silent(AnswerFile("two").read, given) == {}


def test_the_first_to_write_counts_for_both():
    first, second = AnswerFile("one"), AnswerFile("one")
    first.write(rows(3, "first"))
    assert second.write(rows(5, "second")) == rows(3, "first")
    kept = {**rows(5, "second"), **rows(3, "first")}
    assert first.read(kept) == second.read(kept) == kept


def test_nobody_else_may_read_the_folder():
    file = AnswerFile("one")
    file.write(rows(1))
    assert file.path.parent.stat().st_mode & 0o077 == 0 or os.name == "nt"


@needs_fork
def test_two_processes_write_at_once(cache):
    def work(said: str) -> None:
        file, mine = AnswerFile("one"), {}
        for start in range(0, 200, 10):
            some = dict(list(rows(200, said).items())[start : start + 10])
            mine |= {**some, **file.write(some)}
        (cache / said).write_text(json.dumps({key: row.said for key, row in mine.items()}))

    children = [forked(lambda said=said: work(said)) for said in ("a", "b")]
    assert [ended(child) for child in children] == [0, 0]
    found = {key: row.said for key, row in silent(AnswerFile("one").read, rows(200)).items()}
    assert len(found) == 200
    for said in "ab":  # and each knows what counts
        assert json.loads((cache / said).read_text()) == found


@needs_fork
def test_a_kill_leaves_all_rows_of_a_writing_or_none():
    count, size, draw = 40, 100_000, random.Random(0)  # more than SQLite holds back in memory

    def endless() -> None:
        file = AnswerFile("one")
        for number in range(10**6):
            turn = number % 20
            if number and not turn:  # the file stays small
                file.path.unlink()
            file.write({f"{turn} {key}": row for key, row in rows(count, size=size).items()})

    hot = 0
    for _ in range(8):
        child = forked(endless)
        time.sleep(draw.uniform(0.02, 0.15))
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
        file = AnswerFile("one")
        hot += file.path.with_name(f"{file.path.name}-journal").exists()
        for turn in range(20):
            some = {f"{turn} {key}": row for key, row in rows(count, size=size).items()}
            found = silent(file.read, some)
            assert not found or found == some
        silent(file.write, {"after": Row("1")})
        assert silent(file.read, ["after"]) == {"after": Row("1")}
        file.path.unlink()
    assert hot  # some kill fell into the middle of a writing


def damaged(file: AnswerFile, wanted: dict[str, Row]) -> None:
    """Whatever is there, reading gives true rows only, says so at most once, and writing mends."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = file.read(wanted)
        assert found.items() <= wanted.items()
        file.write(wanted)
        file.write(wanted)
        file.read(wanted)
    assert len(said) <= 1, [str(one.message) for one in said]
    assert silent(AnswerFile("one").read, wanted) == wanted


@pytest.mark.parametrize("content", [b"garbage " * 1000, b"SQLite format 3\0" * 300, b"x", b""])
def test_garbage_is_an_empty_file_and_is_begun_anew(content):
    file = AnswerFile("one")
    file.path.parent.mkdir(parents=True)
    file.path.write_bytes(content)
    damaged(file, rows(3))


def test_a_damaged_place_loses_its_rows_and_no_others():
    draw, wanted = random.Random(0), rows(200, size=100)
    for _ in range(25):
        file = AnswerFile("one")
        file.write(wanted)
        content = bytearray(file.path.read_bytes())
        for _ in range(draw.choice([1, 3, 50])):
            start = draw.randrange(len(content) - 64)
            content[start : start + 64] = draw.randbytes(64)
        file.path.write_bytes(content[: draw.choice([len(content), len(content) // 2])])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert file.read(wanted).items() <= wanted.items()
            file.write(wanted)
            assert AnswerFile("one").read(wanted).items() <= wanted.items()
        file.path.unlink(missing_ok=True)


def test_a_changed_row_and_the_rows_of_another_label_are_not_believed():
    file, other = AnswerFile("one"), AnswerFile("two")
    file.write(rows(3))
    with closing(sqlite3.connect(file.path)) as data, data:
        data.execute("UPDATE answers SET said = '[\"no\", 1]' WHERE asked = 'question 1'")
    kept = silent(file.read, rows(3))
    assert kept.keys() == {"question 0", "question 2"}
    os.replace(file.path, other.path)
    assert silent(other.read, rows(3)) == {}
    assert silent(other.write, rows(3, "other")) == {}
    assert silent(other.read, rows(3)) == rows(3, "other")


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"


def view(data):
    data.execute(
        f"CREATE VIEW answers AS {ENDLESS} SELECT 'x' || i AS asked, '' AS said, x'' AS numbers, "
        "x'' AS mark FROM n"
    )


def trigger(data):
    data.execute(answer_file._TABLE)
    data.execute(
        "CREATE TRIGGER more AFTER INSERT ON answers BEGIN INSERT INTO answers "
        f"{ENDLESS} SELECT i, i, i, i FROM n; END"
    )


def other_columns(data):
    data.execute("CREATE TABLE answers (asked TEXT, said TEXT)")


@pytest.mark.parametrize("make", [view, trigger, other_columns])
def test_other_tables_are_damage_and_compute_nothing(make):
    file = AnswerFile("one")
    file.path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file.path)) as data, data:
        make(data)
    start = time.perf_counter()
    damaged(file, rows(3))
    assert time.perf_counter() - start < 2


def test_a_long_row_is_not_read_and_not_written():
    file = AnswerFile("one")
    file.write(rows(2))
    with closing(sqlite3.connect(file.path)) as data, data:
        numbers = bytes(2 * answer_file.LONGEST)
        mark = file._mark("question 0", '["yes", 0]', numbers)
        data.execute("UPDATE answers SET numbers = ?, mark = ? WHERE rowid = 1", (numbers, mark))
    assert silent(file.read, rows(2)).keys() == {"question 1"}
    long = {"long": Row('"x"', bytes(answer_file.LONGEST)), "short": Row("1")}
    silent(file.write, long)
    assert silent(file.read, long).keys() == {"short"}


def test_a_file_above_the_bound_is_not_read():
    file = AnswerFile("one")
    file.write(rows(2))
    os.truncate(file.path, answer_file.LIMIT + 1)  # a hole: it takes no room
    with pytest.warns(UserWarning, match="more than 536870912 bytes"):
        assert file.read(rows(2)) == {}
    assert not file.path.exists()


def test_all_files_together_are_bounded_and_then_only_read(monkeypatch):
    monkeypatch.setattr(answer_file, "LIMIT", 200_000)
    first, second = AnswerFile("one"), AnswerFile("two")
    first.write(rows(20, size=5000))
    with pytest.warns(UserWarning, match="no room for more.*Delete the folder") as said:
        second.write(rows(30, size=5000))
        second.write(rows(2))
        second.write(rows(3))
        second.path.write_bytes(b"garbage" * 1000)
        assert second.read(rows(3)) == {}
    assert len(said) == 1
    assert sum(path.stat().st_size for path in first.path.parent.iterdir()) <= 200_000
    assert silent(first.read, rows(20)) == rows(20, size=5000)
    assert not silent(AnswerFile("one").write, {"small": Row("1")})
    assert silent(first.read, ["small"]) == {"small": Row("1")}


def test_a_folder_that_cannot_be_written_is_an_empty_one(cache):
    (cache / "model-editing").write_text("not a folder")
    file = AnswerFile("one")
    with pytest.warns(UserWarning, match="are not kept in .*base-answers") as said:
        assert file.write(rows(3)) == {} and file.write(rows(3)) == {}
        assert file.read(rows(3)) == {}
    assert len(said) == 1


def test_a_file_that_is_a_folder_is_an_empty_one():
    file = AnswerFile("one")
    file.path.mkdir(parents=True)
    with pytest.warns(UserWarning, match="are not kept in .*base-answers") as said:
        assert file.read(rows(3)) == {} and file.write(rows(3)) == {}
    assert len(said) == 1 and file.path.is_dir()


def test_another_process_that_holds_the_file_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(answer_file, "WAIT", 0.05)
    file = AnswerFile("one")
    file.write(rows(1))
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.warns(UserWarning, match="locked") as said:
            assert file.read(rows(1)) == {} and file.write(rows(2)) == {}
        assert len(said) == 1 and not file.readable
    assert AnswerFile("one").read(rows(1)) == rows(1)
