"""★★ The restored run, and the trace

The noisy run starts with embeddings that are noisy at the subject, and passes one block after
another. In the restored run some states are put back on the way as they were in the clean run, and
whatever comes after reads them. Write it, and trace a network with it:

    restored  one run, layer by layer. block(n, x) is what layer n makes of x. After layer n, the
              cells (token, n) get their clean states, in every row; the next layer goes on from
              there. Returns the states after the last layer
    indirect  two effects of cells that are put back together, as (IE, TE): what they bring back of
              p, and what the noise has cost
    trace     the IE of every token with every window of layers put back at this token, which calls
              `indirect`

    x  (draws, tokens, d), noisy embeddings        clean  list of (tokens, d), one for each layer
    cells  list of (token, layer)                  layers  their number; layers count from 0
    run(noisy, cells)  p of the answer, a number, in the clean run (False) or the noisy one (True)
                       with these cells put back; the noise is drawn once, so there is no mean
    windows            list of lists of layers
    restored returns (draws, tokens, d), indirect two numbers, trace (tokens, windows)

Hint: the noisy run with no state put back is run(True, []). States are changed between two blocks;
x = x.clone() makes a copy.
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
    ({"if layer == n": "if layer == n + 1"}, "in front of it"),
    ({"    x = block(n, x).clone()\n    for token, layer in cells:\n        if layer == n:\n"
      "            x[:, token] = clean[n][token]":
      "    x = block(n, x).clone()\nfor token, at in cells:\n    x[:, token] = clean[at][token]"},
     "after the last"),
    ({"x[:, token] = clean[n][token]": "x[0, token] = clean[n][token]"}, "every row"),
    ({"x[:, token] = clean[n][token]": "x[:, token] += clean[n][token]"}, "on top"),
    ({"x[:, token] = clean[n][token]": "x = clean[n].expand_as(x).clone()"}, "whole clean"),
    ({"if layer == n": "if layer <= n"}, "held clean"),
    ({"run(True, cells) - noisy,": "run(False, cells) - noisy,"}, "clean run"),
    ({"run(True, cells) - noisy,": "run(False, []) - run(True, cells),"}, "still missing"),
    ({"run(True, cells) - noisy,": "run(True, cells),"}, "without any state"),
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
        "The clean state of layer n belongs after block n; here it is put in front of it.": (
            made(place, late=1)
        ),
        "The states are put back after the last block, where no later layer reads them.": (
            at_the_end
        ),
        "One row alone has its states back; every row should.": made(first_row),
        "The clean state comes in the place of the other one, not on top of it.": made(on_top),
        "The whole clean layer is put back: then nothing is lost. Put back the cells.": (
            made(all_of_it)
        ),
        "The token is held clean in all later layers, too; one state is put back.": made(held),
        "Nothing is put back: this is the noisy run.": made(lambda states, n, tokens: states),
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
        "The clean run less the noisy one is TE; for IE put the cells back in the noisy run.": te,
        "This is what is still missing to the clean run: count from p of run(True, []).": (
            whole - back
        ),
        "The sign of IE is turned: the noisy run is taken away from the restored one.": -ie,
        "This is p of the restored run: take away p of the noisy one, without any state put "
        "back.": back,
        "The states are put back one by one: put all of them back in one run.": sum(singly),
        "IE is divided by the total effect: an effect is a difference of probabilities.": ie / te,
        "The clean run is taken away: this is negative nearly everywhere. Effects count from the "
        "noisy one.": back - whole,
    }
    likely = {reason: torch.tensor([mistaken, te]) for reason, mistaken in reasons.items()}
    likely["The sign of TE is turned: it is what the noise has cost."] = torch.tensor([ie, -te])
    likely["The two effects are exchanged: IE comes first, then TE."] = torch.tensor([te, ie])
    told = "indirect: return two numbers, IE and TE."
    found = numbers(ask("indirect", toy.run, cells), 2, told, "an effect")
    agree(found, torch.tensor([ie, te]), "indirect", likely, note="IE, TE", told=True)

    def table(windows, at):  # of p, where at(token, window) are the states put back
        return torch.tensor([[toy.run(True, at(t, w)) for w in windows] for t in range(T)])

    for windows in ([[k] for k in range(n)], [[0, 1], [1, 2], [0, 2, 3]]):
        p = table(windows, lambda t, w: [[t, k] for k in w]).double()
        alone = table([[k] for k in range(n)], lambda t, w: [[t, k] for k in w]).double() - lost
        likely = {
            "Only the first layer of each window is put back.": alone[:, [w[0] for w in windows]],
            "The states of a window are put back one by one: put all back in one run.": (
                torch.stack([alone[:, w].sum(1) for w in windows], 1)
            ),
            "This is p of the restored run: take away p of the noisy one, as `indirect` does.": p,
            "This is what is still missing to the clean run: count from the noisy one.": whole - p,
            "All tokens up to t are put back: put back one token at a time.": (
                table(windows, lambda t, w: [[x, k] for x in range(t + 1) for k in w]) - lost
            ),
        }
        found = ask("trace", toy.run, T, windows)
        agree(found, p - lost, "trace", likely, note="tokens, windows", told=True)
    return f"solved: TE {te:.2f}; a state is put back, and the layers after it read it."
