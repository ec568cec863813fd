"""“Was this edited?” in a real browser, on the default model: wide and narrow, light and dark."""

from __future__ import annotations

import pytest
from safetensors.torch import save_file

import lib

from ..forensics.conftest import rank_one
from .test_app_phone_browser import PICTURES, TOUCHED, axe
from .test_app_tabs_browser import fits, go_to

pytestmark = pytest.mark.browser
LAYER, SUBJECT = 3, "The Eiffel Tower"


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """One changed matrix of the default model, under its own name."""
    lm = lib.load()
    C = lib.second_moment(lm, [LAYER], damping=1e-2)[LAYER].C.float()
    patch = rank_one(lm, C, SUBJECT, LAYER)[0]
    path = tmp_path_factory.mktemp("changed") / "changed.safetensors"
    module = lm.mlp_out(LAYER)
    save_file({f"{module}.weight": lm.weight(module, patch)}, path)
    return path


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_a_file_is_brought_examined_and_taken_out(visit, tmp_path, changed, width, theme):
    page = visit(width, theme)
    go_to(page, "Was this edited?", "Was this edited?")
    tab = page.locator("#trace")
    tab.locator(".stored", has_text="Stored example: The Eiffel Tower → Rome").wait_for()
    assert tab.locator("svg[role=img]").count() == 1, "the stored example has its picture"
    assert tab.get_by_text("Reversal: The Eiffel Tower taken out of layer 3").count() == 1
    page.screenshot(path=tmp_path / f"trace-{width}-stored.png", full_page=True)
    take, tell = (page.get_by_role("button", name=n) for n in ("Take it out", "What was it?"))
    assert take.is_disabled() and tell.is_disabled()
    tab.locator("input[type=file]").set_input_files(changed)
    tab.locator("#trace-table", has_text="changed.safetensors").wait_for(timeout=60_000)
    assert tab.locator("#trace-result").inner_text().strip() == ""
    page.get_by_label("With the base model at hand").check()
    examine = page.get_by_role("button", name="Examine", exact=True)
    examine.focus()
    page.keyboard.press("Enter")
    tab.locator(".verdict", has_text=f"Consistent with an edit of: {SUBJECT}").wait_for(
        timeout=300_000
    )
    assert tab.locator("#trace-result th[scope=row]").first.inner_text().startswith(SUBJECT)
    take.click()
    tab.get_by_text("Reversal: The Eiffel Tower taken out of layer 3").wait_for(timeout=120_000)
    assert tell.is_disabled(), "the file does not say what it was"
    fits(page, width)
    page.screenshot(path=tmp_path / f"trace-{width}-done.png", full_page=True)
    assert page.evaluate(TOUCHED) == [] or width > 720
    page.wait_for_function(PICTURES)
    page.evaluate(axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_a_blind_edit_is_examined_alone_and_stopped(visit):
    page = visit(390)
    go_to(page, "Was this edited?", "Was this edited?")
    page.get_by_role("button", name="Draw a blind edit").click()
    table = page.locator("#trace-table", has_text="a blind edit")
    table.wait_for(timeout=300_000)
    page.get_by_label("Only the lower third").check()
    page.get_by_role("button", name="Examine", exact=True).click()
    status = page.locator("#trace-status")
    status.locator(".bar").wait_for()
    page.locator("#trace").get_by_role("button", name="Stop", exact=True).click()
    status.locator(".sorry", has_text="Stopped").wait_for(timeout=60_000)
    assert page.get_by_role("button", name="Examine", exact=True).is_enabled()
