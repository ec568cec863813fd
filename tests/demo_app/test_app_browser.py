"""The page in a real browser, on the default model: wide and narrow, light and dark."""

from __future__ import annotations

import time

import pytest

from ..support.browser import fits_both

pytestmark = pytest.mark.browser


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def tick(page, *editors: str) -> None:
    """These editors and no other, in the fold below the line and in the order that it has."""
    group = page.locator("#editors")
    if not group.is_visible():
        page.locator("#settings > button").click()
        group.wait_for()
    for box in group.get_by_role("checkbox").all():
        name = box.locator("xpath=..").inner_text().strip()
        if box.is_checked() != (name in editors):
            box.set_checked(name in editors)
    page.locator("#settings > button", has_text=f"With {editors[0]}").wait_for()
    page.locator("#settings > button").click()


def said(page, text: str) -> str:
    status = page.locator("#status", has_text=text)
    status.wait_for(timeout=180_000)
    return status.inner_text()


def box(page, selector: str, place: int = 0) -> dict:
    """Where a part of the page stands that can be seen."""
    found = page.locator(f"{selector} >> visible=true").nth(place).bounding_box()
    assert found is not None and found["width"] > 0, selector
    return found | {"right": found["x"] + found["width"], "bottom": found["y"] + found["height"]}


def test_it_opens_on_the_finished_comparison(visit, tmp_path):
    page = visit()
    page.locator("table.score").wait_for()
    page.screenshot(path=tmp_path / "opened.png")
    line = page.locator("#status").inner_text()
    assert "We changed one fact. What else moved?" in line and "stored example" in line
    assert page.locator("h2.headline s").inner_text() == "Paris"
    change, stay = box(page, ".half.change"), box(page, ".half.stay")
    assert change["right"] < stay["x"] and abs(change["y"] - stay["y"]) < 2, "side by side"
    assert page.locator(".half.stay tr.neighbor >> visible=true").count() == 4
    last = max(box(page, selector)["bottom"] for selector in (".half", "table.score", ".looks"))
    assert last <= 900, "the whole comparison, its scoreboard and both switches on one screen"
    assert box(page, "h2.headline")["bottom"] <= box(page, "#status")["y"] + 1 <= change["y"]
    for row in page.locator(".half tr:has(td) >> visible=true").all():
        cells = [cell.bounding_box() for cell in row.locator("td").all()]
        ends = [cell["x"] + cell["width"] for cell in cells]
        assert all(end <= after["x"] + 1 for end, after in zip(ends, cells[1:], strict=False))
    numbers = page.locator("small.num >> visible=true")
    assert numbers.count() == 0
    page.get_by_label("Numbers").check()
    assert numbers.count() == 11 and "10<" not in page.locator("#table").inner_html()
    page.get_by_label("Numbers").uncheck()
    page.get_by_role("button", name="FT-M", exact=True).click()
    assert page.locator(".half.stay tr.neighbor td.mark.bad >> visible=true").count() == 2
    page.locator('[data-dot^="2.reworded"]').first.click()
    picked = page.locator("tr.picked >> visible=true")
    assert "In which city" in picked.inner_text() and "Paris → Paris" in picked.inner_text()
    assert page.get_by_role("button", name="GRACE").get_attribute("aria-pressed") == "true"
    fits_both(page)


def test_one_guesses_each_row_and_then_sees_it(visit, tmp_path):
    page = visit()
    page.get_by_label("Guess first").check()
    seen = page.locator(".half .after >> visible=true")
    assert seen.count() == 0 and page.locator("table.score").is_hidden()
    assert page.locator("h2.headline b").is_hidden()
    rows = page.locator(".guess >> visible=true")
    for number in range(11):
        assert seen.count() == number
        rows.first.locator("button").first.click()
    line = page.locator(".guesses").inner_text()
    assert "You saw 10 of 11 coming of what ROME did" in line and "would have seen 10" in line
    assert page.locator("table.score").is_visible() and page.locator("tr.miss").count() == 1
    page.screenshot(path=tmp_path / "guessed.png")
    fits_both(page)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_edit_and_undo(visit, tmp_path, width, theme):
    page = visit(width, theme)
    tick(page, "FT-M")
    press(page, "Edit")
    page.get_by_role("progressbar").wait_for(state="attached", timeout=60_000)
    page.locator("#status .stale").wait_for()
    dimmed = page.locator("#table").evaluate("e => getComputedStyle(e).opacity")
    assert float(dimmed) < 0.6, "what stands there is of the edit before"
    line = said(page, "undo is exact")
    assert "FT-M" in line and "stored" not in line and page.locator(".stale").count() == 0
    assert page.locator(".answer b >> visible=true", has_text="Rome").count() >= 1
    assert "1 edit live" in page.locator("#top").inner_text()
    assert "moves 2 of 4 neighbors" in page.locator("table.score").inner_text()
    fits_both(page)
    page.screenshot(path=tmp_path / f"{theme}-{width}-after.png", full_page=True)
    press(page, "Undo all")
    assert "byte-identical" in said(page, "Undone") and "13 of 13" in said(page, "Undone")
    assert "0 edits live" in page.locator("#top").inner_text()


def test_own_fact_error_stop_and_writing_on(visit, tmp_path):
    page = visit()
    subject, prompt = (
        page.get_by_label("Subject", exact=True),
        page.get_by_label("Prompt", exact=True),
    )
    subject.fill("<img src=x onerror=alert(1)>")
    prompt.fill("The moon is made of")
    press(page, "Edit")
    assert "<img src=x onerror=alert(1)>' does not occur" in said(page, "does not occur")
    page.get_by_test_id("toast-body").wait_for()
    page.screenshot(path=tmp_path / "error.png")
    subject.fill("The moon <b>${alert(1)}</b>")
    prompt.fill("{} is made of")
    page.get_by_label("New answer").fill("cheese")
    tick(page, "FT-M")
    press(page, "Edit")
    said(page, "undo is exact")
    assert "The moon <b>${alert(1)}</b>" in page.locator("h2.headline").inner_text()
    assert "borrowed" in page.locator("#table .source >> visible=true").inner_text()
    press(page, "Go")
    page.locator("#write", has_text="After 1 edit").wait_for(timeout=60_000)
    page.wait_for_function("!document.querySelector('.caret')", timeout=60_000)
    page.screenshot(path=tmp_path / "own.png", full_page=True)
    tick(page, "ROME", "MEMIT")  # long enough that there is something to stop
    press(page, "Edit")
    stop = page.get_by_role("button", name="Stop", exact=True)
    until = time.monotonic() + 20
    while not stop.is_enabled() and time.monotonic() < until:
        page.wait_for_timeout(20)
    stop.click()
    said(page, "Stopped; nothing was changed")
    assert "1 edit live" in page.locator("#top").inner_text()


def test_side_by_side_rows_and_the_list(visit, tmp_path):
    page = visit()
    tick(page, "FT-M", "GRACE")
    press(page, "Edit")
    said(page, "undo is exact")
    assert "FT-M kept" in page.locator("table.score").inner_text()
    page.screenshot(path=tmp_path / "beside.png", full_page=True)
    fits_both(page)
    page.get_by_role("button", name="keep it").click()
    page.locator("#switches", has_text="GRACE").wait_for(timeout=60_000)
    page.locator("table.score th", has_text="GRACE kept").wait_for()
    page.get_by_label("Subject", exact=True).fill("The Colosseum")
    page.get_by_label("New answer").fill("Oslo")
    tick(page, "FT-M")
    press(page, "Edit")
    page.locator("#switches", has_text="Colosseum").wait_for(timeout=120_000)
    assert "after edit 2" in page.locator("#list").inner_text()
    page.locator("#back").get_by_role("slider").fill("1")
    page.locator("#list", has_text="after edit 1 of 2").wait_for(timeout=60_000)
    assert "not written yet" in page.locator("#list").inner_text()
    page.locator("#list").screenshot(path=tmp_path / "list.png")
    page.locator("#switches input").first.uncheck()
    page.locator("#top", has_text="1 edit live").wait_for(timeout=120_000)
    fits_both(page)
    page.locator("#switches input").first.check()
    page.locator("#top", has_text="2 edits live").wait_for(timeout=120_000)


def test_interference_is_predicted_and_measured(visit, tmp_path):
    page = visit()
    page.get_by_role("tab", name="Interference").click()
    stored = page.locator("#interference .stored")
    assert "Stored example: The Eiffel Tower → Rome" in stored.inner_text()
    page.locator("#interference img").wait_for()
    press(page, "Predict")
    page.locator("#interference .stored", has_text="not edited yet").wait_for(timeout=120_000)
    page.get_by_role("tab", name="Try").click()
    press(page, "Edit")
    said(page, "undo is exact")
    page.get_by_role("tab", name="Interference").click()
    measured = page.locator("#interference .stored", has_text="measured after the edit")
    measured.wait_for(timeout=120_000)
    assert "answers changed" in page.locator("#foretold").inner_text()
    assert page.locator("#interference img").get_attribute("alt").startswith("Predicted share")
    page.screenshot(path=tmp_path / "interference.png", full_page=True)
