"""★★ How much did an answer change?

We run a model before and after an edit on a prompt followed by the answer that it gave before. At
every token t of this answer, measure how far the scores of all words have shifted:

    KL = Σ over t, Σ over words w of p_t(w) log(p_t(w) / p'_t(w))   in nats,

with p the probabilities before the edit and p' the probabilities after it.

at_answer selects the scores from which the answer's tokens are chosen: a model's output at a token
predicts the next token. answer_kl gets the scores of both models, and calls at_answer.

    logits, before, after  (tokens, words)   scores at every token of the prompt and the answer
    said                   how many of these tokens belong to the answer
    at_answer returns (said, words), and answer_kl one number

Hint: scores are not yet probabilities. What should p_t sum to over all words?
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
    ({"p.exp() * (p - q)": "q.exp() * (q - p)"}, "exchanged"),
    ({"(p - q)).sum()": "(p - q)).sum(-1).mean()"}, "added up"),
    ({"p.exp() * (p - q)": "p - q"}, "weigh"),
    ({"at_answer(before, said)": "before", "at_answer(after, said)": "after"}, "at_answer"),
]


def check(ask, draw):
    before, after, said = *2 * normal(draw, 2, 7, 9), 3
    likely = {
        "This is one token too late: the first answer token is chosen from the model's output at "
        "the prompt's last token.": before[-said:],
        "This is one token too early: skip the last row, but use the row before it.": (
            before[-said - 2 : -2]
        ),
        "These rows are at the beginning of the prompt; the answer is at the end.": (before[:said]),
        "These are probabilities; return the scores unchanged.": (
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
        "This is a KL over all tokens, including the prompt. Where is at_answer?": (
            divergence(before.log_softmax(-1), after.log_softmax(-1))
        ),
        "Scores are not yet log-probabilities: where do they sum to one?": (
            (x.exp() * (x - y)).sum()
        ),
        "The two are exchanged: weigh a word by its probability before the edit.": divergence(q, p),
        "This is a mean over the tokens; they should be added up.": kl / said,
        "Every word counts the same here. Weigh its difference by its probability.": (p - q).sum(),
        "Weigh a word by its probability p, not by its logarithm.": (p * (p - q)).sum(),
        "The logarithms are missing.": (p.exp() * (p.exp() - q.exp())).sum(),
        "The probabilities of a token should sum to 1 over the words; yours sum to 1 over the "
        "tokens.": (divergence(a, b)),
        "This is only the last token; the answer has more tokens.": (p.exp() * (p - q))[-1].sum(),
        "These are bits; use nats, with the natural logarithm.": kl / math.log(2),
        "This is a mean over tokens and words; they should be added up.": kl / p.numel(),
    }
    agree(ask("answer_kl", before, after, said), kl, "the KL", likely, note="one number")
    return "solved: 0 if nothing changed, and every token of the answer counts."
