"""Holes of pages: open, right, wrong, filled from the student's file; and what the grader says."""

from __future__ import annotations

import _thread
import ast
import linecache
import re
import sys
import threading
import time

import pytest
import torch

import lessons.l2_1_insert as exercise
from lessons.grading.exercise_source import LINE, exercises
from lessons.grading.sandbox import Sandbox
from lessons.grading.verdict import grade, grade_file
from notebooks import build
from notebooks.support import holes

from ..support.usual import few, sample

OPEN = """
def insert(W, k, v, C):
    \"\"\"W (d_out, d_in), k (d_in,), v (d_out,), C (d_in, d_in) -> the new W.\"\"\"
    ...
"""
HEAD = "def insert(W, k, v, C):\n    u = torch.linalg.solve(C, k)\n"
RIGHT = HEAD + "    return W + torch.outer(v - W @ k, u / (k @ u))\n"
WRONG = "def insert(W, k, v, C):\n    return W + torch.outer(v - W @ k, k) / (k @ k)\n"
BROKEN = "def insert(W, k, v, C):\n    return W / len(k @ k)\n"


def in_cell(text, name="insert", imports="import torch", **page):
    """The function of this name, as it stands in a cell of a page with these imports."""
    linecache.cache["<cell>"] = (len(text), None, text.splitlines(keepends=True), "<cell>")
    page |= {"__name__": "__main__"}
    exec(imports, page)
    exec(compile(text, "<cell>", "exec"), page)
    return page[name]


@pytest.fixture
def used(capsys, tmp_path, monkeypatch):
    """`use` in a folder of its own: what it returns and what it prints."""
    monkeypatch.setattr(holes, "MY", tmp_path / "my")

    def use(text, number="2.1", name="insert", **page):
        function = in_cell(text, name, **page) if isinstance(text, str) else text
        found, printed = holes.use(number, function), capsys.readouterr().out
        for line in printed.replace(str(tmp_path), "").splitlines():  # the folder's is as it is
            assert len(line) <= 100 or any(len(word) > 90 for word in line.split()), line
        return found, re.sub(r"(?<=.)\n(?=.)", " ", printed)  # as one line

    return use


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(seconds=2.0) as one:
        yield one


def test_an_open_hole_runs_with_the_solution(used, tmp_path):
    found, said = used(OPEN)
    assert found is exercise.insert
    assert said == "2.1 is still open. The notebook continues with the solution.\n"
    assert not (tmp_path / "my").exists()


def test_a_mistake_is_named(used, tmp_path):
    found, said = used(WRONG)
    assert found.solution is exercise.insert
    assert "Where is C?" in said and said.startswith("2.1 ✗")
    found, said = used(BROKEN)
    assert found is exercise.insert and "at `return W / len(k @ k)` with TypeError" in said
    assert not (tmp_path / "my").exists()


def test_a_mistake_that_runs_is_drawn_beside_the_solution(used, capsys):
    """The page computes with the solution; its figures ask for both."""
    found, said = used(WRONG)
    assert said.endswith("and shows your version next to it in the figures.\n")
    torch.manual_seed(0)
    W, k, v, C = torch.randn(3, 4), torch.randn(4), torch.randn(3), 2 * torch.eye(4)
    C[0, 1] = C[1, 0] = 1.0
    drawn = {whose: one(W, k, v, C) for whose, one in holes.both(found).items()}
    assert list(drawn) == ["the solution", "yours"]
    torch.testing.assert_close(drawn["the solution"], exercise.insert(W, k, v, C))
    torch.testing.assert_close(found(W, k, v, C=C), drawn["the solution"])
    assert not torch.allclose(drawn["yours"], drawn["the solution"])
    assert list(holes.both(used(OPEN)[0])) == ["the solution"]
    assert list(holes.both(used(RIGHT)[0])) == ["yours"]
    # an answer that has another form, or ends, with the inputs of the page is a gap in the figure
    picky = WRONG.replace("    return W", "    assert len(k) != 5\n    return W")
    found, _ = used(picky)
    assert found.yours(torch.randn(3, 5), torch.randn(5), v, torch.eye(5)).isnan().all()
    assert "Your insert ended with AssertionError" in capsys.readouterr().out


def test_what_is_right_goes_on_and_can_be_handed_in(used, tmp_path, monkeypatch):
    right = in_cell(RIGHT)
    found, said = used(right)
    assert found is right and said.startswith("2.1 ✓ solved")
    file = tmp_path / "my" / "l2_1_insert.py"
    assert f"It is saved in {file}, ready to be handed in." in said
    assert "u / (k @ u)" in file.read_text() and file.read_text().startswith('"""★ Write one pair')
    monkeypatch.setattr("notebooks.support.hand_ins.ROOT", tmp_path)
    assert "It is saved in my/l2_1_insert.py" in used(right)[1]


def test_what_was_handed_in_fills_the_page(used, tmp_path):
    file = tmp_path / "my" / "l2_1_insert.py"
    file.parent.mkdir()
    file.write_text(exercises("2.1")[0].solution)
    found, said = used(OPEN)
    assert found.__code__.co_filename == file.name and "✓" in said
    assert f"It is read from {file}." in said
    file.write_text(exercises("2.1")[0].stub)
    assert used(OPEN)[0] is exercise.insert
    file.write_text("def insert(:")
    assert "SyntaxError" in used(OPEN)[1]


def test_nothing_of_a_students_file_is_lost(used, tmp_path):
    file = tmp_path / "my" / "l2_1_insert.py"
    file.parent.mkdir()
    file.write_text(mine := "def insert(:  # two hours of work")
    assert "✓" in (said := used(RIGHT)[1]) and "was left unchanged: it is not Python" in said
    assert file.read_text() == mine
    file.write_text(mine := f"import torch\n\n\n@torch.no_grad()\n{WRONG}\n\ndef other(): ...\n")
    said = used(f"@torch.no_grad()\n{RIGHT}")[1]
    assert "your earlier insert can be found in l2_1_insert.py.old1." in said
    assert file.with_name(f"{file.name}.old1").read_text() == mine
    text = file.read_text()
    assert text.count("no_grad") == 1 and RIGHT in text and "def other" in text
    used(f"@torch.no_grad()\n{RIGHT}")
    assert file.read_text() == text and len(list(file.parent.iterdir())) == 2
    file.write_text("import torch\n")  # a file without the function
    assert "✓" in used(RIGHT)[1] and file.read_text() == f"import torch\n\n\n{RIGHT}"
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere.py")
    (tmp_path / "elsewhere.py").write_text("mine")
    assert "was left unchanged: a link" in used(RIGHT)[1]


# ---- the same verdict as the grader's ------------------------------------------------------------

PRINTS = "    for _ in range({}):\n        print('x' * 1000)\n"
FLOOD = PRINTS.format(10**7)
ENDLESS = "def insert(W, k, v, C):\n    while True:\n        pass\n"
BOTH = {  # what a hole holds -> the status, and a word of the sentence
    "in place": (
        HEAD + "    W += torch.outer(v - W @ k, u / (k @ u))\n    return W\n",
        "wrong", "insert changes its argument W in place",
    ),
    "two GB": (RIGHT.replace("    u =", "    x = torch.ones(2**28).double()\n    u ="), "wrong",
               "more memory than the 1024 MB allowed"),
    "wide letters": (RIGHT.replace("    u =", "    print('é' * (3 << 20))\n    u ="), "wrong",
                     "4 MB were printed"),
    "decorated": (f"@torch.no_grad()\n{RIGHT}", "solved", ""),
    "a list": (RIGHT.replace("return W", "return [*W").replace("u))", "u))]"), "wrong", ""),
    "a flood": (RIGHT.replace("    u =", FLOOD + "    u ="), "wrong", "4 MB were printed"),
    "endless": (ENDLESS, "wrong", "2 s of computing: does a loop never end?"),
    "another cell": (RIGHT.replace("torch.outer", "helper"), "wrong", "'helper' is not defined"),
    "our library": (RIGHT.replace("torch.outer", "memory.f"), "wrong", "No module named 'lib'"),
    "an exit": (HEAD + "    raise SystemExit\n", "wrong", "the file ended itself"),
    "itself": ("def insert(*given):\n    return insert(*given)\n", "wrong", "RecursionError"),
    "a text": (HEAD + "    return 'W'\n", "wrong", "should be numbers"),
    "nothing": (HEAD, "wrong", "nothing (None) came back"),
    "the stub": (f"def insert(W, k, v, C):\n    {LINE}\n", "not attempted", ""),
}  # fmt: skip
PAGE = "import torch, numpy as np, torch as t\nfrom torch import Tensor\n"
PAGE += "from lib import associative_memory as memory\n"
PAGE += "from torch.linalg import solve\n"


@pytest.mark.parametrize("kind", few(BOTH, 4, drawn=6))
def test_the_page_and_the_grader_say_the_same(kind, used, sandbox, tmp_path, monkeypatch):
    text, status, word = BOTH[kind]
    monkeypatch.setattr("lessons.grading.trial.SECONDS", 2.0)
    tried, texts = holes.tried, []
    monkeypatch.setattr(holes, "tried", lambda *given: texts.append(given[1]) or tried(*given))
    start = time.monotonic()
    found, said = used(text, imports=PAGE, helper=lambda a, b: a[:, None] * b)
    assert time.monotonic() - start < 60
    verdict = grade(exercises("2.1")[0], texts[0], sandbox)
    assert verdict.status == status and word in verdict.message, verdict
    message = re.sub(r" in line \d+,", " at", verdict.message)
    mark = {"solved": "✓", "wrong": "✗", "not attempted": "is still open"}[status]
    assert f"2.1 {mark}" in said and (
        status == "not attempted" or " ".join(message.split()) in " ".join(said.split())
    ), said
    ours = getattr(found, "solution", found) is exercise.insert
    assert ours == (status != "solved") and len(said) < 3000
    file = tmp_path / "my" / "l2_1_insert.py"
    assert file.is_file() == (status == "solved")
    if status == "solved":
        assert file.read_text() == texts[0]
    assert not [one for one in sys.modules if one == "exercise"]


def test_an_interrupt_is_a_sentence_and_leaves_nothing_running(used, ctrl_c):
    there = threading.active_count()
    timer = threading.Timer(1.5, _thread.interrupt_main)  # the loop runs by then, under load too
    timer.start()
    found, said = used(ENDLESS)
    timer.join()
    time.sleep(0.1)
    assert found is exercise.insert and said.startswith("2.1 ✗ it was interrupted.")
    assert threading.active_count() == there


def test_a_check_leaves_the_pages_random_numbers_alone(used):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    used(RIGHT)
    assert torch.equal(torch.rand(3), wanted)


def solutions():
    """(number, name, the page's imports, the folded solution of the hole) of every hole."""
    for source in build.Tree().sources():
        cells = build.parse(source)
        code = [c.text for c in cells if c.kind == "code" and "setup" not in c.tags]
        nodes = [node for text in code for node in ast.parse(text).body]
        imports = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
        lines = "\n".join(map(ast.unparse, imports))
        for cell, after in zip(cells, cells[1:], strict=False):
            for number, name in re.findall(r'^\w+ = use\("([\d.]+)", (\w+)\)', cell.text, re.M):
                folded = after.text.partition("<summary>Solution")[2]
                for text in re.findall(r"```python\n(.+?)```", folded, re.S):
                    if f"def {name}(" in text:
                        yield pytest.param(number, name, lines, text, id=f"{source.stem}-{name}")


SOLUTIONS = [*solutions()]


def is_the_exercises_own(number, name, imports, text) -> bool:
    """Whether the page folds the solution of the exercise's file, which tests of lessons grade."""
    own, here = (
        [node for node in ast.parse(one).body if getattr(node, "name", "") == name][0]
        for one in (exercises(number)[0].solution, text)
    )
    bodies = [ast.unparse(node.body[ast.get_docstring(node) is not None :]) for node in (own, here)]
    return bodies[0] == bodies[1]


SAME = [one for one in SOLUTIONS if is_the_exercises_own(*one.values)]
OTHERS = [one for one in SOLUTIONS if one not in SAME]


def test_every_hole_of_every_page_has_its_solution_folded_below():
    found = "".join(source.read_text(encoding="utf-8") for source in build.Tree().sources())
    asked = set(re.findall(r'^(?:# )?\w+ = use\("([\d.]+)", (\w+)\)', found, re.M))
    folded = {one.values[:2] for one in SOLUTIONS}  # a later page may use a hole once more
    assert asked == folded and len(folded) > 40


@pytest.mark.parametrize(("number", "name", "imports", "text"), [*OTHERS, *sample(SAME, 3)])
def test_the_solution_of_a_page_is_one_for_the_grader(number, name, imports, text, used, sandbox):
    one = exercises(number)[0]
    file = holes.MY / one.path.name
    file.parent.mkdir()
    file.write_text(one.with_bodies({name: LINE}))  # its other functions are there
    found, said = used(text, number, name, imports=imports)
    assert f"{number} ✓" in said and "not right yet" not in said, said
    assert grade(one, file.read_text(), sandbox).status == "solved"


def test_what_an_exercise_of_two_functions_still_lacks_is_said(used):
    one = exercises("4.1")[0]
    text = one.solution[one.solution.index("def corrupt") : one.solution.index("def put_back")]
    said = used(text, "4.1", "corrupt")[1]
    assert "Another function of this exercise is not in the file yet." in said
    assert said.startswith("4.1 corrupt ✓ Right by itself.") and "solved" not in said
    wrong = "def put_back(states, token, clean):\n    return states\n"
    file = holes.MY / one.path.name
    file.write_text(f"{file.read_text().partition('def put_back')[0]}{wrong}")
    said = used("def corrupt(): ...\n", "4.1", "corrupt")[1]
    assert "4.1 corrupt ✓" in said and "The file as a whole is not right yet:" in said


def test_a_step_that_calls_another_is_tried_with_the_solution_of_that_one(used, tmp_path):
    one = exercises("1.4")[0]
    text = one.solution[one.solution.index("def answer_kl") :]
    file = tmp_path / "my" / one.path.name
    file.parent.mkdir()
    for there in ("return logits[-said:]", LINE):  # the step before it is wrong, or open
        file.write_text(one.with_bodies({"at_answer": there, "answer_kl": LINE}))
        found, said = used(
            text, "1.4", "answer_kl", imports="import torch\nfrom torch import Tensor"
        )
        assert "1.4 answer_kl ✓" in said and found.__name__ == "answer_kl"
        assert there in file.read_text() and "q = at_answer(after, said)" in file.read_text()
    assert "Another function of this exercise" in said
    wrong = text.replace("p.exp() * (p - q)", "q.exp() * (q - p)")
    assert "exchanged" in used(wrong, "1.4", "answer_kl", imports="from torch import Tensor")[1]


@pytest.mark.parametrize("name", ["at_answer", "answer_kl"])
def test_a_function_that_breaks_a_limit_has_one_verdict_everywhere(name, used, sandbox, tmp_path):
    """Alone it prints 1.7 MB; the other function calls it twice, and in all it is too much."""
    one = exercises("1.4")[0]
    file = tmp_path / "my" / one.path.name
    file.parent.mkdir()
    flood = "    for i in range(200_000):\n        print('x', i)\n"
    text = one.solution.replace("    # solution\n", flood, 1)
    verdict = grade_file(one, text, sandbox)
    assert (verdict.status, verdict.right, verdict.points) == ("wrong", (), 0)
    clean = one.solution if name == "at_answer" else text
    file.write_text(clean)
    function = text[text.index(f"def {name}") :].split("\n\n\n")[0] + "\n"
    found, said = used(function, "1.4", name, imports="from torch import Tensor")
    assert f"1.4 {name} ✗" in said and "more than 4 MB were printed" in said
    assert "✓" not in said and file.read_text() == clean and len([*file.parent.iterdir()]) == 1


def test_a_call_without_an_answer_is_not_announced_as_drawn(used):
    one = exercises("1.4")[0]
    text = one.solution[one.solution.index("def answer_kl") :].replace(".sum()", ".summ()")
    said = used(text, "1.4", "answer_kl", imports="from torch import Tensor")[1]
    assert "no attribute 'summ'" in said and "beside" not in said


def test_a_guess_is_kept_and_stands_beside_the_result(monkeypatch, capsys):
    monkeypatch.setattr(holes, "GUESSED", {})
    mine = holes.guess("How many of 30?", 0, 30)
    assert "from 0 to 30: type it in below, as `mine.number = …`" in capsys.readouterr().out
    mine.against(7)
    assert capsys.readouterr().out == "How many of 30? No guess was typed, found 7.\n"
    mine.number = "12,5"
    mine.against(7)
    assert capsys.readouterr().out == "How many of 30? Your guess 12.5, found 7.\n"
    for typed in (31, "many", float("nan")):
        with pytest.raises(ValueError, match="from 0 to 30, not"):
            mine.number = typed
    assert mine.number == 12.5


def test_a_guess_outlives_its_cell_being_run_again(monkeypatch, capsys):
    """A hole may stand in the same cell, and is filled and run many times."""
    shown = []
    monkeypatch.setattr(holes, "GUESSED", {})
    monkeypatch.setattr(holes, "live", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    for typed in ("1234567.5", "8"):
        holes.guess("How many?", 0, 10**7)
        shown[-1].children[1].children[0].value = typed
        again = holes.guess("How many?", 0, 10**7)
        field, said = shown[-1].children[1].children
        assert again.number == float(typed) and field.value == typed and "Saved" in said.value
    field.value = "many"
    assert again.number == 8, "what is no number takes nothing away"
    assert holes.guess("How many others?", 0, 10**7).number is None
    assert holes.guess("How many?", 0, 5).number is None, "8 would be no answer to it"
    monkeypatch.setattr(holes, "live", lambda: False)
    mine = holes.guess("How many?", 0, 10**7)
    assert mine.number == 8 and "`mine.number = …`. Now it is 8." in capsys.readouterr().out


def test_a_graded_cell_fails_unless_the_page_itself_has_it_right(used, tmp_path, monkeypatch):
    monkeypatch.setattr(holes, "JUDGED", {})
    with pytest.raises(AssertionError, match="2.1 insert: not attempted"):
        holes.graded("2.1", "insert")
    for text, said in ((OPEN, "not attempted"), (WRONG, "Where is C"), (RIGHT, "")):
        used(text)
        if said:
            with pytest.raises(AssertionError, match=said):
                holes.graded("2.1", "insert")
    holes.graded("2.1", "insert")
    assert (tmp_path / "my" / "l2_1_insert.py").is_file()
    used(OPEN)  # filled from that file, which may be the teacher's
    with pytest.raises(AssertionError):
        holes.graded("2.1", "insert")
