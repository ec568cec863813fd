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
from lessons.grading.verdict import grade
from notebooks import build
from notebooks.support import hand_ins, holes

from ..support.usual import few

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
    assert said == "2.1 is still open: the page goes on with the solution.\n"
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
    assert said.endswith("and its figures show yours beside it.\n")
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


@pytest.mark.parametrize("kind", ["a list", "another cell", "a text", "nothing", "endless"])
def test_a_mistake_of_another_form_is_not_drawn(kind, used, monkeypatch):
    monkeypatch.setattr("lessons.grading.trial.SECONDS", 0.5)
    found, said = used(BOTH[kind][0])
    assert found is exercise.insert and said.endswith("The page goes on with the solution.\n")


def test_what_was_handed_in_can_grow_into_an_editor(used, tmp_path, monkeypatch, capsys):
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "l2_1_insert.py").write_text(exercises("2.1")[0].solution)
    monkeypatch.setattr(hand_ins, "MY", tmp_path / "my")
    hand_ins.Editor("editor.py").grow(used(OPEN)[0])
    assert "insert: It is written in" in capsys.readouterr().out
    assert "def insert(" in (tmp_path / "my" / "editor.py").read_text()


def test_of_several_functions_in_one_cell_each_sentence_names_its_own(used):
    opened = used("def asks(rho, R):\n    ...", "3.2", "asks")[1]
    assert opened == "3.2 asks is still open: the page goes on with the solution.\n"
    part, whole = (
        "def corrupt(x, noise, first):\n    return ",
        "def put_back(x, clean, token):\n    return ",
    )
    assert used(f"{part}x", "4.1", "corrupt")[1].startswith("4.1 corrupt ✗ ")
    assert used(f"{whole}x", "4.1", "put_back")[1].startswith("4.1 put_back ✗ ")
    asks = "def asks(rho, R):\n    return R"
    assert used(asks, "3.2", "asks")[1].startswith("3.2 asks ✗ ")
    assert "asks: " not in used(asks, "3.2", "asks")[1]


def test_what_is_right_goes_on_and_can_be_handed_in(used, tmp_path, monkeypatch):
    right = in_cell(RIGHT)
    found, said = used(right)
    assert found is right and said.startswith("2.1 ✓ solved")
    file = tmp_path / "my" / "l2_1_insert.py"
    assert f"It is written in {file}, to be handed in." in said
    assert "u / (k @ u)" in file.read_text() and file.read_text().startswith('"""★ Write one pair')
    monkeypatch.setattr("notebooks.support.hand_ins.ROOT", tmp_path)
    assert "It is written in my/l2_1_insert.py" in used(right)[1]


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
    assert "✓" in (said := used(RIGHT)[1]) and "was left as it is: it is not Python" in said
    assert file.read_text() == mine
    file.write_text(mine := f"import torch\n\n\n@torch.no_grad()\n{WRONG}\n\ndef other(): ...\n")
    assert "what was there is in l2_1_insert.py.old1." in used(f"@torch.no_grad()\n{RIGHT}")[1]
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
    assert "was left as it is: a link" in used(RIGHT)[1]


@pytest.mark.parametrize(
    ("number", "given", "why"),
    [
        ("2", RIGHT, "a number such as '2.1', not '2'"),
        (2.1, RIGHT, "a number such as '2.1', not 2.1"),
        ("99.1", RIGHT, "there is no exercise '99.1'"),
        ("2.1", lambda W, k, v, C: W, "is about insert, written with def, not about <lambda>"),
        ("2.1", 3, "is about insert, written with def, not about 3"),
        ("4.1", RIGHT, "is about corrupt and put_back"),
    ],
)
def test_what_is_no_hole_is_one_sentence(number, given, why, used):
    with pytest.raises(ValueError, match=re.escape(why)):
        used(given, number)


# ---- the same verdict as the grader's ------------------------------------------------------------

PRINTS = "    for _ in range({}):\n        print('x' * 1000)\n"
FLOOD = PRINTS.format(10**7)
ENDLESS = "def insert(W, k, v, C):\n    while True:\n        pass\n"
STUBBORN = """
def insert(W, k, v, C):
    while True:
        try:
            len(W)
        except BaseException:
            pass
"""
BOTH = {  # what a hole holds -> the status, and a word of the sentence
    "in place": (
        HEAD + "    W += torch.outer(v - W @ k, u / (k @ u))\n    return W\n", "solved", "",
    ),
    "decorated": (f"@torch.no_grad()\n{RIGHT}", "solved", ""),
    "typed": (RIGHT.replace("C):", "C: Tensor) -> Tensor:"), "solved", ""),
    "a list": (RIGHT.replace("return W", "return [*W").replace("u))", "u))]"), "wrong", ""),
    "another name": (RIGHT.replace("torch.outer", "t.outer"), "solved", ""),
    "a function of torch": (RIGHT.replace("torch.linalg.solve", "solve"), "solved", ""),
    "numpy": (
        RIGHT.replace("return W + torch.outer(v - W @ k, u / (k @ u))",
                      "return W.numpy() + np.outer(v - W @ k, u / (k @ u))"),
        "solved", "",
    ),
    "prints": (RIGHT.replace("    u =", PRINTS.format(5) + "    u ="), "solved", ""),
    "a flood": (RIGHT.replace("    u =", FLOOD + "    u ="), "wrong", "4 MB were printed"),
    "endless": (ENDLESS, "wrong", "2 s of computing: does a loop never end?"),
    "stubborn": (STUBBORN, "wrong", "2 s of computing: does a loop never end?"),
    "another cell": (RIGHT.replace("torch.outer", "helper"), "wrong", "'helper' is not defined"),
    "our library": (RIGHT.replace("torch.outer", "memory.f"), "wrong", "No module named 'lib'"),
    "our library inside": (HEAD + "    import lib\n", "wrong", "No module named 'lib'"),
    "an exit": (HEAD + "    raise SystemExit\n", "wrong", "the file ended itself"),
    "itself": ("def insert(*given):\n    return insert(*given)\n", "wrong", "RecursionError"),
    "an object": (HEAD + "    return object()\n", "wrong", "the function returned a object"),
    "too much": (HEAD + "    return torch.zeros(10**5)\n", "wrong", "kB at once"),
    "lists in lists": (
        HEAD + "    for _ in range(40):\n        u = [u]\n    return u\n", "wrong", "32 lists",
    ),
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


def test_a_name_that_nobody_has_is_named(used):
    said = used(WRONG.replace("W @ k", "w @ k"))[1]
    assert "NameError: name 'w' is not defined" in said, said


def test_a_name_of_another_cell_is_explained(used):
    said = used(BOTH["another cell"][0], helper=lambda a, b: a[:, None] * b)[1]
    assert "A hand-in has no other cells: helper has to be made inside insert." in said


def test_what_has_no_text_is_one_sentence(used):
    function = in_cell("def insert(W, k, v, C):\n    return W\n")
    for text in ("", "def insert(W, k, v, C):\n    %time W\n"):
        linecache.cache["<cell>"] = (len(text), None, text.splitlines(keepends=True), "<cell>")
        with pytest.raises(ValueError, match="insert has no text that could be handed in"):
            used(function)


def test_a_folder_that_cannot_be_made_is_said(used, tmp_path):
    (tmp_path / "my").write_text("a file")
    found, said = used(RIGHT)
    assert found is not exercise.insert and "It could not be written in" in said
    assert (tmp_path / "my").read_text() == "a file"


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


def test_every_hole_of_every_page_has_its_solution_folded_below():
    found = "".join(source.read_text(encoding="utf-8") for source in build.Tree().sources())
    asked = set(re.findall(r'^(?:# )?\w+ = use\("([\d.]+)", (\w+)\)', found, re.M))
    folded = {one.values[:2] for one in SOLUTIONS}  # a later page may use a hole once more
    assert asked == folded and len(folded) > 40


@pytest.mark.parametrize(("number", "name", "imports", "text"), SOLUTIONS)
def test_the_solution_of_a_page_is_one_for_the_grader(number, name, imports, text, used, sandbox):
    one = exercises(number)[0]
    file = holes.MY / one.path.name
    file.parent.mkdir()
    file.write_text(one.with_bodies({name: LINE}))  # its other functions are there
    found, said = used(text, number, name, imports=imports)
    assert f"{number} ✓" in said and "not right yet" not in said, said
    assert grade(one, file.read_text(), sandbox).status == "solved"


def test_a_file_has_what_a_hole_may_use():
    for one in exercises():
        assert "\nimport torch\n" in one.stub, one.path.name


HOLES = {"1.1": ["fit", "ridge"], "1.2": ["outer_memory"], "1.3": ["whitened_cosines"]}
HOLES |= {"1.4": ["at_answer", "answer_kl"], "1.5": ["ranks"]}
HOLES |= {"2.3": ["published"], "4.3": ["scores"]}
HOLES |= {"2.5": ["nll", "drift", "search_loss", "descend"]}
HOLES |= {"3.1": ["interference"], "3.3": ["tails", "forecast"]}
HOLES |= {"4.1": ["corrupt", "put_back"], "4.2": ["effect", "around", "trace"]}
HOLES |= {
    "5.1": ["memit"],
    "5.3": ["place"],
    "5.4": ["turn"],
    "5.5": ["asked", "layer_change", "spread"],
}
HOLES |= {
    "6.1": ["moved"],
    "6.2": ["chan", "settle"],
    "6.3": ["turn", "at_zero"],
    "6.4": ["shifts", "granted", "learn"],
}
HOLES |= {
    "7.1": ["margin_loss"],
    "7.2": ["nearest", "lookup", "rule", "write"],
    "7.3": ["delta", "threshold", "routed", "ties"],
    "7.4": ["refit_loss", "refit"],
}
HOLES |= {"8.1": ["events"], "8.2": ["wilson"], "8.3": ["shares"]}
HOLES |= {"8.4": ["paired", "unbeaten"], "8.5": ["ends", "wider", "coverage", "winners"]}
HOLES |= {"9.4": ["cheapest", "silent", "hide"]}
HOLES |= {"10.1": ["rounded"], "10.2": ["gives"], "10.3": ["held_out"]}
HOLES |= {"10.4": ["multiply_adds"], "10.5": ["roof"], "10.6": ["merged"]}


@pytest.mark.parametrize(("number", "name"), [(n, name) for n in HOLES for name in HOLES[n]])
def test_a_hole_takes_what_the_exercise_takes(number, name, used):
    one = exercises(number)[0]
    file = holes.MY / one.path.name
    file.parent.mkdir()
    file.write_text(one.solution)  # 2.3 returns a tuple, which the grader sends as a list
    found, said = used(f"def {name}(): ...\n", number, name)
    assert found.__code__.co_filename == file.name and f"{number} ✓" in said


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
    assert "turned round" in used(wrong, "1.4", "answer_kl", imports="from torch import Tensor")[1]


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


def test_a_guess_is_typed_into_a_field(monkeypatch):
    shown = []
    monkeypatch.setattr(holes, "GUESSED", {})
    monkeypatch.setattr(holes, "live", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    mine = holes.guess("How many of 30?", 0, 30)
    field, said = shown[0].children[1].children
    field.value = "many"
    assert mine.number is None and "not 'many'" in said.value
    field.value = "8"
    assert mine.number == 8 and said.value.startswith("Kept")


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
        assert again.number == float(typed) and field.value == typed and "Kept" in said.value
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
