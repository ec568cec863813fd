"""★★★ Design a stress test

Your favorite editor passes every test in its paper. Somewhere it fails, and your task is to find
where. You can make a test prompt harder in five ways, in any combination:

    "reworded"  "later" (tested 50 edits later)  "negated"  "long" (after a long text)  "reverse"

    ask(features, cases)    features: list of names, [] for the plain edit prompt; cases: list of
                            numbers. Returns a list with 1 (right) or 0 (wrong) for each case.

Find the *smallest* combination under which it fails (right in less than two thirds), and report how
often it is right there, with Wilson's 95% interval. Use cases 0–99 for the search. Measure the
number you report on cases 100–199, which you may use only for your final combination. You can ask
500 questions; each case of each call is one.

    returns [features, fraction, low, high]

Investigate: is one way at a time enough? How many cases does a combination need in the search? Why
shouldn't you report the number you used for choosing it?

Hint: itertools.combinations(FEATURES, n). Wilson's formula is in exercise 8.2; write it again.
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
    while not tried or min(tried.values()) > 2 / 3:  # single features first, then pairs …
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
    ({"range(100, 200)": "range(100)"}, "used for choosing"),
    ({"half =": f"{PLAIN}\nhalf ="}, "Wilson"),
    ({"range(20)": "range(100)"}, "questions"),
    ({"range(20)": "range(180, 200)"}, "reserved"),
]


class Hidden:
    """An editor with a weakness: two features that do harm only in combination."""

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
            raise Wrong("These are more than 500 questions: each real question costs a model run.")
        features = sorted(set(features))
        if any(case >= 100 for case in cases):
            self.late.add(tuple(features))
        return [self.right(features, case) for case in cases]


def check(ask, draw):
    hidden = Hidden(draw)
    found = ask("stress", hidden.ask)
    if not isinstance(found, list) or len(found) != 4 or not isinstance(found[0], list):
        raise Wrong("Return four things: the list of features, fraction, low, high.")
    features = sorted(set(map(str, found[0])))
    if not set(features) <= set(FEATURES):
        raise Wrong(f"These are not valid features: {short(found[0])}.")
    share, low, high = (
        number(x, name) for x, name in zip(found[1:], ("share", "low", "high"), strict=True)
    )
    fresh = sum(hidden.right(features, case) for case in range(100, 200)) / 100
    if not hidden.weak <= set(features):
        raise Wrong(
            f"{features}: with these it is right in {fresh:.0%}. Features that are harmless "
            "individually may do harm together."
        )
    if set(features) != hidden.weak:
        raise Wrong(f"It fails under these {len(features)}, but that is not the smallest set.")
    if hidden.late - {tuple(features)}:
        raise Wrong(
            f"You used cases 100–199 for {len(hidden.late)} combinations: they are reserved for "
            "the report."
        )
    if not hidden.late:
        raise Wrong(
            "Right combination, but the fraction is from the cases you used for choosing it: it "
            "was the lowest of many, partly by luck. Report cases 100–199."
        )
    if abs(share - fresh) > 1e-6:
        raise Wrong(f"On cases 100–199 it is right in {fresh:.0%}, not {share:.0%}.")
    ends = wilson(round(100 * fresh), 100)
    if max(abs(low - ends[0]), abs(high - ends[1])) > 1e-6:
        raise Wrong(
            f"The fraction is right, {fresh:.2f}, but [{low:.3f}, {high:.3f}] is not its Wilson "
            "interval."
        )
    return f"solved: {' + '.join(features)}: right in {fresh:.0%}, using {hidden.asked} questions."
