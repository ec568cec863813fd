"""What a class hands in: notebooks, archives, wrong names, copies, late work; and ten weeks."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import torch

from lessons import grader, leaderboard, printing
from lessons.grading import archives, course, diagnosis, files, hand_ins, notebook_files, verdict
from lessons.grading.exercise_source import OURS, exercises
from notebooks import student as edition
from notebooks.build import HERE, Tree
from notebooks.support.holes import tried

(INSERT,) = exercises("2.1")
NAME = INSERT.path.name
(WEIGH,) = exercises("5.1")
IMPORTS = "%matplotlib inline"
USED = "import math as m\nfrom torch.linalg import solve, inv\nimport lib"
FILLED = """
def memit(W, K, V, C, lam):
    return solve(lam * C + K @ K.T, K @ (V - W @ K).T).T * m.exp(0)


print("not run")
memit = use("5.1", memit)
"""
EMPTY = 'def memit(W, K, V, C, lam):\n    """Shapes."""\n    ...\nmemit = use("5.1", memit)\n'


def notebook(*cells: str) -> str:
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "5.1"}, *made]})


@pytest.fixture
def student(tmp_path) -> Path:
    folder = tmp_path / "students" / "ada"
    folder.mkdir(parents=True)
    return folder


def taken(student: Path) -> tuple[str, list[str]]:
    """The text of exercise 5.1 that is graded, and what a teacher should look at."""
    one = next(h for h in hand_ins.read([WEIGH], student.parent)[0] if h.student == student.name)
    return one.texts[0], one.odd


def versions(student: Path) -> list[str]:
    """What a teacher and the student are told about answers of which there are several."""
    found = hand_ins.read([WEIGH], student.parent)[0]
    return next(h for h in found if h.student == student.name).versions


def test_of_two_versions_the_one_that_is_graded_is_named(student):
    name = WEIGH.path.name
    (student / "my").mkdir()
    (student / "my" / name).write_text(WEIGH.stub)
    (student / name).write_text("a = 1")
    (student / name.replace(".", " (1).")).write_text("a = 2")
    (student / name.replace(".", " (2).")).write_text(WEIGH.stub)
    (student / "my.zip").write_bytes(b"PK")
    assert versions(student) == [
        "Not unpacked, and not graded: my.zip.",
        f"5.1: my/{name}, which is as it was handed out, was graded; "
        f"not graded: l5_1_weigh (1).py, {name}.",
    ]


def test_of_two_notebooks_or_archives_the_one_that_is_graded_is_named(student):
    other = FILLED.replace("m.exp(0)", "1")
    (student / "a.ipynb").write_text(notebook(FILLED))
    (student / "b.ipynb").write_text(notebook(other))
    said = "5.1: memit in b.ipynb was graded; not graded: in a.ipynb."
    assert versions(student) == [said]
    (student / "b.ipynb").write_text(notebook(FILLED))
    assert versions(student) == []
    for path in student.iterdir():
        path.unlink()
    for name in ("my.zip", "my (1).zip"):
        zipped(student / name, {WEIGH.path.name: name.encode()})
    assert taken(student)[0] == "my (1).zip"
    assert versions(student) == ["Not unpacked, and not graded: my.zip."]


def test_every_program_and_notebook_that_is_not_read_is_named(student):
    (student / WEIGH.path.name).write_text("x = 1")
    (student / "old").mkdir()
    for name in ("aufgabe5_größe.py", "old/page.ipynb", "editor.py", INSERT.path.name, "a.txt"):
        (student / name).write_text("x = 2")
    said = ["Not read: aufgabe5_größe.py, old/page.ipynb; no exercise has this name."]
    assert versions(student) == said
    (student / WEIGH.path.name).unlink()
    text, (told,) = taken(student)
    assert text.status == "missing" and "aufgabe5_größe.py" in told and "old/page.ipynb" in told


def test_a_hole_becomes_a_file_that_is_right(student):
    (student / "05_memit.ipynb").write_text(notebook(IMPORTS, USED, FILLED))
    (student / "01_x.ipynb").write_text(notebook(EMPTY))
    text, odd = taken(student)
    assert odd == ["5.1: taken from a notebook."]
    assert [p.suffix for p in student.iterdir()].count(".py") == 0
    assert text.startswith(WEIGH.stub.partition("def memit")[0].rstrip())
    assert "import math as m" in text and "from torch.linalg import solve\n" in text
    assert "lib" not in text.partition("import math")[2] and "print" not in text
    module: dict = {}
    exec(text, module)
    draw = torch.Generator().manual_seed(0)
    assert WEIGH.module.check(lambda name, *given: module[name](*given), draw)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> dict[str, str]:
    """The file of every exercise, collected from pages whose holes contain their solutions."""
    place = tmp_path_factory.mktemp("filled")
    edition.edition(
        [Tree(HERE).notebook(source) for source in Tree(HERE).sources()], place / "in", True
    )
    (place / "ada").mkdir()
    for path in place.glob("in/source/*/*.ipynb"):
        path.rename(place / "ada" / path.name)
    found, _, odd = notebook_files.collected(exercises(), [place / "ada"])
    assert not odd and len(found) >= 47
    return {name: one.text for name, one in found.items()}


def test_a_page_whose_holes_contain_the_solutions_is_right(filled):
    for exercise in exercises():
        if text := filled.get(exercise.path.name):
            assert not re.search(rf"^(from|import) ({'|'.join(OURS)})\b", text, re.MULTILINE)
            assert tried(exercise, text)[0] == "solved", (exercise.number, tried(exercise, text))


def test_names_that_a_function_binds_itself_are_not_imported():
    cells = ["from math import pi, e, tau\nimport lib, torch\nfrom torch import Tensor as X, nn"]
    text = (
        "def f(e: X, *, k=pi):\n    tau = [lib for lib in e]\n    return lambda nn: torch.sum(nn)"
    )
    (part,) = notebook_files.ast.parse(text).body
    said = ["from math import pi", "import torch", "from torch import Tensor as X"]
    assert [*notebook_files.imported(part, cells)] == said
    (part,) = notebook_files.ast.parse("def f():\n    nonlocal pi\n    return pi").body
    assert [*notebook_files.imported(part, cells)] == []


def test_a_file_goes_before_a_notebook_and_a_stub_does_not(student):
    (student / "05_memit.ipynb").write_text(notebook(FILLED))
    (student / "my").mkdir()
    path = student / "my" / WEIGH.path.name
    path.write_text("mine")
    assert taken(student) == ("mine", [])
    assert versions(student) == [f"5.1: my/{path.name} was graded; not graded: 05_memit.ipynb."]
    path.write_text(WEIGH.stub)
    assert "m.exp(0)" in taken(student)[0]
    path.unlink()
    path.symlink_to(student / "elsewhere")
    assert taken(student)[0].status == "wrong"
    path.unlink()
    (student / "05_memit.ipynb").write_text(notebook(EMPTY))
    text, odd = taken(student)
    assert text.status == "missing" and odd == [
        "No file of these exercises is there: only 05_memit.ipynb."
    ]


def test_a_hole_that_is_not_python_is_handed_to_the_grader_as_it_is(student):
    broken = 'def memit(W:\n    pass\nmemit = use("5.1", memit)\n'
    (student / "05_memit.ipynb").write_text(notebook(broken))
    assert taken(student)[0] == broken


def test_a_neighbors_notebook_behind_a_link_is_not_taken(student):
    ben = student.parent / "ben"
    ben.mkdir()
    (ben / "05_memit.ipynb").write_text(notebook(FILLED))
    (student / "my").symlink_to(ben)
    (student / "05_memit.ipynb").symlink_to(ben / "05_memit.ipynb")
    text, odd = taken(student)
    assert text.status == "missing" and "a link" in odd[0]


HOSTILE = {
    "no JSON": "hello",
    "a source of another kind": '{"cells": [{"cell_type": "code", "source": 1e9}]}',
    "deep": "[" * 200_000,
    "no letters": b"\xff\xfe\xfa",
    "huge": " " * (notebook_files.LARGEST + 1),
    "deep code": notebook(f'use("5.1", {"(" * 5000})'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_notebook_is_one_sentence_and_stops_nobody(name, student):
    path, content = student / "05_memit.ipynb", HOSTILE[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    text, (said,) = taken(student)
    assert len(said) < 300
    if name in ("no JSON", "deep"):
        assert "05_memit.ipynb is not a notebook. Save it in Jupyter" in said


# ---- archives ------------------------------------------------------------------------------------


def zipped(path: Path, members: dict, **about) -> Path:
    """A zip archive of these members; `about` has fields of each."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, (2026, 10, 5, 12, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in about.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return path


def tarred(path: Path, members: dict, **about) -> Path:
    """A tar.gz archive, as `zipped`."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in about.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return path


LINK = {"external_attr": (stat.S_IFLNK | 0o777) << 16}
ZERO = bytes(1 << 20)
REFUSED = {
    "a zip with ..": (lambda p: zipped(p, {f"../{NAME}": b"x"}), "leads out"),
    "a zip with .. inside": (lambda p: zipped(p, {f"my/../../{NAME}": b"x"}), "leads out"),
    "a zip of Windows with ..": (lambda p: zipped(p, {f"my\\..\\..\\{NAME}": b"x"}), "leads out"),
    "a zip with a drive": (lambda p: zipped(p, {f"C:\\{NAME}": b"x"}), "leads out"),
    "an absolute zip": (lambda p: zipped(p, {"/etc/cron.d/x": b"x"}), "leads out"),
    "a zip with a link": (lambda p: zipped(p, {NAME: b"/etc/passwd"}, **LINK), "a link"),
    "a zip of a billion bytes": (lambda p: zipped(p, {f"{i}.py": ZERO for i in range(70)}), "64"),
    "a zip of many files": (lambda p: zipped(p, {f"{i}.py": b"" for i in range(1001)}), "1000 f"),
    "a zip that promises": (
        lambda p: p.write_bytes(
            zipped(p, {NAME: b"x = 1"}).read_bytes().replace(b"\x05\0\0\0", b"\0\xca\x9a\x3b")
        ),
        "64 MB",
    ),
    "a zip with a password": (
        lambda p: p.write_bytes(  # flag 1 in the central directory
            re.sub(
                b"(?s)(PK\x01\x02....)\0", b"\\1\x01", zipped(p, {NAME: b"x"}).read_bytes()
            )
        ),
        "password",
    ),
    "half a zip": (
        lambda p: p.write_bytes(zipped(p, {NAME: os.urandom(999)}).read_bytes()[:500]), "unpacked",
    ),
    "a zip of two files with one name": (
        lambda p: zipped(p, {f"my/{NAME}": b"x", f"my\\{NAME}": b"y"}), "unpacked",
    ),
    "a file in the place of a folder": (
        lambda p: zipped(p, {"my": b"x", f"my/{NAME}": b"y"}), "unpacked",
    ),
    "a long name": (lambda p: zipped(p, {f"{'x' * 300}.py": b"x"}), "unpacked"),
    "a text": (lambda p: p.write_bytes(b"no archive"), "unpacked"),
    "nothing": (lambda p: p.write_bytes(b""), "unpacked"),
    "a tar with ..": (lambda p: tarred(p, {f"../{NAME}": b"x"}), "leads out"),
    "an absolute tar": (lambda p: tarred(p, {f"/{NAME}": b"x"}), "leads out"),
    "a tar with a link": (
        lambda p: tarred(p, {NAME: b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link",
    ),
    "a tar with a hard link": (
        lambda p: tarred(p, {NAME: b""}, type=tarfile.LNKTYPE, linkname="/etc/passwd"), "a link",
    ),
    "a tar with a pipe": (lambda p: tarred(p, {NAME: b""}, type=tarfile.FIFOTYPE), "device"),
    "a tar of zeros": (lambda p: tarred(p, {NAME: ZERO * 70}), "64 MB"),
    "a tar with a billion in its header": (
        lambda p: p.write_bytes(
            gzip.compress(header(10**9, tarfile.XHDTYPE) + ZERO * 90, compresslevel=1)
        ),
        "64 MB",
    ),
    "a tar that promises": (lambda p: p.write_bytes(gzip.compress(header(10**9))), "64 MB"),
    "half a tar": (
        lambda p: p.write_bytes(tarred(p, {NAME: os.urandom(999)}).read_bytes()[:500]), "unpacked",
    ),
}  # fmt: skip


def header(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(NAME)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("name", REFUSED)
def test_an_archive_that_is_none_is_refused_and_writes_nothing_outside(name, tmp_path):
    make, why = REFUSED[name]
    path = tmp_path / "class" / ("s.tar.gz" if "tar" in name else "s.zip")
    path.parent.mkdir()
    make(path)
    room = tmp_path / "a" / "b" / "room"
    room.mkdir(parents=True)
    start = time.process_time()
    with pytest.raises(ValueError, match=why) as found:
        archives.unpack(path, room)
    assert time.process_time() - start < 3 and len(str(found.value)) < 200
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and room not in p.parents]
    assert outside == [path]
    assert sum(p.stat().st_size for p in room.rglob("*")) <= archives.UNPACKED
    ((one,), _) = hand_ins.read([INSERT], path.parent)
    assert one.texts[0].unread and not one.texts[0].points
    assert len(one.odd) == 1 and why in one.odd[0]


@pytest.mark.parametrize(
    "name, inside",
    [
        ("s.zip", NAME),
        ("s.ZIP", f"my/{NAME}"),
        ("s.zip", f"s\\my\\{NAME}"),
        ("s.zip", f"Hand-in von Müller/my/{NAME}"),
        ("s.tar.gz", f"./my/{NAME}"),
        ("s.tgz", f"a/b/{NAME}"),
        ("s/work.zip", NAME),
        ("s/work.tar", f"my/{NAME}"),
    ],
)
def test_an_archive_is_graded_like_its_folder(name, inside, tmp_path):
    path = tmp_path / "class" / name
    path.parent.mkdir(parents=True)
    members = {inside: INSERT.solution.encode(), "__MACOSX/._x": b"", ".DS_Store": b""}
    if "tar" in name or "tgz" in name:
        tarred(path, members, mtime=1790000000)
        if path.suffix == ".tar":
            path.write_bytes(gzip.decompress(path.read_bytes()))
    else:
        zipped(path, members)
    ((one,), odd) = hand_ins.read([INSERT], tmp_path / "class")
    assert (one.student, odd) == ("s", []) and one.texts == [INSERT.solution]
    when = (
        1790000000
        if "z" not in path.suffix[1:2].casefold()
        else datetime(2026, 10, 5, 12).timestamp()
    )
    assert one.saved == [when] and one.odd == [
        f"{path.name} was unpacked, and its files were graded."
    ]
    assert sorted(p.name for p in (tmp_path / "class").iterdir()) == [name.partition("/")[0]]


# ---- a class and a course ------------------------------------------------------------------------


def say(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def rows(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row[0]: row[1:] for row in csv.reader(file)}


MISTAKE = INSERT.wrong(INSERT.module.WRONG[0][0])
COPIED = """import torch


def insert(W, k, v, C):
    # Mine.
    a = torch.linalg.solve(C, k)
    b = v - W @ k
    length = a.dot(k)
    return W + b[:, None] * a[None] / length
"""
RENAMED = re.sub(r"\ba\b", "u", COPIED).replace("# Mine.", "# my own work").replace("length", "n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A class with all that happens in an ordinary week, and its report."""
    place = tmp_path_factory.mktemp("class")
    students = place / "students"

    def put(path: str, text: str | bytes) -> None:
        (students / path).parent.mkdir(parents=True, exist_ok=True)
        (students / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        os.utime(students / path, (1790000000, 1790000000))

    put(f"ada/my/{NAME}", MISTAKE)
    put(f"ben/{NAME}", COPIED)
    put(f"cleo/my/{NAME}", RENAMED)
    put(f"cem/my/{NAME}", RENAMED)
    zipped(students / "dan.zip", {f"my/{NAME}": INSERT.solution.encode()})
    zipped(students / "eve.zip", {f"../{NAME}": INSERT.solution.encode()})
    put("fay/L2_1-Insert (1).py", INSERT.solution)
    (students / "gil").mkdir()
    put("hal/report.docx", b"PK")
    put("ida/02_insert.ipynb", notebook("import torch", COPIED + 'insert = use("2.1", insert)'))
    put("jo/exercises/insert.py", INSERT.solution)
    put(f"kim/{NAME}", INSERT.stub)
    put("kim/l2_1_insert (1).py", MISTAKE)
    put(f"lea/{NAME}", INSERT.solution.encode("utf-16"))
    put(f"max/{NAME}", INSERT.solution)
    zipped(students / "max.zip", {NAME: b"x"})
    put("nina.rar", b"Rar!")
    os.mkfifo(students / "olga.zip")
    inner = zipped(place / "inner.zip", {NAME: b"x"}).read_bytes()
    zipped(students / "pia.zip", {"inner.zip": inner})
    put(f"rob/{NAME}", "x = " + "(" * 3000 + ")" * 3000)
    os.mkdir(os.fsencode(students) + b"/p\xfctz")  # a name of another encoding
    (students / "quin").symlink_to(students / "max")
    (students / "deadlines.toml").write_text("[due]\n2 = 2026-09-20\n")
    call = ["class", str(students), "2.1", "--jobs", "1", "--out", str(place / "report")]
    assert grader.main(call) == 0
    return place / "report"


def test_the_page_opens_with_the_hand_ins_to_look_at(folder):
    page = say(folder / "class.md")
    first = page.partition("## Hand-ins to look at")[2].partition("\n| exercise |")[0]
    lines = [line.replace("\\", "") for line in first.splitlines() if line.startswith("* ")]
    for said in (
        "dan: dan.zip was unpacked, and its files were graded.",
        f"eve: eve.zip was not unpacked, so nothing was graded: '../{NAME}' in it leads out of",
        f"fay: 2.1: L2_1-Insert (1).py should be {NAME} or my/{NAME}.",
        f"jo: 2.1: insert.py should be {NAME} or my/{NAME}.",
        "gil: The folder is empty.",
        "hal: No file of these exercises is there: only report.docx.",
        "ida: 2.1: taken from a notebook.",
        f"lea: 2.1: {NAME} is not UTF-8 text",
        "max.zip was not read. max, next to it, is graded instead.",
        "nina.rar is neither a folder nor a zip or tar.gz",
        "quin is a link and was not read.",
        "olga.zip is neither a folder nor",
        "pia: No file of these exercises is there: only inner.zip.",
        "The same answers: ben, cem, cleo, ida in 2.1.",
        "dan, max: the published solution of 2.1.",
    ):
        assert sum(line.startswith(f"* {said}") for line in lines) == 1, (said, first)
    late = [line for line in lines if line.startswith("* Late in session 2: ada (")]
    assert (
        len(late) == 1
        and re.search(r"cleo \((\d+ d ?)?(\d+ h)?\)", late[0])
        and "eve" not in late[0]
    ), late
    assert late[0].endswith("Were the files copied? A copied file may have the date of the copy.")
    kim = f"2.1: {NAME}, which is as it was handed out, was graded; not graded: l2"
    assert kim in say(folder / "feedback" / "kim.md").replace("\\", "")
    assert kim in say(folder / "feedback" / "kim.html")
    assert any(line.startswith(f"* kim: {kim}") for line in lines)
    assert page.index("Hand-ins to look at") < page.index("| exercise | title |")
    assert "have the students explain" in first and "handed-in-" not in page


def test_students_who_share_answers_are_listed_as_a_group():
    chosen = exercises("2")[:3]
    long = "x += 1\n" * 99
    kinds = ["aabcb", "aaacd", "abcdd"]  # one letter for each version of an exercise
    some = []
    for i in range(5):
        ends = [f"'{kind[i]}' + x" for kind in kinds]
        texts = [one.stub + long + end for one, end in zip(chosen, ends, strict=True)]
        some.append(hand_ins.HandIn(f"s{i}", texts, []))
    assert hand_ins.shared(chosen, some)[:-1] == [
        "The same answers: s0, s1, s2 in 2.2 (byte for byte); s0, s1 in 2.1 (byte for byte); "
        "s2, s4 in 2.1 (byte for byte); s3, s4 in 2.3 (byte for byte)."
    ]
    assert len(hand_ins.shared(chosen, some[:2])) == 2 and not hand_ins.shared(chosen, some[1:4:2])


def test_a_students_text_is_shown_as_it_is_in_the_html_of_the_feedback():
    bad = "<script>x</script> $\\frac{1$ ![x](https://a.b/c.png)"
    one = verdict.missing(INSERT, bad)
    text = diagnosis.feedback("<b>ada</b> $x$", [replace(one, printed=bad, status="wrong")], [bad])
    page = printing.page("Feedback", [text], ours=False)
    assert "<script>" not in page and "<b>" not in page and "<math" not in page
    assert "<img" not in page and page.count("&lt;script&gt;x&lt;/script&gt; $\\frac{1$") == 3


def test_a_gradebook_is_empty_where_a_mark_would_be_a_guess(folder):
    canvas, moodle, marks = (rows(folder / f"{n}.csv") for n in ("canvas", "moodle", "marks"))
    given = {name: cells[-1] for name, cells in moodle.items() if name != "Username"}
    assert {n: cells[-1] for n, cells in canvas.items() if n in given} == given
    points = {"ada": "0", "ben": "1", "cem": "1", "cleo": "1", "dan": "1", "ida": "1", "max": "1"}
    points["rob"] = "0"  # a file on which Python's own reader gives up
    assert {n: p for n, p in given.items() if p} == points
    assert {"eve", "fay", "gil", "hal", "jo", "kim", "lea", "pütz", "pia"} == {*given} - {*points}
    assert [marks[n][0] for n in ("ada", "lea", "fay", "dan")] == ["0", "", "", "1"]
    told = say(folder / "class.md").replace("\\", "")
    assert "leaves these sessions empty" in told or "leave these sessions empty" in told
    assert "eve (2), fay (2), gil (2)" in told
    assert len(json.loads(say(folder / "messages.json"))["students"]) == len(given)


def test_whole_numbers_and_halves_have_one_form(folder):
    for name in ("canvas", "moodle", "marks"):
        assert not re.search(r"\d\.0\b", say(folder / f"{name}.csv")), name


@pytest.fixture(scope="module")
def weeks(tmp_path_factory) -> Path:
    """Three weeks of a course, and its report: ada does all, ben less and less, cem late."""
    place = tmp_path_factory.mktemp("course")
    due = {"1": 1790000000, "2": 1790600000, "3": 1791200000}
    for name, who in (
        ("week_1", {"ada": 2, "ben": 2, "cem": 2, "dan": 1}),
        ("Session 02", {"ada": 3, "ben": 0, "cem": 3, "dan": 2}),
        ("3", {"ada": 2, "cem": 2, "dan": 2}),
    ):
        for student, count in who.items():
            (place / "c" / name / student).mkdir(parents=True)
            for one in exercises(name[-1])[:count]:
                path = place / "c" / name / student / one.path.name
                path.write_text(one.solution)
                saved = due[name[-1]] + (100_000 if student == "cem" else 600)
                os.utime(path, (saved, saved))
    dates = "".join(f"{n} = {datetime.fromtimestamp(s).isoformat()}\n" for n, s in due.items())
    (place / "c" / "deadlines.toml").write_text(f"grace = 15\ndeducted = 0.1\n[due]\n{dates}")
    counts = "session,question,before,after,of\n2,1,5,21,28\n2,2,x,1,28\n"
    (place / "c" / "quiz.csv").write_text(counts)
    (place / "c" / "notes").mkdir()
    (place / "c" / "Woche_2" / "eve").mkdir(parents=True)
    (place / "c" / "week 4").mkdir()
    call = ["class", "--course", str(place / "c"), "--jobs", "2", "--out", str(place / "report")]
    assert grader.main(call) == 0
    return place / "report"


def test_the_weeks_of_a_course_are_one_page(weeks):
    page = say(weeks / "course.md")
    assert page.startswith("# 4 students, 4 sessions\n")
    table = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    found = {cells[0]: cells for cells in table}
    of = [sum(e.stars for e in exercises(n)) for n in "123"]
    heads = [f"{n} (of {of[n - 1]}, due )" for n in (1, 2, 3)]
    assert [re.sub(r"\d+ [A-Z][a-z]{2}", "", cell) for cell in found["student"][1:4]] == heads
    assert [re.sub(r"\d+ [A-Z][a-z]{2}", "", cell) for cell in found["cem"][1:4]] == [
        "2.4 (, 1 d 4 h late)", "4 (, 1 d 4 h late)", "2.4 (, 1 d 4 h late)",
    ]  # fmt: skip
    assert "late" not in "".join(found["ada"]) + "".join(found["dan"])  # ten minutes are no matter
    assert [cell.strip() for cell in found["ben"][2:4]] == ["", ""]
    behind = page.partition("## Who falls behind")[2].partition("##")[0]
    said = "This student has less than half the median in both of the last two graded sessions"
    assert behind.strip() == f"{said} (2 and 3): ben."
    assert "| 2 | 1 | 5 of 28 | 21 of 28 |" in page and "quiz.csv cannot be read further" in page
    often = page.partition("missed most often")[2].splitlines()[4]
    assert re.match(r"\| \d\.\d .+ \| 0 \| 0 \| 4 \|", often), often


def test_a_week_without_anybody_is_told_and_two_of_one_session_are_refused(weeks, tmp_path, capsys):
    page = say(weeks / "class.md").replace("\\", "")
    assert "* Session 4: there is no folder of a student in" in page
    assert "* Not read: Woche_2, notes; the folder of a session is called 2, week_2 or" in page
    for name in ("2", "week_02"):
        (tmp_path / "c" / name / "ada").mkdir(parents=True)
    call = ["class", "--course", str(tmp_path / "c"), "--out", str(tmp_path / "report")]
    assert grader.main(call) == 2 and "belong to session 2" in capsys.readouterr().err


def test_a_time_late_is_not_rounded_up_to_days():
    spans = {61: "2 min", 3600: "1 h", 27 * 3600: "1 d 3 h", 48 * 3600: "2 d", 86399: "1 d"}
    assert {seconds: course.span(seconds) for seconds in spans} == spans


def test_the_class_and_the_course_count_the_same_exercises_as_tried():
    one = exercises("2.2")[0]
    head = one.number, one.name, one.title, one.stars
    some = [verdict.Verdict(*head, "wrong", "harm: not attempted.", right=("shrink",), parts=2)]
    some += [verdict.Verdict(*head, status, "") for status in ("wrong", "not attempted", "solved")]
    graded = {f"s{i}": [v] for i, v in enumerate(some)}
    assert course.often(graded)[0].endswith("| 1 | 2 | 1 |")
    assert "| 1 | 2 | 0 | 1 |" in diagnosis.page(graded, {}, [])


def test_what_is_late_is_deducted_only_where_the_file_says_so(weeks, folder):
    assert rows(weeks / "moodle.csv")["cem"] == ["2.4", "4", "2.4", ""]
    assert rows(weeks / "marks.csv")["cem"][:2] == ["1", "2"]
    each = "10% is deducted for each day or part of a day"
    assert f"Late in session 1 ({each}): cem (1 d 4 h).\n" in say(weeks / "class.md")
    assert rows(folder / "moodle.csv")["ben"] == ["1"]
    said = say(weeks / "feedback" / "cem.md")
    assert "* Session 2 was 1 d 4 h late (2 days begun), so 20% is deducted: 4 of 5" in said
    assert "2.4 of 3 points count." in said and said.count("deducted") == 3
    assert "deducted" not in say(weeks / "feedback" / "ada.md")
    assert "deducted" not in say(folder / "feedback" / "ben.md")


@pytest.mark.parametrize(
    "text, why",
    [
        ("2 = 3", "'due'"),
        ("[due]\n2 = 17", "17 is not a date"),
        ("grace = -1\n[due]\n", "in minutes"),
        ("deducted = 10\n[due]\n", "from 0 to 1"),
        ("grace = nan\n[due]\n", "in minutes"),
        ("late = 1\n[due]\n", "late"),
        ("due = 1", "items"),
        ("[due", "cannot be read"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_deadlines_that_are_none_are_one_sentence(text, why, tmp_path):
    path = tmp_path / "deadlines.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=why) as found:
        course.Deadlines.read(tmp_path)
    assert "Its form is [due]" in str(found.value) and "\n" not in str(found.value)


def test_a_killed_run_leaves_the_hand_ins_and_no_half_report(tmp_path):
    students = tmp_path / "students"
    for name in ("ada", "ben"):
        (students / name).mkdir(parents=True)
        (students / name / NAME).write_text("while True: pass\n")
    zipped(students / "cem.zip", {NAME: b"while True: pass"})
    before = {p: p.stat().st_mtime_ns for p in students.rglob("*")}
    call = [sys.executable, "-m", "lessons.grader", "class", str(students), "2.1", "--out"]
    running = subprocess.Popen([*call, str(tmp_path / "report")], stderr=subprocess.DEVNULL)
    time.sleep(4)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert {p: p.stat().st_mtime_ns for p in students.rglob("*")} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["students"]


def test_two_at_once_do_not_write_over_each_other(tmp_path, monkeypatch, capsys):
    (tmp_path / "students" / "ada").mkdir(parents=True)
    (tmp_path / "students" / "ada" / NAME).write_text(INSERT.solution)
    plain, report = files.write_folder, tmp_path / "report"

    def later(folder, texts):
        plain(folder, {"class.md": "of the other run"})
        plain(folder, texts)

    monkeypatch.setattr(files, "write_folder", later)
    call = ["class", str(tmp_path / "students"), "2.1", "--jobs", "1", "--out", str(report)]
    assert grader.main(call) == 1
    said = capsys.readouterr()
    assert "the marks are only what is printed" in said.err and "ada" in said.out
    assert say(report / "class.md") == "of the other run"


def test_the_leaderboard_says_that_an_archive_has_to_be_unpacked(tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "editor.py").write_text("x = 1")
    zipped(tmp_path / "ben.zip", {"editor.py": b"x = 1"})
    first, second = map(leaderboard.hand_in, leaderboard.find([], tmp_path))
    assert first == "x = 1" and "ben.zip is an archive. Unpack it" in str(second)


# ---- what Moodle and Canvas hand over ------------------------------------------------------------

MOODLE = {
    f"Anna Schmidt_101_assignsubmission_file_/{NAME}": COPIED,
    "Anna Schmidt_101_assignsubmission_onlinetext_/onlinetext.html": "<p>Hello",
    f"Ben Ito_102_assignsubmission_file_/my/{NAME}": MISTAKE,
    "Cem Kaya_103_assignsubmission_onlinetext_/onlinetext.html": "<p>Sorry",
}


def laid(folder: Path, members: dict[str, str]) -> Path:
    for name, text in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("form", ["folders", "laid in", "given", "in a folder", "tar"])
def test_a_download_of_moodle_is_a_class(form, tmp_path):
    folder = tmp_path / "class"
    members = {name: text.encode() for name, text in MOODLE.items()}
    if form == "folders":
        laid(folder, MOODLE)
    elif form == "tar":
        folder.mkdir()
        tarred(folder / "all.tar.gz", members)
    else:
        folder.mkdir()
        inside = {f"class/{n}": t for n, t in members.items()} if form == "in a folder" else members
        zipped(folder / "all.zip", inside)
    given = folder / "all.zip" if form in ("given", "in a folder") else folder
    found, odd = hand_ins.read([INSERT], given)
    texts = {one.student: one.texts[0] for one in found}
    assert [*texts] == ["Anna Schmidt", "Ben Ito", "Cem Kaya"]
    assert texts["Anna Schmidt"] == COPIED and texts["Ben Ito"] == MISTAKE
    assert texts["Cem Kaya"].status == "missing"
    told = " ".join(odd)
    assert "Moodle's folders" in told and "names.csv" in told and "typed online" in told
    assert ("unpacked as the archive" in told) == (form != "folders")


def test_a_students_archive_cannot_bring_in_another_student(tmp_path):
    laid(tmp_path / "class", {f"Anna Schmidt_101_assignsubmission_file_/{NAME}": COPIED})
    bad = {f"Anna Schmidt_101_assignsubmission_file_/{NAME}": MISTAKE.encode()}
    zipped(tmp_path / "class" / "ben.zip", bad)
    found, odd = hand_ins.read([INSERT], tmp_path / "class")
    assert {one.student: one.texts[0] for one in found}["Anna Schmidt"] == COPIED
    assert any(line.startswith("ben.zip contains a whole class") for line in odd)


def test_files_of_canvas_belong_to_whom_they_begin_with(tmp_path):
    folder = laid(
        tmp_path / "class",
        {
            f"annaschmidt_123_456_{NAME}": COPIED,
            f"benito_LATE_124_457_{NAME.replace('.py', '-2.py')}": MISTAKE,
            "cemkaya_125_458_report.docx": "PK",
            f"Dan Oh_104_assignsubmission_file_{NAME}": RENAMED,
        },
    )
    zipped(folder / "eve_126_459_my.zip", {NAME: INSERT.solution.encode()})
    found, odd = hand_ins.read([INSERT], folder)
    texts = {one.student: one.texts[0] for one in found}
    assert [*texts] == ["Dan Oh", "annaschmidt", "benito", "cemkaya", "eve"]
    assert [texts[n] for n in ("annaschmidt", "benito", "Dan Oh", "eve")] == [
        COPIED, MISTAKE, RENAMED, INSERT.solution,
    ]  # fmt: skip
    assert "Canvas's files" in odd[0] and "Moodle's files" in odd[0]
    assert not any("neither a folder" in line for line in odd)


def test_names_csv_gives_each_their_login(tmp_path):
    folder = laid(tmp_path / "class", MOODLE)
    (folder / "names.csv").write_text("handed in as,login\nAnna Schmidt,aschmidt\nBen Ito,bito\n")
    found, odd = hand_ins.read([INSERT], folder)
    assert [one.student for one in found] == ["Cem Kaya", "aschmidt", "bito"]
    assert odd[-1] == "names.csv has no line for Cem Kaya."
    (folder / "names.csv").write_text("Anna Schmidt,../x\n")
    with pytest.raises(ValueError, match="Its form is handed in as,login"):
        hand_ins.read([INSERT], folder)


def test_a_name_of_a_mac_is_the_same_name(tmp_path):
    for week, name in (("1", "Mu\u0308ller"), ("2", "M\u00fcller")):
        laid(tmp_path / "c" / week / name, {"x.py": "x = 1"})
    _, everybody, _ = course.read(exercises("1") + exercises("2"), tmp_path / "c", True)
    assert [one.student for one in everybody] == ["M\u00fcller"]


def test_one_student_in_one_week_is_singular_and_each_file_that_stopped_is_quoted(tmp_path):
    made = {one.path.name: f"1 / 0  # {one.number}" for one in exercises("2")[:2]}
    made[exercises("2")[1].path.name] = "import nothing_of_this_name"
    laid(tmp_path / "c" / "2" / "ada", made)
    call = ["class", str(tmp_path / "c"), "--course", "--jobs", "1", "--out", str(tmp_path / "r")]
    assert grader.main(call) == 0
    assert say(tmp_path / "r" / "course.md").startswith("# 1 student, 1 session\n")
    stopped = say(tmp_path / "r" / "class.md").partition("## Files that stopped")[2]
    stopped = stopped.partition("\n## ")[0]
    assert "ada, in 2.1\n" in stopped and "ada, in 2.2\n" in stopped
    assert "division by zero" in stopped and "nothing_of_this_name" in stopped
