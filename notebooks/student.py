"""The pages for students: `python -m notebooks.build --student OUT`, or `--nbgrader OUT`.

OUT/NN_topic.ipynb   a page without outputs, and without what it folds away: the answers to its
                     guesses, what is worked out, the solutions of its holes; hints stay

A folder beside `notebooks`, such as `student`, keeps the links between the pages and the sessions,
and the pages find the library from there. For nbgrader a page is written in its source form:

OUT/source/NN_topic/NN_topic.ipynb   the same page with the solutions in its holes, between nbgrader's
                                     marks, and behind each hole a cell that is worth its points
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lessons.grading.exercise_source import exercises, is_empty

USE = re.compile(r"\buse\(\"([\d.]+)\", (\w+)\)")
OWN_FOLDER = """# What is written here is handed in with this notebook, and goes into no other folder.
import os
import tempfile

os.environ["MY_EXERCISES"] = tempfile.mkdtemp()"""
FOLDED = re.compile(
    r"^<details><summary>([^<]+)</summary>\n+(.*?)\n*</details>\n*", re.DOTALL | re.MULTILINE
)
STAYS = ("Hint", "A hint", "How these notebooks are run")  # beginnings of titles
HEADING = re.compile(r"^#{1,3} [^\n]+$", re.MULTILINE)


def edition(pages: Sequence[Path], out: Path, nbgrader: bool = False) -> None:
    """Write the pages into a folder that is new or empty; all of them or none.

    FileExistsError where something is in the folder: it may hold what students have written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already: name a folder that is new or empty.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        made = Path(folder) / "edition"
        for path in pages:
            page = json.loads(path.read_text(encoding="utf-8"))
            taken = stripped(page)
            if nbgrader:
                mark(page, taken)
            name = f"source/{path.stem}/{path.name}" if nbgrader else path.name
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(page, indent=1, ensure_ascii=False)
            (made / name).write_text(f"{text}\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        shutil.move(made, out)


def mark(page: dict[str, Any], taken: str) -> None:
    """Give a page nbgrader's marks: solutions in its holes, and a cell of points behind each.

    taken  what `stripped` has taken out of the page: the solutions stand there
    """
    solved = {}
    for block in re.findall(r"^```python\n(.*?)^```", taken, re.DOTALL | re.MULTILINE):
        for part in ast.parse(block).body:
            if isinstance(part, ast.FunctionDef):
                first = part.body[ast.get_docstring(part) is not None].lineno
                solved[part.name] = block.splitlines()[first - 1 : part.end_lineno]
    cells = [_cell("own-folder", OWN_FOLDER, locked=True)]
    for cell in page["cells"]:
        text = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
        numbers = {name: number for number, name in USE.findall(text)}
        holes = [part for part in ast.parse(text).body if is_empty(part)]
        # a hole that another page has, too, has its solution there
        own = [part for part in holes if part.name in numbers and part.name in solved]
        for part in reversed(own):
            lines = text.splitlines()
            end = part.end_lineno
            inside = ["    ### BEGIN SOLUTION", *solved[part.name], "    ### END SOLUTION"]
            lines[part.body[-1].lineno - 1 : end] = inside
            text = "\n".join(lines)
        cells.append(cell)
        if own:
            cell["source"] = text
            cell["metadata"]["nbgrader"] = _marks(f"hole-{cell['id']}") | {"solution": True}
        for part in own:
            exercise = exercises(number := numbers[part.name])[0]
            # rounded so that the functions of an exercise add up to its stars
            place, parts = [*exercise.blocks].index(part.name), len(exercise.blocks)
            before, after = (round(exercise.stars * n / parts, 2) for n in (place, place + 1))
            points = round(after - before, 2)
            test = f'from notebooks.support import holes\n\nholes.graded("{number}", "{part.name}")'
            graded = _cell(f"test-{number.replace('.', '-')}-{part.name}", test, locked=True)
            graded["metadata"]["nbgrader"] |= {"grade": True, "points": points}
            cells.append(graded)
    page["cells"] = cells


def _marks(name: str) -> dict[str, Any]:
    """The marks of a cell that is neither filled nor graded."""
    marks = dict.fromkeys(("grade", "locked", "solution", "task"), False)
    return {**marks, "schema_version": 3, "grade_id": name}


def _cell(name: str, text: str, locked: bool = False) -> dict[str, Any]:
    marks = _marks(name) | {"locked": locked}
    head = {"cell_type": "code", "id": name, "metadata": {"nbgrader": marks}}
    return head | {"execution_count": None, "outputs": [], "source": text}


def stripped(page: dict[str, Any]) -> str:
    """Take outputs and folded answers out of a notebook; return the answers as Markdown."""
    page["metadata"].pop("widgets", None)
    page["cells"] = [
        cell for cell in page["cells"] if "last-run" not in cell["metadata"].get("tags", ())
    ]
    taken: list[str] = []
    for cell in page["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            continue
        text = "".join(cell["source"])
        for found in re.finditer(rf"{HEADING.pattern}|{FOLDED.pattern}", text, FOLDED.flags):
            if not found[1]:
                taken.append(found[0])
            elif not found[1].startswith(STAYS):
                taken.append(f"**{found[1]}**\n\n{found[2].strip()}")
        # an empty line stays behind what stays: without it Markdown takes the next text for HTML
        kept = FOLDED.sub(lambda it: f"{it[0].rstrip()}\n\n" * it[1].startswith(STAYS), text)
        cell["source"] = kept.rstrip("\n")
    return "\n\n".join(taken)
