"""The notebook builder and the stored runs, on a toy tree; and `--check` on the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from notebooks import build
from notebooks.support import long_runs, stored_runs
from notebooks.support.same_program import first_difference

TEXT = """\
# %% [markdown]
# <!-- badge -->
#
# # A toy
#
# Two lines of **text**.

# %% tags=["setup"]
{setup}

# %%
import warnings

import ipywidgets
import numpy as np

warnings.warn("noise", stacklevel=1)
print(sorted({{"a", "b", "c"}}), [hash(name) for name in ("a", "b")], SCALE)
print("noise", file=sys.stderr)
print(np.random.default_rng(0).random())

# %%
np.pi

# %%
ipywidgets.IntSlider(description="edits")

# %%
np.pi
"""


@pytest.fixture
def tree(tmp_path) -> build.Tree:
    """A repository with one source, 01_toy, and nothing built."""
    tree = build.Tree(tmp_path / "repo" / "notebooks")
    (tree.folder / "src").mkdir(parents=True)
    (tree.folder.parent / "lib").mkdir()
    (tree.folder.parent / "lib" / "__init__.py").touch()
    (tree.folder / "src" / "01_toy.py").write_text(TEXT.format(setup=build.SETUP))
    return tree


@pytest.fixture
def pretend(monkeypatch):
    """Replace the kernel: every code cell prints `pretend.text`."""

    def execute(notebook, source, cells, folder, env):
        for n, cell in enumerate(notebook["cells"]):
            cell["source"] = "".join(cell["source"])
            if cell["cell_type"] == "code":
                output = {"output_type": "stream", "name": "stdout", "text": pretend.text}
                cell |= {"execution_count": n, "outputs": [output]}
        return notebook

    pretend = type("Pretend", (), {"text": "seen\n"})()
    monkeypatch.setattr(build, "_execute", execute)
    return pretend


def run(tree, *arguments: str) -> int:
    return build.main(list(arguments), folder=tree.folder)


def source(tree) -> Path:
    return tree.folder / "src" / "01_toy.py"


def change(tree, old: str, new: str) -> None:
    text = source(tree).read_text()
    assert old in text
    source(tree).write_text(text.replace(old, new))


@pytest.mark.slow
def test_two_builds_are_equal_and_quiet(tree, capsys):  # two kernels
    assert run(tree, "01") == 0
    first = (tree.folder / "01_toy.ipynb").read_bytes()
    assert run(tree) == 0
    assert (tree.folder / "01_toy.ipynb").read_bytes() == first
    assert "[1/1] 01_toy" in capsys.readouterr().err

    notebook = json.loads(first)
    assert [len(cell.get("outputs", [])) for cell in notebook["cells"]] == [0, 0, 1, 1, 1, 1, 0]
    assert "noise" not in json.dumps(notebook["cells"][2]["outputs"])
    assert "FloatProgress" not in first.decode() and "IntSlider" in first.decode()
    assert "['a', 'b', 'c']" in "".join(notebook["cells"][2]["outputs"][0]["text"])
    assert "small" in "".join(notebook["cells"][2]["outputs"][0]["text"])
    assert "application/vnd.jupyter.widget-view+json" in notebook["cells"][4]["outputs"][0]["data"]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    last = notebook["cells"].pop()
    said = f"Last run with Python {sys.version.split()[0]}, torch {version('torch')}, transformers "
    assert "".join(last["source"]).startswith(said)
    assert sys.version.split()[0] not in json.dumps(notebook)
    assert run(tree, "--check") == 0


@pytest.mark.slow
def test_an_error_names_file_cell_and_line(tree, capsys):  # one kernel
    change(tree, 'ipywidgets.IntSlider(description="edits")', "{}['missing']")
    assert run(tree, "01") == 1
    message = capsys.readouterr().err
    assert "01_toy.py, cell 5 (line " in message and "raised KeyError: 'missing'" in message
    line = int(message.split("(line ")[1].split(")")[0])
    assert source(tree).read_text().splitlines()[line] == "{}['missing']"
    assert not (tree.folder / "01_toy.ipynb").exists()


@pytest.mark.parametrize("path", sorted(build.HERE.glob("*.ipynb")), ids=lambda path: path.stem)
def test_stored_notebooks_carry_no_state_of_widgets(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert set(notebook["metadata"]) == {"edit", "kernelspec", "language_info"}
    assert build.VIEW not in path.read_text(encoding="utf-8")


def test_cells_are_those_of_jupytext(tree):
    jupytext = pytest.importorskip("jupytext")
    theirs = jupytext.reads(source(tree).read_text(), fmt="py:percent").cells
    ours = build.parse(source(tree))
    assert [(c.kind, c.text) for c in ours] == [(c.cell_type, c.source) for c in theirs]


def test_check_says_one_sentence_per_difference(tree, pretend, capsys):
    def check() -> str:
        code = run(tree, "--check")
        lines = capsys.readouterr().out.splitlines()
        assert code == (lines != ["sources, notebooks and stored runs agree."])
        assert len(lines) == 1, lines
        return lines[0]

    assert check() == "01_toy.py has no notebook: run `python -m notebooks.build 01`."
    run(tree)
    assert "agree" in check()
    change(tree, "Two lines", "Three lines")
    assert "differs from its source at cell 1: run" in check()
    run(tree)
    notebook = tree.folder / "01_toy.ipynb"
    notebook.with_name("02_gone.ipynb").write_bytes(notebook.read_bytes())
    assert "02_gone.ipynb has no source" in check()
    notebook.with_name("02_gone.ipynb").unlink()
    run(tree, "--scale", "tiny")
    assert "was built at scale 'tiny'" in check()
    run(tree)
    run(tree, "--scale", "tiny", "--out", str(tree.folder / "elsewhere"))
    assert "agree" in check()
    change(tree, "SCALE = os", "MY_SCALE = os")
    assert "its text must be that of notebooks/setup.txt" in check()


RELINKED = {  # what may change in a source while its outputs stay
    "text": [("Two lines", "Three lines")],
    "an import": [("import numpy as np", "import math\nimport numpy as np")],
}


@pytest.mark.parametrize("what", RELINKED)
def test_relinking_keeps_the_outputs(tree, pretend, what):
    run(tree)
    path = tree.folder / "01_toy.ipynb"
    before = json.loads(path.read_text())
    assert run(tree, "--relink") == 0 and json.loads(path.read_text()) == before
    for old, new in RELINKED[what]:
        change(tree, old, new)
    assert run(tree, "--check") == 1
    pretend.text = "not run"
    assert run(tree, "--relink", "01") == 0 and run(tree, "--check") == 0
    after = json.loads(path.read_text())
    assert after != before and after["metadata"] == before["metadata"]
    for old, new in zip(before["cells"], after["cells"], strict=True):
        assert old.get("outputs") == new.get("outputs")
        assert old.get("execution_count") == new.get("execution_count")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("random())", "random() + 1)", "cell 3 (line"),
        ("np.pi", "np.e", "cell 4 (line"),
        ("# %%\nnp.pi", "# %%\nprint(1)\n\n# %%\nnp.pi", "has other cells than its source"),
    ],
)
def test_what_would_show_something_else_is_not_relinked(tree, pretend, capsys, old, new, message):
    run(tree)
    path = tree.folder / "01_toy.ipynb"
    before = path.read_bytes()
    change(tree, old, new)
    assert run(tree, "--relink") == 1
    said = capsys.readouterr().err
    assert message in said and "run `python -m notebooks.build 01`" in said
    assert path.read_bytes() == before


PACKAGES = ("lib/__init__.py", "lib/facts.py", "lib/data/__init__.py", "lib/data/facts.py")
SAME = {
    "an import moves": ("import a\na.f(1)", "# the same\nimport b, a\na.f( 1 )"),
    "a module that is gone": ("from lib.old import f\nf(1)", "from lib.data.facts import f\nf(1)"),
}
OTHER = {
    "two functions change places": ("from a import f, g\nf(g)", "from a import f, g\ng(f)"),
    "another module": ("import a as x\nx.f(1)", "import b as x\nx.f(1)"),
    "the same name elsewhere": (
        "from lib.data.facts import g\ng(1)",
        "from lib.facts import g\ng(1)",
    ),
}


@pytest.fixture
def packages(tmp_path) -> Path:
    """The folder of PACKAGES."""
    for name in PACKAGES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("case", SAME)
def test_the_same_program_under_other_imports(case, packages):
    old, new = SAME[case]
    assert first_difference(["1", old], ["1", new], packages) is None


@pytest.mark.parametrize("case", OTHER)
def test_another_program(case, packages):
    old, new = OTHER[case]
    assert first_difference(["1", old], ["1", new], packages) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<!-- badge -->", "no badge", "first cell must be text with one line"),
        ("# %%\nnp.pi", "# %%\n%time np.pi", "not plain Python"),
    ],
)
def test_a_source_that_breaks_a_rule_is_refused(tree, old, new, message):
    change(tree, old, new)
    with pytest.raises(build.BuildError, match=message):
        build.assemble(source(tree))


SETUP = build.SETUP.replace('REPOSITORY = ""', 'REPOSITORY = "owner/name"')


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A folder without a checkout above it, and the commands that the setup cell runs there."""
    commands: list = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return commands


def test_the_setup_cell_clones_where_no_checkout_is(alone, tmp_path, capsys):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "__init__.py").touch()  # somebody else's `lib` is no checkout
    names: dict = {}
    exec(SETUP, names)
    assert "https://github.com/owner/name" in alone[0] and "pip" in alone[1]
    assert sys.path[0] == str(names["root"]) == str(tmp_path.resolve() / "name")
    assert "Fetching https://github.com/owner/name" in capsys.readouterr().out
    (tmp_path / "name" / "lib").mkdir(parents=True)
    (tmp_path / "name" / "lib" / "__init__.py").touch()
    exec(SETUP, {})  # a second run does not clone again
    assert len(alone) == 3 and "pip" in alone[2]


def test_a_notebook_alone_names_the_folder_that_it_needs(alone, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        exec(build.SETUP, {})
    said = str(error.value)
    assert "the folder of its repository" in said and str(tmp_path) in said and "\n" not in said
    assert alone == []


def test_a_source_runs_as_plain_python(tree, tmp_path):
    done = subprocess.run(
        [sys.executable, str(source(tree))], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "['a', 'b', 'c']" in done.stdout


@pytest.mark.parametrize("leak", ["{root}/lib/x.py", "{home}/data", "<Line2D at 0x7f00aa11bb22>"])
def test_outputs_of_this_machine_are_refused(tree, pretend, capsys, leak):
    pretend.text = leak.format(root=tree.folder.parent, home=Path.home())
    assert run(tree) == 1
    assert "01_toy.py, cell 2" in capsys.readouterr().err


SETTINGS = {"editor": "rome", "layers": (1, 2), "eps": 0.5}
ROWS = [{"step": i, "value": i / 3, "seconds": 0.1} for i in range(5)]


def test_stored_rows_come_back_with_the_hash_of_their_settings(tmp_path):
    path = stored_runs.save("01_run", SETTINGS, ROWS, folder=tmp_path)
    found = stored_runs.read(path)
    order = {"eps": 0.5, "layers": [1, 2], "editor": "rome"}  # another order, and a list
    assert found["settings_hash"] == stored_runs.settings_hash(order)
    assert found["rows"] == ROWS and tuple(found) == stored_runs.FIELDS
    assert found["command"] == "python -m notebooks.build --long 01"
    assert str(Path.home()) not in found["machine"]
    assert found["settings_hash"] != stored_runs.settings_hash(SETTINGS | {"eps": 0.6})
    with pytest.raises(stored_runs.StoredError, match="cannot be stored"):
        stored_runs.save("01_run", SETTINGS, [{"value": float("nan")}], folder=tmp_path)
    assert stored_runs.read(path)["rows"] == ROWS  # the failed save changed nothing


def counted(n: int, made: list, stop: int = 10**9):
    """A job of three rows; `made` has what was computed, and row number `stop` fails."""

    def rows():
        for i in range(3):
            if len(made) == stop:
                raise KeyboardInterrupt
            made.append((n, i))
            yield {"job": n, "i": i}

    return rows


def test_a_long_run_that_was_stopped_goes_on_with_the_first_unfinished_job(tmp_path):
    made: list = []
    run = stored_runs.LongRun(
        "01_run", SETTINGS, {f"job {n}": counted(n, made, stop=5) for n in range(3)}
    )
    with pytest.raises(KeyboardInterrupt):
        stored_runs.make(run, folder=tmp_path)
    part = tmp_path / "01_run.part.jsonl"
    assert part.read_text().count('"job":') == 1 + 3  # of the job that is done, and in its rows
    part.write_text(part.read_text() + '{"job": "job 1", "ro')  # killed within a line
    again: list = []
    run = stored_runs.LongRun("01_run", SETTINGS, {f"job {n}": counted(n, again) for n in range(3)})
    path = stored_runs.make(run, folder=tmp_path)
    assert again == [(n, i) for n in (1, 2) for i in range(3)]  # job 0 was finished
    found = stored_runs.read(path)["rows"]
    assert [(row["job"], row["i"]) for row in found] == [(n, i) for n in range(3) for i in range(3)]
    assert all(row["cpu"] >= 0 for row in found) and not part.exists()
    assert stored_runs.make(run, folder=tmp_path) == path and len(again) == 6  # nothing is missing


def test_a_long_run_ends_in_time_and_refuses_rows_of_other_settings(tmp_path):
    made: list = []
    run = stored_runs.LongRun("01_run", SETTINGS, {"a": counted(0, made), "b": counted(1, made)})
    with pytest.raises(stored_runs.OutOfTimeError, match="01_run: 0 of 2 jobs"):
        stored_runs.make(run, minutes=0, folder=tmp_path)
    assert len(made) <= 1
    other = stored_runs.LongRun("01_run", SETTINGS | {"eps": 1}, run.jobs)
    with pytest.raises(stored_runs.StoredError, match="started with other settings"):
        stored_runs.make(other, folder=tmp_path)


def test_repeats_finds_the_row_that_differs(monkeypatch):
    monkeypatch.delenv("EDIT_MODEL", raising=False)
    monkeypatch.setenv("EDIT_SCALE", "small")
    assert long_runs.repeats(ROWS, lambda: ROWS[:3], ["step", "value"]) == ROWS[:3]
    live = [dict(row) for row in ROWS[:3]]
    live[2] |= {"seconds": 9.0, "value": live[2]["value"] + 1e-6}
    with pytest.raises(AssertionError, match="row 2, value: live 0.66"):
        long_runs.repeats(ROWS, lambda: live, ["step", "value"])
    long_runs.repeats(ROWS, lambda: live, ["step", "value"], tolerance=1e-5)
    with pytest.raises(AssertionError, match="6 live rows"):
        long_runs.repeats(ROWS, lambda: ROWS + ROWS[:1], ["step"])
    with pytest.raises(AssertionError, match="no live rows"):
        long_runs.repeats(ROWS, lambda: [], ["step"])


def test_check_watches_the_stored_runs(tree, pretend, capsys):
    data = tree.folder / "data"
    stored_runs.save("01_run", SETTINGS, ROWS, folder=data)
    run(tree)
    assert run(tree, "--check") == 1
    assert "data/01_run.json is read by no source" in capsys.readouterr().out
    change(tree, "# %%\nnp.pi", '# %%\nname = "01_run"')
    run(tree)
    assert run(tree, "--check") == 0
    stored_runs.save("01_run", SETTINGS, ROWS[:4], folder=data)  # a new run, the old picture
    assert run(tree, "--check") == 1
    assert "built before the stored runs" in capsys.readouterr().out
    run(tree)
    text = (data / "01_run.json").read_text()
    (data / "01_run.json").write_text(text.replace("0.5", "0.7"))  # edited by hand
    assert run(tree, "--check") == 1
    assert "settings_hash doesn't match its settings" in capsys.readouterr().out


def test_the_built_notebooks_agree_with_their_sources():
    assert build.check(build.Tree()) == []
