"""The first place at 768 px, at 200 % zoom, on a projector, in the dark, and by the keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..support.browser import fits

pytestmark = pytest.mark.browser

SMALL = """() => [...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  return e.checkVisibility({visibilityProperty: true, opacityProperty: true})
    && box.width > 1 && box.height > 1 && parseFloat(getComputedStyle(e).fontSize) < 16
    && [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
}).map((e) => e.outerHTML.slice(0, 120))"""
LAST = "document.querySelector('.about').getBoundingClientRect().bottom"


def test_a_tablet_shows_both_halves_beside_each_other(visit, tmp_path):
    page = visit(768)
    change, stay = (page.locator(f".half.{kind} >> visible=true").bounding_box()
                    for kind in ("change", "stay"))  # fmt: skip
    assert change["x"] + change["width"] < stay["x"] and abs(change["y"] - stay["y"]) < 2
    assert page.locator("table.score").bounding_box()["y"] < 900
    fits(page, 768)
    page.screenshot(path=tmp_path / "768.png")


def test_at_twice_the_size_nothing_stands_under_the_bar(visit, tmp_path):
    page = visit(640)  # what 1280 px are at 200 %
    page.set_viewport_size({"width": 640, "height": 450})
    bar = page.locator("#do").bounding_box()["y"]
    assert page.locator("h2.headline").bounding_box()["y"] < bar
    assert page.locator(".half.change tr.reworded >> visible=true").first.bounding_box()["y"] < bar
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_timeout(300)
    assert page.evaluate(LAST) <= bar + 1
    fits(page, 640)
    page.screenshot(path=tmp_path / "zoom.png")


def test_a_projector_gets_large_type_and_five_rows(visit, tmp_path):
    page = visit()
    page.get_by_label("Large type").check()
    page.wait_for_timeout(3000)  # what Gradio itself writes while it loads is gone
    assert page.evaluate(SMALL) == []
    for half in page.locator(".half >> visible=true").all():
        assert half.locator("tbody tr >> visible=true").count() <= 5
    assert page.locator("table.score").bounding_box()["height"] > 100
    end = page.locator(".looks").bounding_box()
    assert end["y"] + end["height"] <= 900, "all of it on one screen"
    fits(page, 1280)
    page.screenshot(path=tmp_path / "large.png")


def test_the_keyboard_closes_menus_and_the_page_has_a_preview(visit):
    page = visit()
    page.get_by_role("button", name="With ROME").focus()
    page.keyboard.press("Enter")
    menu = page.get_by_label("Example", exact=True)
    menu.wait_for()
    menu.focus()
    page.keyboard.press("ArrowDown")
    options = page.locator("ul.option-list >> visible=true")
    options.wait_for()
    page.keyboard.press("Tab")
    options.wait_for(state="hidden", timeout=5000)
    preview = page.locator('meta[property="og:image"][content*=preview]').get_attribute("content")
    found = page.request.get(
        preview if preview.startswith("http") else page.url.split("/?")[0] + preview
    )
    assert found.ok and found.headers["content-type"] == "image/png"
    assert str(Path(__file__).parents[2]) not in page.content(), "nobody is told where it stands"
