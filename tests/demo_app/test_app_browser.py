"""The first place in a real browser, on the default model: wide and narrow, light and dark."""

from __future__ import annotations

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


YS = """() => [...document.querySelectorAll("#rows .asked:not([hidden]) .row")]
  .map((row) => Math.round(row.getBoundingClientRect().y + scrollY))"""


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def write(page, *texts: str) -> None:
    """The parts of the sentence, as far as they are given."""
    for name, text in zip(("Subject", "Prompt", "New answer"), texts, strict=False):
        page.get_by_label(name, exact=True).fill(text)


def tick(page, *editors: str) -> None:
    """These editors and no other, in the panel."""
    page.locator("#by .more").click()
    panel = page.locator("#panel")
    panel.wait_for()
    for details in panel.locator("#families details").all():
        details.evaluate("(one) => { one.open = true; }")
    for editor in editors:
        panel.locator(f'[data-tick="{editor}"]').check()
    ticked = "(boxes) => boxes.filter((one) => one.checked).map((one) => one.dataset.tick)"
    for other in panel.locator("[data-tick]").evaluate_all(ticked):
        if other not in editors:
            panel.locator(f'[data-tick="{other}"]').uncheck()
    press(page, "Done")
    panel.wait_for(state="hidden")


def message(page, text: str) -> str:
    shown = page.locator("#rows .message", has_text=text)
    shown.wait_for(timeout=240_000)
    return shown.inner_text()


def live(page, text: str) -> None:
    page.locator("#top", has_text=text).wait_for(timeout=240_000)


def heading(page) -> str:
    return page.locator("#rows h2 >> visible=true").inner_text()


def test_it_opens_with_a_fact_that_is_guessed_edited_and_read_in_the_same_rows(visit):
    page = visit()
    page.locator('.fact-rows[data-shown="guess"]').wait_for()
    assert heading(page) == "Guess first: what else will change?"
    for name in "Undo", "Share":
        assert not page.get_by_role("button", name=name, exact=True).is_visible()
    sent, rows = [], page.evaluate(YS)
    page.on("request", lambda request: sent.append(request.url))
    boxes = page.locator("#rows .change input >> visible=true")
    for box in boxes.all():
        box.check()
    assert page.locator("#rows .will >> visible=true").count() == boxes.count()
    assert (
        f"You expect {boxes.count()} of {len(rows)} to change." in page.locator("#say").inner_text()
    )
    press(page, "Edit")
    assert heading(page) == "What else moved? The iPad."
    assert page.evaluate("document.activeElement.innerText") == "What else moved? The iPad."
    assert page.evaluate(YS) == rows, "nothing shifts"
    before, after = page.locator("#written .panel p >> visible=true").all_inner_texts()
    assert "Steve Jobs" in before and "Samsung" in after, "and how a text goes on is stored"
    said = page.locator("#say").inner_text()
    assert f"You saw {len(rows) - 1} of {len(rows)} coming." in said
    assert page.locator("#old .struck").inner_text() == "Apple"
    press(page, "Share")
    page.wait_for_function("location.search.includes('saw=')")
    link = page.url
    assert f"saw={len(rows) - 1}-{len(rows)}" in link and "editors=rome" in link
    press(page, "Guess again: Fine-tuning")
    assert heading(page).startswith("Guess first")
    press(page, "Edit")
    assert heading(page) == "What else moved? The iPad and the iPod."
    press(page, "Guess again: GRACE")
    press(page, "Edit")
    assert heading(page) == "What else moved? None of these three."
    assert "GRACE answers this one sentence only." in page.locator("#say").inner_text()
    assert page.locator("#board caption").inner_text().startswith("None of the three gets all")
    assert page.locator("#board .unseen >> visible=true").count() == 0
    assert not [url for url in sent if "page_edit" in url]
    press(page, "Undo")
    assert heading(page).startswith("Guess first")
    press(page, "Edit")
    press(page, "Try your own fact")
    assert page.evaluate("document.activeElement.value") == "The iPhone"
    fits_both(page)
    page = visit(query=f"&{link.partition('?')[2]}")
    told = f"The sender saw {len(rows) - 1} of {len(rows)} coming. Would you?"
    page.locator("#say", has_text=told).wait_for()
    page.locator("#rows .change input >> visible=true").first.check()
    assert "sender" not in page.locator("#say").inner_text(), "a guess of one's own goes first"


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_an_own_fact_and_undo(visit, tmp_path, width, theme):
    page = visit(width, theme)
    write(page, "The iPhone", "was developed by", "Nokia")
    page.locator("[data-chip=ft_m]").click()
    press(page, "Edit")
    live(page, "1 edit live")
    page.locator('.fact-rows[data-shown="result"]').wait_for()
    assert heading(page).startswith("What else moved?")
    assert page.evaluate("document.activeElement.tagName") == "H2", "its answer is read"
    assert page.locator("#rows .a b >> visible=true", has_text="Nokia").count() >= 1
    fits_both(page)
    page.screenshot(path=tmp_path / f"{theme}-{width}-after.png", full_page=True)
    press(page, "Undo")
    assert "The model's weights are byte" in message(page, "Undone: The iPhone → Nokia.")
    assert "live" not in page.locator("#top .live").inner_text()


def test_own_fact_its_link_error_stop_and_writing_on(visit, tmp_path):
    page = visit()
    write(page, "<img src=x onerror=alert(1)>", "The moon is made of")
    press(page, "Edit")
    assert "<img src=x onerror=alert(1)>' does not occur" in message(page, "does not occur")
    page.get_by_test_id("toast-body").wait_for()
    write(page, "The moon <b>${alert(1)}</b>", "{} is made of", "cheese")
    page.locator("[data-chip=ft_m]").click()
    press(page, "Edit")
    live(page, "1 edit live")
    press(page, "Share")
    page.wait_for_function("location.search.includes('target=cheese')")
    assert "editors=ft_m" in page.url
    press(page, "Go")
    page.locator("#written", has_text="After 1 edit").wait_for(timeout=60_000)
    page.screenshot(path=tmp_path / "own.png", full_page=True)
    tick(page, "rome", "memit")  # long enough that there is something to stop
    page.locator("#main", has_text="Compare with ROME").click()
    page.locator("#main", has_text="Stop").click()
    message(page, "Stopped; nothing was changed")
    assert "1 edit live" in page.locator("#top").inner_text()


def test_side_by_side_and_an_edit_is_taken_out(visit, tmp_path):
    page = visit()
    tick(page, "ft_m", "grace")
    press(page, "Edit")
    live(page, "1 edit live")
    assert page.locator("#board th[scope=col] >> visible=true").count() == 2
    page.screenshot(path=tmp_path / "beside.png", full_page=True)
    fits_both(page)
    page.locator("[data-chip=grace]").click()
    press(page, "Keep this one")
    page.locator('.fact-rows[data-kept="1"]').wait_for(timeout=60_000)
    write(page, "The Colosseum", "is located in the city of", "Oslo")
    page.locator("[data-chip=grace]").click()
    press(page, "Edit")
    live(page, "2 edits live")
    listed = page.locator("#list ol.edits")
    listed.locator("li", has_text="Colosseum").wait_for(timeout=60_000)
    assert listed.locator("li").count() == 2 and "GRACE" in listed.inner_text()
    page.locator("#list").screenshot(path=tmp_path / "list.png")
    listed.get_by_role("button", name="remove: The iPhone → Samsung").click()
    live(page, "1 edit live")
    assert "byte-identical" in message(page, "Undone")
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
    press(page, "pick another")
    page.get_by_role("button", name="China: Beijing → Shanghai").click()
    page.locator("#ends .ends").wait_for(state="detached")
    page.locator('.fact-rows[data-subject="China"][data-shown="guess"]').wait_for()
