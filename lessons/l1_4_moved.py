"""★★ How much did an answer change?

A model before and after an edit reads a prompt and, behind it, the answer that it gave before. At
every token t of this answer, count how far the scores of all words have moved:

    KL = Σ over t, Σ over words w of p_t(w) log(p_t(w) / p'_t(w))   in nats,

with p the probabilities before the edit and p' those after it.

at_answer picks the scores from which the answer's tokens are chosen: what a model puts out at a
token says what comes after it. answer_kl takes the scores of both models, and calls at_answer.

    logits, before, after  (tokens, words)   scores at every token of the prompt and the answer
    said                   how many of these tokens are the answer's
    at_answer returns (said, words), and answer_kl one number

Hint: scores are not yet probabilities. What has to be true of p_t when it is summed over all words?
"""

import torch
from torch import Tensor


def at_answer(logits: Tensor, said: int) -> Tensor:
    # solution
    return logits[-said - 1 : -1]


def answer_kl(before: Tensor, after: Tensor, said: int) -> Tensor:
    # solution
    p = at_answer(before, said).log_softmax(-1)
    q = at_answer(after, said).log_softmax(-1)
    return (p.exp() * (p - q)).sum()


# --- checks
import math

from lessons.marking import agree, normal

NOTE = "one row per token of the answer, and a score for every word"
WRONG = [
    ({"-said - 1 : -1": "-said:"}, "one token too late"),
    ({"-said - 1 : -1": ":said"}, "prompt"),
    ({"-said - 1 : -1": "-said - 1 :"}, "one row per token of the answer"),
    ({".log_softmax(-1)": ""}, "not yet log-probabilities"),
    ({"p.exp() * (p - q)": "q.exp() * (q - p)"}, "turned round"),
    ({"(p - q)).sum()": "(p - q)).sum(-1).mean()"}, "added up"),
    ({"p.exp() * (p - q)": "p - q"}, "weigh"),
    ({"at_answer(before, said)": "before", "at_answer(after, said)": "after"}, "at_answer"),
]


def check(ask, draw):
    before, after, said = *2 * normal(draw, 2, 7, 9), 3
    likely = {
        "This is one token too late: the first answer token is chosen from what the model puts out "
        "at the prompt's last token.": before[-said:],
        "This is one token too early: the last row is not used, but the one before it is.": (
            before[-said - 2 : -2]
        ),
        "These rows stand at the beginning of the prompt; the answer stands at the end.": (
            before[:said]
        ),
        "These are probabilities; the scores are asked for as they are.": (
            before[-said - 1 : -1].softmax(-1)
        ),
    }
    agree(ask("at_answer", before, said), before[-said - 1 : -1], "the scores", likely, note=NOTE)

    def divergence(p, q):
        return (p.exp() * (p - q)).sum()

    x, y = before[-said - 1 : -1], after[-said - 1 : -1]
    p, q = x.log_softmax(-1), y.log_softmax(-1)
    kl = divergence(p, q)
    a, b = x.log_softmax(0), y.log_softmax(0)
    likely = {
        "This is a KL over all tokens, of the prompt as well. Where is at_answer?": (
            divergence(before.log_softmax(-1), after.log_softmax(-1))
        ),
        "Scores are not yet log-probabilities: where do they sum to one?": (
            (x.exp() * (x - y)).sum()
        ),
        "This is turned round: a word counts by its probability before the edit.": divergence(q, p),
        "This is a mean over the tokens; here they are added up.": kl / said,
        "Every word counts the same here. Weigh its difference by its probability.": (p - q).sum(),
        "A word counts by its probability p, and not by its logarithm.": (p * (p - q)).sum(),
        "The logarithms are missing.": (p.exp() * (p.exp() - q.exp())).sum(),
        "The probabilities of a token sum to 1 over the words; here they do over the tokens.": (
            divergence(a, b)
        ),
        "This is the last token alone; the answer has more of them.": (p.exp() * (p - q))[-1].sum(),
        "These are bits; nats are asked for, with the natural logarithm.": kl / math.log(2),
        "This is a mean over tokens and words; here they are added up.": kl / p.numel(),
    }
    agree(ask("answer_kl", before, after, said), kl, "the KL", likely, note="one number")
    return "solved: 0 where nothing moved, and every token of the answer counts."
