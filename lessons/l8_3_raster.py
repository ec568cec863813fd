"""★★ Written, held, forgotten

A stream writes the same number of facts in each turn, and after each turn all facts written so far
are tested. A turn is a text with one character per fact, "1" if the model gives the new answer and
"0" if not, in the order in which they were written: ["101", "101110", …] has turns of three. Return
three fractions of all the facts:

    written     facts that were right after their own turn
    held        facts that are right at the end
    forgotten   facts that were right after their own turn and are not at the end

    texts       a list of texts, each beginning with the facts of the texts before it
    returns (written, held, forgotten)

Some stream has broken the model, and the patch after each turn was kept. `first_broken` finds the
first turn whose patch is broken, assuming that damage never heals. A test is expensive, so use at
most ⌈log₂ turns⌉ of them.

    broken(t)   tests the patch after turn t, from 1 to turns; it is true for the last turn
    turns       a number
    returns a number from 1 to turns

Hint: which characters of a turn's text belong to the facts of this turn? Is forgotten the same as
written minus held? And what do you know about all later turns if a turn is broken?
"""

from collections.abc import Callable

import torch


def shares(texts: list[str]) -> tuple[float, float, float]:
    # solution
    starts = [0, *map(len, texts)]
    first = "".join(text[start:] for start, text in zip(starts, texts, strict=False))
    last, n = texts[-1], len(texts[-1])
    lost = sum(a == "1" and b == "0" for a, b in zip(first, last, strict=True))
    return first.count("1") / n, last.count("1") / n, lost / n


def first_broken(broken: Callable[[int], bool], turns: int) -> int:
    # solution
    intact, bad = 0, turns  # the last turn known to be intact, the first known to be broken
    while bad - intact > 1:
        middle = (intact + bad) // 2
        intact, bad = (intact, middle) if broken(middle) else (middle, bad)
    return bad


# --- checks
import math

from lessons.marking import Wrong, agree, numbers, short

WRONG = [
    ({"lost / n": '(first.count("1") - last.count("1")) / n'}, "came back"),
    ({"lost / n": '1 - last.count("1") / n'}, "never written"),
    ({"return first": "return last"}, "at the end"),
    ({'n, last.count("1")': 'n, first.count("1")'}, "own turn"),
    ({"lost =": "first = ['01'['1' in [t[i : i + 1] for t in texts]] for i in range(n)]\nlost ="},
     "at any time"),
    ({'first.count("1") / n': "sum(t.count('1') / len(t) for t in texts) / len(texts)"},
     "count old facts again"),
    ({"first_broken": "return next(t for t in range(1, turns + 1) if broken(t))"}, "Halve"),
    ({"return bad": "return intact"}, "still intact"),
    ({"intact, bad = 0, turns": "intact, bad = 1, turns"}, "turn 1 may"),
    ({"intact, bad = (intact, middle) if broken(middle) else (middle, bad)":
      "intact, bad = (middle, bad) if broken(middle) else (intact, middle)"}, "wrong half"),
]  # fmt: skip


def found_turn(ask, draw):
    """Streams of which every turn may be the first broken one, also the first and the last."""
    some = [(60, int(torch.randint(2, 60, (), generator=draw))), (60, 1), (60, 60), (13, 4), (1, 1)]
    for turns, first in some:
        most, tested = math.ceil(math.log2(turns)), []

        def broken(t, turns=turns, first=first, most=most, tested=tested):
            if t not in range(1, turns + 1):
                raise Wrong(f"first_broken: there is no turn {short(t)}, only 1 to {turns}.")
            tested.append(t)
            if len(tested) > most:
                raise Wrong(
                    f"first_broken: {most} tests are enough for {turns} turns. Halve the turns "
                    "that are still in question."
                )
            return t >= first

        found = ask("first_broken", broken, turns)
        if found == first:
            continue
        if first == 1 and found == 2:
            raise Wrong("first_broken: the patch after turn 1 may already be broken.")
        if found == first - 1:
            raise Wrong(f"first_broken: turn {found} is still intact; return the first broken one.")
        raise Wrong(
            f"first_broken: turn {first} of {turns} breaks the model, but you returned "
            f"{short(found)}. Do you continue in the wrong half?"
        )


def check(ask, draw):
    texts, facts = [], []
    for turn in range(6):
        stays = torch.rand(len(facts), generator=draw) < 0.75
        other = torch.rand(len(facts), generator=draw) < 0.4
        facts = [f if s else int(o) for f, s, o in zip(facts, stays, other, strict=True)]
        facts += (torch.rand(4, generator=draw) < 0.7).int().tolist()
        if turn == 5:  # one came late, and one was lost
            facts[0], facts[1] = 1, 0
        if turn == 0:
            facts[0], facts[1] = 0, 1
        texts.append("".join(map(str, facts)))
    found = numbers(
        ask("shares", texts), 3, "Return three fractions: written, held, forgotten.", "a share"
    )
    written, held, lost = wanted = torch.tensor(shares(texts)).double()
    ever = [any("1" in text[i : i + 1] for text in texts) for i in range(len(facts))]
    gone = sum(once and not fact for once, fact in zip(ever, facts, strict=True))
    at_any_time = torch.tensor([sum(ever) / len(ever), held, gone / len(ever)]).double()
    each = torch.tensor([text.count("1") / len(text) for text in texts]).mean()

    def instead(place, value):
        changed = wanted.clone()
        changed[place] = value
        return changed

    likely = {
        "written: you count facts right at any time; count only their own turn.": at_any_time,
        "forgotten: the difference hides facts that came back, or came late.": (
            instead(2, written - held)
        ),
        "forgotten: a fact that was never written can't be forgotten.": instead(2, 1 - held),
        "forgotten: you also count facts that came late; only a fact that was right can be "
        "forgotten.": (instead(2, held - written + 2 * lost)),
        "forgotten: this is a fraction of the written facts; use a fraction of all facts.": (
            instead(2, lost / written)
        ),
        "held: a fact that came late, after its own turn, is also held at the end.": (
            instead(1, written - lost)
        ),
        "These are numbers of facts; return fractions of all facts.": wanted * len(facts),
        "These are facts for each turn; return fractions of all facts.": (
            wanted * len(facts) / len(texts)
        ),
        "written: this counts facts that are right at the end.": instead(0, held),
        "held: this counts facts that were right after their own turn.": instead(1, written),
        "written: each text contains all facts so far, so you count old facts again in every "
        "turn.": (instead(0, each)),
        "written: these are only the facts of the first turn.": (
            instead(0, texts[0].count("1") / len(texts[0]))
        ),
    }
    agree(found, wanted, "(written, held, forgotten)", likely)
    found_turn(ask, draw)
    return f"solved: {written:.0%} were written, {held:.0%} are held, {lost:.0%} were forgotten."
