"""The verdict on an answer after an edit: whether it is as one would wish, and how far it moved."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from torch.nn.functional import kl_div

import lib
from lib.data.relations import bare
from lib.evaluation.answers import begins, contains

from .views import STAY, Answer


def divergence(before: Answer, after: Answer) -> float:
    """KL(before ‖ after) of the next token, nats."""
    spent = kl_div(after.next_token, before.next_token, reduction="sum", log_target=True)
    return max(0.0, spent.item()) if torch.isfinite(spent) else math.inf


def about(prompt: str, facts: Iterable[lib.Fact]) -> bool:
    """Whether a prompt names the subject of one of these facts."""
    names = {bare(fact.subject) for fact in facts if fact.subject}
    text = prompt.casefold()
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)


def verdict(
    meant: bool, group: str, reference: str | None, target: str, before: Answer, after: Answer
) -> tuple[bool | None, str]:
    """Whether the row is as one would wish, by free generation, and a word for it."""
    same = before.shown == after.shown
    # in a reply in whole words the answer may stand anywhere
    written = (contains if group == "chat" else begins)(after.text, target)
    changed = "same" if same else "changed"
    if meant and group in ("edit", "reworded", "chat"):
        return written, "new answer" if written else "not the new answer"
    if meant and group == "negation":
        return not written, "new answer, though denied" if written else "not the new answer"
    if group in STAY:
        # a neighbor that the base itself gets wrong is kept when it says the same as before
        known = reference is not None and begins(before.text, reference)
        kept = begins(after.text, reference) if known else same
        return kept, ("kept" if kept else "changed") if group == "neighbor" else changed
    return None, "new answer" if written and not same else changed
