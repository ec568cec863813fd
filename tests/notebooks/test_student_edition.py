"""The student's edition: pages without outputs and answers, and the answers for a teacher."""

import json

import nbformat
import pytest

from notebooks import build, student
from notebooks.build import HERE, Tree

PAGES = [Tree(HERE).notebook(source) for source in Tree(HERE).sources()]


def test_pages_have_no_outputs_and_no_answers(tmp_path):
    student.edition(PAGES, tmp_path / "student")
    for path in PAGES:
        page = nbformat.read(tmp_path / "student" / path.name, 4)
        nbformat.validate(page)
        assert all(c.get("execution_count") is None and not c.get("outputs") for c in page.cells)
        text = "\n".join(cell.source for cell in page.cells)
        assert not any(f"<summary>{it}<" in text for it in ("Solution", "Answer", "Work it out"))
        whole = path.read_text(encoding="utf-8")
        answers = (tmp_path / "student/teacher" / f"{path.stem}.md").read_text(encoding="utf-8")
        assert answers.count("**Solution**") == whole.count("<summary>Solution<")
        assert text.count("<summary>Hint<") == whole.count("<summary>Hint<")


def test_what_is_taken_out_stands_under_its_heading():
    text = "## One\n\na\n\n<details><summary>Answer</summary>\n\n4, **not** 5\n\n</details>\nb\n\n"
    page = {
        "metadata": {"widgets": {}},
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": f"{text}## Two"},
            {"cell_type": "code", "metadata": {}, "outputs": [{}], "execution_count": 3},
        ],
    }
    assert student.stripped(page) == "## One\n\n**Answer**\n\n4, **not** 5\n\n## Two"
    assert page["cells"][0]["source"] == "## One\n\na\n\nb\n\n## Two"


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "mine.ipynb").write_text("my work")
    assert build.main(["--student", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.ipynb"]


def test_a_broken_page_leaves_nothing_behind(tmp_path):
    (tmp_path / "01_x.ipynb").write_text(json.dumps({"metadata": {}, "cells": [{}]}))
    with pytest.raises(KeyError):
        student.edition([tmp_path / "01_x.ipynb"], tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["01_x.ipynb"]
