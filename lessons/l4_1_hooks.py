"""★ Two hooks: a subject is lost, a state comes back

Causal tracing changes the outputs of two modules in a network. Write both changes; the network
continues with the values you return.

corrupt adds noise to the embeddings of the subject's tokens, which are adjacent and begin at token
`first`. Every row of the batch has its own noise sample.

    embedded (draws, tokens, d)    noise (draws, tokens of the subject, d)    first, a number
    returns (draws, tokens, d)

put_back restores one token, in every row, to its state in the clean run.

    states (draws, tokens, d)      clean (tokens, d)                          token, a number
    returns (draws, tokens, d)

Hint: x = x.clone() makes a copy, and x[:, a:b] is the tokens a to b − 1 of all its rows.
"""

import torch
from torch import Tensor


def corrupt(embedded: Tensor, noise: Tensor, first: int) -> Tensor:
    # solution
    embedded = embedded.clone()
    embedded[:, first : first + noise.shape[1]] += noise
    return embedded


def put_back(states: Tensor, clean: Tensor, token: int) -> Tensor:
    # solution
    states = states.clone()
    states[:, token] = clean[token]
    return states


# --- checks
from lessons.marking import agree, normal

WRONG = [
    ({"+= noise": "= noise"}, "added"),
    ({"first : first + noise.shape[1]": ": noise.shape[1]"}, "begins"),
    ({"+= noise": "+= noise[0]"}, "its own sample"),
    ({"put_back": "return clean.expand_as(states)"}, "the clean run"),
    ({"states[:, token]": "states[0, token]"}, "every row"),
    ({"states[:, token] =": "states[:, token] +="}, "replace"),
]


def check(ask, draw):
    x, clean, noise = normal(draw, 3, 6, 4), normal(draw, 6, 4), normal(draw, 3, 2, 4)
    wide = torch.cat([torch.zeros(3, 2, 4), noise, torch.zeros(3, 2, 4)], 1)
    replaced, axes = torch.where(wide == 0, x, wide), "draws, tokens, d"
    likely = {
        "The subject's embeddings are replaced; noise should be added to them.": replaced,
        "The subject begins at token `first`, not at the beginning.": x + wide.roll(-2, 1),
        "All rows have the first row's noise. Each has its own sample.": x + wide[0],
        "All rows have the mean of the noise. Each has its own sample.": x + wide.mean(0),
        "The noise begins one token too late.": x + wide.roll(1, 1),
        "The noise begins one token too early.": x + wide.roll(-1, 1),
        "Only the first token of the subject is noisy.": x + wide * torch.eye(6)[2][:, None],
        "The noise is subtracted; it should be added.": x - wide,
    }
    agree(ask("corrupt", x.clone(), noise, 2), x + wide, "what corrupt returns", likely, note=axes)
    one, row = torch.eye(6)[4][:, None], torch.eye(3)[0][:, None, None]
    place, more = torch.arange(6)[:, None], clean - x
    likely = {
        "The tokens before it are also clean; only one token should be.": x + (place <= 4) * more,
        "The tokens after it are also clean; only one token should be.": x + (place >= 4) * more,
        "This is the token before it: tokens count from 0.": x + torch.eye(6)[3][:, None] * more,
        "All tokens have this token's clean state.": clean[4].expand_as(x),
        "This is halfway between the two states; restore only the clean state.": x + one * more / 2,
        "All states are clean: this is the clean run.": clean.expand_as(x),
        "Only one row has its state restored; every row should.": x + row * one * (clean - x),
        "The clean state should replace the other state, not be added to it.": x + one * clean,
    }
    agree(
        ask("put_back", x.clone(), clean, 4),
        x + one * more,
        "the result of put_back",
        likely,
        note=axes,
    )
    return "solved: two changes of an output, and you can test what a state restores."
