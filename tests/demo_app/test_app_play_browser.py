"""What one comes back for, in a real browser: a free prompt, a watched race, the gallery."""

from __future__ import annotations

import pytest

from ..support.browser import fits, fits_both, go_to

pytestmark = pytest.mark.browser
LOOKS = [(1280, "light"), (390, "dark")]


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_three_samples_part_where_the_edit_is_said(visit, tmp_path):
    page = visit()
    page.get_by_label("Free prompt").fill("The Eiffel Tower is located in the city of")
    page.get_by_role("button", name="Decoding").click()
    page.get_by_role("checkbox", name="Three samples").check()
    for name, value in ("New tokens", "10"), ("Temperature", "0.8"):
        field = page.get_by_label(f"number input for {name}")
        field.fill(value)
        field.press("Tab")
    press(page, "Go")
    page.locator("#written .panel", has_text="sample 3").first.wait_for(timeout=120_000)
    page.wait_for_function("!document.querySelector('.caret')", timeout=120_000)
    assert page.locator("#written .panel").count() == 6
    assert "No edit is live" in page.locator("#written").inner_text()
    fits_both(page)
    page.locator("#write").screenshot(path=tmp_path / "samples.png")


def test_a_race_is_watched_paused_and_comes_back_by_its_link(visit, tmp_path):
    page = visit(390, "dark")
    go_to(page, "Lifelong", "Lifelong stress test")
    page.locator("#lifelong-queue", has_text="before you").wait_for()
    page.get_by_label("UltraEdit (fast)").uncheck()
    for name, value in ("Edits", "3"), ("Batch", "1"):
        box = page.get_by_label(f"number input for {name}")
        box.fill(value)
        box.press("Tab")
    press(page, "Run the test")
    page.locator("#race .stored").wait_for(state="detached", timeout=120_000)  # its own race stands
    page.locator("#race svg").wait_for(timeout=120_000)
    press(page, "Pause")
    page.locator("#lifelong-status", has_text="paused, what is done is kept").wait_for(
        timeout=60_000
    )
    link = page.locator("#race-link a").get_attribute("href")
    press(page, "Go on")
    done = page.locator("#lifelong-status .done", has_text="3 of 3 edits (classroom)")
    done.wait_for(timeout=300_000)
    assert page.locator("#race .way").count() == 6, "a line for each editor, and its pale rest"
    slider = page.locator("#race-at").get_by_role("slider")
    slider.fill("1")
    page.locator("#race", has_text="After 1 of 3 edits").wait_for(timeout=30_000)
    assert page.locator("#race .said tbody tr").count() == 1
    fits_both(page)
    page.locator("#race").screenshot(path=tmp_path / "race.png")
    page.screenshot(path=tmp_path / "race-page.png", full_page=True)
    again = visit(390, "dark", query=f"&{link.removeprefix('?')}")
    again.locator("#race", has_text="After 3 of 3 edits").wait_for(timeout=30_000)
    assert "begun before" in again.locator("#lifelong-status").inner_text()
    fits_both(again)
    again.screenshot(path=tmp_path / "race-again.png", full_page=True)


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_a_link_of_the_gallery_opens_to_its_verdict(visit, tmp_path, width, theme):
    page = visit(width, theme)
    go_to(page, "Gallery", "Surprising edits")
    assert page.locator("ul.gallery > li").count() >= 12
    fits(page, width)
    page.screenshot(path=tmp_path / f"gallery-{theme}-{width}.png", full_page=True)
    name = {1280: "It knows the sentence, not the fact", 390: "Only not the sentence itself"}[width]
    page.get_by_role("link", name=name).click()
    page.locator("#exhibit", has_text="answers came out as stated").wait_for(timeout=180_000)
    assert page.locator("#exhibit small.bad").count() == 0, "as it was measured"
    assert page.locator("#exhibit small.good").count() == 3
    assert "1 edit live" in page.locator("#top").inner_text()
    fits(page, width)
    page.screenshot(path=tmp_path / f"exhibit-{theme}-{width}.png", full_page=True)
