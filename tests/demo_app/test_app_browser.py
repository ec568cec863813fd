"""The first place in a real browser, on the default model: wide and narrow, light and dark."""

from __future__ import annotations

import time

import pytest

from ..support.browser import fits_both

pytestmark = pytest.mark.browser

WHERE = """([word, end]) => {
  const walker = document.createTreeWalker(document.querySelector(".ends"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const place = walker.currentNode.data.indexOf(word);
    if (place < 0) continue;
    const range = document.createRange();
    range.setStart(walker.currentNode, place);
    range.setEnd(walker.currentNode, place + word.length);
    const box = range.getBoundingClientRect();
    return {x: end ? box.right - 2 : box.left + 2, y: (box.top + box.bottom) / 2};
  }
}"""  # the beginning or the end of a word in the sentence below the form
TOUCHED = """(e) => {
  const box = e.getBoundingClientRect(), after = getComputedStyle(e, "::after");
  return {width: parseFloat(after.width), height: parseFloat(after.height), box: box.width};
}"""  # what of a handle is touched


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
    page.locator("#settings > button", has_text=f"· {editors[0]}").wait_for()
    page.locator("#settings > button").click()


def look_closer(page) -> None:
    """Unfold the switches, all answers and the link; or fold them."""
    page.locator("#closer summary").click()


def said(page, text: str) -> str:
    status = page.locator("#status", has_text=text)
    status.wait_for(timeout=180_000)
    return status.inner_text()


def live(page, text: str) -> None:
    page.locator("#top", has_text=text).wait_for(timeout=240_000)


def test_it_opens_on_the_finished_comparison_where_each_row_may_be_guessed_first(visit):
    page = visit()
    page.locator("table.score").wait_for()
    page.locator("#some ul.gallery > li").nth(2).wait_for()
    line = page.locator("#status").inner_text()
    assert "What else moved?" in line and "stored example" in line
    assert page.locator("h2.headline s").inner_text() == "Paris"
    before, after = page.locator("#written .panel p").all_inner_texts()
    assert before.startswith("… Paris") and after.startswith("… Rome.")
    press(page, "FT-M")
    page.locator('[data-dot^="2.reworded"]').first.click()
    assert "In which city" in page.locator("tr.picked >> visible=true").inner_text()
    assert page.locator("tr.shown th").inner_text() == "GRACE stored example"
    press(page, "ROME")
    look_closer(page)
    page.get_by_label("Guess first").check()
    assert page.locator(".half .after >> visible=true").count() == 0
    for _ in range(8):
        page.locator(".guess >> visible=true").first.locator("button").first.click()
    said = page.locator(".guesses").inner_text()
    assert "You saw 6 of 8 coming of what ROME did" in said
    assert page.locator("table.score").is_visible()
    fits_both(page)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_edit_and_undo(visit, tmp_path, width, theme):
    page = visit(width, theme)
    tick(page, "FT-M")
    press(page, "Edit")
    live(page, "1 edit live")
    line = said(page, "What else moved?")
    assert "FT-M" in line and "stored example" not in line and page.locator(".stale").count() == 0
    assert page.locator(".answer b >> visible=true", has_text="Rome").count() >= 1
    assert "moves 2 neighbors" in page.locator("table.score").inner_text()
    fits_both(page)
    page.screenshot(path=tmp_path / f"{theme}-{width}-after.png", full_page=True)
    press(page, "Undo")
    assert "13 of 13" in said(page, "Undone: The Eiffel Tower → Rome. The model's weights are byte")
    assert "edit" not in page.locator("#top .live").inner_text()


def test_own_fact_its_link_error_stop_and_writing_on(visit, tmp_path):
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
    subject.fill("The moon <b>${alert(1)}</b>")
    prompt.fill("{} is made of")
    page.get_by_label("New answer").fill("cheese")
    tick(page, "FT-M")
    press(page, "Edit")
    live(page, "1 edit live")
    assert "The moon <b>${alert(1)}</b>" in page.locator("h2.headline").inner_text()
    assert page.locator("#table .source >> visible=true").count() == 1
    look_closer(page)
    press(page, "copy link to this edit")
    page.wait_for_function("location.search.includes('target=cheese')")
    assert "editors=ft_m" in page.url
    press(page, "Go")
    page.locator("#written", has_text="After 1 edit").wait_for(timeout=60_000)
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


def test_side_by_side_and_an_edit_is_taken_out(visit, tmp_path):
    page = visit()
    tick(page, "FT-M", "GRACE")
    press(page, "Edit")
    live(page, "1 edit live")
    assert "FT-M live" in page.locator("table.score").inner_text()
    page.screenshot(path=tmp_path / "beside.png", full_page=True)
    fits_both(page)
    page.locator("#score").get_by_role("button", name="keep it").click()
    page.locator("table.score th", has_text="GRACE live").wait_for(timeout=60_000)
    page.get_by_label("Subject", exact=True).fill("The Colosseum")
    page.get_by_label("New answer").fill("Oslo")
    tick(page, "FT-M")
    press(page, "Edit")
    live(page, "2 edits live")
    listed = page.locator("#list ol.edits")
    listed.locator("li", has_text="Colosseum").wait_for(timeout=60_000)
    assert listed.locator("li").count() == 2 and "GRACE" in listed.inner_text()
    page.locator("#list").screenshot(path=tmp_path / "list.png")
    listed.get_by_role("button", name="take out: The Eiffel Tower → Rome").click()
    live(page, "1 edit live")
    assert "byte-identical" in said(page, "Undone")
    fits_both(page)
    with page.expect_event("dialog") as asked:
        page.reload(wait_until="load")
    assert asked.value.type == "beforeunload", "an edit that is live is not lost by a slip"


def test_the_ends_of_the_subject_are_dragged_and_moved_by_keys(visit):
    page = visit(390)
    subject, prompt = (page.get_by_label(name, exact=True) for name in ("Subject", "Prompt"))
    ends = page.locator("#ends [role=slider]")
    assert ends.count() == 0, "nothing was taken yet"
    subject.fill("")
    prompt.fill("War and Peace was written in the language of")
    prompt.blur()
    ends.first.wait_for()
    page.wait_for_function("document.querySelector('#sentence input, #sentence textarea').value")

    def holds(*texts: str) -> None:
        assert (subject.input_value(), prompt.input_value()) == texts
        assert page.locator("#ends mark").inner_text() == texts[0]

    def drag(end: int, word: str) -> None:
        """Drag one of the ends into a word, with the mouse or a finger."""
        ends.nth(end).scroll_into_view_if_needed()
        to = page.evaluate(WHERE, [word, end])
        box = ends.nth(end).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(to["x"], to["y"], steps=6)
        page.mouse.up()

    holds("War and Peace", "was written in the language of")
    drag(0, "Peace")
    holds("Peace", "War and {} was written in the language of")
    drag(1, "written")
    holds("Peace was written", "War and {} in the language of")
    ends.first.focus()
    page.keyboard.press("Home")
    holds("War and Peace was written", "in the language of")
    ends.nth(1).focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    holds("War and Peace", "was written in the language of")
    page.keyboard.press("End")
    holds("War and Peace", "was written in the language of")  # all of it is no subject
    touched = ends.first.evaluate(TOUCHED)
    assert touched["width"] >= 24 and touched["height"] >= 44, touched
    fits_both(page)
    page.get_by_role("button", name="Examples · ROME").click()
    page.get_by_label("Example", exact=True).click()
    page.get_by_role("option", name="China").click()
    page.locator("#ends .ends").wait_for(state="detached")
