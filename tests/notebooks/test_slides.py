"""Slides of a session: built up from page and notebooks, whole on a screen, in need of nothing."""

from __future__ import annotations

import json
import re

import pytest

from notebooks import slides
from notebooks.slides import Section
from tests.support.browser import browser  # noqa: F401

PARTS = [Section(name, []) for name in ("", "One", "Two: more", "Three")]
FIGURE = "![figure](data:image/png;base64,AAAA)"


@pytest.mark.parametrize("number", range(1, 11))
def test_a_session_has_its_plan_derivations_figures_guesses_and_quiz(number):
    made = slides.slides(number)
    heads = [slide.heading for slide in made]
    steps = [step for slide in made for step in slide.steps]
    assert 20 <= len(made) <= slides.MOST
    assert made[0].steps[0].startswith(f"# Session {number} ·")
    assert {"The plan", "Pitfalls that students meet", "Exercises"} < set(heads)
    assert sum(step.startswith("![") for step in steps) >= 2
    assert sum(step.startswith(slides.ASKED) for step in steps) >= 3
    assert sum(step.startswith("$$") for step in steps) >= 3
    assert any(len(slide.notes) > 1 for slide in made)
    before, after, answers = made[2], made[-2], made[-1]
    assert (before.heading, after.heading) == ("Before the lesson", "After the lesson")
    assert before.steps == after.steps and len(re.findall(r"\(a\)", before.steps[0])) == 5
    assert len([step for step in answers.steps if re.match(r"\d\. \*\*[abc]\.\*\*", step)]) == 5
    assert sum(step.startswith("**Answer.**") for step in steps) == 5
    assert not [step for step in steps if "<details>" in step]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("all of it", ["", "One", "Two: more", "Three"]),
        ('"One" to "Three"', ["One", "Two: more", "Three"]),
        ('from "Two" on', ["Two: more", "Three"]),
    ],
)
def test_which_parts_a_row_of_the_plan_names(row, wanted):
    assert [part.heading for part in slides.chosen(row, PARTS)] == wanted


def test_a_part_of_a_notebook_becomes_slides():
    text = (
        "## One\n\nThis is said aloud. The gradient $a. B$ is zero for\n\n$$x = 1 .$$\n\n"
        "This is **new**. And this is said.\n\n**Predict.** How large?\n\n"
        "<details><summary>Answer</summary>\n\nSmall.\n\n$$y$$\n\n</details>\n"
        "<details><summary>Solution</summary>\n\n```python\nsecret()\n```\n\n</details>"
    )
    cells = [
        {"cell_type": "markdown", "source": [text]},
        {
            "cell_type": "code",
            "source": 'mine = guess("How many?", 0, 9)',
            "outputs": [{"data": {"image/png": "AAAA\n"}}, {"text": "loud"}],
        },
        {"cell_type": "markdown", "source": "It falls. More words."},
    ]
    _, part = slides.sections(json.dumps({"cells": cells}))
    built, asked = slides.built(part)
    assert built.steps == ["The gradient $a. B$ is zero for", "$$x = 1 .$$", "This is **new**."]
    guess = ["**Predict.** How large?", "**Guess.** How many?"]
    assert asked.steps == [*guess, FIGURE, "Small.", "$$y$$", "It falls."]
    assert "said aloud" in built.notes[0] and "secret" not in f"{built}{asked}"
    assert slides.built(part._replace(blocks=[])) == []


def test_the_page_needs_no_other_file():
    for number in (3, 7):
        page = slides.page(number)
        assert page.count("<section") == len(slides.slides(number))
        text = re.sub(r"<(script|style)>.*?</\1>|<pre>.*?</pre>", "", page, flags=re.S)
        assert "<math" in text and "$" not in text and not re.findall(r">[^<]*\\[a-z]+", text)
        assert not re.findall(r'(?:src|href)="(?!data:image/png)', page)


@pytest.mark.browser
def test_slides_are_whole_on_a_screen_and_on_paper(browser, tmp_path):  # noqa: F811
    for number in (8,):
        path = tmp_path / f"{number}.html"
        assert slides.main([str(number), str(path)]) == 0
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(path.as_uri())
        count = page.locator("section").count()
        heights = page.evaluate(
            "[...document.querySelectorAll('section')].map(s => s.scrollHeight)"
        )
        assert max(heights) <= 720 and page.evaluate("document.body.scrollWidth") <= 1280
        assert page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n") == count
        hidden = "document.querySelectorAll('.live .step:not(.on)').length"
        steps = page.locator(".step").count()
        assert page.evaluate(hidden) == steps > 20
        for _ in range(count + steps):
            page.keyboard.press("ArrowRight")
        assert page.evaluate(hidden) == 0 and not page.locator("aside").first.is_visible()
        height = "Math.max(...[...document.images].map(i => i.getBoundingClientRect().height))"
        wide = "Math.max(...[...document.images].map(i => i.getBoundingClientRect().right))"
        assert 400 < page.evaluate(height) < 600 and page.evaluate(wide) <= 1280
        page.keyboard.press("f")
        assert 600 < page.evaluate(height) <= 720 and page.evaluate(wide) <= 1280
        page.keyboard.press("f")
        page.keyboard.press("n")
        assert page.locator("aside").first.is_visible()
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.body.scrollWidth") <= 390
        page.close()
