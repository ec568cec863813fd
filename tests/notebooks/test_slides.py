"""Slides of a session: its plan names parts of notebooks that exist, and the page needs nothing."""

from __future__ import annotations

import re

import pytest

from notebooks import slides

PARTS = [slides.Section(name, [], []) for name in ("", "One", "Two: more", "Three")]


@pytest.mark.parametrize("number", range(1, 11))
def test_a_session_has_its_plan_figures_questions_and_exercises(number):
    made = list(slides.slides(number))
    heads = [slide.partition("\n")[0] for slide in made]
    assert heads[0].startswith(f"# Session {number} ·")
    assert "## The plan" in heads and "## Exercises" in heads
    assert sum("data:image/png" in slide for slide in made) >= 2
    five = re.findall(r"^\d\. .+?\(a\)", made[2], re.M | re.S)
    assert heads[2] == "## Before the lesson" and len(five) == 5 and "**a" not in made[2]
    assert heads[-2:] == ["## After the lesson"] * 2 and "Before and after" not in heads
    assert made[-2].partition("\n")[2] == made[2].partition("\n")[2]
    assert len(re.findall(r"^\d\. \*\*[abc]\.\*\*", made[-1], re.M)) == 5
    answers = [slide for slide in made if "**Answer.**" in slide]
    assert len(answers) == 5
    for answer in answers:  # the question alone stands before it
        assert made[made.index(answer) - 1] == answer.partition("\n\n**Answer.**")[0]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("all of it", ["", "One", "Two: more", "Three"]),
        ('"One" and "Three"', ["One", "Three"]),
        ('"One" to "Three"', ["One", "Two: more", "Three"]),
        ('up to "Two"', ["", "One", "Two: more"]),
        ('from "Two" on', ["Two: more", "Three"]),
    ],
)
def test_which_parts_a_row_of_the_plan_names(row, wanted):
    assert [part.heading for part in slides.chosen(row, PARTS)] == wanted


def test_a_part_that_is_not_there():
    with pytest.raises(ValueError, match="no section of the notebook is called “Four”"):
        slides.chosen('"Four"', PARTS)


def test_the_page_needs_no_other_file():
    pytest.importorskip("latex2mathml")
    page = slides.page(3)
    assert page.count("<section>") == len(list(slides.slides(3)))
    assert "<math" in page and "$" not in re.sub(r"<script>.*</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!data:image/png)', page)


def test_what_cannot_be_made_is_one_sentence(tmp_path, capsys):
    pytest.importorskip("latex2mathml")
    assert slides.main(["77", str(tmp_path / "out.html")]) == 2
    assert slides.main(["3", str(tmp_path / "nowhere" / "out.html")]) == 2
    assert slides.main(["3", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and "session_77.md" in said[0]
    assert not list(tmp_path.iterdir())
