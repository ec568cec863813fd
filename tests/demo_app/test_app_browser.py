"""The first place in a real browser, on the default model: wide and narrow, light and dark."""

from __future__ import annotations

import re
import time

import pytest

from ..support.browser import fits_both

pytestmark = pytest.mark.browser

SCREEN = """() => {
  const shown = (e) => e.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const inside = (box) =>
    box.width > 1 && box.height > 1 && box.top < innerHeight && box.bottom > 0;
  const cut = (e, box) => {  // behind the end of a line that is cut, or for screen readers only
    for (; e; e = e.parentElement) {
      const style = getComputedStyle(e), end = e.getBoundingClientRect().right;
      if (style.clipPath !== "none") return true;
      if (style.overflowX === "hidden" && box.left >= end - 1) return true;
    }
    return false;
  };
  const controls = [...document.querySelectorAll("button, input, select, textarea, summary, a")]
    .filter((e) => shown(e) && inside(e.getBoundingClientRect()));
  const words = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!shown(node.parentElement)) continue;
    for (const found of node.textContent.matchAll(/\\S*\\w\\S*/g)) {
      const range = document.createRange();
      range.setStart(node, found.index);
      range.setEnd(node, found.index + found[0].length);
      const box = range.getBoundingClientRect();
      if (inside(box) && !cut(node.parentElement, box)) words.push(found[0]);
    }
  }
  return {controls: controls.map((e) => e.innerText || e.value), words};
}"""  # what stands on the screen, by bounding boxes
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
WAITING = """() => document.querySelector("#status:has(.stale) [role=progressbar]")
  && getComputedStyle(document.querySelector("#table")).opacity < 0.6"""  # of the edit before


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


def box(page, selector: str, place: int = 0) -> dict:
    """Where a part of the page stands that can be seen."""
    found = page.locator(f"{selector} >> visible=true").nth(place).bounding_box()
    assert found is not None and found["width"] > 0, selector
    return found | {"right": found["x"] + found["width"], "bottom": found["y"] + found["height"]}


def test_it_opens_on_the_finished_comparison(visit, tmp_path):
    page = visit()
    page.locator("table.score").wait_for()
    page.screenshot(path=tmp_path / "opened.png")
    line, found = page.locator("#status").inner_text(), page.evaluate(SCREEN)
    assert "What else moved?" in line and "stored example" in line
    # each prompt stands as it is asked
    assert len(found["controls"]) <= 12 and len(found["words"]) <= 190, found
    assert page.locator("h2.headline s").inner_text() == "Paris"
    change, stay = box(page, ".half.change"), box(page, ".half.stay")
    assert change["right"] < stay["x"] and abs(change["y"] - stay["y"]) < 2, "side by side"
    assert page.locator(".half.stay tr.neighbor >> visible=true").count() == 4
    written = box(page, "#write")
    assert change["bottom"] <= written["y"] and written["bottom"] <= 900, "on the first screen"
    assert written["bottom"] <= box(page, "table.score")["y"] <= 930, "and editors right below"
    before, after = page.locator("#written .panel p").all_inner_texts()
    assert before.startswith("… Paris") and after.startswith("… Rome.")
    assert box(page, "h2.headline")["bottom"] <= box(page, "#status")["y"] + 1 <= change["y"]
    for row in page.locator(".half tr:has(td) >> visible=true").all():
        cells = [cell.bounding_box() for cell in row.locator("td").all()]
        ends = [cell["x"] + cell["width"] for cell in cells]
        assert all(end <= after["x"] + 1 for end, after in zip(ends, cells[1:], strict=False))
    numbers = page.locator("small.num >> visible=true")
    assert numbers.count() == 0 and page.locator(".beside").is_hidden()
    look_closer(page)
    page.get_by_label("Numbers").check()
    assert page.locator(".half small.num >> visible=true").count() == 8
    assert page.locator(".beside tbody tr >> visible=true").count() == 13
    assert "10<sup" not in page.locator("#table").inner_html()
    page.get_by_label("Numbers").uncheck()
    look_closer(page)
    press(page, "FT-M")
    assert page.evaluate("document.activeElement.innerText") == "FT-M", "its name has the focus"
    assert page.locator(".half.stay tr.neighbor .mark.bad >> visible=true").count() == 2
    page.locator('[data-dot^="2.reworded"]').first.click()
    picked = page.locator("tr.picked >> visible=true")
    assert "In which city" in picked.inner_text() and "= Paris" in picked.inner_text()
    assert page.locator("tr.shown th").inner_text() == "GRACE stored example"
    page.locator('[data-dot^="2.unrelated"]').first.click()
    assert page.locator("tr.picked.unrelated >> visible=true").count() == 1, "it opens its fold"
    fits_both(page)


def test_the_head_says_what_this_is_and_three_surprises_stand_below(visit):
    page = visit()
    page.locator("#some ul.gallery > li").nth(2).wait_for()
    page.wait_for_function("document.title === `Edit a language model's memory`")
    icon = page.locator('link[rel="icon"]').last.get_attribute("href")
    assert icon.startswith("data:image/svg+xml,")
    assert page.locator("#some ul.gallery > li").count() == 3


def test_one_guesses_each_row_and_then_sees_it(visit, tmp_path):
    page = visit()
    look_closer(page)
    page.get_by_label("Guess first").check()
    seen = page.locator(".half .after >> visible=true")
    assert seen.count() == 0 and page.locator("table.score").is_hidden()
    rows, line = page.locator(".guess >> visible=true"), page.locator(".guesses")
    assert line.inner_text() == "What did ROME do to each prompt?"
    for number in range(8):
        assert seen.count() == number
        rows.first.locator("button").first.click()
    said = line.inner_text()
    assert "You saw 6 of 8 coming of what ROME did" in said and "would have seen 6" in said
    assert page.locator("table.score").is_visible() and page.locator("tr.miss").count() == 2
    page.screenshot(path=tmp_path / "guessed.png")
    fits_both(page)
    press(page, "FT-M")
    assert "of what ROME did" in line.inner_text(), "each editor is guessed by its name"
    assert line.inner_text().endswith("What did FT-M do to each prompt?")
    rows.first.locator("button").first.click()
    assert "of what FT-M did" in line.inner_text() and "to go" in line.inner_text()


def test_the_first_screen_after_an_edit_is_calm(visit, tmp_path):
    page = visit()
    press(page, "Edit")
    live(page, "1 edit live")
    page.locator("#table tr.neighbor >> visible=true").first.wait_for()
    page.wait_for_timeout(500)
    page.screenshot(path=tmp_path / "calm.png")
    found = page.evaluate(SCREEN)
    assert len(found["controls"]) <= 12, " | ".join(found["controls"])
    assert page.locator("#large").is_visible() and page.locator("#top p").is_visible()
    assert page.locator("table.score tr.shown", has_text="live").count() == 1
    assert len(found["words"]) <= 180, " ".join(found["words"])  # prompts as they are asked
    for place in range(4):
        row = page.locator(".half.stay tr.neighbor >> visible=true").nth(place)
        assert re.match(r"= \w|\w.* → .*\w", row.locator("td.answer").inner_text())
        assert box(page, ".half.stay tr.neighbor", place)["bottom"] <= 900


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_edit_and_undo(visit, tmp_path, width, theme):
    page = visit(width, theme)
    tick(page, "FT-M")
    press(page, "Edit")
    page.wait_for_function(WAITING)  # in one look: it may be over before the next
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


def test_an_edit_that_failed_is_live_when_kept_and_taken_out_beside_its_cross(visit, tmp_path):
    page = visit()
    press(page, "Go")
    page.locator("#written", has_text="Before").wait_for(timeout=60_000)
    tick(page, "FT-L")
    press(page, "Edit")
    assert "✗ FT-L did not make the model say" in said(page, "The edit is not live")
    assert "edit" not in page.locator("#top .live").inner_text()
    assert "Before" not in page.locator("#written").inner_text(), "it was said before this edit"
    page.screenshot(path=tmp_path / "failed.png")
    page.locator("#status").get_by_role("button", name="keep it").click()
    live(page, "1 edit live")
    page.locator("#status").get_by_role("button", name="take it out").click()
    assert "byte-identical" in said(page, "Undone")
    assert "edit" not in page.locator("#top .live").inner_text()


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


def test_a_link_to_a_stored_example_waits_for_nobody(visit, tmp_path):
    busy = visit()
    tick(busy, "MEMIT", "AlphaEdit", "WISE")
    press(busy, "Edit")
    busy.wait_for_function(WAITING)
    page = visit(query="&example=the-eiffel-tower&editors=ft_m")
    page.locator("#settings > button", has_text="FT-M").wait_for()
    assert "FT-M · stored example" in said(page, "What else moved?")
    assert busy.locator("#status [role=progressbar]").count() == 1, "the model is not free"
    assert page.locator("tr.shown th").inner_text() == "FT-M stored example"
    assert page.locator(".stale").count() == 0 and not page.locator("#top .live.on").count()
    page.screenshot(path=tmp_path / "stored.png")
    fits_both(page)
    press(busy, "Stop")
    said(busy, "Stopped; nothing was changed")


def test_four_editors_answers_are_columns_on_a_wide_screen_and_named_on_a_phone(visit, tmp_path):
    page = visit()
    look_closer(page)
    row = page.locator(".beside tbody tr", has_text="visit Notre-Dame").first
    told = [text.split()[:2] for text in row.locator("td").all_inner_texts()]
    kept, moved = ["Paris", "kept"], ["Rome", "moved"]
    assert told == [["Paris"], kept, moved, kept]
    wide = [cell.bounding_box() for cell in row.locator("th, td").all()]
    assert all(a["x"] + a["width"] <= b["x"] + 1 for a, b in zip(wide, wide[1:], strict=False))
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(200)
    cells = [cell.bounding_box() for cell in row.locator("th, td").all()]
    assert all(box["x"] + box["width"] <= 390 for box in cells), "nothing goes on to the side"
    assert cells[0]["width"] > 300 and cells[1]["y"] > cells[0]["y"], "the prompt over its answers"
    name = "(e) => getComputedStyle(e, '::before').content"
    assert row.locator("td").nth(2).evaluate(name) == '"FT-M"'
    page.screenshot(path=tmp_path / "phone.png")
    fits_both(page)


def test_a_linked_edit_marks_what_changed_and_is_not_blamed_for_by_the_next(visit, tmp_path):
    fact = "subject=The+Pantheon&prompt=%7B%7D+is+located+in+the+city+of&target=Oslo"
    page = visit(query=f"&{fact}&editors=ft_m,magic&own=Where+is+the+Pantheon%3F")
    page.get_by_test_id("toast-body").filter(has_text="some of the editors").wait_for()
    live(page, "1 edit live")
    page.locator("tr.own >> visible=true", has_text="Where is the Pantheon?").first.wait_for()
    page.locator(".stay tr[data-good] >> visible=true").first.wait_for()
    kept = page.locator('.stay tr[data-good="1"] >> visible=true')
    assert kept.count() and kept.locator("s").count() == 0, "what is kept does not look changed"
    for text in kept.locator("td.answer").all_inner_texts():
        assert re.match(r"= \w", text), "the judged answer stands in the row"
    page.get_by_label("Subject", exact=True).fill("The Colosseum")
    page.get_by_label("New answer").fill("Madrid")
    press(page, "Edit")
    live(page, "2 edits live")
    mine = page.locator(".stay tr:has(td[title^='The Pantheon is located in'])").first
    mine.locator("small", has_text="yours: you edited it before").wait_for()
    assert mine.get_attribute("data-good") == "" and "Oslo" in mine.inner_text()
    colors = [
        page.locator(f".stay {part} >> visible=true").first.evaluate(
            "(e) => getComputedStyle(e).color"
        )
        for part in ('tr[data-good=""] .answer b', 'tr[data-good=""] .answer s')
    ]
    assert len(set(colors)) == 1, "in quiet ink, neither red nor as if this edit had done it"
    page.screenshot(path=tmp_path / "blame.png", full_page=True)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_ends_of_the_subject_are_dragged_and_moved_by_keys(visit, tmp_path, width):
    page = visit(width)
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
    page.screenshot(path=tmp_path / f"ends-{width}.png")
    touched = ends.first.evaluate(TOUCHED)
    assert touched["width"] >= 24 and touched["height"] >= 44, touched
    fits_both(page)
    page.get_by_role("button", name="Examples · ROME").click()
    page.get_by_label("Example", exact=True).click()
    page.get_by_role("option", name="China").click()
    page.locator("#ends .ends").wait_for(state="detached")


def test_a_finger_drags_an_end_in_a_script_without_spaces(browser, address):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(address)
    subject, prompt = (page.get_by_label(name, exact=True) for name in ("Subject", "Prompt"))
    subject.fill("")
    prompt.fill("The capital of Japan is")
    prompt.blur()
    ends = page.locator("#ends [role=slider]")
    ends.first.wait_for()
    subject.fill("长城")
    prompt.press("Control+a")
    page.keyboard.type("位于中国的")
    ends.nth(1).scroll_into_view_if_needed()
    box, to = ends.nth(1).bounding_box(), page.evaluate(WHERE, ["中国", 1])
    client, at = context.new_cdp_session(page), box["y"] + box["height"] / 2

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y} for x, y in points]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (box["x"] + box["width"] / 2, at))
    touch("touchMove", (to["x"] - 30, to["y"]))
    touch("touchMove", (to["x"], to["y"]))
    touch("touchEnd")
    assert (subject.input_value(), prompt.input_value()) == ("长城位于中国", "{}的")
    context.close()
