"""The three tabs with long runs in a real browser, on the default model: wide and narrow."""

from __future__ import annotations

import csv
import json
import time
import urllib.request
from pathlib import Path

import pytest

import lib

from ..support.browser import fits_both, go_to

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def patch_file(tmp_path_factory):
    """A patch of the default model, made elsewhere: fine-tuned, so that weights have moved."""
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", "Paris")
    patch = lib.EDITORS["ft"](lib.load()).edit([fact])
    return patch.save(tmp_path_factory.mktemp("patch") / "tower.safetensors")


def test_the_stress_test_runs_stops_and_is_downloaded(visit, tmp_path):
    page = visit()
    go_to(page, "Lifelong", "Lifelong stress test")
    page.locator("#race .stored", has_text="Stored example").wait_for()
    page.locator(".figure img").nth(1).wait_for()
    page.screenshot(path=tmp_path / "lifelong-form.png", full_page=True)
    page.get_by_label("UltraEdit (fast)").uncheck()
    for name, value in ("Edits", "4"), ("Batch", "2"):
        box = page.get_by_label(f"number input for {name}")
        box.fill(value)
        box.press("Tab")
    page.get_by_role("button", name="Run the test").click()
    page.locator("#lifelong-status .bar").wait_for()
    status = page.locator("#lifelong-status", has_text="4 of 4 edits (classroom)")
    status.wait_for(timeout=240_000)
    table = page.locator("#lifelong-table")
    for name in "before any edit", "Retrieval", "FT", "GRACE":
        assert table.get_by_role("rowheader", name=name, exact=True).count() == 1
    page.get_by_text("The figure in words").click()
    assert "after 4 edits" in page.locator("#lifelong-words").inner_text()
    assert page.locator(".figure img").count() == 2
    fits_both(page)
    page.screenshot(path=tmp_path / "lifelong-done.png", full_page=True)
    with page.expect_download() as found:
        page.get_by_text("Table (CSV)", exact=True).click()
    rows = list(csv.DictReader(found.value.path().open(encoding="utf-8")))
    assert {row["editor"] for row in rows} == {"base", "retrieval", "ft", "grace"}
    box = page.get_by_label("number input for Edits")  # long enough that there is a run to stop
    box.fill("40")
    box.press("Tab")
    page.get_by_role("button", name="Run the test").click()
    page.locator("#lifelong-status .bar").wait_for()
    began = time.monotonic()
    page.get_by_role("button", name="Pause", exact=True).click()
    page.locator("#lifelong-status .bar").wait_for(state="detached", timeout=30_000)
    assert time.monotonic() - began < 10, "two seconds on a quiet machine"


def test_a_patch_is_loaded_looked_into_and_taken_home(visit, tmp_path, patch_file):
    page = visit(390)
    go_to(page, "Inside the edit", "Inside the edit")
    assert "No edit is live" in page.locator("#inside-about").inner_text()
    for place in "ranks", "trace", "overlaps", "scope", "norms", "wilke":
        card = page.locator(f"#inside-{place}")
        card.locator(".stored", has_text="Stored example: The Eiffel Tower → Rome").wait_for()
        card.locator("img").wait_for()
    page.screenshot(path=tmp_path / "inside-stored.png", full_page=True)

    go_to(page, "Take away", "Download")
    page.locator("#take input[type=file]").set_input_files(patch_file)
    status = page.locator("#take-status")
    status.get_by_text("1 edit loaded from tower.safetensors").wait_for(timeout=60_000)
    page.locator("#code", has_text='EDITORS["ft"]').wait_for()
    link = page.locator("#link textarea, #link input").first
    page.wait_for_function("e => e.value.startsWith('http')", arg=link.element_handle())
    assert link.input_value().endswith("/?example=the-eiffel-tower")
    page.get_by_role("button", name="The patch", exact=True).click()
    status.get_by_text("the-eiffel-tower.safetensors is ready").wait_for(timeout=60_000)
    with page.expect_download() as found:
        page.get_by_text("Download, ").click()
    assert lib.Patch.load(found.value.path()).facts == lib.Patch.load(patch_file).facts
    fits_both(page)
    page.screenshot(path=tmp_path / "take.png", full_page=True)
    page.locator("#top", has_text="1 edit live").wait_for(timeout=60_000)  # a job of its own
    page.wait_for_timeout(800)
    page.get_by_role("tab", name="Try").click()
    assert "your edits so far" in page.locator("#status").inner_text()
    assert page.locator("#table .answer b", has_text="Rome").count() >= 1
    assert "Eiffel Tower" in page.locator("#switches").inner_text()

    go_to(page, "Inside the edit", "Inside the edit")
    page.locator("#inside-about", has_text="1 edit live").wait_for()
    for place, said in ("ranks", "stands before “Paris”"), ("norms", "layers changed"):
        card = page.locator(f"#inside-{place}")
        card.locator(".done", has_text=said).wait_for(timeout=60_000)
        card.locator(".stored", has_text="Yours").wait_for()
        card.locator(".figure img").wait_for()
        assert card.get_by_text("The figure in words").count() == 1
    scope = page.locator("#inside-scope")
    scope.locator(".stored", has_text="So here stands the stored example").wait_for(timeout=60_000)
    trace = page.locator("#inside-trace")
    assert "Stored example" in trace.locator(".stored").inner_text(), "it takes half a minute"
    trace.get_by_role("button", name="Compute it for my fact").click()
    trace.locator(".bar").wait_for()
    trace.get_by_role("button", name="Stop").click()
    trace.locator(".sorry", has_text="Stopped.").wait_for(timeout=10_000)
    fits_both(page)
    page.screenshot(path=tmp_path / "inside.png", full_page=True)


def test_a_link_fills_the_form_and_a_memory_shows_its_scope(visit, tmp_path):
    asked = "&example=the-colosseum&editors=memoir,magic&own=Where+is+the+Colosseum%3F"
    page = visit(query=asked)
    page.get_by_test_id("toast-body").filter(has_text="some of the editors").wait_for()
    page.locator("h2.headline", has_text="Colosseum").wait_for(timeout=60_000)
    page.locator("#settings > button", has_text="With MEMOIR").click()
    assert page.get_by_label("Ask these as well").input_value() == "Where is the Colosseum?"
    assert page.get_by_role("checkbox", name="MEMOIR", exact=True).is_checked()
    assert not page.get_by_role("checkbox", name="ROME", exact=True).is_checked()
    page.screenshot(path=tmp_path / "link.png", full_page=True)
    page.get_by_label("Steps").first.fill("8")  # enough for its mask, which decides the scope
    page.get_by_role("button", name="Edit", exact=True).click()
    page.locator("#switches", has_text="MEMOIR").wait_for(timeout=180_000)
    go_to(page, "Inside the edit", "Inside the edit")
    scope = page.locator("#inside-scope")
    scope.locator(".done", has_text="prompts that should be answered").wait_for(timeout=60_000)
    scope.locator(".figure img").wait_for()
    fits_both(page)
    page.screenshot(path=tmp_path / "scope.png", full_page=True)
    go_to(page, "Take away", "Download")
    link = page.locator("#link textarea, #link input").first
    page.wait_for_function("e => e.value.startsWith('http')", arg=link.element_handle())
    assert "example=the-colosseum&editors=memoir&own=Where" in link.input_value()


def test_no_path_from_a_visitor_is_opened(address):
    file = {"path": str(Path(lib.__file__).parent / "data" / "classroom.json"),
            "meta": {"_type": "gradio.FileData"}}  # fmt: skip
    call = f"{address}/gradio_api/call/lifelong"
    data = json.dumps({"data": [[], 2, 2, file]}).encode()
    asked = urllib.request.Request(call, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{call}/{event}", timeout=60) as answer:
        assert b"event: error" in answer.readline()
