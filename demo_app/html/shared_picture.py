"""The picture of one edit, 1200 × 630: the fact, what else moved, and the visitor's score.

Drawn by Pillow: rectangles and text only, using matplotlib's DejaVu fonts. A text containing other
letters, for example Chinese, uses another of this machine's fonts. If none of them has all of the
text's letters, its line is left out.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache

from ..session.checks import short
from ..session.sharing import invitation
from ..session.views import Row
from .comparison import short_answers

SIZE = (1200, 630)
LEFT, RIGHT = 60, 1140
LISTED = 3  # maximum number of rows
WIDEST = 330  # maximum width of an answer in a row, in pixels
INK, QUIET, LINE, ACCENT, GOOD, BAD, GUESS = (
    "#1f2933", "#52606d", "#dfe3e8", "#b34404", "#1d6b3e", "#a11d2b", "#1d4f91",
)  # fmt: skip
BACK, CARD, RED = "#f7f8fa", "#ffffff", "#fdeef0"

Part = tuple[str, str, bool, bool]  # text, color, bold, struck out


@cache
def _own(bold: bool) -> str:
    """The path of matplotlib's own font."""
    import matplotlib

    return f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' * bold}.ttf"


@cache
def _installed(bold: bool) -> tuple[str, ...]:
    """The paths of this machine's fonts, those of the same weight and without serifs first."""
    from matplotlib.font_manager import fontManager

    def rank(one) -> tuple[bool, bool, str]:
        weight = one.weight
        heavy = weight >= 600 if isinstance(weight, int) else weight in ("bold", "heavy", "black")
        return "sans" not in one.name.casefold(), heavy != bold, one.fname

    # matplotlib's Last Resort font draws a box for every letter
    fonts = [one for one in fontManager.ttflist if not one.name.startswith("Last Resort")]
    return tuple(one.fname for one in sorted(fonts, key=rank))


@cache
def _glyphs(bold: bool) -> frozenset[int]:
    """The letters of matplotlib's own font."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(_own(bold)).get_charmap())


@lru_cache(256)
def _other(letters: frozenset[str], bold: bool) -> str | None:
    """The first installed font that has all of these letters, or None."""
    from matplotlib.ft2font import FT2Font

    for path in _installed(bold):
        with suppress(OSError, RuntimeError):  # uninstalled since, or not readable
            font = FT2Font(path)
            if font.scalable and all(font.get_char_index(ord(letter)) for letter in letters):
                return path
    return None


@cache
def _sized(path: str, size: int):
    from PIL import ImageFont

    return ImageFont.truetype(path, size)


def _font(size: int, bold: bool, text: str = "", whole: str = ""):
    """The font for a text inside a whole that passed `_legible`."""
    own = _glyphs(bold).issuperset(map(ord, text))
    return _sized(_own(bold) if own else _other(_letters(whole), bold) or _own(bold), size)


def _legible(text: str) -> bool:
    """Return whether one of this machine's fonts has all letters of a text."""
    return all(
        _glyphs(bold).issuperset(map(ord, text)) or _other(_letters(text), bold)
        for bold in (False, True)
    )


def _letters(text: str) -> frozenset[str]:
    return frozenset(f"{text}…")


def _clean(text: str) -> str:
    """The text on one line, without invisible control characters."""
    return "".join(one for one in " ".join(text.split()) if unicodedata.category(one)[0] != "C")


def drawn(rows: Sequence[Row], new: str, by: str, score: tuple[int, int] | None) -> bytes:
    """The picture as a PNG.

    rows: one editor's rows, the edit's own first; its answers are None before any edit.
    by: the editor and the model.
    score: how many rows the visitor predicted, and out of how many; None without a guess.
    """
    from PIL import Image, ImageDraw

    rows = [
        replace(
            row,
            prompt=_clean(row.prompt),
            before=_clean(row.before),
            after=row.after and _clean(row.after),
        )
        for row in rows
    ]
    new, by = _clean(new), _clean(by)
    image = Image.new("RGB", SIZE, BACK)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, SIZE[0], 11), fill=ACCENT)
    draw.text((LEFT, 45), "I edited one fact in a language model.", QUIET, _font(28, False))
    y = _sentence(draw, rows[0], new)
    others = [
        row
        for row in rows
        if row.group in ("neighbor", "reworded")
        and row.good is not None
        and _legible("".join((row.prompt, *short_answers(row, new))))
    ]
    others.sort(key=lambda row: (row.group != "neighbor", row.good is not False))
    room = max(0, (SIZE[1] - 108 - y - 78) // 65)
    if others[: min(LISTED, room)]:
        _rows(draw, others[: min(LISTED, room)], new, y + 22)
    asked = invitation(score)
    draw.text((LEFT, 590), asked, GUESS, _font(36, True), anchor="ls")
    wide = _font(36, True).getlength(asked) + _font(25, False, by, by).getlength(by)
    long = wide > RIGHT - LEFT - 30
    if _legible(by):
        draw.text((RIGHT, 71 if long else 590), by, QUIET, _font(25, False, by, by), anchor="rs")
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def _sentence(draw, row: Row, new: str) -> int:
    """The fact with both answers in large type, if legible; returns the y where it ends."""
    old, _ = short_answers(row, new)
    whole = "".join((row.prompt, old, new))
    if not _legible(whole):
        return 90
    parts: list[Part] = [(word, INK, True, False) for word in short(row.prompt, 160).split()]
    if old and old != new:
        parts += [(short(old, 30), QUIET, False, True), ("→", INK, True, False)]
    parts.append((short(new, 40), ACCENT, True, False))
    for size, most in ((60, 2), (46, 3), (30, 5)):
        lines = _lines(parts, size, whole)
        if len(lines) <= most:
            break
    y, high = 90, round(1.2 * size)
    for line in lines[:5]:
        _write(draw, LEFT, y, line, size, whole)
        y += high
    return y


def _lines(parts: Sequence[Part], size: int, whole: str) -> list[list[Part]]:
    """Break the words into lines as wide as the picture, shortening any word that is wider."""
    lines: list[list[Part]] = [[]]
    for part in parts:
        while part[0] and _wide([part], size, whole) > RIGHT - LEFT:
            part = (part[0].rstrip("…")[:-1] + "…", *part[1:])
        if lines[-1] and _wide([*lines[-1], part], size, whole) > RIGHT - LEFT:
            lines.append([])
        lines[-1].append(part)
    return lines


def _wide(line: Sequence[Part], size: int, whole: str) -> float:
    gap = _font(size, False).getlength(" ")
    widths = (_font(size, bold, text, whole).getlength(text) for text, _, bold, _ in line)
    return sum(widths) + gap * (len(line) - 1)


def _write(draw, x: float, y: float, line: Sequence[Part], size: int, whole: str) -> None:
    """Write the parts of a line one after another."""
    gap, base = _font(size, False).getlength(" "), y + size
    for text, color, bold, struck in line:
        font = _font(size, bold, text, whole)
        draw.text((x, base), text, color, font, anchor="ls")
        wide = font.getlength(text)
        if struck:
            middle = base - round(0.3 * size)
            draw.line((x, middle, x + wide, middle), fill=color, width=max(3, size // 12))
        x += wide + gap


def _fitting(answer: str, whole: str) -> str:
    """An answer without the last letters that do not fit into a row."""
    font, text = _font(28, True, answer, whole), answer.removesuffix("…")
    while text and font.getlength(answer) > WIDEST:
        text = text[:-1].rstrip()
        answer = f"{text}…"
    return answer


def _rows(draw, rows: Sequence[Row], new: str, y: int) -> None:
    """The other prompts with their answers, those that moved in red."""
    bottom = y + 64 + 65 * len(rows)
    draw.rounded_rectangle((LEFT, y, RIGHT, bottom), 18, fill=CARD, outline=LINE)
    draw.text((LEFT + 29, y + 44), "What else moved?", INK, _font(28, True), anchor="ls")
    for i, row in enumerate(rows):
        top = y + 63 + 65 * i
        answers = short_answers(row, new)
        whole = "".join((row.prompt, *answers))
        before, after = (_fitting(short(one, 24), whole) for one in answers)
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
        wide = _wide(parts, 28, whole)
        _write(draw, RIGHT - 29 - wide, top + 13, parts, 28, whole)
        prompt, font = row.prompt, _font(28, False, row.prompt, whole)
        while prompt and font.getlength(f"{prompt} …") > RIGHT - LEFT - 88 - wide:
            prompt = prompt[:-1].rstrip()
        prompt = f"{prompt} …"
        draw.text((LEFT + 29, top + 41), prompt, INK, font, anchor="ls")
