"""Makes demo_app/motion.gif, the page in motion for README, from the real page in a real browser.

    python -m tests.benchmarks.make_motion                      # start the page, and film it
    python -m tests.benchmarks.make_motion --at ADDRESS         # film a page that runs already
    python -m tests.benchmarks.make_motion --to FILE            # write another file
    python -m tests.benchmarks.make_motion --check              # is the picture current?

It shows a guess, the edit, what else moved, and the undo. A comment in the file holds a digest of
the stored answers that are on it, which --check and a test compare. Not collected by pytest.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from demo_app.stored import examples

MOTION = Path(examples.__file__).parents[1] / "motion.gif"
MOST = 1_500_000  # bytes
MODEL, FACT, EXAMPLE = "SmolLM2-135M-Instruct", "The iPhone was developed by Samsung", "the-iphone"
SIZE, WIDE = (1120, 780), 840  # of the window, and of the picture
COLORS = 96
FAST = 160  # milliseconds between two frames while something moves

Frames = list[tuple[Image.Image, int]]  # each with the milliseconds that it is shown


def digest() -> str:
    """A hash of the stored answers that the picture shows."""
    held = examples.read(examples.file_of(MODEL)).opening or {}
    text = json.dumps(msgspec.to_builtins(held[FACT], str_keys=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def made_of(path: Path) -> str:
    """The digest that a picture was made of; "" if it has none."""
    with Image.open(path) as image:
        comment = image.info.get("comment", b"")
    return comment.decode("ascii", "replace") if isinstance(comment, bytes) else str(comment)


def film(page: Any) -> Frames:
    """Guess, edit, what else moved, undo."""
    frames: Frames = []

    def shot(milliseconds: int) -> None:
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        high = round(image.height * WIDE / image.width)
        small = image.resize((WIDE, high), Image.Resampling.LANCZOS)
        if frames and frames[-1][0].tobytes() == small.tobytes():
            frames[-1] = small, frames[-1][1] + milliseconds
        else:
            frames.append((small, milliseconds))

    edit = page.locator("#main").or_(page.get_by_role("button", name="Edit", exact=True)).first
    edit.wait_for()
    page.get_by_text("The iPad was developed by").first.wait_for()  # the example is there
    page.wait_for_timeout(1500)
    shot(1400)
    for box in page.locator("#rows .asked:not([hidden]) .change input").all():
        box.check(force=True)
        page.wait_for_timeout(100)
        shot(500)
    edit.click()
    for _ in range(8):
        shot(FAST)
        page.wait_for_timeout(FAST // 2)
    done = page.locator("#rows [data-shown=result]").or_(page.get_by_text("What else moved?"))
    done.first.wait_for(timeout=600_000)
    page.wait_for_timeout(1000)
    shot(3600)
    page.get_by_role("button", name="Undo", exact=True).first.click()
    page.locator(".stale").first.wait_for(state="detached", timeout=600_000)
    page.wait_for_timeout(1500)
    shot(1400)
    return frames


def write(frames: Frames, path: Path, text: str) -> int:
    """The frames as a GIF that repeats; its size in bytes."""
    pictures = [image.quantize(COLORS, dither=Image.Dither.NONE) for image, _ in frames]
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=[shown for _, shown in frames],
        loop=0,
        optimize=True,
        comment=text.encode(),
    )
    return path.stat().st_size


@contextmanager
def served() -> Iterator[str]:
    """The address of a page that is started for this."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-u", "-m", "demo_app", "--port", port]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(server.stdout or ())
        yield next(line.split()[1] for line in lines if line.startswith("Open "))
    finally:
        server.kill()
        server.wait(30)


def made(address: str, path: Path) -> int:
    """Film the page at an address; the size of the file."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=dict(zip(("width", "height"), SIZE, strict=True)))
        page.set_default_timeout(240_000)
        page.goto(f"{address}/?__theme=light&example={EXAMPLE}")
        frames = film(page)
        browser.close()
    return write(frames, path, digest())


def main(arguments: list[str] | None = None) -> int:
    """Film the page, or check the picture; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.make_motion")
    parser.add_argument("--at", help="the address of a page that runs already")
    parser.add_argument("--to", type=Path, default=MOTION)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.check:
        current = asked.to.is_file() and made_of(asked.to) == digest()
        print(f"{asked.to.name} is {'' if current else 'not '}current.")
        return 0 if current else 1
    if asked.at:
        size = made(asked.at, asked.to)
    else:
        with served() as address:
            size = made(address, asked.to)
    print(f"{asked.to}: {size:,} bytes of at most {MOST:,}")
    return 0 if size <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
