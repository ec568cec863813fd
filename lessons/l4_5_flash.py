"""★★★ Guard against the flash

A stream of edits can ruin a model slowly, or by a single edit. Write three tools:

    jumps    kl contains a model's distance from the unedited model after each edit. Return by how
             much each edit raised it, starting from 0, and the kind of the stream: "calm" if it
             ends below 0.02 nats, else "flash" if a single edit caused more than half of the final
             value, else "build-up"
    careful  ROME as published, one fact after another, with a guard. search(fact, W) gives k0, k̄
             and v* on a model with the matrix W. With u = C⁻¹ k̄ the published change is
             Δ = (v* − W k0) uᵀ / (uᵀ k0), and it is too long by the factor |uᵀ k̄ / uᵀ k0|. Above
             the limit write both keys instead, as two columns, each to v*, by the insert
             Δ = R (Kᵀ C⁻¹ K)⁻¹ Kᵀ C⁻¹ with K = [k0, k̄]
    S        the harmonic mean of the fractions, where a fraction of 0 counts as 0.0001

    kl    (T,)         jumps returns a tensor (T,) and a string
    W     (d_out, d_in), C (d_in, d_in), facts a list, limit a number
    careful returns the new W and its log, the list of the factors of all facts
    parts a list of fractions from 0 to 1       S returns a number

Hint: you can compute the factor from the keys, before writing anything. Which W does the second
fact meet? A guard avoids the length, not the fact.
Investigate: for which facts is u nearly orthogonal to k0?
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def jumps(kl: Tensor) -> tuple[Tensor, str]:
    # solution
    rises = torch.diff(kl, prepend=kl.new_zeros(1))
    if kl[-1] < 0.02:
        return rises, "calm"
    return rises, "flash" if rises.max() > kl[-1] / 2 else "build-up"


def careful(
    W: Tensor, search: Callable, facts: Sequence, C: Tensor, limit: float
) -> tuple[Tensor, list[float]]:
    # solution
    log = []
    for fact in facts:
        k0, mean, v_star = search(fact, W)
        u = torch.linalg.solve(C, mean)
        log.append((u @ mean / (u @ k0)).abs().item())
        if log[-1] > limit:
            K = torch.stack([k0, mean], 1)
            U = torch.linalg.solve(C, K)
            W = W + torch.linalg.solve(K.T @ U, (v_star[:, None] - W @ K).T).T @ U.T
        else:
            W = W + torch.outer(v_star - W @ k0, u) / (u @ k0)
    return W, log


def S(parts: Sequence[float]) -> float:
    # solution
    return len(parts) / sum(1 / max(part, 1e-4) for part in parts)


# --- checks
from lessons.marking import (
    Wrong,
    agree,
    mistaken,
    normal,
    number,
    numbers,
    several,
    short,
    tensor,
    uneven,
)

FACTORS = {  # message: the pieces of `careful` that the mistake replaces
    "u is C⁻¹k̄.": {"torch.linalg.solve(C, mean)": "C @ mean"},
    "The factor is upside down: |uᵀk̄ / uᵀk0|.": {"u @ mean / (u @ k0)": "u @ k0 / (u @ mean)"},
    "Use the absolute value: a length doesn't have a sign.": {".abs().item()": ".item()"},
    "u belongs to the mean key: C⁻¹k̄.": {"solve(C, mean)": "solve(C, k0)"},
}
WRITTEN = {
    "If the guard skips a fact, the prompt still gives its old answer: avoid the length, not the "
    "fact.": {"(v_star[:, None] - W @ K)": "0 * (v_star[:, None] - W @ K)"},
    "With only the mean key, the bare prompt still gives its old answer: write both keys, two "
    "columns and one v*.": {"K = torch.stack([k0, mean], 1)": "K = mean[:, None]"},
    "The guard is reversed: it writes the long changes unguarded.": {"> limit": "< limit"},
    "This is published ROME everywhere: above the limit write both keys.": {
        "> limit": "> torch.inf"
    },
    "Both keys are written for every fact: below the limit it is ROME as published.": {
        "> limit": ">= 0"
    },
    "You search each fact on the model as it was before the first fact: pass the current W to "
    "search(fact, W).": {
        "log = []": "log, first = [], W",
        "search(fact, W)": "search(fact, first)",
    },
}

WRONG = [
    ({"rises.max() > kl[-1]": "kl.max() > kl[-1]"}, "stays high"),
    ({"torch.diff(kl, prepend=kl.new_zeros(1))": "kl.diff()"}, "first edit"),
    ({"kl[-1] < 0.02": "kl.max() < 0"}, "calm"),
    *((pieces, why) for why, pieces in (FACTORS | WRITTEN).items()),
    ({"S": "return sum(parts) / len(parts)"}, "here good ones hide it"),
    ({"return len(parts)": "return 0.0 if 0 in parts else len(parts)"}, "0.0001"),
]  # fmt: skip


def check(ask, draw):
    told = "jumps: return two things, the rises and the kind of the stream."
    steps = normal(draw, 10).abs()
    streams = {
        "flash": torch.tensor([0.0, 0, 0.4, 0, 0.01, -0.02, 0, 0.05, 0, 0.01]).double().cumsum(0),
        "build-up": (0.3 + steps / steps.sum()).cumsum(0),
        "calm": (0.001 * (0.5 + steps / steps.max())).cumsum(0),
    }
    first = torch.tensor([0.248, 0.249, 0.248, 0.252, 0.247]).double()
    for wanted, kl in [*streams.items(), ("flash", first)]:
        rises, kind = several(ask("jumps", kl), 2, told)
        if isinstance(rises, torch.Tensor) and len(rises) == len(kl) - 1:
            raise Wrong(
                "jumps: the first edit is missing: it starts from the unedited model, at 0."
            )
        right = torch.cat([kl[:1], kl.diff()])
        likely = {
            "These are the values. By how much did each edit raise them?": kl,
            "The sign is wrong: subtract the value before an edit from the value after it.": -right,
            "A fall is a negative rise here.": right.clamp(min=0),
            "Return the rises in nats, not as fractions of the final value.": right / kl[-1],
        }
        agree(rises, right, "jumps", likely, note="one per edit", told=True)
        if kind != wanted:
            end, largest = kl[-1].item(), right.max().item()
            said = (
                f"jumps: a stream that ends at {end:.3f} nats, with {largest:.3f} as its largest "
            )
            said += f"rise, is a {wanted!r}, not {short(kind)}. "
            why = {
                "calm": "Below 0.02 nats at the end it is calm.",
                "build-up": "Its curve is high because it stays high; which edit raised it? A "
                "flash causes more than half of the final value by itself.",
                "flash": "One edit caused more than half of the final value.",
            }
            raise Wrong(said + why[wanted])
    d_in, d_out, limit = 8, 5, 3.0
    C, L = uneven(draw, d_in)
    W = normal(draw, d_out, d_in)
    keys, values = [], []
    for place in range(4):
        mean = L @ normal(draw, d_in)
        u = torch.linalg.solve(C, mean)
        k0 = 0.8 * mean + 0.2 * L @ normal(draw, d_in)
        if place in (1, 3):  # prompt-initial subject: k0 has little in common with the mean key
            k0 = L @ normal(draw, d_in)
            k0 = k0 + (u @ mean / (7 + place) - u @ k0) / (u @ mean) * mean
        keys.append((-k0 if place == 2 else k0, mean))  # the quotient is negative there
        values.append(normal(draw, d_out))

    def search(fact, now):  # a fact's target depends on the current model
        return *keys[fact], values[fact] + 0.1 * (now @ keys[fact][0])

    told = "careful: return two things, the new W and the list of the factors."
    given = W, search, [0, 1, 2, 3], C, limit
    found, log = several(ask("careful", *given), 2, told)
    wanted, factors = careful(*given)
    said = "careful: 4 facts, so the log has as many factors."
    log = numbers(log, 4, said, "careful: a factor")
    likely = {why: torch.tensor(mistaken(careful, how)(*given)[1]) for why, how in FACTORS.items()}
    right, note = torch.tensor(factors), "one per fact"
    agree(log, right, "careful, the factors", likely, note=note, told=True)
    found = tensor(found, (d_out, d_in), "careful: W")
    likely = {why: mistaken(careful, how)(*given)[0] for why, how in WRITTEN.items()}
    agree(found, wanted, "careful, W after 4 facts", likely, note="row, column", told=True)
    for parts in ([0.9, 0.8, 0.7, 0.6, 0.5], [0.984, 0.656, 0.338, 0.984, 0.0]):
        found = ask("S", parts)
        if isinstance(found, str) or found is None or found != found or number(found, "S") == 0:
            raise Wrong("S: a fraction of 0 counts as 0.0001, as in the authors' program.")
        mean = sum(parts) / len(parts)
        product = torch.tensor([max(part, 1e-4) for part in parts]).double().log().mean().exp()
        likely = {
            "This is an arithmetic mean. One fraction of 0 should decide S; here good ones hide "
            "it.": mean,
            "This is the geometric mean.": product,
            "The harmonic mean is n over the sum of 1/fraction: the n is missing.": S(parts)
            / len(parts),
        }
        agree(found, S(parts), "S", likely, note="one number", told=True)
    return (
        "solved: one edit makes a flash, its keys predict it in advance, and S reflects the worst."
    )
