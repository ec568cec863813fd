"""★★ Trace a network

A small network of a few tokens and layers has its answer; noise on its first tokens makes it
forget. You can only run it:

    run(noisy, cells)     probability of the answer (a number)
        noisy             False: the clean run. True: the subject's tokens are noisy
        cells             list of (token, layer): these states are those of the clean run

Return the indirect effects of all single states. The noise is drawn once, so there is no mean.

    run, tokens, layers   the function, and how many tokens and layers there are
    returns (tokens, layers), entry [t, l]: the effect of the state at token t behind layer l

Hint: the noisy run with no state put back is run(True, []).
"""

import torch
from torch import Tensor


def trace(run, tokens: int, layers: int) -> Tensor:
    # solution
    lost = run(True, [])
    rows = [[run(True, [(t, n)]) - lost for n in range(layers)] for t in range(tokens)]
    return torch.tensor(rows)


# --- checks
from lessons.grading.toy_networks import Residual
from lessons.marking import agree, tensor

FILL = (
    "found = torch.zeros(tokens, layers)\n"
    "for t in range(tokens):\n    for l in range(layers):\n        found[t, l] = {}\nreturn found"
)
WRONG = [
    (FILL.format("run(False, [(t, l)]) - run(True, [])"), "clean run"),
    (FILL.format("run(False, []) - run(True, [(t, l)])"), "still missing"),
    (FILL.format("run(True, [(l, t)]) - run(True, [])"), "token comes first"),
    (FILL.format("run(True, [(t, i) for i in range(l + 1)]) - run(True, [])"), "one state"),
]


def check(ask, draw):
    toy = Residual(draw)
    T, n = toy.tokens, toy.layers
    found = tensor(ask("trace", toy.run, T, n), (T, n), "the table", "tokens, layers")
    cells = [[[[t, layer]] for layer in range(n)] for t in range(T)]
    p = torch.tensor([[toy.run(True, cell) for cell in row] for row in cells]).double()
    clean, lost = toy.run(False), toy.run(True)
    chains = [[[[t, i] for i in range(layer + 1)] for layer in range(n)] for t in range(T)]
    below = torch.tensor([[toy.run(True, chain) for chain in row] for row in chains]).double()
    highs = [[[[t, i] for i in range(layer, n)] for layer in range(n)] for t in range(T)]
    above = torch.tensor([[toy.run(True, chain) for chain in row] for row in highs]).double()
    sides = [[[[i, layer] for i in range(t + 1)] for layer in range(n)] for t in range(T)]
    left = torch.tensor([[toy.run(True, chain) for chain in row] for row in sides]).double()
    likely = {
        "All the same, as nothing is lost: in a clean run, or where all tokens of a layer are put "
        "back at once.": 0 * p + clean - lost,
        "Here all layers from l on are put back at once: one state at a time.": above - lost,
        "Here all tokens up to t are put back at once: one state at a time.": left - lost,
        "This is divided by the total effect; an effect is a difference of probabilities.": (
            (p - lost) / (clean - lost)
        ),
        "This is the noisy run less a state put back; the effect is what it brings back.": lost - p,
        "This is what is still missing; the effect is what one state brings back.": clean - p,
        "Here all layers up to l are put back at once: one state at a time.": below - lost,
        "Effects count from the noisy run, and here the clean run is taken away.": p - clean,
        "These are probabilities: how much of it was there without any state put back?": p,
    }
    agree(found, p - lost, "the table", likely)
    t = (p - lost)[:, 0].argmax().item()
    return f"solved: TE {clean - lost:.2f}; behind layer 0 most comes back at token {t}."
