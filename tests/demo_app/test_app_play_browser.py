"""What one comes back for, in a real browser: guess, gallery, a free prompt, a watched race."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser
LOOKS = [(1280, "light"), (390, "dark")]


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def fits(page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_guess_first_then_see(visit, tmp_path, width, theme):
    page = visit(width, theme)
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
    fits(page, width)
    page.screenshot(path=tmp_path / f"guess-{theme}-{width}.png", full_page=True)
    reveal.click()
    page.locator("#score", has_text="4 of 6 coming").wait_for()  # it moves neither, by its design
    assert page.locator("small.guess.hit").count() == 4
    assert page.locator("small.guess.miss").count() == 2
    assert "Rome" in page.locator("h2.headline").inner_text()
    page.locator("#list").wait_for()
    fits(page, width)
    page.screenshot(path=tmp_path / f"revealed-{theme}-{width}.png", full_page=True)
    page.reload()
    page.wait_for_timeout(1500)
    assert switch.is_checked(), "the browser remembers the switch"
    switch.uncheck()
    page.reload()
    page.wait_for_timeout(1500)
    assert not switch.is_checked()
