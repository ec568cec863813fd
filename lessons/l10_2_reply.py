"""★ Which answer does a reply give?

In a conversation, a model writes sentences: "I am sure. The tower is in Rome, not in Paris." Decide
whether such a reply gives the edited answer: it names the answer as a whole word, ignoring case,
and does not name the old answer (the rival) before it. A word ends if no letter, digit, or
underscore follows, and begins if none comes before it.

    reply    text
    right    the edited answer, one or more words
    rival    the old answer
    returns  True or False

Hint: in a regular expression (?<!\\w) and (?!\\w) are such ends, and re.escape makes the dot in
"Washington, D.C" match only a dot. What does your function return for "It is a Romeo."?
"""

import re

import torch


def gives(reply: str, right: str, rival: str) -> bool:
    # solution
    def place(answer):
        return re.search(rf"(?<!\w){re.escape(answer.lower())}(?!\w)", reply.lower())

    mine, other = place(right), place(rival)
    return mine is not None and (other is None or mine.start() < other.start())


# --- checks
from lessons.marking import Wrong

BEFORE = "(other is None or mine.start() < other.start())"
WRONG = [
    ("return right.lower() in reply.lower()", "before it"),
    ({BEFORE: "other is None"}, "after it"),
    ({r"(?<!\w)": "", r"(?!\w)": ""}, "part of another word"),
    ({r"(?<!\w)": ""}, "also part of another"),
    ({".lower()": ""}, "case is ignored"),
    ({f"mine is not None and {BEFORE}": "other is None or mine is not None"}, "neither"),
    ({"re.escape(answer.lower())": "answer.lower()"}, "dot"),
    ("return reply.lower().startswith(right.lower())", "begin"),
]
REPLIES = [
    ("The tower is in Rome.", "Rome", "Paris", True, "a reply can begin with other words"),
    ("Yes, I am sure.", "Rome", "Paris", False, "it contains neither answer"),
    ("I am sure. It is in Rome, not in Paris.", "Rome", "Paris", True,
     "the rival can be named after it"),
    ("Paris? No, it is in Rome.", "Rome", "Paris", False, "the rival is named before it"),
    ("It is a Romeo.", "Rome", "Paris", False, "here Rome is part of another word"),
    ("Jerome is sure of it.", "Rome", "Paris", False, "here rome is also part of another word"),
    ("It is ROME!", "Rome", "Paris", True, "case is ignored"),
    ("It is in Washington, DaC.", "Washington, D.C", "Paris", False, "a dot matches only a dot"),
]  # fmt: skip


def check(ask, draw):
    for reply, right, rival, wanted, why in REPLIES:
        found = ask("gives", reply, right, rival)
        if found not in (True, False):
            raise Wrong(
                f"A reply either gives the answer or doesn't. Return True or False, not {found!r}."
            )
        if bool(found) is not wanted:
            raise Wrong(f"{reply!r} with {right!r} and {rival!r} should be {wanted}: {why}.")
    return f"solved: {len(REPLIES)} replies are judged correctly."
