"""The surprises and the lab in a real browser, on the default model: wide and narrow."""

from __future__ import annotations

import pytest

import lib

from ..support.browser import fits, fits_both, go_to

pytestmark = pytest.mark.browser
QUESTIONS = {
    "dossier": "What does it know about a subject?",
    "interference": "Which facts will an edit disturb?",
    "lifelong": "How long until it breaks?",
    "layers": "Why did it not take, and which layer?",
    "trace": "Was this model edited?",
}


def ask(page, key: str, button: str) -> None:
    """Press a button of a question, which is open."""
    page.locator(f"#{key}").get_by_role("button", name=button, exact=True).click()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_each_question_opens_with_its_stored_answer(visit, tmp_path, width, theme):
    page = visit(width, theme)
    page.get_by_role("tab", name="Lab", exact=True).click()
    for key, title in QUESTIONS.items():
        card = page.locator(f"#{key}")
        card.get_by_role("button", name=title).click()
        card.locator(".stored", has_text="Stored example").wait_for(timeout=60_000)
        assert card.locator(".answer").first.inner_text().strip()
        one_open = [key] if width == 390 else list(QUESTIONS)[: list(QUESTIONS).index(key) + 1]
        page.wait_for_timeout(300)
        shown = page.locator("#lab > .block:has(> .label-wrap.open)").all()
        assert [one.get_attribute("id") for one in shown] == one_open
    assert page.locator("#interference img, #layers img, #lifelong img, #trace img").count() == 7
    drawn = page.locator("#layers img").first.evaluate("e => getComputedStyle(e).filter")
    assert ("invert" in drawn) == (theme == "dark"), "figures follow the dark"
    page.screenshot(path=tmp_path / f"lab-{width}.png", full_page=True)
    fits(page, width)


def test_an_address_opens_a_question_and_the_place_stands_in_it(visit):
    page = visit(query="&place=layers")
    page.locator("#layers .stored", has_text="Stored example").wait_for(timeout=60_000)
    assert page.get_by_role("tab", name="Lab").get_attribute("aria-selected") == "true"
    page.get_by_role("tab", name="Surprises", exact=True).click()
    page.wait_for_function("location.search.includes('place=surprises')")
    page = visit(query="&place=surprises")  # a reload aborts streams, which the console reports
    page.get_by_role("heading", name="Surprising edits").wait_for()
    page.get_by_role("tab", name="Try", exact=True).click()
    page.wait_for_function("!location.search.includes('place=')")


def test_an_edit_is_looked_into_and_taken_home(visit, tmp_path):
    page = visit(query="&example=the-eiffel-tower&editors=ft&place=lab")
    page.locator("#top", has_text="1 edit live").wait_for(timeout=240_000)
    page.get_by_role("button", name="Take it away").click()
    status = page.locator("#take-status")
    page.locator("#code", has_text='EDITORS["ft"]').wait_for()
    ask(page, "take", "The patch")
    status.get_by_text("the-eiffel-tower.safetensors is ready").wait_for(timeout=60_000)
    with page.expect_download() as found:
        page.get_by_text("Download the-eiffel").click()
    (fact,) = lib.Patch.load(found.value.path()).facts
    assert (fact.subject, fact.target_new) == ("The Eiffel Tower", "Rome")
    for key, button, said in (
        ("layers", "Try my last edit in five layers", "This editor searches no value"),
        ("interference", "Measure my last edit", "answers changed"),
    ):
        page.locator(f"#{key}").get_by_role("button", name=QUESTIONS[key]).click()
        page.locator(f"#{key} .stored", has_text="Stored example").wait_for(timeout=60_000)
        ask(page, key, button)
        page.locator(f"#{key} .stale").wait_for()
        dimmed = page.locator(f"#{key} .block.answer").first.evaluate(
            "e => getComputedStyle(e).opacity"
        )
        assert float(dimmed) < 0.6, "until then it is the stored answer"
        page.locator(f"#{key} .stored", has_text="Yours").wait_for(timeout=120_000)
        assert said in page.locator(f"#{key} .block.answer").inner_text()
        page.locator(f"#{key} .answer img").wait_for()
    lab = page.locator("#layers")
    lab.locator("tr", has_text="FT, layer 15").get_by_role("button", name="keep it").wait_for(
        timeout=400_000
    )
    lab.locator(".bar").wait_for(state="detached", timeout=400_000)
    assert lab.locator("table.score tbody tr").count() == 5
    assert lab.locator("table.score th", has_text="FT, layer 25 live").count() == 1
    lab.get_by_role("button", name="FT, layer 15", exact=True).click()
    assert lab.locator(".asked >> visible=true").get_attribute("data-editor") == "FT, layer 15"
    page.screenshot(path=tmp_path / "layers.png", full_page=True)
    lab.locator("tr", has_text="FT, layer 15").get_by_role("button", name="keep it").click()
    page.locator("#status", has_text="FT, layer 15").wait_for(timeout=120_000)
    assert page.get_by_role("tab", name="Try").get_attribute("aria-selected") == "true"
    assert "1 edit live" in page.locator("#top").inner_text(), "it stands in the other's place"
    fits_both(page)
    page.screenshot(path=tmp_path / "own.png", full_page=True)


def test_the_stress_test_runs_and_stops(visit, tmp_path):
    page = visit(390, query="&place=lifelong")
    lab = page.locator("#lifelong")
    lab.locator(".stored", has_text="Stored example").wait_for(timeout=60_000)
    boxes = {name: lab.get_by_label(name, exact=True) for name in ("ROME", "MEND", "GRACE (fast)")}
    ticked = {name: box.is_checked() for name, box in boxes.items()}
    assert ticked == {"ROME": True, "MEND": True, "GRACE (fast)": False}, "as it is drawn"
    for box in boxes.values():
        box.click()
    box = lab.get_by_label("number input for Edits")
    box.fill("4")
    box.press("Tab")
    ask(page, "lifelong", "Run it")
    lab.locator(".bar").wait_for()
    lab.get_by_text("After 4 of 4 edits, not broken").wait_for(timeout=240_000)
    lab.locator(".bar").wait_for(state="detached")
    for name in "before any edit", "Retrieval", "FT", "GRACE":
        assert lab.get_by_role("rowheader", name=name, exact=True).count() == 1
    fits_both(page)
    page.screenshot(path=tmp_path / "lifelong.png", full_page=True)
    box.fill("40")
    box.press("Tab")
    ask(page, "lifelong", "Run it")
    lab.locator(".bar").wait_for()
    ask(page, "lifelong", "Stop")
    lab.locator(".status", has_text="Stopped").wait_for(timeout=30_000)


def test_a_blind_edit_is_drawn_and_told(visit, tmp_path):
    page = visit(query="&place=trace")
    lab = page.locator("#trace")
    lab.locator(".stored", has_text="Stored example").wait_for(timeout=60_000)
    ask(page, "trace", "3 · What was it?")
    lab.locator(".sorry", has_text="Nothing was examined yet").wait_for()
    ask(page, "trace", "1 · Draw a blind edit")
    lab.locator(".stored", has_text="Yours").wait_for(timeout=400_000)
    assert lab.locator(".told").count() == 0, "the stored answer does not stand behind one's own"
    ask(page, "trace", "3 · What was it?")
    lab.locator(".told", has_text="It was").wait_for(timeout=60_000)
    page.screenshot(path=tmp_path / "told.png", full_page=True)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_a_link_of_the_gallery_opens_to_its_verdict(visit, tmp_path, width, theme):
    page = visit(width, theme)
    go_to(page, "Surprises", "Surprising edits")
    assert page.locator("#gallery ul.gallery > li").count() >= 12
    fits(page, width)
    page.screenshot(path=tmp_path / f"gallery-{theme}-{width}.png", full_page=True)
    name = {1280: "It knows the sentence, not the fact", 390: "Only not the sentence itself"}[width]
    with page.expect_popup() as tab:  # one's own edits stay live where they are
        page.get_by_role("link", name=name).click()
    page = tab.value
    page.locator("#exhibit", has_text="answers came out as stated").wait_for(timeout=180_000)
    assert page.locator("#exhibit small.other").count() == 0, "as it was measured"
    assert page.locator("#exhibit small.same").count() == 3
    assert "1 edit live" in page.locator("#top").inner_text()
    fits(page, width)
    page.screenshot(path=tmp_path / f"exhibit-{theme}-{width}.png", full_page=True)
