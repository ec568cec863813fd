"""★★★ Which states are needed?

There are six states after a layer, and noise has corrupted them all. Restoring some of them may
restore the answer. Find a smallest set of states that restores at least 90% of the total effect.

    run(restored)     probability of the answer (a number) with a list of tokens restored: [0, 3]
                      run([]) is the noisy run, run([0, 1, 2, 3, 4, 5]) the clean one
    returns a list of tokens, as few as possible

You may run the network 100 times.

Investigate: first look at the effects of single states, and at their sum. Then at pairs. Why do the
tokens with the largest effects not make the best set? How often would you have to run a real
network of 10 tokens and 30 layers to be sure?

Hint: itertools.combinations(range(6), n) gives all sets of n tokens.
"""

from itertools import combinations

import torch


def smallest(run) -> list[int]:
    # solution
    lost, clean = run([]), run(list(range(6)))
    for n in range(1, 7):
        for tokens in combinations(range(6), n):
            if run(list(tokens)) - lost >= 0.9 * (clean - lost):
                return list(tokens)


# --- checks
from lessons.grading.toy_networks import Together
from lessons.marking import Wrong, short

SINGLE = "lost = run([])\nby_effect = sorted(range(6), key=lambda t: lost - run([t]))\n"
WRONG = [
    (SINGLE + "return by_effect[:2]", "only together"),
    (
        SINGLE + "clean, tokens = run(list(range(6))), []\n"
        "while run(tokens) - lost < 0.9 * (clean - lost):\n"
        "    tokens = tokens + [by_effect[len(tokens)]]\n"
        "return tokens",
        "fewer",
    ),
    ("return list(range(6))", "always enough"),
    (
        "import random\nwhile True:\n    random.seed(0)\n    run(random.sample(range(6), 2))",
        "100 runs",
    ),
]


def check(ask, draw):
    for _ in range(3):
        toy = Together(draw)
        found = ask("smallest", toy.run)
        try:
            tokens = sorted({int(t) for t in found})
        except (TypeError, ValueError):
            raise Wrong(f"Return a list of tokens, not {short(found)}.") from None
        if not all(0 <= t < 6 for t in tokens):
            raise Wrong(f"These are not tokens of the network: {tokens}.")
        toy.calls = -1000
        lost, clean = toy.run([]), toy.run(list(range(6)))
        share = (toy.run(tokens) - lost) / (clean - lost)
        if len(tokens) == 6:
            raise Wrong("All six are always enough: which of them are needed?")
        if share < 0.9:
            raise Wrong(
                f"{tokens} restores {share:.0%}, not 90%. Effects are not shares of a cake: some "
                "states help only together."
            )
        if len(tokens) > 2:
            raise Wrong(
                f"{tokens} is enough, but so are fewer tokens: a large effect by itself does not "
                "make a state necessary. Did you go by single effects?"
            )
    return "solved: by itself, each of them is worth almost nothing."
