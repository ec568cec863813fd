"""The running page and a real browser, as fixtures."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

# as versions of Chromium and Gradio word it
BROKEN_OFF = (
    "AbortError: signal is aborted",
    "AbortError: BodyStreamBuffer was aborted",
    "Unexpected error Connection errored out",
)


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield made
        made.close()


@pytest.fixture(scope="module")
def address(browser):
    """`python -m demo_app` on a port that is taken, so that it must say where it is instead."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-u", "-m", "demo_app", "--port", port]
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True,
                                  env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
        try:
            assert server.stdout.readline().startswith(f"Port {port} is taken, so the page is on ")
            said = server.stdout.readline()
            assert said.startswith("Open http://127.0.0.1:")
            yield said.split()[1]
        finally:
            server.kill()
            server.wait(30)


@pytest.fixture
def visit(browser, address):
    """Opens the page; at the end fails on console errors and on requests to any other host."""
    pages, wrong, left = [], [], []

    def answer(dialog) -> None:
        if dialog.type != "beforeunload":  # the browser's own, where edits would be lost
            wrong.append("a dialog")
        dialog.accept()

    def open_page(width: int = 1280, theme: str = "light", query: str = ""):
        context = browser.new_context(viewport={"width": width, "height": 900})
        context.set_default_timeout(120_000)  # a busy machine takes its time
        page = context.new_page()  # a second page of the context is the same visitor's other window
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", answer)
        page.on("framenavigated", lambda frame: left.append(frame.url))
        page.on("request", lambda r: wrong.append(r.url) if not _ours(r.url, address) else None)
        page.goto(f"{address}/?__theme={theme}{query}")
        page.get_by_role("heading", name="Edit a language model's memory").wait_for()
        pages.append(page)
        return page

    yield open_page
    # a page that was left for another breaks its own stream off, and so does one that is closed
    led_on = len(left) > len(pages)
    seen = [text for text in wrong if not (led_on and text.startswith(BROKEN_OFF))]
    for page in pages:
        page.context.close()
    assert not seen, seen


def go_to(page, name: str, heading: str) -> None:
    """Open a tab; the row of tabs goes on to the side on a phone."""
    page.get_by_role("tab", name=name, exact=True).click()
    page.get_by_role("heading", name=heading, exact=True).wait_for()


def fits(page, width: int) -> None:
    """Nothing of the page stands out to the side."""
    page.wait_for_function(f"innerWidth == {width}")
    page.wait_for_timeout(100)  # laid out anew
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def fits_both(page) -> None:
    """Neither on a wide screen nor on a phone; leaves the page as wide as it was."""
    was = page.viewport_size
    for width in 1280, 390:
        page.set_viewport_size({**was, "width": width})
        fits(page, width)
    page.set_viewport_size(was)


def _ours(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))
