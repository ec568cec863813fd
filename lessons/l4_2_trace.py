"""★★ Trace a network, in three steps

A small network of a few tokens and layers has its answer; noise on its first tokens makes it
forget. You can only run it:

    run(noisy, cells)     probability of the answer (a number)
        noisy             False: the clean run. True: the subject's tokens are noisy
        cells             list of (token, layer): these states are those of the clean run

The noise is drawn once, so there is no mean. Write

    effect    the indirect effect of some states that are put back together, one number
    around    the layers of a window: `width` of them, half of these, rounded down, below `layer`
              and the others from it on, so 10 around 7 are 2 to 11, 3 are 6 to 8, and 1 is 7.
              A list of numbers, without those that do not exist: `layers` layers, from 0 on
    trace     the effects of every token at every layer, where the window around that layer is put
              back at this token. It calls the two above and returns (tokens, layers), entry
              [t, l]; with width 1 these are the effects of all single states

Hint: the noisy run with no state put back is run(True, []).
"""

import torch
from torch import Tensor


def effect(run, cells: list) -> float:
    # solution
    return run(True, cells) - run(True, [])


def around(layer: int, width: int, layers: int) -> list[int]:
    # solution
    first = layer - width // 2
    return [n for n in range(first, first + width) if 0 <= n < layers]


def trace(run, tokens: int, layers: int, width: int) -> Tensor:
    # solution
    found = torch.zeros(tokens, layers)
    for layer in range(layers):
        window = around(layer, width, layers)
        for token in range(tokens):
            found[token, layer] = effect(run, [(token, n) for n in window])
    return found


# --- checks
from lessons.grading.toy_networks import Residual
from lessons.marking import Wrong, agree, number, short

WRONG = [
    ({"run(True, cells)": "run(False, cells)"}, "clean run"),
    ({"effect": "return run(False, []) - run(True, cells)"}, "still missing"),
    ({"run(True, cells) - ": ""}, "without any state"),
    ({"effect": "return sum(run(True, [c]) - run(True, []) for c in cells)"}, "one by one"),
    ({"layer - width // 2": "layer"}, "half of the window"),
    ({" if 0 <= n < layers": ""}, "exist"),
    ({"range(first, first + width)": "range(layer - width, layer + width + 1)"}, "wide"),
    ({"(token, n) for n in window": "(layer, token)"}, "token comes first"),
    ({"(token, n) for n in window": "(token, layer)"}, "window"),
    ({"n in window": "n in range(layer + 1)"}, "up to l"),
]


def check(ask, draw):
    toy = Residual(draw)
    T, n = toy.tokens, toy.layers
    clean, lost = toy.run(False), toy.run(True)
    cells = [[0, 1], [2, 1]]
    back, singly = toy.run(True, cells), [toy.run(True, [cell]) - lost for cell in cells]
    likely = {
        "This is the clean run less the noisy one, with nothing to bring back.": clean - lost,
        "This is what is still missing; the effect is what the states bring back.": clean - back,
        "The noisy run less the restored one: the sign is turned.": lost - back,
        "This is a probability: how much of it was there without any state put back?": back,
        "This is p of the noisy run, without any state put back.": lost,
        "The states are put back one by one; asked for is what they do together.": sum(singly),
        "This is divided by the total effect; an effect is a difference of probabilities.": (
            (back - lost) / (clean - lost)
        ),
        "Effects count from the noisy run, and here the clean run is taken away.": back - clean,
    }
    agree(number(ask("effect", toy.run, cells), "effect"), back - lost, "effect", likely)
    for layer, width, layers in ((7, 10, 30), (7, 3, 30), (7, 1, 30), (1, 4, 30), (28, 6, 30)):
        found, wanted = ask("around", layer, width, layers), around(layer, width, layers)
        if not isinstance(found, list) or found != wanted:
            said = f"around({layer}, {width}, {layers}) is {short(found)}, not {short(wanted)}"
            inside = isinstance(found, list) and all(0 <= one < layers for one in found)
            why = "Some of these layers do not exist."
            if inside:
                why = f"The window is {width} wide."
                if len(found) == len(wanted) or found[:1] == [layer]:
                    why = "About half of the window lies below the layer."
            raise Wrong(f"{said}. {why}")

    def table(at):  # of p, where at(token, layer) are the states put back
        return torch.tensor([[toy.run(True, at(t, one)) for one in range(n)] for t in range(T)])

    for width in (1, 3):
        p = table(lambda t, one, width=width: [[t, x] for x in around(one, width, n)]).double()
        likely = {
            "The window is not put back: here each state is alone.": (
                table(lambda t, one: [[t, one]]) - lost
            ),
            "Here all layers up to l are put back at once, whatever the width is.": (
                table(lambda t, one: [[t, x] for x in range(one + 1)]) - lost
            ),
            "Here all layers from l on are put back at once, whatever the width is.": (
                table(lambda t, one: [[t, x] for x in range(one, n)]) - lost
            ),
            "Here all tokens up to t are put back at once: one token at a time.": (
                table(lambda t, one: [[x, one] for x in range(t + 1)]) - lost
            ),
            "These are probabilities: how much of it was there without any state put back?": p,
            "This is what is still missing; the effect is what a window brings back.": clean - p,
        }
        agree(
            ask("trace", toy.run, T, n, width), p - lost, "the table", likely, note="tokens, layers"
        )
    t = (p - lost)[:, 0].argmax().item()
    return f"solved: TE {clean - lost:.2f}; behind layer 0 most comes back at token {t}."
