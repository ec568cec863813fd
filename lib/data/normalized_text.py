"""How a text enters: what looks the same becomes the same, and a subject is found in a prompt.

Two texts can look alike and be other tokens for a model: "é" is one character or two, a blank may
be of another kind, and an answer with a blank behind it is another answer. So every text that
enters, from a file, a call, the command line or the page, passes through `normalized`.
"""

from __future__ import annotations

import re
import unicodedata

# blanks that do not break a line become plain ones; what is never seen goes: a soft hyphen, a
# zero-width space, marks of direction, a mark of byte order
_PLAIN = dict.fromkeys((0xA0, 0x2007, 0x202F), " ") | dict.fromkeys(
    (0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
)
# blanks, and characters that are invisible and mean nothing at the end of a text
_ENDS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + (
    "\u115f\u1160\u200c\u200d\u2800\u3164\uffa0"
)
# further characters that look alike; joiners are not seen, but scripts need them inside words
_ALIKE = str.maketrans(
    dict.fromkeys("’‘‛ʼʹ′`´＇", "'")
    | dict.fromkeys("“”„‟«»″＂", '"')
    | dict.fromkeys("‐‑‒–−", "-")
    | dict.fromkeys("\u200c\u200d")
)
# (pieces of a text, how a piece is compared): as written, what looks alike, in any case
_WAYS = (
    (r"(?s).", lambda piece: piece),
    (r"\s+|\S", lambda piece: " " if piece.isspace() else piece.translate(_ALIKE)),
    (r"\s+|\S", lambda piece: " " if piece.isspace() else piece.translate(_ALIKE).casefold()),
)
# beginnings of the Unicode names of scripts in which nothing marks where a word ends, and of
# Korean, whose particles follow a name without a blank
_UNBROKEN = tuple(
    "CJK IDEOGRAPHIC HIRAGANA KATAKANA HALFWIDTH BOPOMOFO HANGUL THAI LAO KHMER MYANMAR TIBETAN "
    "TAI JAVANESE".split()
)


def normalized(text: str, ends: str | None = None) -> str:
    """The text in Unicode's form NFC, with plain blanks and no blank or invisible ends.

    ends  what goes at the end alone, in place of every blank at both ends

    normalized(" Beyonce\u0301\u00a0Knowles ") -> "Beyonc\u00e9 Knowles"
    """
    text = unicodedata.normalize("NFC", text.translate(_PLAIN))
    return text.strip(_ENDS) if ends is None else text.rstrip(ends)


def around(subject: str, text: str) -> list[tuple[str, str, str]]:
    """(what is before, the subject as it stands there, what is behind) for each place of a subject.

    The subject stands there as whole words, in scripts that part words. Only where it is nowhere
    as it is written, kinds of quotation marks, hyphens and blanks count as equal, and only where it
    is nowhere so, the case of letters is ignored, but for abbreviations: "us" is not "US".
    Overlapping places count.
    around("Rome", "Romeo loves Rome") -> [("Romeo loves ", "Rome", "")]
    """
    abbreviation = subject.isupper() and len(subject) <= 4
    for way in range(2 if abbreviation else 3):
        (name, _), (read, at) = _compared(subject, way), _compared(text, way)
        places = [i for i in range(len(read)) if name and read.startswith(name, i)]
        found = [
            (text[:begin], text[begin:end], text[end:])
            for begin, end in ((at[i][0], at[i + len(name) - 1][1]) for i in places)
            if not (_joined(text, begin) or _joined(text, end))
        ]
        if found:
            return found
    return []


def _compared(text: str, way: int) -> tuple[str, list[tuple[int, int]]]:
    """The text as one of the ways compares it, and where each of its characters comes from."""
    pattern, compare = _WAYS[way]
    made = [(compare(piece[0]), piece.span()) for piece in re.finditer(pattern, text)]
    return "".join(new for new, _ in made), [span for new, span in made for _ in new]


def _joined(text: str, at: int) -> bool:
    """Whether the characters before and behind this place belong to one word."""
    pair = text[at - 1 : at + 1] if at else ""
    kinds = [unicodedata.category(character)[0] for character in pair]
    apart = any(unicodedata.name(character, "").startswith(_UNBROKEN) for character in pair)
    return kinds[1:] == ["M"] or (len(pair) == 2 and {*kinds} <= {*"LMN"} and not apart)
