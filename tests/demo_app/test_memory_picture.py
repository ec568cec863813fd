"""The picture "A layer is a memory" computes what `lib.associative_memory` computes.

Its algebra runs in node where there is one; a real browser draws it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from lib import associative_memory as memory

PICTURE = Path(__file__).parents[2] / "demo_app/html/memory.js"
C = torch.tensor([[1.53, 0.96], [0.96, 0.97]], dtype=torch.float64)
AXIS = torch.tensor([[-0.6], [0.8]], dtype=torch.float64)  # AlphaEdit's null space
SETTINGS = {"ROME": (C, 0.0), "MEMIT": (C, 0.4), "UltraEdit": (None, 0.25)}
node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def picture(expression: str, given: object = None):
    """What an expression about `m`, the picture's algebra, gives; `given` is known there, too."""
    program = (
        f"const m = require({json.dumps(str(PICTURE))}); const given = {json.dumps(given)};"
        f"console.log(JSON.stringify({expression}))"
    )
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reach(editor: str, key, kept) -> torch.Tensor:
    K = torch.tensor(key, dtype=torch.float64)[:, None]
    Kp = torch.tensor(kept, dtype=torch.float64).T if kept else None
    if editor == "AlphaEdit":
        return memory.reach_null(K, AXIS, 0.02, Kp)[0]
    moment, strength = SETTINGS[editor]
    return memory.reach(K, moment, strength, Kp)[0]


@node
def test_every_editor_reads_a_key_as_the_library_does():
    draw = torch.Generator().manual_seed(0)
    cases = [
        (editor, *torch.randn(2, 2, generator=draw, dtype=torch.float64).tolist(), kept)
        for editor in (*SETTINGS, "AlphaEdit")
        for kept in (False, True)
        for _ in range(25)
        if not (editor == "AlphaEdit" and kept)  # one axis has no room for two keys
    ]
    found = picture("given.map(([e, k, p, kept]) => m.reach(e, k, kept ? [p] : []).b)", cases)
    for (editor, key, other, kept), b in zip(cases, found, strict=True):
        wanted = reach(editor, key, [other] if kept else [])
        torch.testing.assert_close(
            torch.tensor(b, dtype=torch.float64), wanted, rtol=1e-6, atol=1e-8
        )


@node
def test_the_story_is_that_of_the_inserts():
    torch.testing.assert_close(torch.tensor(picture("m.C"), dtype=torch.float64), C)
    keys, values = picture("[m.KEYS.map(k => k.key), m.KEYS.map(k => k.value)]")
    K, V = (torch.tensor(one, dtype=torch.float64).T for one in (keys, values))
    W = memory.fit(K, V)
    torch.testing.assert_close(W, torch.tensor([[0.12, 0.84], [-1.4, 1.2]], dtype=torch.float64))
    wanted = V[:, :2].clone()
    wanted[:, 0] = torch.tensor([2.0, 1.0])
    steps = picture("m.STORY.map(([, after]) => m.look(after(m.fresh())))")
    one, two, three = (torch.tensor(step["W"], dtype=torch.float64) for step in steps)
    A, B = memory.insert(W, K[:, 0], wanted[:, 0], C)
    torch.testing.assert_close(one, W + A @ B)
    R, B = memory.lifelong(W, K[:, :2], wanted, C)
    torch.testing.assert_close(two, W + R @ B)
    R, B = memory.insert_many(W, K[:, :2], wanted, C)
    torch.testing.assert_close(three, W + R @ B)
    assert [[row["says"] for row in step["rows"]][:2] for step in steps] == [
        ["Rome", "Rome"], ["Paris", "Paris"], ["Rome", "Paris"],
    ]  # fmt: skip
    assert [round(row["share"], 2) for row in steps[0]["rows"]] == [1, 0.83, -0.49, 0]


def test_it_is_one_small_file_that_asks_no_server():
    text = PICTURE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 900
    for word in ("fetch(", "XMLHttpRequest", "import ", "innerHTML", "eval(", "https://"):
        assert word not in text, word


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "height"),
    [(1280, 900), (390, 844), (828, 900)],  # a screen, a phone, a cell beside JupyterLab's side bar
)
def test_it_is_drawn_and_played_with(browser, width, height, tmp_path):
    shell = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>A layer is a memory</title>"
        "<meta name=viewport content='width=device-width,initial-scale=1'><body style='margin:0'>"
        f"<main id=m></main><script>{PICTURE.read_text(encoding='utf-8')}</script>"
        "<script>memoryPicture.mount(document.getElementById('m'))</script>"
    )
    (tmp_path / "page.html").write_text(shell, encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": height})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    said = page.locator(".said")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for words in ("Louvre came along: 83%", "fell back: 85%", "No other answer was lost"):
        page.locator(".story button.next").click()
        page.wait_for_function(f"document.querySelector('.said').textContent.includes('{words}')")
        cut = "[...document.querySelectorAll('.card')].filter((e) => e.scrollWidth > e.clientWidth)"
        assert page.evaluate(f"{cut}.length") == 0, "the column to keep answers is in sight"
    page.get_by_role("button", name="Start over").click()
    tower = page.get_by_role("button", name="Answer of Eiffel Tower")
    tower.focus()
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowUp")
    assert "Eiffel Tower says Rome." in said.text_content()
    page.get_by_role("button", name="MEMIT").click()
    assert page.locator(".formula").first.text_content().count("λ") == 1
    page.get_by_role("button", name="Start over").click()
    tower.scroll_into_view_if_needed()
    box = tower.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y - 10, steps=4)
    page.mouse.up()
    assert (
        "Eiffel Tower" in said.text_content()
        and "Nothing has been pulled" not in said.text_content()
    )
    smallest = (
        "Math.min(...[...document.querySelectorAll('.memory :is(text, p, td, th, button, label)')]"
        ".map((e) => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert page.evaluate(smallest) >= 14
    wide = page.locator("svg").first.bounding_box()["width"]
    assert wide > width * (0.4 if width > 800 else 0.8), "it fills the width that it has"
    page.locator("#m").evaluate("e => { e.parentElement.style.fontSize = '21px'; }")
    page.wait_for_timeout(100)
    assert page.evaluate(smallest) >= 18, "it grows with the letters around it"
    tops = {one.bounding_box()["y"] for one in page.locator(".plane").all()}
    assert len(tops) == (1 if width > 1000 else 2), "on a projector both are in view"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / "large.png", full_page=True)
    page.close()
    assert not wrong
