"""Strength, typed facts and the tab about one subject in a real browser, wide and narrow."""

from __future__ import annotations

import pytest

from ..support.browser import fits_both, go_to

pytestmark = pytest.mark.browser


def test_an_edit_is_weakened_and_its_subject_looked_at(visit, tmp_path):
    page = visit()
    page.get_by_role("button", name="Edit", exact=True).click()
    box = page.locator("#strength")
    box.wait_for(timeout=180_000)
    box.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "strength.png", full_page=True)
    field = box.get_by_label("number input for Strength of the last edit")
    field.fill("0")
    field.press("Tab")
    page.locator("#list", has_text="strength 0").wait_for(timeout=180_000)
    assert "Paris" in page.locator("h2.headline").inner_text()
    fits_both(page)
    field.fill("1")
    field.press("Tab")
    page.locator("h2.headline", has_text="Rome").wait_for(timeout=180_000)
    go_to(page, "One subject", "Everything about one subject")
    table = page.locator("#dossier table.dossier")
    table.wait_for(timeout=2_000)  # the stored example, until the first own row is there
    page.locator("#dossier-whose", has_text="Yours").wait_for(timeout=180_000)
    page.screenshot(path=tmp_path / "dossier-growing.png", full_page=True)
    page.wait_for_function(
        "document.querySelectorAll('#dossier table.dossier tbody tr').length == 31",
        timeout=300_000,
    )
    page.locator("#dossier-status .bar").wait_for(state="detached", timeout=300_000)
    assert "31 relations" in page.locator("#dossier .verdict").inner_text()
    assert "Rome" in table.locator("tr.moved").first.inner_text()
    fits_both(page)
    page.screenshot(path=tmp_path / "dossier.png", full_page=True)


def test_a_typed_fact_names_its_kind(visit, tmp_path):
    page = visit()
    page.get_by_label("Subject", exact=True).fill("The Colosseum")
    page.get_by_label("Prompt", exact=True).fill("stands in the city of")
    page.get_by_label("New answer").fill("Berlin")
    page.get_by_role("button", name="Edit", exact=True).click()
    source = page.locator("#table .source", has_text="located in the city of")
    source.wait_for(timeout=240_000)
    assert "found by the prompt" in source.inner_text()
    assert page.locator(".half.change tr.reworded").count() == 3
    page.screenshot(path=tmp_path / "typed.png", full_page=True)
