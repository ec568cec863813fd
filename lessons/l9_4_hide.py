"""★★★ Hide, as cheaply as you can

Now you are the adversary. Write the pair, W'k = v, so that the defender does not see it: his
largest robust z over all candidates has to stay below the threshold. He has his own C and reads the
subject after his own prefix, and you know neither. But you can query him. Three steps:

`cheapest`: the Δ that writes the pair at the lowest price, the insert of notebook 02. He sees it.

`silent`: he looks along û = C⁻¹k/‖C⁻¹k‖, or near it. So the Δ that writes the pair, does nothing at
û, and is the cheapest of all such (exercise 2.4 has the formula for two pairs).

`hide`: every Δ(t) = (1 − t) Δ_cheapest + t Δ_silent also writes the pair. Return the edited W with
the Δ(t) that he just does not see: W + Δ_cheapest if he does not see that, and t = 1 if he sees
every t. Do not pay more than 10% above the necessary price.

    defender(W)      his largest z (a number) for a matrix; at most 20 times
    W  (d_out, d_in)     k  (d_in,)     v  (d_out,)
    C  (d_in, d_in)      your second moment of general text
    threshold            a number
    returns (d_out, d_in): Δ in the first two steps, the edited W in the last

The price of an edit is tr(Δ C Δᵀ), its effect on general text. When you have it: what would he have
to look at to see you after all?

Hint: `hide` may call the other two. Halve an interval of t.
"""

import torch
from torch import Tensor


def cheapest(W: Tensor, k: Tensor, v: Tensor, C: Tensor) -> Tensor:
    # solution
    u = torch.linalg.solve(C, k)
    return torch.outer(v - W @ k, u) / (u @ k)


def silent(W: Tensor, k: Tensor, v: Tensor, C: Tensor) -> Tensor:
    # solution
    K = torch.stack([torch.linalg.solve(C, k), k], 1)  # û, up to its length, and k
    U = torch.linalg.solve(C, K)
    R = torch.stack([torch.zeros_like(v), v - W @ k], 1)  # the residual at each
    return R @ torch.linalg.solve(K.T @ U, U.T)


def hide(W: Tensor, k: Tensor, v: Tensor, C: Tensor, threshold: float, defender) -> Tensor:
    # solution
    seen, unseen = cheapest(W, k, v, C), silent(W, k, v, C)
    if defender(W + seen) < threshold:
        return W + seen
    low, high = 0.0, 1.0  # he sees low, and not high
    for _ in range(12):
        t = (low + high) / 2
        caught = defender(W + (1 - t) * seen + t * unseen) >= threshold
        low, high = (t, high) if caught else (low, t)
    return W + (1 - high) * seen + high * unseen


# --- checks
from lessons.grading.edited_layers import D_IN, D_OUT, Layer, N, price
from lessons.marking import Wrong, agree, tensor

THRESHOLD, ASKED = 8.0, 20
WRONG = [
    ({"cheapest": "r = v - W @ k\nreturn torch.outer(r, k) / (k @ k)"}, "where is C"),
    ({"torch.outer(v - W @ k, u)": "torch.outer(v, u)"}, "is already there"),
    ({"return torch.outer(v": "return W + torch.outer(v"}, "without W"),
    ({"silent": "return cheapest(W, k, v, C)"}, "largest along"),
    (
        {
            "silent": "u = torch.linalg.solve(C, k)\nb = k - u * (u @ k) / (u @ u)\n"
            "return torch.outer(v - W @ k, b) / (b @ k)"
        },
        "without C",
    ),
    ({"hide": "return W"}, "not written"),
    ({"hide": "return W + 0.5 * cheapest(W, k, v, C)"}, "not written: half"),
    ({"hide": "return W + cheapest(W, k, v, C)"}, "sees it"),
    ({"hide": "return W + silent(W, k, v, C)"}, "all of it"),
    (
        {
            "hide": "cheap, hidden = cheapest(W, k, v, C), silent(W, k, v, C)\nt = 0.0\n"
            "while defender(W + (1 - t) * cheap + t * hidden) >= threshold:\n    t += 0.01\n"
            "return W + (1 - t) * cheap + t * hidden"
        },
        "20 times",
    ),
]


def task(draw):
    """A layer and a pair whose cheapest edit is seen, and the change that hides it completely."""
    while True:
        one = Layer(draw, decay=1.0)
        place = int(torch.randint(N, (), generator=draw))
        k = one.K[:, place]
        loud = one.edited(place, 60.0) - one.W
        hidden = silent(one.W, k, (one.W + loud) @ k, one.C)
        seen, unseen = (one.z(one.W + D).max() for D in (loud, hidden))
        if seen > THRESHOLD + 3 and unseen < THRESHOLD - 3 and one.z(one.W).max() < THRESHOLD - 3:
            return one, k, loud, hidden


def check(ask, draw):
    one, k, loud, hidden = task(draw)
    v, r, calls = (one.W + loud) @ k, loud @ k, 0
    u = torch.linalg.solve(one.C, k)
    b = k - u * (u @ k) / (u @ u)
    likely = {
        "This is the smallest Δ, not the cheapest: where is C, the effect on text?": (
            torch.outer(r, k) / (k @ k)
        ),
        "A part of v is already there: write only the missing part, v − W k.": (
            torch.outer(v, u) / (k @ u)
        ),
        "This is the edited W: return Δ, without W.": one.W + loud,
    }
    agree(ask("cheapest", one.W, k, v, one.C), loud, "the cheapest Δ", likely)
    likely = {
        "This is the cheapest Δ, and it is largest along û.": loud,
        "It does nothing at û but costs too much: you projected û out without C.": (
            torch.outer(r, b) / (b @ k)
        ),
    }
    agree(ask("silent", one.W, k, v, one.C), hidden, "the silent Δ", likely)

    def defender(W):
        nonlocal calls
        calls += 1
        if calls > ASKED:
            raise Wrong(f"You queried the defender more than {ASKED} times: he would notice.")
        return one.z(tensor(W, (D_OUT, D_IN), "the matrix you show him")).max().item()

    found = tensor(ask("hide", one.W, k, v, one.C, THRESHOLD, defender), (D_OUT, D_IN), "W'")
    change = found - one.W
    if torch.allclose(v, one.W @ k + found @ k):
        raise Wrong("This is only Δ: return the edited W, W + Δ.")
    reached = (change @ k) @ (v - one.W @ k) / (v - one.W @ k).square().sum()
    if (found @ k - v).norm() > 1e-6 * (v - one.W @ k).norm():
        part = "half of it arrives" if abs(reached - 0.5) < 0.01 else f"{reached:.0%} arrives"
        raise Wrong(f"W'k is not v, the pair is not written: {part}.")
    z = one.z(found).max().item()
    best = hide(one.W, k, v, one.C, THRESHOLD, lambda W: one.z(W).max())
    paid, cheap, least = (price(D, one.C) for D in (change, loud, best - one.W))
    if z >= THRESHOLD:
        raise Wrong(
            f"Written, at {paid / cheap:.1f} times the lowest price, and the defender sees it: his "
            f"z is {z:.0f}."
        )
    if paid > 1.1 * least:
        raise Wrong(
            f"Written and unseen, at {paid / cheap:.2f} times the lowest price, but "
            f"{least / cheap:.2f} is enough. You hide all of it, but he doesn't see anything "
            "below his threshold."
        )
    return (
        f"solved: z {z:.1f} instead of {one.z(one.W + loud).max():.0f}, at {paid / cheap:.2f} "
        f"times the lowest price, {calls} questions."
    )
