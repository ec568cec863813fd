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
    "layers": "Why did it not take?",
    "trace": "Was this model edited?",
    "lasts": "Does it last?",
}


def ask(page, key: str, button: str) -> None:
    """Press a button of a question, which is open."""
    page.locator(f"#{key}").get_by_role("button", name=button, exact=True).click()


def test_each_question_opens_with_its_stored_answer(visit):
    page = visit(390, "dark")
    page.get_by_role("tab", name="Lab", exact=True).click()
    assert page.locator("#questions svg[aria-label]").count() == len(QUESTIONS)
    for key, title in QUESTIONS.items():
        card = page.locator(f"#{key}")
        press = page.get_by_role("button", name=title)
        press.click()
        card.locator(".stored", has_text="Stored example").wait_for(timeout=60_000)
        assert card.locator(".answer").first.inner_text().strip()
        assert press.get_attribute("aria-expanded") == "true"
        shown = page.locator("#lab > .question:visible").all()
        assert [one.get_attribute("id") for one in shown] == [key], "one at a time"
        assert page.evaluate("document.activeElement.textContent") == title
    press.click()
    assert page.locator("#lab > .question:visible").count() == 0, "a second press closes it"
    assert page.locator("#interference img, #layers img, #lifelong img, #trace img").count() == 7
    drawn = page.locator("#layers img").first.evaluate("e => getComputedStyle(e).filter")
    assert "invert" in drawn, "figures follow the dark"
    fits(page, 390)


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_the_memory_picture_plays_once_unless_motion_is_unwanted(visit, motion):
    page = visit()
    page.emulate_media(reduced_motion=motion)
    page.get_by_role("tab", name="Lab", exact=True).click()
    said = page.locator("#memory .said")
    said.wait_for()
    page.wait_for_timeout(4000)
    told = "Louvre came along" if motion == "no-preference" else "Nothing has been pulled yet"
    assert told in said.inner_text()
    page.get_by_role("button", name="Start over").click()
    page.wait_for_timeout(2000)
    assert "Nothing has been pulled yet" in said.inner_text(), "only once"
    planes = [one.bounding_box() for one in page.locator("#memory .plane").all()]
    assert planes[0]["y"] == planes[1]["y"] and planes[0]["y"] < 300, "on the first screen"


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


def test_an_edit_is_looked_into_and_taken_home(visit):
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
    card = page.locator("#interference")
    page.get_by_role("button", name=QUESTIONS["interference"]).click()
    card.locator(".stored", has_text="Stored example").wait_for(timeout=60_000)
    ask(page, "interference", "Measure my last edit")
    card.locator(".stored", has_text="Yours").wait_for(timeout=120_000)
    assert "answers changed" in card.locator(".block.answer").inner_text()
    card.locator(".answer img").wait_for()
    fits_both(page)


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


def test_a_link_of_the_gallery_opens_to_its_verdict(visit):
    page = visit()
    go_to(page, "Surprises", "Surprising edits")
    assert page.locator("#gallery ul.gallery > li").count() >= 12
    fits_both(page)
    with page.expect_popup() as tab:  # one's own edits stay live where they are
        page.get_by_role("link", name="It knows the sentence, not the fact").click()
    page = tab.value
    page.locator("#exhibit", has_text="answers match the stored answers").wait_for(timeout=180_000)
    assert page.locator("#exhibit small.other").count() == 0, "as it was measured"
    assert page.locator("#exhibit small.same").count() == 3
    assert "1 edit live" in page.locator("#top").inner_text()
    fits_both(page)
