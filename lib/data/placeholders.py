"""Placeholders: ways of marking the place of a subject, besides `{}`.

A word for the subject in brackets names the place: `{subject}`, `<entity>`, `[SUBJECT]`, `[X]`,
`%(subject)s`. A bare mark can also be a placeholder: `{}`, `{ }`, `{0}`, `{city}`, `____`, `%s`,
`$subject`. Marks for the answer are not: a blank at the end of a text, `[Y]`, `{object}`, `[MASK]`.

A prompt naming its subject in plain words is never changed, whatever else it contains: "The
capital of France is ____" keeps its blank, and the subject "[X]" is found in "[X] is a band". The
text's single placeholder marks the subject's place only if the subject is not named. Texts about
other subjects may contain bare marks, for example in code, so only a placeholder naming the place
is used there.
"""

from __future__ import annotations

import re

from ..errors import FactError
from .normalized_text import around
from .short_repr import quoted

_WORD = r"(?i:(?:subject|subj|entity|sub_label|head_entity)(?:[ _-]?(?:name|label))?)"
MARKS = re.compile(
    rf"(?=[\[{{<_$%#(])(?:(?P<named>"
    rf"\$?[\[{{<]{{1,3}}\s{{0,3}}{_WORD}\s{{0,3}}[\]}}>]{{1,3}}|%\({_WORD}\)s|\[X\]|<X>"
    r")|(?P<answer>"
    r"\[Y\]|<Y>|[\[{<](?i:obj|object|obj_label|answer|target|mask)[\]}>]"
    r")|(?P<bare>"  # not `\frac{1}{2}`, snake__case, "50 %s", or a blank for the answer
    r"(?<![a-zA-Z}])\{{1,2}[\w .:!-]{0,40}\}{1,2}"
    r"|(?<!\w)_{2,}+(?!\w)(?![\s.…]*$)"
    r"|(?<![\w%])(?<!\d\s)%s(?!\w)"
    rf"|[$%#_(]{{1,2}}{_WORD}[%#_)]{{0,2}}"
    r"|[\[<](?i:name|head|topic)[\]>]"
    r"))"
)


def place(text: str, subject: str | None, bare: bool = True) -> str | None:
    """Return this text's placeholder for the subject, as written, or None if there isn't one.

    bare  whether bare marks count, as in texts about the subject

    Raises FactError if a text not naming the subject contains a placeholder that cannot be filled:
    one naming the place, or a bare mark at the beginning, or `{}` without a subject.
    place("____ lies in", "Rome") -> "____", place("Rome is ____ in", "Rome") -> None
    """
    marks = [*MARKS.finditer(text)]
    named = [mark[0] for mark in marks if mark.lastgroup == "named"]
    if marks and subject:
        # "[X]" does not name the subject "X", but names the subject "[X] and Y"
        hidden = MARKS.sub(lambda mark: "\0" if mark.lastgroup == "named" else mark[0], text)
        if around(subject, text if MARKS.search(subject) else hidden):
            return None
        found = [mark[0] for mark in marks] if bare else named
        # the same sign may also occur as text or for the answer: "____ lies in ____"
        single = len(found) == 1 == text.count(found[0])
        if single and not any(mark.lastgroup == "answer" for mark in marks):
            return found[0]
    if named or (marks and (marks[0].start() == 0 or (bare and not subject and "{}" in text))):
        raise FactError(
            f"The prompt {quoted(text)} has a {(*named, marks[0][0])[0]}, "
            + (
                "but it is not the subject's only place. Use {} once."
                if subject
                else "but there is no subject. Give one."
            )
        )
    return None
