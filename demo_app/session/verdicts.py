"""The verdict on an answer after an edit, and on an edit as a whole: one rule for the whole page.

The table, the list of edits, the surprises, the lab and the endpoints all show the verdicts by
`judged` and `outcome`. A row is compared with the answer just before the edit, from the unedited
model or under the visitor's earlier edits; the edit gets neither credit nor blame for anything that
was already the case. Rows that cannot show the edit's effect are displayed but not counted; their
`good` is None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch.nn.functional import kl_div

import lib
from lib.data.relations import bare
from lib.evaluation.answers import begins, contains

from .views import STAY, Answer, Row, clause, first_sentence, tally

NOTHING = "nothing to change"  # the model already gave the new answer
# reasons that a row is not counted
ALREADY_SO = "not counted: already so before the edit"
ALREADY_TRUE = "not counted: there was nothing to change"
FACT_MISSING = "not counted: the model lacks a fact that this depends on"
IGNORES_NOT = "not counted: the model already ignored “not” here before the edit"
NOT_IN_CHAT = "not counted: in a chat, the model didn't give its own answer before the edit"
INVISIBLE = "not counted: the new answer wouldn't be visible here"
OTHER_QUESTION = "not counted: asks something else"
YOURS = "yours"  # the visitor edited it earlier
EARLIER = "moved before"  # by one of the visitor's earlier edits
LOOPS = "the text loops"

TESTED = 2  # minimum number of kept neighbors for claiming that neighbors are kept
FAULTS = {  # group -> the complaint about an edit that fails here
    "reworded": "misses {} rewording{}",
    "neighbor": "moves {} neighbor{}",
    "unrelated": "moves {} unrelated text{}",
}
LACKS = {  # group -> the note on an edit that passes both halves but fails here
    "follows": "{} of {} consequences missing",
    "chat": "not in a chat",
    "negation": "also given when negated",
}

# some words or, in a script without spaces, some letters, three times in a row
_LOOP = re.compile(r"(?<!\w)(\w.{0,60}? )\1\1|([^\W\d].+?|[^\x00-\x7f\w]+?)\2\2")


class Verdict(NamedTuple):
    """A judgment (True if the result is as desired, None if it doesn't count), and the reason in
    words.
    """

    good: bool | None
    word: str


def divergence(before: Answer, after: Answer) -> float:
    """KL(before ‖ after) of the next token, in nats."""
    spent = kl_div(after.next_token, before.next_token, reduction="sum", log_target=True)
    return max(0.0, spent.item()) if torch.isfinite(spent) else math.inf


def about(prompt: str, facts: Iterable[lib.Fact]) -> bool:
    """Return whether a prompt names the subject of one of these facts."""
    names = {bare(fact.subject) for fact in facts if fact.subject}
    text = prompt.casefold()
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)


def loops(text: str) -> bool:
    """Return whether a text repeats itself three times in a row: "Rome, Rome, Rome"."""
    # "1000000" is a number, and "…" is not a word
    plain = re.sub(r"[\s.,;:!?\"'()–—…-]+", " ", f"{text.casefold()} ")
    return _LOOP.search(plain) is not None


def said(text: str, answers: Iterable[str], anywhere: bool = False) -> bool:
    """Return whether a text begins with one of the answers or, with `anywhere`, contains one.

    Ignores a period at the end of an answer: "Rome, Italy" gives the answer "Rome."
    """
    event = contains if anywhere else begins
    return any(event(text, answer.rstrip(".") or answer) for answer in answers)


def judged(
    row: Row,
    new: str,
    first: Row | None = None,
    right: Sequence[str] = (),
    others: Iterable[lib.Fact] = (),
    meant: bool = True,
) -> Row:
    """The row with its verdict, based on the model's free text before and after the edit.

    new: the new answer.
    first: the row of the fact's own prompt; None for that row itself.
    right: the right answers for a neighbor or a consequence; empty for a consequence if the model
        lacks a fact that it depends on.
    others: the visitor's edits other than this fact.
    meant: whether the fact is edited at all; otherwise no new answer is expected.
    """
    group, was, now = row.group, row.was, row.after or ""
    looped = loops(now) and not (loops(was) or loops(new))
    if group in STAY:
        good, word = _stays(row, new, right, others)
        if good and looped:
            good, word = False, LOOPS
    elif group == "own" or not meant:
        same = first_sentence(row.before) == first_sentence(now)
        changed = "same" if same else "changed"
        good, word = None, "new answer" if said(now, [new]) and not same else changed
    else:
        good, word = _changes(row, new, first or row, right)
        word += f", but {LOOPS}" * (good is True and looped and group != "negation")
    return replace(row, good=good, word=word)


def _stays(row: Row, new: str, right: Sequence[str], others: Iterable[lib.Fact]) -> Verdict:
    """The verdict on a row whose answer should stay."""

    def moved(old: str, text: str) -> bool:
        # a neighbor that was wrong before counts as kept if its answer is unchanged
        if said(old, right):
            return not said(text, right)
        return first_sentence(old) != first_sentence(text)

    now = row.after or ""
    if row.group == "other":
        return Verdict(None, OTHER_QUESTION)
    if row.group == "neighbor" and about(row.prompt, others):
        return Verdict(None, YOURS)
    if moved(row.before, row.was):
        return Verdict(None, EARLIER)
    if row.group == "neighbor" and new and said(row.was, [new]):
        return Verdict(None, INVISIBLE)
    kept = not moved(row.was, now)
    names = ("moved", "kept") if row.group == "neighbor" else ("changed", "same")
    return Verdict(kept, names[kept])


def _changes(row: Row, new: str, first: Row, right: Sequence[str]) -> Verdict:
    """The verdict on a row about the fact itself, a consequence, or its negation."""
    wanted, denied = [new], row.group == "negation"
    if row.group == "follows":
        if not right:
            return Verdict(None, FACT_MISSING)
        wanted = list(right)
    before, after = (said(text, wanted, row.group == "chat") for text in (row.was, row.after or ""))
    true = said(first.was, [new])
    if before and (after or denied):
        return Verdict(None, NOTHING if row.group == "edit" else ALREADY_SO)
    if true and not before:
        return Verdict(None, ALREADY_TRUE)
    if denied:
        # a model that gives the same answer to both prompts ignores the word, for example
        # "Shakespeare" here and "William Shakespeare" without it
        plain, old = clause(first.was), clause(row.was)
        ignored = said(row.was, filter(None, [plain])) or (old and contains(first.was, old))
        told = "new answer, though negated" if after else "not the new answer"
        return Verdict(None, IGNORES_NOT) if ignored else Verdict(not after, told)
    if row.group == "chat" and not contains(row.was, clause(first.was)):
        return Verdict(None, NOT_IN_CHAT)
    if row.group == "follows":
        return Verdict(after, f"follows: {right[0]}" if after else f"not {right[0]}")
    return Verdict(after, "new answer" if after else "not the new answer")


def outcome(rows: Sequence[Row]) -> Verdict:
    """Judge whether an edit succeeded in both halves, writing the fact and preserving the rest.

    None if one of the halves was not tested, if there was nothing to change, or if the result is
    not known yet.
    """
    if any(row.after is None for row in rows):
        return Verdict(None, "testing …")
    if rows[0].good is False:
        return Verdict(False, "edit failed")
    counts = {group: tally(rows, group) for group in ("follows", *FAULTS)}
    wrong = {group: counts[group][1] - counts[group][0] for group in FAULTS}
    found = [
        words.format(wrong[of], "s" * (wrong[of] > 1)) for of, words in FAULTS.items() if wrong[of]
    ]
    more, tested = lacking(rows), counts["neighbor"][1]
    if rows[0].good is None:
        return Verdict(False if found else None, ", ".join([NOTHING, *found]) + more)
    if found:
        return Verdict(False, f"{', '.join(found)}{more}")
    if tested < TESTED:
        return Verdict(None, f"written{more}; locality {'barely' if tested else 'not'} tested")
    if not counts["reworded"][1]:
        return Verdict(None, f"written, neighbors kept{more}; not tested in other words")
    holds = "holds" if counts["follows"][1] else "written, neighbors kept"
    return Verdict(None if looped(rows) else True, f"{holds}{more}")


def looped(rows: Sequence[Row]) -> bool:
    """Return whether a text with the new answer loops because of the edit."""
    return any(row.good and row.word.endswith(LOOPS) for row in rows)


def lacking(rows: Sequence[Row]) -> str:
    """The edit's other shortcomings, each after a comma, or "" if there are none."""
    counts = {words: tally(rows, group) for group, words in LACKS.items()}
    found = [words.format(n - good, n) for words, (good, n) in counts.items() if good < n]
    return "".join(f", {words}" for words in [f"but {LOOPS}"] * looped(rows) + found)
