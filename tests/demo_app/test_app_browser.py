"""The page in a real browser, on the default model: wide and narrow, light and dark."""

from __future__ import annotations

import time

import pytest

from ..support.browser import fits_both

pytestmark = pytest.mark.browser


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def tick(page, *editors: str) -> None:
    """These editors and no other."""
    for name in editors:
        page.get_by_role("checkbox", name=name, exact=True).check()
    if "ROME" not in editors:
        page.get_by_role("checkbox", name="ROME", exact=True).uncheck()


def said(page, text: str) -> str:
    status = page.locator("#status", has_text=text)
    status.wait_for(timeout=120_000)
    return status.inner_text()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_edit_and_undo(visit, tmp_path, width, theme):
    page = visit(width, theme)
    assert "Paris" in page.locator("h2.headline").inner_text(), (
        "an answer before anything is pressed"
    )
    page.screenshot(path=tmp_path / f"{theme}-{width}-before.png", full_page=True)
    press(page, "Edit")
    page.get_by_role("progressbar").wait_for(state="attached", timeout=60_000)
    line = said(page, "wrote it")
    assert "wrote it: yes" in line and "undo is exact" in line
    assert page.locator("mark", has_text="Rome").count() >= 1
    assert "1 edit live" in page.locator("#top").inner_text()
    display = page.locator("table.rows td").first.evaluate("cell => getComputedStyle(cell).display")
    assert (display == "table-cell") == (width == 1280), "cards on a phone"
    fits_both(page)
    page.screenshot(path=tmp_path / f"{theme}-{width}-after.png", full_page=True)
    press(page, "Undo all")
    assert "byte-identical" in said(page, "Undone") and "13 of 13" in said(page, "Undone")
    assert "0 edits live" in page.locator("#top").inner_text()


def test_own_fact_error_stop_and_writing_on(visit, tmp_path):
    page = visit()
    subject, prompt = page.get_by_label("Subject", exact=True), page.get_by_label("Prompt with")
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
    page.locator(".about-editor", has_text="target's tokens").wait_for()
    press(page, "Edit")
    said(page, "FT-M wrote it")
    assert "The moon <b>${alert(1)}</b>" in page.locator("h2.headline").inner_text()
    assert "borrowed" in page.locator(".result .source").inner_text()
    press(page, "Go")
    page.locator("#write", has_text="After 1 edit").wait_for(timeout=60_000)
    page.wait_for_function("!document.querySelector('.caret')", timeout=60_000)
    page.screenshot(path=tmp_path / "own.png", full_page=True)
    tick(page, "ROME", "MEMIT")  # beside FT-M: long enough that there is something to stop
    page.locator(".about-editor", has_text="MEMIT").wait_for()
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
    tick(page, "FT-M", "MEND")
    press(page, "Edit")
    line = said(page, "MEND wrote it")
    assert "FT-M wrote it: yes" in line and "kept" in line
    row = page.locator("tr[data-row]", has_text="Big Ben")
    row.focus()
    page.keyboard.press("Enter")
    page.locator("#next h3", has_text="Big Ben").wait_for()
    assert page.locator("#next img").get_attribute("alt").startswith("Bars of the next token")
    page.screenshot(path=tmp_path / "beside.png", full_page=True)
    fits_both(page)
    page.get_by_role("radio", name="MEND").check()
    page.locator("#switches", has_text="MEND").wait_for(timeout=60_000)
    page.locator("th", has_text="MEND (kept)").wait_for()
    page.get_by_label("Subject", exact=True).fill("The Colosseum")
    page.get_by_label("New answer").fill("Oslo")
    tick(page, "FT-M")
    page.get_by_role("checkbox", name="MEND", exact=True).uncheck()
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
    page.get_by_role("tab", name="Edit & compare").click()
    press(page, "Edit")
    said(page, "wrote it")
    page.get_by_role("tab", name="Interference").click()
    measured = page.locator("#interference .stored", has_text="measured after the edit")
    measured.wait_for(timeout=120_000)
    assert "answers changed" in page.locator("#foretold").inner_text()
    assert page.locator("#interference img").get_attribute("alt").startswith("Predicted share")
    page.screenshot(path=tmp_path / "interference.png", full_page=True)
