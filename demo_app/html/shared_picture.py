"""The picture of one edit, 1200 × 630: the fact, what else moved, and the visitor's score.

Drawn by Pillow using matplotlib's DejaVu fonts: rectangles and text only.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

from ..session.checks import short
from ..session.views import Row
from .comparison import short_answers

SIZE = (1200, 630)
LEFT, RIGHT = 60, 1140
LISTED = 3  # maximum number of rows
INK, QUIET, LINE, ACCENT, GOOD, BAD, GUESS = (
    "#1f2933", "#52606d", "#dfe3e8", "#b34404", "#1d6b3e", "#a11d2b", "#1d4f91",
)  # fmt: skip
BACK, CARD, RED = "#f7f8fa", "#ffffff", "#fdeef0"

Part = tuple[str, str, bool, bool]  # text, color, bold, struck out


@cache
def _font(size: int, bold: bool):
    import matplotlib
    from PIL import ImageFont

    name = f"DejaVuSans{'-Bold' * bold}.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)


def drawn(rows: Sequence[Row], new: str, by: str, score: tuple[int, int] | None) -> bytes:
    """The picture as a PNG.

    rows: one editor's rows, the edit's own first; its answers are None before any edit.
    by: the editor and the model.
    score: how many rows the visitor predicted, and out of how many; None without a guess.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", SIZE, BACK)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, SIZE[0], 11), fill=ACCENT)
    draw.text((LEFT, 45), "I edited one fact in a language model.", QUIET, _font(28, False))
    y = _sentence(draw, rows[0], new)
    others = [row for row in rows if row.group in ("neighbor", "reworded") and row.good is not None]
    others.sort(key=lambda row: (row.group != "neighbor", row.good is not False))
    room = max(0, (SIZE[1] - 108 - y - 78) // 65)
    if others[: min(LISTED, room)]:
        _rows(draw, others[: min(LISTED, room)], new, y + 22)
    asked = "What else would you expect to move?"
    if score is not None:
        good, all_ = score
        count = f"all {all_}" if good == all_ else f"{good} of {all_}"
        asked = f"I saw {count} coming. Would you?"
    draw.text((LEFT, 590), asked, GUESS, _font(36, True), anchor="ls")
    long = _font(36, True).getlength(asked) + _font(25, False).getlength(by) > RIGHT - LEFT - 30
    draw.text((RIGHT, 71 if long else 590), by, QUIET, _font(25, False), anchor="rs")
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def _sentence(draw, row: Row, new: str) -> int:
    """The fact with both answers in large type; returns the y where it ends."""
    old, _ = short_answers(row, new)
    parts: list[Part] = [(word, INK, True, False) for word in short(row.prompt, 160).split()]
    if old and old != new:
        parts += [(short(old, 30), QUIET, False, True), ("→", INK, True, False)]
    parts.append((short(new, 40), ACCENT, True, False))
    for size, most in ((60, 2), (46, 3), (30, 5)):
        lines = _lines(parts, size)
        if len(lines) <= most:
            break
    y, high = 90, round(1.2 * size)
    for line in lines[:5]:
        _write(draw, LEFT, y, line, size)
        y += high
    return y


def _lines(parts: Sequence[Part], size: int) -> list[list[Part]]:
    """Break the words into lines as wide as the picture, shortening any word that is wider."""
    lines: list[list[Part]] = [[]]
    for part in parts:
        while part[0] and _wide([part], size) > RIGHT - LEFT:
            part = (part[0].rstrip("…")[:-1] + "…", *part[1:])
        if lines[-1] and _wide([*lines[-1], part], size) > RIGHT - LEFT:
            lines.append([])
        lines[-1].append(part)
    return lines


def _wide(line: Sequence[Part], size: int) -> float:
    gap = _font(size, False).getlength(" ")
    return sum(_font(size, bold).getlength(text) for text, _, bold, _ in line) + gap * (
        len(line) - 1
    )


def _write(draw, x: float, y: float, line: Sequence[Part], size: int) -> None:
    """Write the parts of a line one after another."""
    gap, base = _font(size, False).getlength(" "), y + size
    for text, color, bold, struck in line:
        font = _font(size, bold)
        draw.text((x, base), text, color, font, anchor="ls")
        wide = font.getlength(text)
        if struck:
            middle = base - round(0.3 * size)
            draw.line((x, middle, x + wide, middle), fill=color, width=max(3, size // 12))
        x += wide + gap


def _rows(draw, rows: Sequence[Row], new: str, y: int) -> None:
    """The other prompts with their answers, those that moved in red."""
    bottom = y + 64 + 65 * len(rows)
    draw.rounded_rectangle((LEFT, y, RIGHT, bottom), 18, fill=CARD, outline=LINE)
    draw.text((LEFT + 29, y + 44), "What else moved?", INK, _font(28, True), anchor="ls")
    for i, row in enumerate(rows):
        top = y + 63 + 65 * i
        before, after = (short(text, 24) for text in short_answers(row, new))
        lost = row.good is False
        if lost and row.group == "neighbor":
            last = i == len(rows) - 1
            edges = {"corners": (False, False, True, True)} if last else {"corners": (False,) * 4}
            draw.rounded_rectangle((LEFT + 1, top, RIGHT - 1, top + 64), 17, fill=RED, **edges)
        draw.line((LEFT + 29, top, RIGHT - 29, top), fill=LINE)
        if before == after:
            parts: list[Part] = [("=", GOOD if row.good else QUIET, False, False)]
            parts.append((after, GOOD if row.good else QUIET, False, False))
        else:
            color = BAD if lost else ACCENT
            parts = [(before, QUIET, False, True), ("→", color, False, False)]
            parts.append((after, color, True, False))
        parts += [("✗", BAD, True, False)] * lost
        wide = _wide(parts, 28)
        _write(draw, RIGHT - 29 - wide, top + 13, parts, 28)
        prompt, room = f"{row.prompt} …", RIGHT - LEFT - 88 - wide
        while _font(28, False).getlength(prompt) > room:
            prompt = f"{prompt.removesuffix(' …')[:-1].rstrip()} …"
        draw.text((LEFT + 29, top + 41), prompt, INK, _font(28, False), anchor="ls")
