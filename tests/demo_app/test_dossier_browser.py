"""“One subject” in a real browser: wide and narrow, light and dark, with a random model.

The page shows the default model's stored example, so that its table is looked at, and what a
visitor asks is asked of the random model, in seconds.
"""

from __future__ import annotations

import pytest

from ..support.browser import fits, go_to
from .test_trace_browser import at, place  # noqa: F401

pytest.importorskip("gradio")
pytestmark = pytest.mark.browser
SIZES = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
STORED = "Stored example: The Eiffel Tower → Rome"


@pytest.fixture
def subject(at):  # noqa: F811
    """Opens the page at a width and theme, at the tab."""

    def look(width: int, theme: str = "light"):
        page = at(width, theme)
        go_to(page, "One subject", "Everything about one subject")
        return page

    return look


@pytest.mark.parametrize(("width", "theme"), SIZES)
def test_it_does_not_open_empty_and_waits_for_nothing(subject, tmp_path, width, theme):
    page = subject(width, theme)
    tab = page.locator("#dossier")
    tab.locator(".stored", has_text=STORED).wait_for(timeout=2_000)
    assert tab.locator("table.dossier tbody tr").count() == 31
    verdict = tab.locator(".verdict").inner_text()
    assert "5 with the patch, which changed 26 answers, firm or not" in verdict
    assert "Rome" in tab.locator("tr.moved mark").first.inner_text()
    page.wait_for_timeout(1000)  # in which a job would have begun
    assert tab.locator(".bar").count() == 0, "nothing is asked"
    assert tab.get_by_role("button", name="Stop", exact=True).is_disabled()
    page.screenshot(path=tmp_path / f"subject-{width}-{theme}.png", full_page=True)
    fits(page, width)


@pytest.mark.parametrize(("width", "theme"), SIZES[::3])
def test_another_subject_replaces_it_and_stays(subject, tmp_path, width, theme):
    page = subject(width, theme)
    tab = page.locator("#dossier")
    field = tab.get_by_label("Name of a subject")
    page.wait_for_timeout(3000)  # the answer to the opened tab, which fills the field, has come
    field.fill("Mount Everest")
    field.press("Enter")
    tab.locator(".stored", has_text="Yours: Mount Everest.").wait_for(timeout=60_000)
    page.wait_for_function(
        "document.querySelectorAll('#dossier table.dossier tbody tr').length == 31", timeout=60_000
    )
    tab.locator(".bar").wait_for(state="detached", timeout=60_000)
    assert "The Eiffel Tower" not in tab.locator(".verdict").inner_text()
    go_to(page, "About", "What happens here")
    go_to(page, "One subject", "Everything about one subject")
    page.wait_for_timeout(1000)
    assert tab.locator(".bar").count() == 0 and field.input_value() == "Mount Everest"
    fits(page, width)
    page.screenshot(path=tmp_path / f"asked-{width}-{theme}.png", full_page=True)
