"""What one comes back for, in a real browser: guess, gallery, a free prompt, a watched race."""

from __future__ import annotations

import pytest

from ..support.browser import fits, fits_both, go_to

pytestmark = pytest.mark.browser
LOOKS = [(1280, "light"), (390, "dark")]


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_guess_first_then_see(visit, tmp_path):
    page = visit()
    switch = page.get_by_role("checkbox", name="Guess first")
    switch.check()
    page.get_by_role("checkbox", name="GRACE", exact=True).check()
    page.get_by_role("checkbox", name="ROME", exact=True).uncheck()
    page.locator(".about-editor", has_text="GRACE").wait_for()
    press(page, "Edit")
    reveal = page.locator("#guess").get_by_role("button", name="Reveal")
    page.locator("#guess", has_text="nothing of it is shown yet").wait_for(timeout=60_000)
    assert page.locator("#guess-changed input").count() == 4
    assert page.locator("#table tr").count() == 0 and page.locator("#list").count() == 0
    assert "?" in page.locator("h2.headline").inner_text()
    page.locator("#guess-changed input").first.check()
    page.locator("#guess-held input").first.check()
    fits_both(page)
    page.screenshot(path=tmp_path / "guess.png", full_page=True)
    reveal.click()
    page.locator("#score", has_text="4 of 6 coming").wait_for()  # it moves neither, by its design
    assert page.locator("small.guess.hit").count() == 4
    assert page.locator("small.guess.miss").count() == 2
    assert "Rome" in page.locator("h2.headline").inner_text()
    page.locator("#list").wait_for()
    fits_both(page)
    page.screenshot(path=tmp_path / "revealed.png", full_page=True)
    again = page.context.new_page()
    again.goto(page.url)
    remembered = again.get_by_role("checkbox", name="Guess first")
    again.wait_for_function("document.querySelector('#guess-first input')?.checked")
    remembered.uncheck()
    once_more = page.context.new_page()
    once_more.goto(page.url)
    once_more.locator("#guess-first input").wait_for()
    once_more.wait_for_timeout(1500)
    assert not once_more.locator("#guess-first input").is_checked()


def test_a_token_is_exchanged_and_both_columns_go_on(visit, tmp_path):
    page = visit()
    page.get_by_role("checkbox", name="GRACE", exact=True).check()
    page.get_by_role("checkbox", name="ROME", exact=True).uncheck()
    page.locator(".about-editor", has_text="GRACE").wait_for()
    press(page, "Edit")
    page.locator("#status", has_text="wrote it").wait_for(timeout=120_000)
    box = page.get_by_label("Free prompt")
    box.fill("The Eiffel Tower is located in the city of")
    page.get_by_role("button", name="Decoding").click()
    tokens = page.get_by_label("number input for New tokens")
    tokens.fill("10")
    tokens.press("Tab")
    press(page, "Go")
    first = page.locator('#written [data-at="0.after.0"]')
    first.wait_for(timeout=60_000)
    assert first.inner_text().strip() == "Rome" and "parting" in first.get_attribute("class")
    assert page.locator('#written [data-at="0.before.0"]').inner_text().strip() == "Paris"
    first.focus()
    page.keyboard.press("ArrowRight")
    at = page.evaluate("document.activeElement.dataset.at")
    assert at == "0.after.1", "the arrow keys lead from token to token"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    other = page.locator("#alternatives button", has_text="Paris")
    other.wait_for(timeout=60_000)
    assert "before" in other.inner_text() and "after" in other.inner_text()
    page.locator("#write").screenshot(path=tmp_path / "alternatives.png")
    other.click()
    page.locator('#written .forced[data-at="0.after.0"]', has_text="Paris").wait_for(timeout=60_000)
    assert page.locator('#written .forced[data-at="0.before.0"]').inner_text().strip() == "Paris"
    page.get_by_role("checkbox", name="Three samples").check()
    heat = page.get_by_label("number input for Temperature")
    heat.fill("0.8")
    heat.press("Tab")
    press(page, "Go")
    page.locator('#written [data-at="2.after.0"]').wait_for(timeout=90_000)
    assert page.locator("#written .panel").count() == 6
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
