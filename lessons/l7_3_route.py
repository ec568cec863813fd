"""★★ Route, threshold, merge

WISE stores edits in side memories τ next to a matrix W. A prompt chooses one memory for the whole
answer, or none. Write the parts of its editor:

    delta      Δ: how far a memory moves the output on a prompt, the mean of ‖τ a‖ over its tokens a
    threshold  ε of a memory: the least Δ of its facts, computed with the memory after the last fact
               has been written, times 1 − slack, so that rounding doesn't exclude any fact
    routed     among the memories whose own ε the prompt reaches (Δ ≥ ε), the one with the largest
               Δ; it outputs W a + τ a at every token, including the answer's tokens. If no ε is
               reached, only W a
    ties       several memories merged into one, by TIES:
               trim   of every τ, keep the fraction `density` of its entries that are largest in
                      magnitude, round(density · number of entries) of them; the others become 0
               elect  per entry a sign: the sign of the sum of the trimmed τ
               merge  per entry the mean over the trimmed τ that have this sign, 0 if none has it

    tau (d_out, d_in)    a memory
    a (n, d_in)          inputs at the tokens of a text, one per row
    taus                 list of memories: for threshold the same memory after each of its facts,
                         for ties several of any shape
    prompts              list of (n_i, d_in): the inputs of the prompt of each fact
    memories             list of [tau, eps]
    prompt               how many tokens of a belong to the prompt; the answer's tokens follow
    slack, density       numbers between 0 and 1
    delta: returns one number, as a tensor, so that you can train τ through it
    threshold: returns one number
    routed: returns two things, the output rows (n, d_out) and the number of the memory, −1 for none
    ties: returns a tensor of the shape of one τ

Hint: routed needs delta only at the prompt. tau.abs().flatten().topk(count).indices are the places
of the largest entries. A zero doesn't have a sign and is not part of a mean.
"""

import torch
from torch import Tensor


def delta(tau: Tensor, a: Tensor) -> Tensor:
    # solution
    return (a @ tau.T).norm(dim=1).mean()


def threshold(taus: list[Tensor], prompts: list[Tensor], slack: float = 1e-3) -> float:
    # solution
    return (1 - slack) * min(float(delta(taus[-1], a)) for a in prompts)


def routed(W: Tensor, memories: list, a: Tensor, prompt: int) -> tuple[Tensor, int]:
    # solution
    found = [float(delta(tau, a[:prompt])) for tau, _ in memories]
    passed = [i for i, (_, eps) in enumerate(memories) if found[i] >= eps]
    chosen = max(passed, key=lambda i: found[i], default=-1)
    rows = a @ W.T
    return (rows + a @ memories[chosen][0].T if passed else rows), chosen


def ties(taus: list[Tensor], density: float) -> Tensor:
    # solution
    trimmed = []
    for tau in taus:
        kept = torch.zeros_like(tau).flatten()
        places = tau.abs().flatten().topk(round(density * tau.numel())).indices
        kept[places] = tau.flatten()[places]
        trimmed.append(kept.view_as(tau))
    stack = torch.stack(trimmed)
    chosen = (stack.sign() == stack.sum(0).sign()) & (stack != 0)
    return (stack * chosen).sum(0) / chosen.sum(0).clamp(min=1)


# --- checks
from lessons.marking import Wrong, agree, mistaken, normal, number, several, tensor

MERGED = "(stack * chosen).sum(0) / chosen.sum(0).clamp(min=1)"
DELTA = {  # message: the pieces of the solution that the mistake replaces
    "delta: return a mean of lengths; in the length of a mean, tokens cancel.": {
        "norm(dim=1).mean()": "mean(0).norm()"
    },
    "delta: with a sum, long prompts would always be let in. Use the mean.": {
        "norm(dim=1).mean()": "norm(dim=1).sum()"
    },
    "delta: these are squares; Δ uses lengths.": {"norm(dim=1)": "norm(dim=1).square()"},
    "delta: this is only the largest token; Δ is the mean of all.": {"mean()": "max()"},
    "delta: this is the length of the whole product; compute it token by token.": {
        "norm(dim=1).mean()": "norm()"
    },
    "delta: the mean runs over the outputs; it should run over the tokens.": {"dim=1": "dim=0"},
}
TIES = {
    "This is a plain mean of all τ: entries that only one shard changed are divided by their "
    "number.": {MERGED: "torch.stack(taus).mean(0)"},
    "In a mean over all of them, entries in conflict cancel. Elect a sign first.": {
        MERGED: "stack.mean(0)"
    },
    "The divisor is the number of shards; it should be the number that agreed.": {
        "chosen.sum(0).clamp(min=1)": "len(taus)"
    },
    "Without the trim, small entries also vote.": {"density * tau": "tau"},
    "You count heads. The sign of the *sum* is elected: a large entry counts more.": {
        "stack.sum(0).sign()": "stack.sign().sum(0).sign()"
    },
    "You average the entries that lost the election, because the sign is reversed.": {
        "stack.sum(0).sign()": "-stack.sum(0).sign()"
    },
    "All τ elect the sign here; trimmed entries don't have a vote.": {
        "stack.sum(0).sign()": "torch.stack(taus).sum(0).sign()"
    },
    "No sign is elected: entries that disagree are also in the mean.": {
        "stack.sum(0).sign()": "stack.sign()"
    },
    "You keep the largest by value; by magnitude, large negative entries also stay.": {
        "tau.abs()": "tau"
    },
    "You keep the smallest entries; trim sets them to 0.": {"tau.abs()": "(-tau.abs())"},
    "`density` is the fraction to keep, not to set to 0.": {"density * tau": "(1 - density) * tau"},
    "The count of entries is truncated, not rounded.": {"round(density": "int(density"},
    "The merge has lost its signs: average the entries, not their sizes.": {
        "(stack * chosen)": "(stack.abs() * chosen)"
    },
    "This is a sum over the entries that agree; return their mean.": {
        " / chosen.sum(0).clamp(min=1)": ""
    },
}
WRONG = [
    ({"delta": "return (a @ tau.T).norm(dim=1).mean().item()"}, "stay a tensor"),
    ({"min(float(delta(taus[-1], a)) for a in prompts)":
      "min(float(delta(tau, a)) for tau, a in zip(taus, prompts))"}, "no longer exists"),
    ({"(1 - slack) * ": ""}, "rounding"),
    ({"(1 - slack)": "(1 + slack)"}, "above the least"),
    ({"* min(": "* max("}, "least"),
    ({"chosen = max(passed, key=lambda i: found[i], default=-1)":
      "chosen = max(range(len(found)), key=lambda i: found[i])\n"
      "chosen = chosen if chosen in passed else -1",
      "if passed else": "if chosen >= 0 else"}, "blocks"),
    ({"a[:prompt]": "a"}, "changes with its answer"),
    ({"key=lambda i: found[i]": "key=lambda i: found[i] / memories[i][1]"}, "ratio to its"),
    ({"max(passed, key=lambda i: found[i], default=-1)": "passed[0] if passed else -1"}, "first"),
    ({"rows + a @": "a @"}, "W a is missing"),
    ({"return (rows + a @ memories[chosen][0].T if passed else rows), chosen":
      "rows[:prompt] += a[:prompt] @ memories[chosen][0].T if passed else 0.0\n"
      "return rows, chosen"}, "whole answer"),
    ({".clamp(min=1)": ""}, "divide by 0"),
    *((pieces, why) for why, pieces in (DELTA | TIES).items()),
]  # fmt: skip


def check(ask, draw):
    scores(ask, draw)
    routes(ask, draw)
    merges(ask, draw)
    return "solved: a threshold as low as the least of its facts, and one memory for each answer."


def scores(ask, draw):
    tau, a = normal(draw, 5, 7), normal(draw, 4, 7)
    likely = {why: mistaken(delta, how)(tau, a) for why, how in DELTA.items()}
    found = ask("delta", tau, a)
    agree(found, delta(tau, a), "delta", likely)
    if not isinstance(found, Tensor):
        raise Wrong("delta: it has to stay a tensor, without .item(): τ is trained through it.")
    taus = list((normal(draw, 5, 7) * torch.tensor([1.0, 0.6, 0.8])[:, None, None]).cumsum(0))
    prompts = [normal(draw, n, 7) for n in (3, 5, 4)]
    prompts[1] /= 4 * delta(taus[-1], prompts[1]) / delta(taus[-1], prompts[2])
    last = torch.stack([delta(taus[-1], a) for a in prompts])
    then = torch.stack([delta(t, a) for t, a in zip(taus, prompts, strict=True)])
    every = torch.stack([delta(t, a) for t in taus for a in prompts])
    slack = 0.01
    likely = {
        "threshold: you compute each Δ while training continues, so ε is the Δ of a memory that "
        "no longer exists. Use the last memory.": then.min(),
        "threshold: the minimum includes earlier memories, which no longer exist.": every.min(),
        "threshold: you use the first memory, but the last memory answers.": min(
            delta(taus[0], a) for a in prompts
        ),
        "threshold: ε should be the least Δ of the facts, or facts with a smaller Δ are excluded; "
        "this is the largest.": last.max(),
        "threshold: ε should be the least Δ of the facts, or facts with a smaller Δ are excluded; "
        "this is their mean.": last.mean(),
    }
    likely = {reason: (1 - slack) * value for reason, value in likely.items()}
    likely |= {reason + " And where is the slack?": value / (1 - slack)
               for reason, value in likely.items()}  # fmt: skip
    likely |= {
        "threshold: this is the least Δ itself. Measured again in another batch, rounding puts Δ "
        "sometimes above it and sometimes below: leave some slack.": last.min(),
        "threshold: ε is above the least Δ, so its own fact is excluded: 1 − slack.": (
            (1 + slack) * last.min()
        ),
        "threshold: slack is a fraction of Δ, not a distance.": last.min() - slack,
    }
    agree(ask("threshold", taus, prompts, slack), (1 - slack) * last.min(), "threshold", likely)


def routes(ask, draw):
    W, a, prompt = normal(draw, 5, 7), normal(draw, 6, 7), 4
    a[prompt:] *= 3  # the answer's tokens
    places = (18.0, 12.0, 7.0)  # Δ at the prompt
    taus = [normal(draw, 5, 7) for _ in places]
    taus = [x * t / delta(t, a[:prompt]) for x, t in zip(places, taus, strict=True)]

    def out(i, rows=None):
        moved = a @ taus[i].T
        if rows is not None:
            moved[rows:] = 0
        return a @ W.T + moved

    quiet = "routed: a memory answers even though no ε is reached."
    asked = {  # thresholds: which memory, and the reasons for other results
        (20.0, 5.0, 6.0): (1, {
            -1: "routed: memory 0 has the largest Δ and is under its ε, so it blocks memory 1, "
                "which passes. First find the memories that pass, and then the largest Δ.",
            0: "routed: memory 0 is under its own ε. Compare each memory with its own ε.",
            2: "routed: memories 1 and 2 pass, and the larger Δ wins, not the last memory.",
        }),
        (17.0, 2.0, 6.0): (0, {
            1: "routed: the largest Δ wins, not the largest ratio to its ε.",
            2: "routed: all pass, and the largest Δ wins, not the last memory.",
        }),
        (30.0, 11.0, 5.0): (1, {
            2: "routed: the largest Δ wins, not the largest ratio to its ε.",
        }),
        (20.0, 13.0, 8.0): (-1, {0: quiet, 1: quiet, 2: quiet}),
    }  # fmt: skip
    order = [2, 1, 0]  # so the largest is not the first
    asked |= {
        tuple(eps[i] for i in order): (order[who] if who >= 0 else -1, {})
        for eps, (who, _) in list(asked.items())[:2]
    }
    for n, (eps, (who, likely)) in enumerate(asked.items()):
        turn = order if n > 3 else [0, 1, 2]
        memories = [[taus[i], e] for i, e in zip(turn, eps, strict=True)]
        found = ask("routed", W, memories, a, prompt)
        both = "routed: return two things, the output rows and the number of the memory."
        rows, chosen = several(found, 2, both)
        chosen = number(chosen, "routed: the number of the memory")
        if chosen != who:
            again = ask("routed", W, memories, a[:prompt], prompt)
            if isinstance(again, list) and len(again) == 2 and again[1] == who:
                raise Wrong(
                    "routed: the mean includes the answer's tokens, so the score of a prompt "
                    "changes with its answer. Use the first `prompt` rows."
                )
            if n > 3:
                raise Wrong(
                    "routed: compare the Δ of all memories that pass instead of choosing the first."
                )
            raise Wrong(likely.get(chosen, f"routed: memory {chosen:g} is chosen, not {who}."))
        rows = tensor(rows, (6, 5), "routed: the rows", "one per token")
        own = turn[who] if who >= 0 else None
        wanted = a @ W.T if own is None else out(own)
        likely = {}
        if own is not None:
            likely = {
                "routed: W a is missing: a memory adds τ a to it.": a @ taus[own].T,
                "routed: use the chosen memory for the whole answer, not only for the prompt.": (
                    out(own, prompt)
                ),
                "routed: these are only the rows of the prompt; also return the rows of the "
                "answer.": (torch.cat([out(own)[:prompt], torch.zeros(2, 5)])),
                "routed: you choose the memory, but return the rows of W.": a @ W.T,
            }
        agree(rows, wanted, "routed: the rows", likely)


def merges(ask, draw):
    for shape, k, density in (((9, 14), 4, 0.5), ((30,), 4, 0.72)):
        masks = [normal(draw, *shape) > -1 for _ in range(k)]
        taus = [  # at the first places two of them balance
            torch.where(m, normal(draw, *shape), 0.0).index_fill(-1, torch.tensor(0), x)
            for m, x in zip(masks, (5.0, -5.0, 0.0, 0.0), strict=True)
        ]
        likely = {why: mistaken(ties, how)(taus, density) for why, how in TIES.items()}
        agree(ask("ties", taus, density), ties(taus, density), "the merge", likely)
