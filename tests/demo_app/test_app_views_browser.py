"""The page on other screens, by keyboard, in the colors of the system, and for screen readers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ..support.browser import fits

pytestmark = pytest.mark.browser

PLACES = ("Try", "Surprises", "Lab")
TOUCHED = """() => [...document.querySelectorAll(
  'button, input, select, textarea, summary, [role=tab], [tabindex="0"], .card label:has(input)')]
  .filter(e => { const b = e.getBoundingClientRect();
    return b.width && b.height && getComputedStyle(e).visibility !== "hidden"
      && !(["checkbox", "radio"].includes(e.type) && e.closest("label"))  // the label is touched
      && (b.height < 43.5 || b.width < 43.5); })
  .map(e => [e.tagName, e.type, e.getAttribute("aria-label") || e.innerText || e.className])"""
SMALL = """() => [...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  return e.checkVisibility({visibilityProperty: true, opacityProperty: true})
    && box.width > 1 && box.height > 1 && parseFloat(getComputedStyle(e).fontSize) < 18
    && [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
}).map((e) => e.outerHTML.slice(0, 120))"""


def axe() -> str:
    """The script of axe-core, from one of the packages that carry it; otherwise the test skips."""
    for name in "axe_core_python", "axe_playwright_python":
        found = importlib.util.find_spec(name)
        files = sorted(Path(found.origin).parent.rglob("axe.min.js")) if found else []
        if files:
            return files[0].read_text(encoding="utf-8")
    pytest.skip("no package with axe-core is installed, such as axe-core-python")


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    page.locator('button[role="tab"][aria-selected="true"]', has_text=name).wait_for()


def opened(page) -> None:
    """Open every question of the lab, with all that is folded in it, and wait for what it draws."""
    size = page.viewport_size
    page.set_viewport_size({**size, "width": 1280})
    for card in page.locator("#lab [data-question], #lab .label-wrap").all():
        card.press("Enter")  # what opens above may move it away under a click
    page.set_viewport_size(size)
    page.add_style_tag(content="#lab > .question { display: flex !important; }")  # else one of them
    page.evaluate("document.querySelectorAll('#lab details').forEach((e) => { e.open = true; })")
    for key, count in {"layers": 2, "interference": 2, "lifelong": 1, "trace": 1}.items():
        page.locator(f"#{key} img").nth(count - 1).wait_for(state="attached", timeout=60_000)
    page.locator("#layers table.score").wait_for(state="attached")
    page.evaluate("document.querySelectorAll('#lab details').forEach((e) => { e.open = true; })")


def test_a_phone_shows_a_change_and_a_neighbor_first(visit):
    page = visit(390)
    page.set_viewport_size({"width": 390, "height": 844})
    bar = page.locator("#do").bounding_box()["y"]
    for part in (
        "h2.headline",
        ".half tr.reworded >> visible=true",
        ".half tr.neighbor >> visible=true",
    ):
        box = page.locator(part).first.bounding_box()
        assert 0 <= box["y"] and box["y"] + box["height"] <= bar, part
    page.get_by_role("link", name="Another fact").click()
    page.wait_for_timeout(300)
    box = page.get_by_label("Subject", exact=True).bounding_box()
    assert 0 <= box["y"] and box["y"] + box["height"] <= bar
    fits(page, 390)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_and_everything_is_large_enough_to_touch(visit, width, theme):
    script, wrong = axe(), {}
    page = visit(width, theme)
    for name in PLACES:
        open_tab(page, name)
        page.wait_for_timeout(700)
        if name == "Lab":
            opened(page)
        page.evaluate(script)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        if found:
            wrong[name] = [(one["id"], one["nodes"][0]["html"][:200]) for one in found]
        if width == 390 and (small := page.evaluate(TOUCHED)):
            wrong[f"{name}, too small to touch"] = small
    assert wrong == {}


def test_the_dark_of_the_system_and_large_type_for_a_projector(browser, address):
    page = browser.new_page(color_scheme="dark", viewport={"width": 1280, "height": 900})
    page.goto(address)
    page.get_by_role("heading", name="Edit a language model's memory").wait_for()
    assert page.evaluate("document.body.classList.contains('dark')")
    page.get_by_label("Large type").check()
    page.wait_for_timeout(3000)  # what Gradio itself writes while it loads is gone
    assert page.evaluate(SMALL) == []
    end = page.locator("table.score").bounding_box()
    assert end["y"] + end["height"] <= 900, "all of it on one screen"
    fits(page, 1280)
    page.close()


def test_every_tab_is_reached_and_opened_by_the_keyboard(visit):
    page = visit()
    first = page.get_by_role("tab", name=PLACES[0], exact=True)
    first.focus()
    for name in PLACES[1:]:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText") == name
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", "one sees where one is"
    open_tab(page, PLACES[0])
    page.get_by_label("New answer").focus()
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText"))
    assert any("Edit" in name for name in reached)
    page.get_by_role("button", name="Examples · ROME").press("Enter")
    page.get_by_label("Example", exact=True).press("ArrowDown")
    options = page.locator("ul.option-list >> visible=true")
    options.wait_for()
    page.keyboard.press("Tab")
    options.wait_for(state="hidden", timeout=5000)
