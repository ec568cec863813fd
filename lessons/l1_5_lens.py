"""★★ Where does a word rank?

We can read the residual stream after every layer as if the model ended there: the score of a word
is its inner product with the stream. Return the rank of one word after every layer.

    states  (layers, d)   the residual stream after every layer, after the final norm
    U       (words, d)    the last matrix, one row for every word
    word    the number of the word, which is its row in U
    returns (layers,), the ranks; the word with the largest score has rank 1

Hint: how many words are ahead of it? You don't have to sort anything.
"""

import torch
from torch import Tensor


def ranks(states: Tensor, U: Tensor, word: int) -> Tensor:
    # solution
    scores = states @ U.T  # (layers, words)
    return 1 + (scores > scores[:, [word]]).sum(1)


# --- checks
from lessons.marking import agree, normal

WRONG = [
    ({"1 + (": "("}, "from 0"),
    (
        {"1 + (scores > scores[:, [word]]).sum(1)": "scores.argsort(1, descending=True)[:, word]"},
        "which word",
    ),
    ({"scores >": "scores <"}, "from the end"),
]


def check(ask, draw):
    states, U, word = normal(draw, 6, 5), normal(draw, 40, 5), 7
    scores = states @ U.T
    ahead = (scores > scores[:, [word]]).sum(1).double()
    which = scores.argsort(1, descending=True)[:, word].double()
    unit, row = (one / one.norm(dim=1, keepdim=True) for one in (states, U))
    cosines = unit @ row.T
    likely = {
        "These ranks count from 0: the word with the largest score has rank 1.": ahead,
        "This is which word has a given rank; return the rank of the given word.": which,
        "This is 1 more than the word with a given rank; return the rank of the given word.": 1
        + which,
        "These ranks count from the end: rank 1 is the largest score.": 40 - ahead,
        "The word is counted as ahead of itself: only larger scores are ahead.": 2 + ahead,
        "These ranks count from the end, and from 0: rank 1 is the largest score.": 39 - ahead,
        "This is the word with the largest score, not the rank of the given word.": scores.argmax(
            1
        ),
        "These are cosines. A score is the inner product, so long rows of U count for more.": (
            1 + (cosines > cosines[:, [word]]).sum(1)
        ),
        "This is the word's own score: how many words have a larger one?": scores[:, word],
    }
    agree(ask("ranks", states, U, word), 1 + ahead, "the ranks", likely, note="one per layer")
    return "solved: the rank is one more than the number of words ahead."
