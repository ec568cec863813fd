"""★★ Written, held, forgotten

A stream writes a few facts in each turn, always as many, and after each turn all facts written so
far are asked. A turn is a text with one character per fact, "1" where the new answer is given and
"0" where not, in the order in which they were written: ["101", "101110", …] has turns of three.
Return three shares of all the facts:

    written     those that were right after their own turn
    held        those that are right at the end
    forgotten   those that were right after their own turn and are not at the end

    texts       a list of texts, each beginning with the facts of the ones before it
    returns (written, held, forgotten)

Hint: which characters of a turn's text belong to the facts of this turn? Is what is forgotten the
same as written less held?
"""

import torch


def shares(texts: list[str]) -> tuple[float, float, float]:
    # solution
    starts = [0, *map(len, texts)]
    first = "".join(text[start:] for start, text in zip(starts, texts, strict=False))
    last, n = texts[-1], len(texts[-1])
    lost = sum(a == "1" and b == "0" for a, b in zip(first, last, strict=True))
    return first.count("1") / n, last.count("1") / n, lost / n


# --- checks
from lessons.marking import agree, numbers

WRONG = [
    ({"lost / n": '(first.count("1") - last.count("1")) / n'}, "came back"),
    ({"lost / n": '1 - last.count("1") / n'}, "never written"),
    ({"return first": "return last"}, "at the end"),
    ({'n, last.count("1")': 'n, first.count("1")'}, "own turn"),
    ({"lost =": "first = ['01'['1' in [t[i : i + 1] for t in texts]] for i in range(n)]\nlost ="},
     "some time"),
    ({'first.count("1") / n': "sum(t.count('1') / len(t) for t in texts) / len(texts)"},
     "asked again"),
]  # fmt: skip


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
        ask("shares", texts), 3, "Return three shares: written, held, forgotten.", "a share"
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
        "written: what was right at some time counts here; only its own turn should.": at_any_time,
        "forgotten: the difference hides the facts that came back, or came late.": (
            instead(2, written - held)
        ),
        "forgotten: what was never written cannot be forgotten.": instead(2, 1 - held),
        "forgotten: what came late is counted as well; only what was right can be forgotten.": (
            instead(2, held - written + 2 * lost)
        ),
        "forgotten: this is a share of the written facts; it is one of all facts.": (
            instead(2, lost / written)
        ),
        "held: what came late, after its own turn, is held at the end, too.": (
            instead(1, written - lost)
        ),
        "These are numbers of facts; shares of all facts are asked for.": wanted * len(facts),
        "These are facts for each turn; shares of all facts are asked for.": (
            wanted * len(facts) / len(texts)
        ),
        "written: this is what is right at the end.": instead(0, held),
        "held: this is what was right after its own turn.": instead(1, written),
        "written: each text counts all facts so far, so old ones are asked again in every turn.": (
            instead(0, each)
        ),
        "written: these are the facts of the first turn alone.": (
            instead(0, texts[0].count("1") / len(texts[0]))
        ),
    }
    agree(found, wanted, "(written, held, forgotten)", likely)
    return f"solved: {written:.0%} were written, {held:.0%} are held, {lost:.0%} were forgotten."
