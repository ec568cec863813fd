"""★★★ Design a stress test

Your favorite editor passes every test of its paper. Somewhere it fails, and you are to find where.
A test prompt can be made harder in five ways, and in any combination:

    "reworded"  "later" (asked 50 edits later)  "negated"  "long" (behind a long text)  "reverse"

    ask(features, cases)    features: list of names, [] for the plain edit prompt; cases: list of
                            numbers. Returns a list with 1 (right) or 0 (wrong) for each case.

Find the *smallest* combination under which it fails (right in less than two thirds), and report how
often it is right there, with Wilson's 95 % interval. Cases 0–99 are there to search on; what you
report has to be measured on cases 100–199, and these may be asked about your final combination
only. You may ask 500 questions; each case of each call is one.

    returns [features, share, low, high]

Investigate: is one way at a time enough? How many cases does a combination need in the search? Why
not report the number by which you chose it?

Hint: itertools.combinations(FEATURES, n). Wilson's formula stands in exercise 8.2; write it again.
"""

from itertools import combinations

import torch

FEATURES = ("reworded", "later", "negated", "long", "reverse")


def stress(ask) -> list:
    # solution
    def share(features, cases):
        right = ask(list(features), list(cases))
        return sum(right) / len(right)

    n, tried = 1, {}
    while not tried or min(tried.values()) > 2 / 3:  # single ones first, then pairs …
        tried = {some: share(some, range(20)) for some in combinations(FEATURES, n)}
        n += 1
    found = min(tried, key=tried.get)
    p, m, z = share(found, range(100, 200)), 100, 1.959964
    half = z * (p * (1 - p) / m + z * z / (4 * m * m)) ** 0.5
    middle, over = p + z * z / (2 * m), 1 + z * z / m
    return [list(found), p, (middle - half) / over, (middle + half) / over]


# --- checks
from lessons.l8_2_wilson import wilson
from lessons.marking import Wrong, number, short

PLAIN = (
    "return [list(found), p, p - z * (p * (1 - p) / m) ** 0.5, p + z * (p * (1 - p) / m) ** 0.5]"
)
WRONG = [
    ({"tried or min(tried.values()) > 2 / 3": "tried"}, "together"),
    ({"min(tried, key=tried.get)": "FEATURES"}, "smallest"),
    ({"range(100, 200)": "range(100)"}, "chose"),
    ({"half =": f"{PLAIN}\nhalf ="}, "Wilson"),
    ({"range(20)": "range(100)"}, "questions"),
    ({"range(20)": "range(180, 200)"}, "kept apart"),
]


class Hidden:
    """An editor with a weakness: two features that do harm only in each other's company."""

    def __init__(self, draw):
        order = torch.randperm(5, generator=draw).tolist()
        self.weak = {FEATURES[i] for i in order[:2]}
        self.luck = torch.rand(32, 200, generator=draw)
        self.asked, self.late = 0, set()

    def right(self, features, case):
        p = 0.35 if self.weak <= set(features) else 0.95 - 0.02 * len(features)
        code = sum(1 << FEATURES.index(name) for name in features)
        return int(self.luck[code, case] < p)

    def ask(self, features, cases):
        if not isinstance(features, list) or not set(map(str, features)) <= set(FEATURES):
            raise Wrong(f"ask takes a list of features, not {short(features)}.")
        if not isinstance(cases, list) or not all(
            isinstance(c, int) and 0 <= c < 200 for c in cases
        ):
            raise Wrong("ask takes a list of cases, numbers from 0 to 199.")
        self.asked += len(cases)
        if self.asked > 500:
            raise Wrong("These are more than 500 questions: real ones cost a model run each.")
        features = sorted(set(features))
        if any(case >= 100 for case in cases):
            self.late.add(tuple(features))
        return [self.right(features, case) for case in cases]


def check(ask, draw):
    hidden = Hidden(draw)
    found = ask("stress", hidden.ask)
    if not isinstance(found, list) or len(found) != 4 or not isinstance(found[0], list):
        raise Wrong("Return four things: the list of features, share, low, high.")
    features = sorted(set(map(str, found[0])))
    if not set(features) <= set(FEATURES):
        raise Wrong(f"There are no such features: {short(found[0])}.")
    share, low, high = (
        number(x, name) for x, name in zip(found[1:], ("share", "low", "high"), strict=True)
    )
    fresh = sum(hidden.right(features, case) for case in range(100, 200)) / 100
    if not hidden.weak <= set(features):
        raise Wrong(
            f"{features}: there it is right in {fresh:.0%}. What does no harm alone may do "
            "harm together."
        )
    if set(features) != hidden.weak:
        raise Wrong(f"It fails under these {len(features)}, but that is not the smallest set.")
    if hidden.late - {tuple(features)}:
        raise Wrong(
            f"Cases 100–199 were asked about {len(hidden.late)} combinations: they are kept apart "
            "for the report."
        )
    if not hidden.late:
        raise Wrong(
            "Right combination, but the share is that of the cases by which you chose it: it was "
            "the lowest of many, so luck is in it. Report cases 100–199."
        )
    if abs(share - fresh) > 1e-6:
        raise Wrong(f"On cases 100–199 it is right in {fresh:.0%}, not {share:.0%}.")
    ends = wilson(round(100 * fresh), 100)
    if max(abs(low - ends[0]), abs(high - ends[1])) > 1e-6:
        raise Wrong(
            f"The share is right, {fresh:.2f}, but [{low:.3f}, {high:.3f}] is not Wilson's "
            "interval of it."
        )
    return f"solved: {' + '.join(features)}: right in {fresh:.0%}, with {hidden.asked} questions."
