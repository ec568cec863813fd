"""★★ The restored run, and the trace

The noisy run starts from embeddings with noise on the subject, and passes one block after another.
In the restored run, some states are restored on the way to their values in the clean run, and later
layers read them. Write it, and use it to trace a network:

    restored  one run, layer by layer. block(n, x) is layer n's output for x. After layer n, the
              cells (token, n) get their clean states, in every row; the next layer continues from
              there. Returns the states after the last layer
    indirect  two effects of restoring cells together, as (IE, TE): the part of p that they restore,
              and the part that the noise has cost
    trace     the IE of every token, restoring every window of layers at this token; it calls
              `indirect`

    x  (draws, tokens, d), noisy embeddings        clean  list of (tokens, d), one for each layer
    cells  list of (token, layer)                  layers  their number; layers count from 0
    run(noisy, cells)  p of the answer, a number, in the clean run (False) or the noisy one (True)
                       with these cells restored; the noise is sampled once, so there is no mean
    windows            list of lists of layers
    restored returns (draws, tokens, d), indirect two numbers, trace (tokens, windows)

Hint: the noisy run without restoring any state is run(True, []). States are changed between two
blocks; x = x.clone() makes a copy.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def restored(block: Callable, layers: int, x: Tensor, clean: list, cells: list) -> Tensor:
    # solution
    for n in range(layers):
        x = block(n, x).clone()
        for token, layer in cells:
            if layer == n:
                x[:, token] = clean[n][token]
    return x


def indirect(run: Callable, cells: list) -> tuple[float, float]:
    # solution
    noisy = run(True, [])
    return run(True, cells) - noisy, run(False, []) - noisy


def trace(run: Callable, tokens: int, windows: list) -> Tensor:
    # solution
    found = torch.zeros(tokens, len(windows))
    for place, window in enumerate(windows):
        for token in range(tokens):
            found[token, place] = indirect(run, [(token, n) for n in window])[0]
    return found


# --- checks
from lessons.grading.toy_networks import Residual
from lessons.marking import agree, normal, numbers

WRONG = [
    ({"if layer == n": "if layer == n + 1"}, "before the block"),
    ({"    x = block(n, x).clone()\n    for token, layer in cells:\n        if layer == n:\n"
      "            x[:, token] = clean[n][token]":
      "    x = block(n, x).clone()\nfor token, at in cells:\n    x[:, token] = clean[at][token]"},
     "after the last"),
    ({"x[:, token] = clean[n][token]": "x[0, token] = clean[n][token]"}, "every row"),
    ({"x[:, token] = clean[n][token]": "x[:, token] += clean[n][token]"}, "replace"),
    ({"x[:, token] = clean[n][token]": "x = clean[n].expand_as(x).clone()"}, "whole clean"),
    ({"if layer == n": "if layer <= n"}, "stays clean"),
    ({"run(True, cells) - noisy,": "run(False, cells) - noisy,"}, "clean run"),
    ({"run(True, cells) - noisy,": "run(False, []) - run(True, cells),"}, "still missing"),
    ({"run(True, cells) - noisy,": "run(True, cells),"}, "with no state"),
    ({"run(True, cells) - noisy,": "sum(run(True, [c]) - noisy for c in cells),"}, "one by one"),
    ({"run(False, []) - noisy": "noisy - run(False, [])"}, "TE"),
    ({"(token, n) for n in window": "(n, token) for n in window"}, "token comes first"),
    ({"(token, n) for n in window": "(token, window[0])"}, "window"),
]  # fmt: skip


def check(ask, draw):
    T, d, layers, rows = 4, 3, 3, 2
    mix = [normal(draw, T, T).tril() for _ in range(layers)]
    turn = [normal(draw, d, d) for _ in range(layers)]

    def block(n, x):
        return x + (mix[int(n)] @ x @ turn[int(n)]).tanh()

    x, clean, now = normal(draw, rows, T, d), [], normal(draw, 1, T, d)
    for n in range(layers):
        now = block(n, now)
        clean.append(now[0])
    some = [(1, 0), (2, 1)]

    def made(put, x=x, late=0):  # put(states, layer, cells) after every layer
        for n in range(layers):
            x = put(block(n, x).clone(), n, [t for t, at in some if at == n + late])
        return x

    def place(states, n, tokens):
        for token in tokens:
            states[:, token] = clean[n][token]
        return states

    def first_row(states, n, tokens):
        for token in tokens:
            states[0, token] = clean[n][token]
        return states

    def on_top(states, n, tokens):
        for token in tokens:
            states[:, token] += clean[n][token]
        return states

    def all_of_it(states, n, tokens):
        return clean[n].expand_as(states).clone() if tokens else states

    def held(states, n, tokens):
        return place(states, n, [t for t, at in some if at <= n])

    at_the_end = made(lambda states, n, tokens: states)
    for token, at in some:
        at_the_end[:, token] = clean[at][token]
    likely = {
        "The clean state of layer n belongs after block n; you put it before the block.": (
            made(place, late=1)
        ),
        "The states are restored after the last block, so no later layer reads them.": (at_the_end),
        "Only one row has its states restored; every row should.": made(first_row),
        "The clean state should replace the other state, not be added to it.": made(on_top),
        "The whole clean layer is restored: then nothing is lost. Restore only the cells.": (
            made(all_of_it)
        ),
        "The token also stays clean in all later layers; restore only one state.": made(held),
        "Nothing is restored: this is the noisy run.": made(lambda states, n, tokens: states),
    }
    found = ask("restored", block, layers, x.clone(), clean, [list(cell) for cell in some])
    agree(found, made(place), "restored", likely, note="draws, tokens, d")
    toy = Residual(draw)
    T, n = toy.tokens, toy.layers
    whole, lost = toy.run(False), toy.run(True)
    cells = [[0, 1], [2, 1]]
    back, singly = toy.run(True, cells), [toy.run(True, [cell]) - lost for cell in cells]
    ie, te = back - lost, whole - lost
    reasons = {
        "The clean run minus the noisy run is TE; for IE, restore the cells in the noisy run.": te,
        "This is the part still missing compared with the clean run: count from p of run(True, "
        "[]).": (whole - back),
        "The sign of IE is flipped: subtract the noisy run from the restored run.": -ie,
        "This is p of the restored run: subtract p of the noisy run, with no state restored.": back,
        "The states are restored one by one: restore all of them in one run.": sum(singly),
        "IE is divided by the total effect: an effect is a difference of probabilities.": ie / te,
        "The clean run is subtracted: this is negative almost everywhere. Effects count from the "
        "noisy run.": back - whole,
    }
    likely = {reason: torch.tensor([mistaken, te]) for reason, mistaken in reasons.items()}
    likely["The sign of TE is flipped: it is the cost of the noise."] = torch.tensor([ie, -te])
    likely["The two effects are exchanged: IE comes first, then TE."] = torch.tensor([te, ie])
    told = "indirect: return two numbers, IE and TE."
    found = numbers(ask("indirect", toy.run, cells), 2, told, "an effect")
    agree(found, torch.tensor([ie, te]), "indirect", likely, note="IE, TE", told=True)

    def table(windows, at):  # of p, where at(token, window) are the restored states
        return torch.tensor([[toy.run(True, at(t, w)) for w in windows] for t in range(T)])

    for windows in ([[k] for k in range(n)], [[0, 1], [1, 2], [0, 2, 3]]):
        p = table(windows, lambda t, w: [[t, k] for k in w]).double()
        alone = table([[k] for k in range(n)], lambda t, w: [[t, k] for k in w]).double() - lost
        likely = {
            "Only the first layer of each window is restored.": alone[:, [w[0] for w in windows]],
            "The states of a window are restored one by one: restore all in one run.": (
                torch.stack([alone[:, w].sum(1) for w in windows], 1)
            ),
            "This is p of the restored run: subtract p of the noisy run, as `indirect` does.": p,
            "This is the part still missing compared with the clean run: count from the noisy "
            "run.": whole - p,
            "All tokens up to t are restored: restore one token at a time.": (
                table(windows, lambda t, w: [[x, k] for x in range(t + 1) for k in w]) - lost
            ),
        }
        found = ask("trace", toy.run, T, windows)
        agree(found, p - lost, "trace", likely, note="tokens, windows", told=True)
    return f"solved: TE {te:.2f}; a state is restored, and the layers after it read it."
