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
    ({"layer - width // 2": "layer"}, "half its width"),
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
        "This is the clean run less the noisy one: put the cells back in the noisy run.": (
            clean - lost
        ),
        "This is what is still missing to the clean run: count from p of run(True, []).": (
            clean - back
        ),
        "The sign is turned: the noisy run is taken away from the restored one.": lost - back,
        "This is p of the restored run: take away p of the noisy one, run(True, []).": (back),
        "This is p of the noisy run, without any state put back: where are the cells?": lost,
        "The states are put back one by one: put all of them back in one run.": sum(singly),
        "This is divided by the total effect: an effect is a difference of probabilities.": (
            (back - lost) / (clean - lost)
        ),
        "The clean run is taken away: effects count from the noisy one, run(True, []).": back
        - clean,
    }
    found = number(ask("effect", toy.run, cells), "effect")
    agree(found, back - lost, "effect", likely, told=True)
    for layer, width, layers in ((7, 10, 30), (7, 3, 30), (7, 1, 30), (1, 4, 30), (28, 6, 30)):
        found, wanted = ask("around", layer, width, layers), around(layer, width, layers)
        if not isinstance(found, list) or found != wanted:
            number_of = len(found) if isinstance(found, list) else "no list of"
            why = (
                "begins at another layer" if number_of == len(wanted) else f"has {number_of} layers"
            )
            raise Wrong(
                f"around: {short(found)} came back for layer {layer}, width {width} and {layers} "
                f"layers, not {short(wanted)}: it {why}. The window begins half its width, rounded "
                f"down, below the layer, here at {layer - width // 2}, and is {width} wide. Layers "
                f"that do not exist, all but 0 to {layers - 1}, are left out."
            )

    def table(at):  # of p, where at(token, layer) are the states put back
        return torch.tensor([[toy.run(True, at(t, one)) for one in range(n)] for t in range(T)])

    for width in (1, 3):
        p = table(lambda t, one, width=width: [[t, x] for x in around(one, width, n)]).double()
        alone = table(lambda t, one: [[t, one]]) - lost
        singly = torch.stack([alone[:, around(one, width, n)].sum(1) for one in range(n)], 1)
        likely = {
            "Here each state is alone: put back (t, n) for all n of the window around l.": alone,
            "The states of a window are put back one by one: put all back in one run.": singly,
            "Here all layers up to l are put back, whatever the width is: ask `around`.": (
                table(lambda t, one: [[t, x] for x in range(one + 1)]) - lost
            ),
            "Here all layers from l on are put back, whatever the width is: ask `around`.": (
                table(lambda t, one: [[t, x] for x in range(one, n)]) - lost
            ),
            "Here all tokens up to t are put back: put back one token at a time.": (
                table(lambda t, one: [[x, one] for x in range(t + 1)]) - lost
            ),
            "This is p of the restored run: take away p of the noisy one, as `effect` does.": p,
            "This is what is still missing to the clean run: count from the noisy one.": clean - p,
        }
        found = ask("trace", toy.run, T, n, width)
        name = f"trace with width {width}"
        agree(found, (p - lost).round(decimals=6), name, likely, note="tokens, layers", told=True)
    t = (p - lost)[:, 0].argmax().item()
    return f"solved: TE {clean - lost:.2f}; behind layer 0 most comes back at token {t}."
