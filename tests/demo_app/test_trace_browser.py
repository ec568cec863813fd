"""“Was this edited?” in a real browser: wide and light, narrow and dark, with a random model.

The page shows the default model's stored example, so that its picture and tables are looked at, and
what a visitor does is done on the random model, in seconds.
"""

from __future__ import annotations

import pytest
from safetensors.torch import save_file

import lib
from demo_app.session import suspects, tracing
from demo_app.stored import examples

from ..forensics.conftest import rank_one
from ..support import tiny
from ..support.browser import fits, go_to
from .conftest import MORE

pytest.importorskip("gradio")
pytestmark = pytest.mark.browser
LAYER, SUBJECT = 1, "The Eiffel Tower"
SIZES = [(1280, "light"), (390, "dark"), (390, "light")]


@pytest.fixture(scope="module")
def place(browser):
    """The address of a page over a random model that shows the default model's examples."""
    from demo_app.__main__ import free_port, open_page

    default = examples.read(examples.file_of("SmolLM2-135M-Instruct"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.editors.shared.config._presets", lambda: MORE)
        patch.setattr(examples, "of", lambda lm, folder=None: default)
        patch.setattr(suspects, "BLIND", ("rome",))
        patch.setattr(tracing, "THRESHOLD", 3.0)  # among keys of 48 numbers nobody stands out far
        port = free_port(20960, "127.0.0.1")
        demo, studio = open_page(tiny.model("llama"), port)
        yield f"http://127.0.0.1:{port}"
        demo.close()
        studio.close()


@pytest.fixture
def at(browser, place):
    """Opens the page at a width and theme, at the tab; fails on errors of the console."""
    opened, wrong = [], []

    def look(width: int, theme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 900})
        context.set_default_timeout(120_000)  # a busy machine takes its time
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{place}/?__theme={theme}")
        page.get_by_role("heading", name="Edit a language model's memory").wait_for()
        go_to(page, "Was this edited?", "Was this edited?")
        opened.append(page)
        return page

    yield look
    for page in opened:
        page.context.close()
    assert not wrong, wrong


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """One changed matrix of the random model, under its own name."""
    lm = tiny.model("llama")
    C = lib.second_moment(lm, [LAYER], damping=1e-2)[LAYER].C.float()
    patch = rank_one(lm, C, SUBJECT, LAYER, size=30.0)[0]
    path = tmp_path_factory.mktemp("changed") / "changed.safetensors"
    module = lm.mlp_out(LAYER)
    save_file({f"{module}.weight": lm.weight(module, patch)}, path)
    return path


@pytest.mark.parametrize(("width", "theme"), SIZES)
def test_it_does_not_open_empty_and_is_read_by_all(at, tmp_path, width, theme):
    page = at(width, theme)
    tab = page.locator("#trace")
    tab.locator(".stored", has_text="Stored example: The Eiffel Tower → Rome").wait_for()
    assert tab.get_by_role("img", name="The largest z of any candidate").count() == 1
    tab.get_by_text("The figure in words").click()
    assert "layer 3: z 33.9 (The Eiffel Tower)" in tab.locator(".alt").inner_text()
    assert tab.get_by_text("Reversal: The Eiffel Tower taken out of layer 3").count() == 1
    for name in "Take it out", "What was it?", "Stop":
        assert tab.get_by_role("button", name=name, exact=True).is_disabled()
    page.screenshot(path=tmp_path / f"stored-{width}-{theme}.png", full_page=True)
    fits(page, width)


@pytest.mark.parametrize(("width", "theme"), SIZES[:2])
def test_a_file_is_brought_examined_and_taken_out(at, tmp_path, changed, width, theme):
    page = at(width, theme)
    tab = page.locator("#trace")
    take, tell, examine = (
        tab.get_by_role("button", name=name, exact=True)
        for name in ("Take it out", "What was it?", "Examine")
    )
    tab.locator("input[type=file]").set_input_files(changed)
    tab.locator("#trace-table", has_text="changed.safetensors").wait_for(timeout=60_000)
    assert tab.locator("#trace-result").inner_text().strip() == ""
    for how in "The weights alone", "With the base model at hand":
        tab.get_by_label(how).check()
        examine.focus()
        page.keyboard.press("Enter")
        verdict = tab.locator(".verdict", has_text=f"Consistent with an edit of: {SUBJECT}")
        verdict.wait_for(timeout=120_000)
        tab.locator(".note", has_text="base model ·").first.wait_for()
        page.wait_for_function("!document.querySelector('#trace-status .bar')")
    tab.get_by_text("Matrix by matrix").wait_for()
    assert tab.locator("#trace-result th[scope=row]").first.inner_text().startswith(SUBJECT)
    take.click()
    tab.get_by_text(f"Reversal: {SUBJECT} taken out of layer 1").wait_for(timeout=60_000)
    assert tell.is_disabled(), "the file does not say what it was"
    page.screenshot(path=tmp_path / f"done-{width}.png", full_page=True)
    fits(page, width)


def test_a_blind_edit_is_stopped_examined_and_told(at, tmp_path, monkeypatch):
    page, real = at(390), tracing.examine

    def endless(*given, **more):
        """An examination that goes on for as long as nobody stops it."""
        while True:
            yield 0.1, "reading general text"

    tab = page.locator("#trace")
    tab.get_by_role("button", name="Draw a blind edit").click()
    tab.locator("#trace-table", has_text="a blind edit").wait_for(timeout=60_000)
    tab.get_by_label("Not at all").check()
    examine = tab.get_by_role("button", name="Examine", exact=True)
    monkeypatch.setattr(tracing, "examine", endless)
    examine.click()
    tab.locator("#trace-status .bar").wait_for()
    tab.get_by_role("button", name="Stop", exact=True).click()
    tab.locator("#trace-status .sorry", has_text="Stopped").wait_for(timeout=30_000)
    monkeypatch.setattr(tracing, "examine", real)
    tab.get_by_label("Only the lower third").check()
    examine.click()
    tab.locator("#trace-whose", has_text="Yours").wait_for(timeout=60_000)
    assert "ROME" not in tab.locator("#trace-result").inner_text()
    tab.get_by_role("button", name="What was it?").click()
    tab.locator("#trace-told", has_text="It was ROME").wait_for(timeout=60_000)
    assert "your guess: not at all" in tab.locator("#trace-told").inner_text()
    page.screenshot(path=tmp_path / "told-390.png", full_page=True)
    fits(page, 390)
