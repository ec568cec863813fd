"""Normalizing text: making similar-looking texts equal, and finding a subject in a prompt.

Two texts can look the same but consist of different tokens for a model: "é" is one character or
two, spaces come in several kinds, and an answer with a trailing space is a different answer. Every
incoming text, from a file, a call, the command line or the page, is therefore normalized using
`normalized`.
"""

from __future__ import annotations

import re
import unicodedata

# spaces that do not break a line become plain spaces; invisible characters are removed: a soft
# hyphen, a zero-width space, direction marks, a byte order mark
_PLAIN = dict.fromkeys((0xA0, 0x2007, 0x202F), " ") | dict.fromkeys(
    (0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
)
# spaces, and characters that are invisible and meaningless at the end of a text
_ENDS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + (
    "\u115f\u1160\u200c\u200d\u2800\u3164\uffa0"
)
# more characters looking similar; joiners are invisible, but scripts need them inside words
_ALIKE = str.maketrans(
    dict.fromkeys("’‘‛ʼʹ′`´＇", "'")
    | dict.fromkeys("“”„‟«»″＂", '"')
    | dict.fromkeys("‐‑‒–−", "-")
    | dict.fromkeys("\u200c\u200d")
)
# (pieces of a text, how to compare a piece): as written, by look, ignoring case
_WAYS = (
    (r"(?s).", lambda piece: piece),
    (r"\s+|\S", lambda piece: " " if piece.isspace() else piece.translate(_ALIKE)),
    (r"\s+|\S", lambda piece: " " if piece.isspace() else piece.translate(_ALIKE).casefold()),
)
# beginnings of the Unicode names of scripts that do not mark the ends of words, and of Korean,
# whose particles follow a name without a space
_UNBROKEN = tuple(
    "CJK IDEOGRAPHIC HIRAGANA KATAKANA HALFWIDTH BOPOMOFO HANGUL THAI LAO KHMER MYANMAR TIBETAN "
    "TAI JAVANESE".split()
)


def normalized(text: str, ends: str | None = None) -> str:
    """Return the text in Unicode's form NFC, with plain spaces and no blank or invisible ends.

    ends  characters to remove only at the end, instead of every blank at both ends

    normalized(" Beyonce\u0301\u00a0Knowles ") -> "Beyonc\u00e9 Knowles"
    """
    text = unicodedata.normalize("NFC", text.translate(_PLAIN))
    return text.strip(_ENDS) if ends is None else text.rstrip(ends)


def around(subject: str, text: str) -> list[tuple[str, str, str]]:
    """Return (text before, the subject as written, text after) for each place of a subject.

    The subject has to occur as whole words, in scripts that separate words. Only if it does not
    occur exactly as written are different kinds of quotation marks, hyphens and spaces considered
    equal, and only if that fails is the letter case ignored, except for abbreviations: "us" is not
    "US". Overlapping places count.
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
    """Return the text in one of the ways of comparing, and the origin of each of its characters."""
    pattern, compare = _WAYS[way]
    made = [(compare(piece[0]), piece.span()) for piece in re.finditer(pattern, text)]
    return "".join(new for new, _ in made), [span for new, span in made for _ in new]


def _joined(text: str, at: int) -> bool:
    """Return whether the characters before and after this place belong to one word."""
    pair = text[at - 1 : at + 1] if at else ""
    kinds = [unicodedata.category(character)[0] for character in pair]
    apart = any(unicodedata.name(character, "").startswith(_UNBROKEN) for character in pair)
    return kinds[1:] == ["M"] or (len(pair) == 2 and {*kinds} <= {*"LMN"} and not apart)
