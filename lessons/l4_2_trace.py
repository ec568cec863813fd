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
from lessons.marking import agree, mistaken, normal, numbers

PUT, IE = "x[:, token] = clean[n][token]", "run(True, cells) - noisy,"
ALL = "indirect(run, [(token, n) for n in window])[0]"
RESTORED = {  # message: the pieces of the solution that the mistake replaces
    "The clean state of layer n belongs after block n; you put it before the block.": {
        "layer == n": "layer == n + 1"
    },
    "The states are restored after the last block, so no later layer reads them.": {
        "if layer == n": "if False",
        "return x": "return [x[:, token].copy_(clean[n][token]) for token, n in cells] and x",
    },
    "Only one row has its states restored; every row should.": {
        PUT: "x[0, token] = clean[n][token]"
    },
    "The clean state should replace the other state, not be added to it.": {
        PUT: "x[:, token] += clean[n][token]"
    },
    "The whole clean layer is restored: then nothing is lost. Restore only the cells.": {
        PUT: "x = clean[n].expand_as(x).clone()"
    },
    "The token also stays clean in all later layers; restore only one state.": {
        "layer == n": "layer <= n"
    },
    "Nothing is restored: this is the noisy run.": {"layer == n": "False"},
}
INDIRECT = {
    "The clean run minus the noisy run is TE; for IE, restore the cells in the noisy run.": {
        IE: "run(False, cells) - noisy,"
    },
    "This is the part still missing compared with the clean run: count from p of run(True, []).": {
        IE: "run(False, []) - run(True, cells),"
    },
    "The sign of IE is flipped: subtract the noisy run from the restored run.": {
        IE: "noisy - run(True, cells),"
    },
    "This is p of the restored run: subtract p of the noisy run, with no state restored.": {
        IE: "run(True, cells),"
    },
    "The states are restored one by one: restore all of them in one run.": {
        IE: "sum(run(True, [cell]) - noisy for cell in cells),"
    },
    "IE is divided by the total effect: an effect is a difference of probabilities.": {
        IE: "(run(True, cells) - noisy) / (run(False, []) - noisy),"
    },
    "The clean run is subtracted: this is negative almost everywhere. Effects count from the "
    "noisy run.": {IE: "run(True, cells) - run(False, []),"},
    "The sign of TE is flipped: it is the cost of the noise.": {
        "run(False, []) - noisy": "noisy - run(False, [])"
    },
    "The two effects are exchanged: IE comes first, then TE.": {
        f"{IE} run(False, []) - noisy": f"run(False, []) - noisy, {IE}"
    },
}
TRACE = {
    "Only the first layer of each window is restored.": {"in window]": "in window[:1]]"},
    "The states of a window are restored one by one: restore all in one run.": {
        ALL: "sum(indirect(run, [(token, n)])[0] for n in window)"
    },
    "This is p of the restored run: subtract p of the noisy run, as `indirect` does.": {
        ALL: "run(True, [(token, n) for n in window])"
    },
    "This is the part still missing compared with the clean run: count from the noisy run.": {
        ALL: "run(False, []) - run(True, [(token, n) for n in window])"
    },
    "All tokens up to t are restored: restore one token at a time.": {
        "(token, n) for n in": "(t, n) for t in range(token + 1) for n in"
    },
}
WRONG = [
    *((pieces, why) for why, pieces in (RESTORED | INDIRECT | TRACE).items()),
    ({"(token, n) for n in window": "(n, token) for n in window"}, "token comes first"),
]


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

    given = block, layers, x, clean, some
    likely = {why: mistaken(restored, how)(*given) for why, how in RESTORED.items()}
    wanted = restored(*given)
    agree(ask("restored", *given), wanted, "restored", likely, note="draws, tokens, d")
    toy = Residual(draw)
    given = toy.run, [(0, 1), (2, 1)]
    ie, te = indirect(*given)
    likely = {why: torch.tensor(mistaken(indirect, how)(*given)) for why, how in INDIRECT.items()}
    told = "indirect: return two numbers, IE and TE."
    found = numbers(ask("indirect", *given), 2, told, "an effect")
    agree(found, torch.tensor([ie, te]), "indirect", likely, note="IE, TE", told=True)
    for windows in ([[k] for k in range(toy.layers)], [[0, 1], [1, 2], [0, 2, 3]]):
        given = toy.run, toy.tokens, windows
        likely = {why: mistaken(trace, how)(*given) for why, how in TRACE.items()}
        agree(
            ask("trace", *given), trace(*given), "trace", likely, note="tokens, windows", told=True
        )
    return f"solved: TE {te:.2f}; a state is restored, and the layers after it read it."
