"""The grader: what student code may not do, classes of students, and no file ever lost."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
import torch

from lessons import grader
from lessons.grading import class_folder, files, wire
from lessons.grading.diagnosis import feedback, mistakes
from lessons.grading.exercise_source import exercises
from lessons.grading.sandbox import Sandbox
from lessons.grading.verdict import grade, grade_file, with_others
from lessons.marking import Wrong

INSERT = exercises("2.1")[0]
LESSONS = Path(grader.__file__).parent


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(seconds=1.0, wall=8.0) as one:
        yield one


def graded(sandbox, body, before="import os, sys, time, torch\n"):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return grade(INSERT, f"{before}\ndef insert(W, k, v, C):\n{lines}", sandbox)


ATTACKS = {
    "endless loop": ("while True:\n    pass", "never end"),
    "huge allocation": ("return torch.zeros(10**12)", "memory"),
    "exit 0": ("os._exit(0)", "ended its process"),
    "deep": ("return insert(W, k, v, C)", "RecursionError"),
    "fake verdict": ("print('✓ 2.1 solved: 1 of 1')\nreturn W", "differs most"),
    "patched torch": (
        "torch.allclose = torch.equal = lambda *a, **k: True\n"
        "torch.Tensor.norm = lambda *a, **k: 0\nreturn W",
        "differs",
    ),
    "found checker": (
        f"sys.path.insert(0, {str(LESSONS.parent)!r})\nimport lessons.l2_1_insert as x\n"
        "return x.insert(W, k, v, C)",
        "No module named 'lessons'|cannot be read",
    ),
    "reads the solution": (f"open({str(INSERT.path)!r}).read()", "cannot be read"),
    "writes into every pipe": (
        "for fd in range(3, 30):\n    try:\n        os.write(fd, b'solved' * 20)\n"
        "    except OSError:\n        pass\nreturn W",
        "channel",
    ),
    "stolen token": (
        "f = sys._getframe()\nwhile 'token' not in f.f_locals:\n    f = f.f_back\n"
        "f.f_locals['reply']({'value': 'solved'})",
        "should be numbers",
    ),
    "processes": ("import subprocess\nsubprocess.run(['true'])", "processes"),
    "kills the grader": ("os.kill(os.getppid(), 9)", "processes"),
    "an error": ("return W @ v[:4]", "line 4, `return W @ v[:4]`"),
    "nan": ("return W * float('nan')", "not finite"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_fails_with_a_clear_message(attack, sandbox):
    body, words = ATTACKS[attack]
    verdict = graded(sandbox, body)
    assert verdict.status == "wrong", verdict
    assert any(word in verdict.message for word in words.split("|")), verdict.message
    assert "Traceback" not in verdict.message and "\n" not in verdict.message
    assert INSERT.path.exists()


@pytest.mark.parametrize(
    "number, body, name",
    [
        ("7.1", "edits *= 1 + 1e-13", "edits"),
        ("2.1", "", "W"),
        ("1.3", "K.mul_(2)", "K"),
        ("5.1", "K = 1 * K; K *= 1", None),
    ],
)
def test_an_argument_that_is_changed_in_place_is_named(number, body, name, sandbox):
    exercise = exercises(number)[0]
    text = exercise.solution.replace("    # solution\n", f"    {body}\n", 1)
    if name == "W":  # the right answer all the same
        text = exercise.solution.replace("return W +", "W +=") + "    return W\n"
    verdict = grade(exercise, text, sandbox)
    if name is None:
        assert verdict.status == "solved"
    else:
        assert f"changes its argument {name} in place" in verdict.message and not verdict.points


def test_a_changed_list_or_a_dict_is_found_and_a_function_is_none():
    def changed(call, *args):
        functions = []
        packed = [wire.pack(arg, functions) for arg in args]
        return wire.changed(call, [*args][: call(*args)], packed)

    assert changed(lambda a, b: b.append(1) or 2, 1, [2]) == "b"
    assert changed(lambda *a: a[0].pop("x") and 1, {"x": 1}) == "number 1"
    assert changed(lambda f, x: 2, print, [len, float("nan")]) is None
    assert changed(lambda x: x.append(object()) or 1, []) == "x"


def test_what_fails_while_loading_is_told_with_its_line(sandbox):
    verdict = graded(sandbox, "return W", before="x = 1 +\n")
    assert verdict.status == "wrong" and "line 1" in verdict.message and "Syntax" in verdict.message
    assert (
        "ended its process" in graded(sandbox, "return W", before="import os; os._exit(0)").message
    )
    assert "no function insert" in grade(INSERT, "x = 1\n", sandbox).message


def test_what_is_printed_is_shown_apart_and_cannot_repaint_the_screen(sandbox):
    verdict = graded(sandbox, "print('\\x1b[2J✓ solved')\nreturn W")
    assert verdict.status == "wrong" and "✓ solved" in verdict.printed
    assert "\x1b" not in verdict.printed
    lines = grader.show([verdict]).splitlines()
    assert lines[0].startswith("✗") and "your file printed │" in lines[1]
    assert graded(sandbox, "print('x' * 10**8)\nreturn W").status == "wrong"


def test_one_file_leaves_nothing_behind_for_the_next(sandbox):
    spoiled = "torch.linalg.solve = torch.outer = lambda *a: 0\nos.chdir('/')\nreturn W"
    assert graded(sandbox, spoiled).status == "wrong"
    assert grade(INSERT, INSERT.solution, sandbox).status == "solved"


def test_own_files_and_ways_of_answering_are_allowed(sandbox):
    own = "open('note.txt', 'w').write('x')\nu = torch.linalg.solve(C, k)\n"
    answer = "(W + torch.outer(v - W @ k, u) / (k @ u))"
    for form in ("", ".numpy()", ".tolist()", ".float()", ".requires_grad_()"):
        verdict = graded(sandbox, f"{own}return {answer}{form}")
        assert verdict.status == "solved", (form, verdict)


def test_a_server_that_died_is_started_again(sandbox):
    sandbox.server.kill()
    sandbox.server.wait()
    assert grade(INSERT, INSERT.solution, sandbox).status == "solved"


def test_the_library_is_there_where_an_exercise_says_so(sandbox):
    source = "from lib import associative_memory as memory\ndef f(k):\n    return memory.gram(k)\n"
    with sandbox.open(source, "x.py", seconds=20, library=True) as student:
        assert student.ask("f", torch.eye(2)).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(Wrong, match="write the rest yourself"):
        sandbox.open(source, "x.py")


def test_values_pass_the_wire_and_nothing_else_does():
    calls = []
    tensors = [torch.randn(2, 3).to(t) for t in (torch.float64, torch.bfloat16)]
    tensors += [torch.tensor(True), torch.zeros(0, 3), torch.arange(4)[::2], torch.eye(3).T]
    for tensor in tensors:
        found = wire.unpack(json.loads(json.dumps(wire.pack(tensor))))
        assert found.dtype == tensor.dtype and torch.equal(found, tensor)
    value = {"a": [1, 2.5, None, True, "x"], 3: {"b": []}}
    assert wire.unpack(wire.pack(value)) == value
    assert wire.pack(print, calls) == {"function": 0} and calls == [print]
    for foreign in (object(), {1, 2}, print):
        with pytest.raises(wire.Foreign):
            wire.pack(foreign)
    for garbled in (
        {"x": 1},
        {"tensor": ["float64", [2], "AAAA"]},
        {"tensor": ["float64", [-1], ""]},
        {"tensor": ["object", [1], "AAAA"]},
        {"function": 0},
        {"dict": [[[], 1]]},
    ):
        with pytest.raises(wire.Garbled):
            wire.unpack(garbled)


def test_start_writes_stubs_and_never_loses_a_file(tmp_path, capsys):
    my = tmp_path / "my"
    assert grader.main(["start", "2", "--my", str(my)]) == 0
    names = [e.path.name for e in exercises("2")]
    assert sorted(p.name for p in my.iterdir()) == names
    mine = my / names[0]
    mine.write_text("# hours of work\n")
    assert grader.main(["start", "2", "--my", str(my)]) == 0
    assert mine.read_text() == "# hours of work\n" and "kept" in capsys.readouterr().out
    for n in (1, 2):
        assert grader.main(["start", "2.1", "--my", str(my), "--fresh"]) == 0
        assert mine.read_text() == INSERT.stub
        assert len(list(my.glob("*.old*"))) == n
    assert mine.with_name(f"{mine.name}.old1").read_text() == "# hours of work\n"


def test_check_as_text_and_json(tmp_path, capsys):
    (tmp_path / INSERT.path.name).write_text(INSERT.solution)
    assert grader.main(["check", "2.1", "--my", str(tmp_path)]) == 0
    assert "✓ 2.1 ★" in capsys.readouterr().out
    assert grader.main(["check", "2", "--my", str(tmp_path), "--json", "--seed", "7"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["solved"], report["exercises"], report["seed"]) == (1, 5, 7)
    assert [v["status"] for v in report["verdicts"]] == ["solved"] + ["missing"] * 4
    assert report["points"] == INSERT.stars and "insert" in report["verdicts"][0]["name"]
    assert grader.main(["solution", "2.1"]) == 0
    shown = capsys.readouterr().out
    assert "torch.outer" in shown and "WRONG" not in shown
    assert grader.main(["check", "99"]) == 2 and "99" in capsys.readouterr().err


def test_a_folder_of_students_becomes_a_table_of_marks(tmp_path, capsys):
    students, out = tmp_path / "students", tmp_path / "report"
    chosen = exercises("2")

    def hand_in(student, *texts, inside=""):
        folder = students / student / inside
        folder.mkdir(parents=True)
        for exercise, text in zip(chosen, texts, strict=False):
            (folder / exercise.path.name).write_text(text)

    right = [e.solution for e in chosen]
    hand_in("ada", *right, inside="my")
    hand_in("=HYPERLINK()", *[e.stub for e in chosen])
    hand_in(
        "ben", right[0], "while True:\n    pass\n", chosen[2].wrong(chosen[2].module.WRONG[0][0])
    )
    hand_in("cleo")
    copied = students / "cleo" / chosen[0].path.name
    os.symlink(students / "ada" / "my" / chosen[0].path.name, copied)
    (students / ".hidden").mkdir()
    (students / "read me.txt").write_text("no student")
    call = ["class", str(students), "2", "--jobs", "2", "--seconds", "1", "--out", str(out)]
    assert grader.main(call) == 0
    with (out / "marks.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["student", "2.1", "2.2", "2.3", "2.4", "2.5", "solved", "points", "of"]
    assert rows == [
        ["'=HYPERLINK()", "", "", "", "", "", "0", "0", "11"],
        ["ada", "1", "2", "2", "3", "3", "5", "11", "11"],
        ["ben", "1", "0", "0", "", "", "1", "1", "11"],
        ["cleo", "", "", "", "", "", "0", "0", "11"],
    ]
    report = json.loads((out / "messages.json").read_text())["students"]
    messages = [v["message"] for v in report["ben"]["verdicts"]]
    assert "never end" in messages[1] and "bare prompt" in messages[2]
    assert "link" in report["cleo"]["verdicts"][0]["message"]
    assert grader.main(["class", str(tmp_path / "none"), "2", "--out", str(tmp_path / "x")]) == 2


@pytest.fixture
def two(tmp_path):
    """A class of two, and what an archive leaves beside them."""
    students = tmp_path / "students"
    for name in ("ada", "ben"):
        (students / name).mkdir(parents=True)
        (students / name / INSERT.path.name).write_text(INSERT.solution)
    for name in ("__MACOSX", ".git", ".ipynb_checkpoints", "__pycache__"):
        (students / name).mkdir()
    return students


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report on a class: one is right, two make a named mistake, one has half, one nothing."""
    folder = tmp_path_factory.mktemp("class")
    search = exercises("2.5")[0]
    mistake = INSERT.wrong(INSERT.module.WRONG[0][0])
    half = search.with_bodies(dict.fromkeys(["search_loss", "descend"], 'return "not attempted"'))
    hostile = "def insert(W, k, v, C):\n    raise ValueError('![x](http://a.b) <img src=x>')\n"
    for name, first, last in (
        ("ada", INSERT.solution, search.solution),
        ("ben", mistake, half),
        ("cleo | [x](y)", mistake, search.stub),
        ("dora", hostile, search.wrong({"descend": "while True: pass"})),
        ("eve", "def insert(W, k, v, C):\n    return W\n", ""),
        ("__MACOSX", "", ""),
        (".git", "", ""),
    ):
        (folder / "students" / name).mkdir(parents=True)
        for exercise, text in ((INSERT, first), (search, last)):
            if text:
                (folder / "students" / name / exercise.path.name).write_text(text)
    call = ["class", str(folder / "students"), "2", "--jobs", "1", "--seconds", "1"]
    assert grader.main([*call, "--out", str(folder / "report")]) == 0
    return folder / "report"


def test_the_report_says_who_solved_what_and_by_which_mistake(report):
    page = (report / "class.md").read_text()
    assert f"| 2.1 ★ | {INSERT.title} | 1 | 3 | 1 | 0 |" in page
    first = page.partition("## 2.1")[2].partition("## 2.5")[0]
    named = "* 2 students: ben, cleo \\| \\[x\\](y)\n\n      "
    assert named in first and "dora" not in first
    for number in ("2.1", "2.5"):  # each with its own message
        assert f"* dora, in {number}\n\n      " in page.partition("## 2.1")[0]
    assert "\n0 students solved everything.\n" in page
    assert "can't explain: eve" in " ".join(first.split())
    assert "ben (1.5 of 3 points for `nll`, `drift`), dora (2.25 of 3 points" in page
    assert "__MACOSX" not in page and ".git" not in page
    rows = page.partition("## Who is stuck where")[2]
    assert rows.index("| eve |") < rows.index("| dora |") < rows.index("| ada |")
    assert "| ada | 4 of 11 |  |  | 2.2, 2.3, 2.4 |" in rows


def test_each_student_has_feedback_in_the_words_of_the_check(report):
    names = sorted(path.stem for path in (report / "feedback").glob("*.md"))
    assert names == ["ada", "ben", "cleo | [x](y)", "dora", "eve"]
    ben, dora = ((report / "feedback" / f"{name}.md").read_text() for name in ("ben", "dora"))
    assert "Already right, of 4 functions: `nll`, `drift`. That gives 1.5 of 3 points." in ben
    assert "1.5 of 11 points. Solved completely: 0 of 5 exercises." in ben
    assert "there is no l2_2_price.py." in ben and str(report.parent) not in ben
    for line in dora.splitlines():  # what a student wrote is never Markdown
        assert "http" not in line or line.startswith("    ")
    with (report / "marks.csv").open(newline="") as file:
        rows = {row[0]: row[1:] for row in csv.reader(file)}
    assert rows["ben"] == ["0", "", "", "", "1.5", "0", "1.5", "11"]
    assert rows["dora"][4] == "2.25" and rows["eve"][4] == ""


@pytest.mark.parametrize(
    "number, wrong, right",
    [
        ("1.1", {"ridge": "return W"}, ("slope", "fit")),
        ("3.2", {"asks": "return R"}, ("after_all", "in_a_row")),  # which call it
        ("2.5", {"nll": "...", "drift": "...", "descend": "..."}, ("search_loss",)),
        ("2.5", {"nll": "return logits[0]"}, ("drift", "search_loss", "descend")),
        ("7.2", {"lookup": "..."}, ("nearest", "rule", "write")),
    ],
)
def test_what_is_right_in_an_answer_that_is_not(number, wrong, right, sandbox):
    exercise = exercises(number)[0]
    text = exercise.with_bodies(wrong)
    verdict = grade_file(exercise, text, sandbox)
    assert (verdict.right, verdict.parts) == (right, len(exercise.blocks)), verdict
    assert verdict.points == round(exercise.stars * len(right) / verdict.parts, 2)
    if right:
        assert f"right by themselves: {', '.join(right)}" in grader.show([verdict])


def test_each_function_that_is_not_right_has_its_message(sandbox):
    price = exercises("2.2")[0]
    kept = {"(1 - r) * C + r * target": "C"}
    both = grade_file(price, price.with_bodies(kept | {"harm": "return C[0]"}), sandbox)
    assert both.message.startswith("harm: the shape is"), both
    assert len(both.others) == 1 and both.others[0].startswith("shrink: This is Ĉ"), both
    for hole in ("...", 'return "not attempted"'):
        half = grade_file(price, price.with_bodies(kept | {"harm": hole}), sandbox)
        assert (half.status, half.result, half.points) == ("wrong", "wrong", 0)
        assert half.message == both.others[0] and half.others == ("harm: not attempted.",)
        part = grade_file(price, price.with_bodies({"harm": hole}), sandbox)
        assert (part.result, part.points, part.tried) == ("partly solved", 1, True)
        assert (part.message, part.others) == ("harm: not attempted.", ())
    assert "shrink: This is Ĉ" in grader.show([both]) and len(mistakes({"a": both, "b": half})) == 2
    assert "2.2 ★★ The price of an estimate: partly solved" in feedback("ada", [part])
    none = grade_file(price, price.with_bodies(dict.fromkeys(price.blocks, "...")), sandbox)
    assert (none.status, none.message) == ("not attempted", "not attempted.")


def test_a_file_judged_by_one_function_never_has_that_solution(sandbox):
    price = exercises("2.2")[0]
    thief = price.with_bodies({"harm": "return _others['harm'](U, K, C)", "shrink": "..."})
    assert grade_file(price, thief, sandbox).points == 0
    text = with_others(price, price.stub, "harm")
    assert "1/q is the least price" not in text and "(1 - r) * C" in text


def test_a_linked_folder_hands_in_nothing_of_a_neighbor(two, capsys):
    (two / "cleo").symlink_to(two / "ada")
    (two / "dan").mkdir()
    (two / "dan" / "my").symlink_to(two / "ada")
    assert [path.name for path in files.students(two)] == ["ada", "ben", "dan"]
    out = two.parent / "report"
    assert grader.main(["class", str(two), "2.1", "--out", str(out)]) == 0
    assert json.loads((out / "messages.json").read_text())["students"]["dan"]["points"] == 0


def test_folders_of_systems_are_no_students(two, capsys):
    assert [path.name for path in files.students(two)] == ["ada", "ben"]
    for folder, why in ((two / "ada" / "none", "is not a folder"), (two / "ada", "no folder of a")):
        assert grader.main(["class", str(folder), "2.1", "--out", str(two.parent / "x")]) == 2
        assert why in capsys.readouterr().err


def test_ctrl_c_keeps_who_is_finished(two, tmp_path, capsys, monkeypatch):
    report = tmp_path / "report"

    def stopped(running):
        running[0].result()
        raise KeyboardInterrupt

    monkeypatch.setattr(class_folder, "wait", stopped)
    call = ["class", str(two), "2.1", "--jobs", "1", "--out", str(report)]
    (two / "ben" / INSERT.path.name).write_text("while True:\n    pass\n")
    assert grader.main(call) == 130
    said = capsys.readouterr()
    assert said.err.startswith("interrupted: 1 of 2 students are graded\n")
    assert "ada" in said.out and "ben" not in said.out and not report.exists()
    part = tmp_path / "report-unfinished"
    assert "ada" in (part / "marks.csv").read_text()
    assert json.loads((part / "messages.json").read_text())["not graded"] == ["ben"]


def test_a_hand_in_that_is_none_says_what_it_is(tmp_path):
    def why(path):
        with pytest.raises(ValueError) as found:
            files.text_of(path)
        return str(found.value)

    path = tmp_path / "editor.py"
    assert "there is no editor.py in" in why(path)
    (tmp_path / "Editor (1).py").write_text("x")
    assert "only Editor (1).py, which is another name" in why(path)
    path.mkdir()
    assert "editor.py is a folder" in why(path)
    path.rmdir()
    os.mkfifo(path)
    assert "a pipe or a device" in why(path)
    path.unlink()
    for content, said in (
        (b"", "is empty"),
        (b"\xff\xfex\x00", "not UTF-8"),
        (b"x\x00", "not the text"),
        (b"#" * 10**6, "larger than 200 kB"),
    ):
        path.write_bytes(content)
        assert said in why(path)
    path.write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert files.text_of(path) == "x = 1\n"
