"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the project.

A recipe is a table of files, of places and of lines. They are put where the table says, the
commands of the page are run, and then the tests of what the recipe touches. No other file changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.usual import sample
from .test_contributing import ROOT, section

pytestmark = pytest.mark.slow
LEFT_OUT = {".git", ".venv", "my", "run", "build", "dist", "__pycache__"}
# (recipe, test files, the tests of them that it touches)
RECIPES = [
    (
        "Add an editor",
        "tests/editors/test_editors.py tests/editors/test_presets.py tests/editors/test_pairs.py "
        "tests/plot tests/repository/test_imports.py tests/demo_app/test_lab.py",
        "nudge or declares or plot or imports or blind",
    ),
    (
        "Add a model family",
        "tests/model/test_architectures.py tests/model/test_partial_forward.py "
        "tests/interpret/test_causal_trace.py tests/repository/test_imports.py",
        "olmo- or olmo] or unknown_family or imports",
    ),
    (
        "Add a metric",
        "tests/evaluation/test_metrics.py tests/evaluation/test_evaluate.py "
        "tests/evaluation/test_empty_patch.py tests/lifelong/test_journal.py",
        "metric or table or event or measured",
    ),
    ("Add a lesson", "tests/lessons/test_lessons.py", "l3_6 or course or session or teacher"),
]


class Recipe:
    """A recipe of the page, and a copy of the project in which it is followed."""

    def __init__(self, title: str, folder: Path) -> None:
        self.text, self.folder = section(title), folder
        rows = [line.strip("| ").split(" | ") for line in self.text.splitlines() if line[:1] == "|"]
        self.rows = [(re.findall("`(.+?)`", row[0]), *row[1:]) for row in rows[2:]]
        self.named = {file for files, *_ in self.rows for file in files}
        for path in tracked():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, folder / path)
        self.before = self.content()

    def content(self) -> dict[str, str]:
        """{file: a digest of it}."""
        files = [p for p in self.folder.rglob("*") if p.is_file() and p.suffix != ".pyc"]
        return {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    def changed(self) -> set[str]:
        """Files that differ from those of the project, or are new, or gone."""
        now = self.content()
        return {file for file in {*self.before, *now} if self.before.get(file) != now.get(file)}

    def follow(self) -> None:
        """Put all lines where the table says, and run the commands that are no tests."""
        for (file, *_), where, *lines in self.rows:
            path, new = self.folder / file, re.findall("`(.+?)`", lines[0]) if lines else []
            if where.startswith("new file"):
                path.write_text(self.block(where), encoding="utf-8")
            elif where != "by the commands":
                text = path.read_text(encoding="utf-8")
                path.write_text(placed(text, where, new), encoding="utf-8")
        for command in re.findall("^python (.+)$", self.text, re.MULTILINE):
            if "pytest" not in command:
                self.run(*shlex.split(command))

    def block(self, where: str) -> str:
        """The block of code under the table, or the one of the page that is linked."""
        linked = re.search(r"\]\((.+?)[#)]", where)
        page = (ROOT / linked[1]).read_text(encoding="utf-8") if linked else self.text
        return re.search(r"^```python\n(.+?)^```", page, re.MULTILINE | re.DOTALL)[1]

    def run(self, *command: str) -> None:
        """Run Python in the copy; a failure is shown with the end of what it said."""
        given = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        given.pop("PYTEST_XDIST_WORKER", None)
        done = subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=given, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def tracked() -> list[str]:
    """The files of the project: those that git does not ignore, or all where it is no checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if found.returncode == 0:
        return [name for name in found.stdout.split("\0") if (ROOT / name).is_file()]
    every = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return [path.as_posix() for path in every if not LEFT_OUT & {*path.parts}]


def placed(text: str, where: str, new: list[str]) -> str:
    """The text with lines at its end, below a line and indented as it is, or in place of a text."""
    if where == "at the end":
        return text + "\n" + "\n".join(new) + "\n"
    kind, what = re.fullmatch("(below|in place of) `(.+)`", where).groups()
    if kind == "in place of":
        assert text.count(what) == 1, f"{what} stands {text.count(what)} times in the file"
        return text.replace(what, *new)
    lines = text.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.strip() == what]
    indent = lines[at][: -len(what)]
    return "\n".join([*lines[: at + 1], *(indent + line for line in new), *lines[at + 1 :], ""])


@pytest.mark.parametrize(("title", "tests", "which"), sample(RECIPES, 2))
def test_a_recipe_is_followed_to_the_letter(title, tests, which, tmp_path):
    recipe = Recipe(title, tmp_path)
    recipe.follow()
    pytest_alone = ("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider")
    recipe.run(*pytest_alone, *tests.split(), "-k", which, "-m", "not slow and not browser")
    code = sorted(file for file in recipe.named if file.endswith(".py"))
    for command in ("check", "format --check"):
        recipe.run("-m", "ruff", *command.split(), "--no-cache", *code)
    assert recipe.changed() == recipe.named
