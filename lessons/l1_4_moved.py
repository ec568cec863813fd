"""★★ How far did an answer move?

A model before and after an edit reads a prompt and, behind it, the answer that it gave before. At
every token t of this answer it has a score for every word, before and after. Return

    KL = Σ over t, Σ over words w of p_t(w) log(p_t(w) / p'_t(w))   in nats,

with p the probabilities before the edit and p' those after it.

    before, after  (tokens, words)   scores (logits), as they come out of the model
    returns one number

Hint: scores are not yet probabilities. What has to be true of p_t when it is summed over all words?
"""

import torch
from torch import Tensor


def answer_kl(before: Tensor, after: Tensor) -> Tensor:
    # solution
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return (p.exp() * (p - q)).sum()


# --- checks
import math

from lessons.marking import agree, normal, tensor

LOGS = "p, q = before.log_softmax(-1), after.log_softmax(-1)\n"
WRONG = [
    ("return (before.exp() * (before - after)).sum()", "not yet log-probabilities"),
    (LOGS + "return (q.exp() * (q - p)).sum()", "turned round"),
    (LOGS + "return (p.exp() * (p - q)).sum(-1).mean()", "added up"),
    (LOGS + "return (p - q).sum()", "weigh"),
]


def check(ask, draw):
    before, after = 2 * normal(draw, 2, 3, 9)
    found = tensor(ask("answer_kl", before, after), (), "the KL", "one number")
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    kl = (p.exp() * (p - q)).sum()
    a, b = before.log_softmax(0), after.log_softmax(0)
    raw, turned = (before.exp() * (before - after)).sum(), (q.exp() * (q - p)).sum()
    likely = {
        "Scores are not yet log-probabilities: where do they sum to one?": raw,
        "This is turned round: a word counts by its probability before the edit.": turned,
        "This is a mean over the tokens; here they are added up.": kl / 3,
        "Every word counts the same here. Weigh its difference by its probability.": (p - q).sum(),
        "A word counts by its probability p, and not by its logarithm.": (p * (p - q)).sum(),
        "The logarithms are missing.": (p.exp() * (p.exp() - q.exp())).sum(),
        "The probabilities of a token sum to 1 over the words; here they do over the tokens.": (
            (a.exp() * (a - b)).sum()
        ),
        "This is the last token alone; the answer has more of them.": (p.exp() * (p - q))[-1].sum(),
        "These are bits; nats are asked for, with the natural logarithm.": kl / math.log(2),
        "This is a mean over tokens and words; here they are added up.": kl / p.numel(),
    }
    agree(found, kl, "the KL", likely)
    return "solved: 0 where nothing moved, and every token of the answer counts."
