"""The verdict on an answer after an edit, and on an edit as a whole: one rule for the whole page.

The table, the list of edits, the surprises, the lab and the endpoints show what `judged` and
`outcome` say. A row is compared with what was said just before the edit, by the unedited model or
under the visitor's earlier edits: what was so before is neither to the edit's credit nor its fault.
Rows that cannot show what the edit did are shown and not counted; their `good` is None.
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

NOTHING = "nothing to change"  # the model gave the new answer before
# why a row is not counted
BEFORE = "not counted: so before the edit"
TRUE = "not counted: there was nothing to change"
UNKNOWN = "not counted: the model does not know what this takes"
DEAF = "not counted: before the edit the model ignored “not” here as well"
ASIDE = "not counted: in a chat the model did not give its answer before"
BLIND = "not counted: the new answer would not show here"
ELSE = "not counted: asks something else"
YOURS = "yours"  # the visitor edited it before
EARLIER = "moved before"  # by an earlier edit of the visitor's
LOOPS = "the text loops"

TESTED = 2  # neighbors that keep their answers, from which on it is said that neighbors do
FAULTS = {  # group -> what is said of an edit that does not do this
    "reworded": "misses {} rewording{}",
    "neighbor": "moves {} neighbor{}",
    "unrelated": "moves {} unrelated text{}",
}
LACKS = {  # group -> what is said of an edit that did both halves, and not this
    "follows": "{} of {} consequences missing",
    "chat": "not in a chat",
    "negation": "said even if denied",
}

# some words, or in a script without blanks some letters, three times in a row
_LOOP = re.compile(r"(?<!\w)(\w.{0,60}? )\1\1|([^\W\d].+?|[^\x00-\x7f\w]+?)\2\2")


class Verdict(NamedTuple):
    """Whether it is as one would wish, None where that does not count; and why, in words."""

    good: bool | None
    word: str


def divergence(before: Answer, after: Answer) -> float:
    """KL(before ‖ after) of the next token, nats."""
    spent = kl_div(after.next_token, before.next_token, reduction="sum", log_target=True)
    return max(0.0, spent.item()) if torch.isfinite(spent) else math.inf


def about(prompt: str, facts: Iterable[lib.Fact]) -> bool:
    """Whether a prompt names the subject of one of these facts."""
    names = {bare(fact.subject) for fact in facts if fact.subject}
    text = prompt.casefold()
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)


def loops(text: str) -> bool:
    """Whether a text says the same three times in a row: "Rome, Rome, Rome"."""
    # "1000000" is a number and "…" is no word
    plain = re.sub(r"[\s.,;:!?\"'()–—…-]+", " ", f"{text.casefold()} ")
    return _LOOP.search(plain) is not None


def said(text: str, answers: Iterable[str], anywhere: bool = False) -> bool:
    """Whether a text begins with one of the answers, or has it anywhere.

    The period at the end of an answer is no part of it: "Rome." is said by "Rome, Italy".
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
    """The row with its verdict, by what the model writes freely before and after the edit.

    new: the new answer.
    first: the row of the fact's own prompt; None for that row itself.
    right: the right answers of a neighbor, or of a consequence; of a consequence none where the
        model does not know what it takes.
    others: what the visitor edited beside this fact.
    meant: whether the fact is edited at all; otherwise nothing new is expected.
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
        # a neighbor that was wrong before is kept where it says the same as before
        if said(old, right):
            return not said(text, right)
        return first_sentence(old) != first_sentence(text)

    now = row.after or ""
    if row.group == "other":
        return Verdict(None, ELSE)
    if row.group == "neighbor" and about(row.prompt, others):
        return Verdict(None, YOURS)
    if moved(row.before, row.was):
        return Verdict(None, EARLIER)
    if row.group == "neighbor" and new and said(row.was, [new]):
        return Verdict(None, BLIND)
    kept = not moved(row.was, now)
    names = ("moved", "kept") if row.group == "neighbor" else ("changed", "same")
    return Verdict(kept, names[kept])


def _changes(row: Row, new: str, first: Row, right: Sequence[str]) -> Verdict:
    """The verdict on a row that asks for the fact, for what follows from it, or denies it."""
    wanted, denied = [new], row.group == "negation"
    if row.group == "follows":
        if not right:
            return Verdict(None, UNKNOWN)
        wanted = list(right)
    before, after = (said(text, wanted, row.group == "chat") for text in (row.was, row.after or ""))
    true = said(first.was, [new])
    if before and (after or denied):
        return Verdict(None, NOTHING if row.group == "edit" else BEFORE)
    if true and not before:
        return Verdict(None, TRUE)
    if denied:
        # a model that answers both prompts alike does not hear the word: "Shakespeare" where it
        # says "William Shakespeare" without it
        plain, old = clause(first.was), clause(row.was)
        deaf = said(row.was, filter(None, [plain])) or (old and contains(first.was, old))
        told = "new answer, though denied" if after else "not the new answer"
        return Verdict(None, DEAF) if deaf else Verdict(not after, told)
    if row.group == "chat" and not contains(row.was, clause(first.was)):
        return Verdict(None, ASIDE)
    if row.group == "follows":
        return Verdict(after, f"follows: {right[0]}" if after else f"not {right[0]}")
    return Verdict(after, "new answer" if after else "not the new answer")


def outcome(rows: Sequence[Row]) -> Verdict:
    """Whether an edit did both halves, to write and to leave the rest; and what it did, in words.

    None where one of the halves was not tested, where there was nothing to change, or where it is
    not known yet.
    """
    if any(row.after is None for row in rows):
        return Verdict(None, "being asked …")
    if rows[0].good is False:
        return Verdict(False, "did not write it")
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
        return Verdict(None, f"written{more}; locality {'hardly' if tested else 'not'} tested")
    if not counts["reworded"][1]:
        return Verdict(None, f"written, neighbors kept{more}; not tested in other words")
    holds = "holds" if counts["follows"][1] else "written, neighbors kept"
    return Verdict(None if looped(rows) else True, f"{holds}{more}")


def looped(rows: Sequence[Row]) -> bool:
    """Whether the new answer is said in a text that loops since the edit."""
    return any(row.good and row.word.endswith(LOOPS) for row in rows)


def lacking(rows: Sequence[Row]) -> str:
    """What an edit does not reach beside these halves, each behind a comma; "" where nothing."""
    counts = {words: tally(rows, group) for group, words in LACKS.items()}
    found = [words.format(n - good, n) for words, (good, n) in counts.items() if good < n]
    return "".join(f", {words}" for words in [f"but {LOOPS}"] * looped(rows) + found)
