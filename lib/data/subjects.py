"""The subject of a sentence that does not mark it, found by a rule on the text alone.

A name is a run of words with a capital or a digit, with small words such as "of" and "von" inside.
A capital that the place in the sentence demands ("What", "In", "The mother tongue of …") does not
count. The sentence has to hold exactly one name, and the words around it have to be such as can
stand beside a name. Otherwise the name may be longer than its capitals ("Ben Yehuda Street
bombings"), or another than is meant, and the sentence is refused: a fact with a wrong subject would
be written to the wrong place. tests/benchmarks/results/subjects.md has how often that happens.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import FactError
from .facts import quoted, require_text
from .placeholders import place

HOW = "state the subject (Fact.find; --subject and --prompt on the command line)"
SHORT = 4  # characters of an initial or abbreviation with its full stop
LONGEST = 2000  # characters of a sentence; a page of text is no prompt of a fact

# words that stand inside a name without a capital
INSIDE = frozenset(
    "of the de la le du des di da del della der den van von zu zum el al and y e & for to a an "
    "in on at bin ibn ben und et dos das do och i".split()
)
# words with a capital at the beginning of a sentence that are no part of a name there
OPENING = frozenset(
    "What Which Who Whom Whose When Where Why How In On At By For From Of To During As With "
    "Into Is Was Are Were Did Does Do Has Had Have Can It Its This That These Those There They "
    "He She We You I Under Since Until".split()
)
# words that can follow a name; also every word that ends in "ed"
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
ENDS = re.compile(r"""[,;:?"\]”’]+$""")  # after a name; a full stop may belong to it, as in "Co."
STARTS = re.compile(r"""^["\[“‘]+""")


class _Word(NamedTuple):
    """A word of the sentence without the marks around it.

    start, end  where it stands
    text        the word
    broken      whether a mark or a possessive stands behind it, so that a name ends here
    first       whether a sentence begins with it
    """

    start: int
    end: int
    text: str
    broken: bool
    first: bool

    @property
    def named(self) -> bool:
        """Whether it has a capital or a digit."""
        return any(letter.isupper() or letter.isdigit() for letter in self.text)


def find_subject(sentence: str) -> str:
    """The one name in a sentence, as it stands there.

    Raises FactError where there is no name, where there are several, and where the words beside the
    name leave open where it begins or ends. The message says how to state the subject.
    find_subject("The mother tongue of Danielle Darrieux is") -> "Danielle Darrieux"
    """
    require_text(sentence, "the sentence")
    if len(sentence) > LONGEST:
        raise FactError(f"a sentence of {len(sentence)} characters is too long for a fact: {HOW}")
    place(sentence, None)  # refuses a place where a subject stood
    words = _words(sentence)
    runs = _runs(words)
    names = [sentence[words[first].start : words[last].end] for first, last in runs]
    if not names:
        raise FactError(f"no word of {quoted(sentence)} looks like a name: {HOW}")
    if len(names) > 1:
        found = " or ".join(map(quoted, names[:3])) + (" or another" if len(names) > 3 else "")
        raise FactError(f"the subject of {quoted(sentence)} may be {found}: {HOW}")
    (first, last), name = runs[0], names[0]
    if _open_before(words, first, last) or _open_behind(words, first, last):
        raise FactError(f"{quoted(name)} in {quoted(sentence)} may be a part of the subject: {HOW}")
    return name


def _words(sentence: str) -> list[_Word]:
    """The words of a sentence."""
    found: list[_Word] = []
    begins, spans = True, [*re.finditer(r"\S+", sentence)]
    for number, span in enumerate(spans):
        bare = STARTS.sub("", span[0])
        start, ahead = span.end() - len(bare), bare
        bare = ENDS.sub("", bare)
        if number == len(spans) - 1:
            bare = bare.rstrip('.!?,;:"”’')
        if bare.count("(") != bare.count(")"):  # "(macOS)" is a part of a name, "(the" is none
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
    """(first word, last word) of each name."""
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
    """Whether the word in front of a name may belong to it, as in "In Cold Blood is by"."""
    if first == 0:
        return False
    before = words[first - 1]
    if not before.first or before.text not in OPENING:
        return False
    # "In Quebec City, an official language is"
    return not words[last].broken if before.text in PLACES else before.text in ASKING


def _open_behind(words: list[_Word], first: int, last: int) -> bool:
    """Whether the word behind a name may belong to it, as in "Ben Yehuda Street bombings"."""
    if words[last].broken or last + 1 == len(words):
        return False
    if first and words[first - 1].text.lower() in HELPERS:
        return False
    behind = words[last + 1].text
    return behind not in FOLLOWING and not behind.endswith("ed")
