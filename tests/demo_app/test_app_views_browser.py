"""The page on other screens, by keyboard, in the colors of the system, and for screen readers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ..support.browser import fits

pytestmark = pytest.mark.browser

PLACES = ("Try", "Surprises", "Lab")
SCREEN = 844  # pixels: the height of the phone

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
LAST = "document.querySelector('.about').getBoundingClientRect().bottom"


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
    page.set_viewport_size({**size, "width": 1280})  # a phone shows one question at a time
    for card in page.locator("#lab .label-wrap").all():
        card.press("Enter")  # what opens above may move it away under a click
    page.set_viewport_size(size)
    for key, count in {"layers": 2, "interference": 2, "lifelong": 1, "trace": 1}.items():
        page.locator(f"#{key} img").nth(count - 1).wait_for(timeout=60_000)
    page.locator("#layers table.score").wait_for()
    page.evaluate("document.querySelectorAll('#lab details').forEach((e) => { e.open = true; })")


def test_the_first_screen_holds_a_change_and_a_neighbor(visit, tmp_path):
    page = visit(390)
    page.set_viewport_size({"width": 390, "height": SCREEN})
    bar = page.locator("#do").bounding_box()["y"]

    def on_screen(locator, end: float = SCREEN) -> bool:
        box = locator.bounding_box()
        return box is not None and box["y"] >= 0 and box["y"] + box["height"] <= end

    rows = (
        page.locator(f".half {kind} >> visible=true").first
        for kind in ("tr.reworded", "tr.neighbor")
    )
    edit = page.get_by_role("button", name="Edit", exact=True)
    parts = page.locator("h2.headline"), page.locator("#status"), *rows
    assert all(on_screen(part, bar) for part in parts) and on_screen(edit)
    page.screenshot(path=tmp_path / "first.png")
    form, result = (page.locator(name).bounding_box() for name in ("#form", "#result"))
    assert form["y"] >= result["y"] + result["height"], "what happened stands before the form"
    before = page.url
    page.get_by_role("link", name="Another fact").click()
    page.wait_for_timeout(300)
    subject = page.get_by_label("Subject", exact=True)
    assert on_screen(subject, bar) and page.url == before
    assert on_screen(edit), "under the thumb wherever one is"
    fits(page, 390)


def test_nothing_is_too_small_to_touch(visit):
    page, small = visit(390), {}
    for name in PLACES:
        open_tab(page, name)
        page.wait_for_timeout(500)
        if name == "Lab":
            opened(page)
        if found := page.evaluate(TOUCHED):
            small[name] = found
    assert small == {}


def test_the_colors_are_those_of_the_system(browser, address):
    for scheme, dark in ("dark", True), ("light", False):
        page = browser.new_page(color_scheme=scheme)
        page.goto(address)
        page.get_by_role("heading", name="Edit a language model's memory").wait_for()
        assert page.evaluate("document.body.classList.contains('dark')") == dark
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


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(visit, width, theme):
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
    assert wrong == {}


# ---- 768 px, 200 % zoom, a projector, and the keyboard


def test_a_tablet_shows_both_halves_beside_each_other(visit, tmp_path):
    page = visit(768)
    change, stay = (page.locator(f".half.{kind} >> visible=true").bounding_box()
                    for kind in ("change", "stay"))  # fmt: skip
    assert change["x"] + change["width"] < stay["x"] and abs(change["y"] - stay["y"]) < 2
    assert page.locator("#written .panel").first.bounding_box()["y"] < 900
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


def test_a_projector_gets_large_type_and_a_row_for_every_dot(visit, tmp_path):
    page = visit()
    page.get_by_label("Large type").check()
    page.wait_for_timeout(3000)  # what Gradio itself writes while it loads is gone
    assert page.evaluate(SMALL) == []
    for group in "reworded", "follows", "neighbor":
        dots = page.locator(f'tr.shown [data-dot*="{group}"]').count()
        assert page.locator(f".half tr.{group} >> visible=true").count() == dots
    end = page.locator("table.score").bounding_box()
    assert end["height"] > 100
    assert end["y"] + end["height"] <= 900, "all of it on one screen"
    form, write = (page.locator(part).bounding_box() for part in ("#form", "#write"))
    assert end["y"] + end["height"] <= write["y"] and write["y"] + write["height"] <= form["y"]
    assert page.get_by_role("button", name="Edit", exact=True).is_visible()
    fits(page, 1280)
    page.screenshot(path=tmp_path / "large.png")


def test_large_type_leaves_prompts_room_on_a_small_projector_and_reaches_the_lab(visit, tmp_path):
    page = visit()
    page.get_by_label("Large type").check()
    page.set_viewport_size({"width": 1024, "height": 768})
    page.wait_for_timeout(300)
    page.screenshot(path=tmp_path / "projector.png")
    for cell in page.locator(".half tr[data-good] td.prompt >> visible=true").all():
        assert cell.bounding_box()["width"] > 180, cell.inner_text()
    page.get_by_role("tab", name="Lab", exact=True).click()
    page.locator("#lifelong > button").click()
    page.locator("#lifelong img").first.wait_for()
    assert page.evaluate(SMALL) == []
    page.screenshot(path=tmp_path / "lab.png")
    fits(page, 1024)


def test_the_keyboard_closes_menus_and_the_page_has_a_preview(visit):
    page = visit()
    page.get_by_role("button", name="Examples · ROME").focus()
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
