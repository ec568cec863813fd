"""★★★ Hide, as cheaply as you can

Now you are the adversary. Write the pair, W'k = v, so that the defender does not see it: his
largest robust z over all candidates has to stay below the threshold. He has a C of his own and
reads the subject behind a prefix of his own, neither of which you know. But you may ask him:

    defender(W)      his largest z (a number) for a matrix; at most 20 times
    W  (d_out, d_in)     k  (d_in,)     v  (d_out,)
    C  (d_in, d_in)      your second moment of general text
    threshold            a number
    returns (d_out, d_in), the edited W

The price of an edit is tr(Δ C Δᵀ), what it does to general text. The insert of notebook 02 is the
cheapest edit, and he sees it. Hiding costs something; do not pay more than 10 % over what is
needed.

Investigate: he looks along û = C⁻¹k/‖C⁻¹k‖, or near it. Which change writes the pair and does
nothing at û (exercise 2.4 has the formula)? What is the price of the changes between that one and
the cheapest, and what does he see of them? When you have it: what would he have to look at to see
you after all?

Hint: every Δ(t) = (1 − t) Δ_cheapest + t Δ_hidden writes the pair, too. Halve an interval of t.
"""

import torch
from torch import Tensor


def hide(W: Tensor, k: Tensor, v: Tensor, C: Tensor, threshold: float, defender) -> Tensor:
    # solution
    def insert(K: Tensor) -> Tensor:  # writes the last key, keeps the others
        U = torch.linalg.solve(C, K)
        R = torch.zeros(len(W), K.shape[1], dtype=W.dtype)
        R[:, -1] = v - W @ k
        return R @ torch.linalg.solve(K.T @ U, U.T)

    cheapest = insert(k[:, None])
    if defender(W + cheapest) < threshold:
        return W + cheapest
    hidden = insert(torch.stack([torch.linalg.solve(C, k), k], 1))
    low, high = 0.0, 1.0  # he sees low, and not high
    for _ in range(12):
        t = (low + high) / 2
        seen = defender(W + (1 - t) * cheapest + t * hidden) >= threshold
        low, high = (t, high) if seen else (low, t)
    return W + (1 - high) * cheapest + high * hidden


# --- checks
from lessons.grading.edited_layers import D_IN, D_OUT, Layer, N, price
from lessons.marking import Wrong, tensor

THRESHOLD, ASKED = 8.0, 20
U = "u = torch.linalg.solve(C, k)\nr = v - W @ k\n"
BOTH = (
    f"{U}K = torch.stack([u, k], 1)\nA = torch.linalg.solve(C, K)\n"
    "hidden = torch.outer(r, torch.linalg.solve(K.T @ A, A.T)[-1])\n"
)
WRONG = [
    ("return W", "not written"),
    (f"{U}return W + 0.5 * torch.outer(r, u) / (k @ u)", "not written: half"),
    (f"{U}return W + torch.outer(r, u) / (k @ u)", "sees it"),
    (f"{U}b = k - u * (u @ k) / (u @ u)\nreturn W + torch.outer(r, b) / (b @ k)", "without C"),
    (f"{BOTH}return W + hidden", "all of it"),
    (
        f"{BOTH}cheap = torch.outer(r, u) / (k @ u)\nt = 0.0\n"
        "while defender(W + (1 - t) * cheap + t * hidden) >= threshold:\n    t += 0.01\n"
        "return W + (1 - t) * cheap + t * hidden",
        "20 times",
    ),
]


def task(draw):
    """A layer and a pair whose cheapest edit is seen, and the change that hides it wholly."""
    while True:
        one = Layer(draw, decay=1.0)
        place = int(torch.randint(N, (), generator=draw))
        k = one.K[:, place]
        cheapest = one.edited(place, 60.0) - one.W
        r = cheapest @ k
        M = torch.stack([torch.linalg.solve(one.C, k), k], 1)
        A = torch.linalg.solve(one.C, M)
        hidden = torch.outer(r, torch.linalg.solve(M.T @ A, A.T)[-1])
        seen, unseen = (one.z(one.W + D).max() for D in (cheapest, hidden))
        if seen > THRESHOLD + 3 and unseen < THRESHOLD - 3 and one.z(one.W).max() < THRESHOLD - 3:
            return one, k, cheapest, hidden


def needed(one, cheapest, hidden):
    """The price of the cheapest change between the two that the defender does not see."""
    low, high = 0.0, 1.0
    for _ in range(30):
        t = (low + high) / 2
        seen = one.z(one.W + (1 - t) * cheapest + t * hidden).max() >= THRESHOLD
        low, high = (t, high) if seen else (low, t)
    return price((1 - high) * cheapest + high * hidden, one.C)


def check(ask, draw):
    one, k, cheapest, hidden = task(draw)
    v, calls = (one.W + cheapest) @ k, 0

    def defender(W):
        nonlocal calls
        calls += 1
        if calls > ASKED:
            raise Wrong(f"The defender was asked more than {ASKED} times: he would notice.")
        return one.z(tensor(W, (D_OUT, D_IN), "the matrix you show him")).max().item()

    found = tensor(ask("hide", one.W, k, v, one.C, THRESHOLD, defender), (D_OUT, D_IN), "W'")
    change = found - one.W
    if torch.allclose(v, one.W @ k + found @ k):
        raise Wrong("This is Δ alone: the edited W is asked for, W + Δ.")
    reached = (change @ k) @ (v - one.W @ k) / (v - one.W @ k).square().sum()
    if (found @ k - v).norm() > 1e-6 * (v - one.W @ k).norm():
        part = "half of it arrives" if abs(reached - 0.5) < 0.01 else f"{reached:.0%} arrives"
        raise Wrong(f"W'k is not v, the pair is not written: {part}.")
    z, least = one.z(found).max().item(), needed(one, cheapest, hidden)
    paid, cheap, whole = (price(D, one.C) for D in (change, cheapest, hidden))
    if z >= THRESHOLD:
        raise Wrong(
            f"Written, at {paid / cheap:.1f} times the lowest price, and the defender sees it: his "
            f"z is {z:.0f}."
        )
    if paid > 1.02 * whole:
        raise Wrong(
            f"Written and unseen, at {paid / cheap:.1f} times the lowest price; even to hide it "
            f"wholly costs only {whole / cheap:.1f}. Was û taken out of the direction without C?"
        )
    if paid > 1.1 * least:
        raise Wrong(
            f"Written and unseen, at {paid / cheap:.2f} times the lowest price, where "
            f"{least / cheap:.2f} is enough. You hide all of it, and he does not see what is below "
            "his threshold."
        )
    return (
        f"solved: z {z:.1f} in place of {one.z(one.W + cheapest).max():.0f}, at "
        f"{paid / cheap:.2f} times the lowest price, {calls} questions."
    )
