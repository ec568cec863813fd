"""Finding the subject of a sentence without a mark, by a rule using only the text.

A name is a run of words with a capital or a digit, including small words such as "of" and "von". A
capital required by its place in the sentence ("What", "In", "The mother tongue of …") does not
count. The sentence has to contain exactly one name, and the surrounding words have to be words
occurring next to a name. Otherwise, the name may be longer than its capitals ("Ben Yehuda Street
bombings"), or not the intended name, and the sentence is rejected: a fact with a wrong subject
would be written to the wrong place. See tests/benchmarks/results/subjects.md for how often that
happens.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import FactError
from .facts import quoted, require_text
from .placeholders import place

HOW = "State the subject (Fact.find; --subject and --prompt on the command line)."
SHORT = 4  # characters of an initial or abbreviation including its period
LONGEST = 2000  # characters of a sentence; a page of text is not a fact's prompt

# words that can occur inside a name without a capital
INSIDE = frozenset(
    "of the de la le du des di da del della der den van von zu zum el al and y e & for to a an "
    "in on at bin ibn ben und et dos das do och i".split()
)
# words capitalized at the beginning of a sentence that are not part of a name there
OPENING = frozenset(
    "What Which Who Whom Whose When Where Why How In On At By For From Of To During As With "
    "Into Is Was Are Were Did Does Do Has Had Have Can It Its This That These Those There They "
    "He She We You I Under Since Until".split()
)
# words that can follow a name, in addition to every word ending in "ed"
FOLLOWING = frozenset(
    "is are was were be been has have had did does do can could will would may who whom whose "
    "which that what where when in on at by from of to for with as into under and or about than "
    "after before during through the a an used part apart written plays play played performs "
    "works worked speaks speak spoke writes wrote belongs belong comes came died die dies lives "
    "lived holds hold held became began begins got get goes took takes stands sits lies sings "
    "teaches taught made make born found succumbed passed owns produces professionally "
    "originally currently maintains retains follows practices understands communicates competes "
    "starred stars specializes originates premieres".split()
)
ARTICLES = frozenset(("The", "A", "An"))
PLACES = frozenset("In On At By For From Of To During As With Into Under Since Until".split())
ASKING = frozenset(
    "What Which Who Whom Whose When Where Why How This That These Those It Its There They He "
    "She We You I".split()
)
HELPERS = frozenset("did does do".split())  # "Where did NAME die?": any word can follow
ENDS = re.compile(r"""[,;:?"\]”’]+$""")  # after a name; a period may belong to it, as in "Co."
STARTS = re.compile(r"""^["\[“‘]+""")


class _Word(NamedTuple):
    """A word of the sentence without the surrounding marks.

    start, end  its position
    text        the word
    broken      whether a mark or a possessive follows the word, ending a name here
    first       whether it begins a sentence
    """

    start: int
    end: int
    text: str
    broken: bool
    first: bool

    @property
    def named(self) -> bool:
        """Return whether it has a capital or a digit."""
        return any(letter.isupper() or letter.isdigit() for letter in self.text)


def find_subject(sentence: str) -> str:
    """Return the only name in a sentence, as written.

    Raises FactError if there is no name, if there are several, and if the adjacent words leave open
    where the name begins or ends, explaining how to state the subject.
    find_subject("The mother tongue of Danielle Darrieux is") -> "Danielle Darrieux"
    """
    require_text(sentence, "The sentence")
    if len(sentence) > LONGEST:
        raise FactError(f"A sentence of {len(sentence)} characters is too long for a fact. {HOW}")
    place(sentence, None)  # rejects a placeholder for a subject
    words = _words(sentence)
    runs = _runs(words)
    names = [sentence[words[first].start : words[last].end] for first, last in runs]
    if not names:
        raise FactError(f"No word of {quoted(sentence)} looks like a name. {HOW}")
    if len(names) > 1:
        found = " or ".join(map(quoted, names[:3])) + (" or another" if len(names) > 3 else "")
        raise FactError(f"The subject of {quoted(sentence)} may be {found}. {HOW}")
    (first, last), name = runs[0], names[0]
    if _open_before(words, first, last) or _open_behind(words, first, last):
        raise FactError(
            f"{quoted(name)} in {quoted(sentence)} may be only part of the subject. {HOW}"
        )
    return name


def _words(sentence: str) -> list[_Word]:
    """Return the words of a sentence."""
    found: list[_Word] = []
    begins, spans = True, [*re.finditer(r"\S+", sentence)]
    for number, span in enumerate(spans):
        bare = STARTS.sub("", span[0])
        start, ahead = span.end() - len(bare), bare
        bare = ENDS.sub("", bare)
        if number == len(spans) - 1:
            bare = bare.rstrip('.!?,;:"”’')
        if bare.count("(") != bare.count(")"):  # "(macOS)" is part of a name, "(the" is not
            bare, start = bare.strip("()"), start + len(bare) - len(bare.lstrip("("))
        possessive = re.search(r"['’]s$", bare)
        follower = STARTS.sub("", spans[number + 1][0])[:1] if number + 1 < len(spans) else ""
        if possessive and not follower.isupper():  # "Ploughmen's Front" is one name
            bare = bare[: possessive.start()]
        if bare:
            found.append(_Word(start, start + len(bare), bare, bare != ahead, begins))
        initial = span[0][0].isupper() and len(span[0]) <= SHORT  # "T. S. Eliot", "Jr. was"
        begins = span[0].rstrip('"”’)')[-1:] in ("?", ".") and not initial
    return found


def _runs(words: list[_Word]) -> list[tuple[int, int]]:
    """Return (first word, last word) of each name."""
    runs: list[tuple[int, int]] = []
    at = 0
    while at < len(words):
        word, opens = words[at], False
        if word.first and word.text in ARTICLES:
            opens = not (at + 1 < len(words) and words[at + 1].named and not word.broken)
        if not word.named or opens or (word.first and word.text in OPENING):
            at += 1
            continue
        last = at
        while not words[last].broken:
            step = last + 1
            while step < len(words) and words[step].text in INSIDE and not words[step].broken:
                step += 1
            if step >= len(words) or not words[step].named or step - last > 4 or words[step].first:
                break
            last = step
        runs.append((at, last))
        at = last + 1
    return runs


def _open_before(words: list[_Word], first: int, last: int) -> bool:
    """Return whether the word before a name may belong to it, as in "In Cold Blood is by"."""
    if first == 0:
        return False
    before = words[first - 1]
    if not before.first or before.text not in OPENING:
        return False
    # "In Quebec City, an official language is"
    return not words[last].broken if before.text in PLACES else before.text in ASKING


def _open_behind(words: list[_Word], first: int, last: int) -> bool:
    """Return whether the word after a name may belong to it, as in "Ben Yehuda Street bombings"."""
    if words[last].broken or last + 1 == len(words):
        return False
    if first and words[first - 1].text.lower() in HELPERS:
        return False
    behind = words[last + 1].text
    return behind not in FOLLOWING and not behind.endswith("ed")
