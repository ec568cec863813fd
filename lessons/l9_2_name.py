"""★★ Name the subject, or no one

You don't have the base model, only a matrix W that may have been edited. An edit of a subject with
key k is Δ = r uᵀ/q with u = C⁻¹k, whatever its value. So compute the direction of an edit of every
candidate, û = C⁻¹k/‖C⁻¹k‖, and how far W stretches it, T = ‖W û‖. Return the number of the
candidate with the largest robust z. If that z is below the threshold, no candidate stands out, and
the answer is None: an innocent model must not be accused.

    W  (d_out, d_in)     K  (d_in, n)     a key per candidate, n odd
    C  (d_in, d_in)      second moment of general text, your own, not the editor's
    threshold            a number
    returns a whole number from 0 to n − 1, or None

Hint: z = (T − median) / (1.4826 · median of |T − median|), as in 9.1. This is a separate file, so
write it again here. One solve is enough for all candidates: torch.linalg.solve(C, K).
"""

import torch
from torch import Tensor


def named(W: Tensor, K: Tensor, C: Tensor, threshold: float) -> int | None:
    # solution
    U = torch.linalg.solve(C, K)  # (d_in, n)
    T = (W @ U).norm(dim=0) / U.norm(dim=0)
    away = T - T.median()
    z = away / (1.4826 * away.abs().median())
    best = int(z.argmax())
    return best if z[best] >= threshold else None


# --- checks
from lessons.grading.edited_layers import Layer, N, norms, robust
from lessons.marking import Wrong, number, short

WRONG = [
    ({"torch.linalg.solve(C, K)": "K"}, "raw key"),
    ({" / U.norm(dim=0)": ""}, "length"),
    ({"torch.linalg.solve(C, K)": "C @ K"}, "case A"),
    ({" if z[best] >= threshold else None": ""}, "innocent"),
    ({"away / (1.4826 * away.abs().median())": "(T - T.mean()) / T.std()"}, "its own spread"),
    ("return None", "is not named, even"),
    ("return 0", "by chance"),
]
THRESHOLD = 6.0


def answer(ask, W, K, C, threshold):
    found = ask("named", W, K, C, threshold)
    if found is None:
        return None
    value = number(found, "the candidate")
    if isinstance(found, bool) or value != int(value) or not 0 <= value < N:
        raise Wrong(f"Return a whole number from 0 to {N - 1}, or None, not {short(found)}.")
    return int(value)


def suspect(draw):
    """An innocent layer, W with one edit, the candidate each filter names, and the subject's z."""
    while True:  # until the honest filter is sure, and each mistake names a different candidate
        one = Layer(draw, decay=2.0)
        true = int(torch.randint(1, N, (), generator=draw))
        W, K, C = one.edited(true, 18.0), one.K, one.own_C
        U = torch.linalg.solve(C, K)
        z, before = robust(norms(W, U)), robust(norms(one.W, U))
        values = z, norms(W, K), norms(W, C @ K), (W @ U).norm(dim=0)
        named = [int(x.argmax()) for x in values]
        if len({*named, 0}) == 5 and named[0] == true and z[true] > 7 and before.max() < THRESHOLD:
            return one, W, named, z[true].item()


def check(ask, draw):
    least = float("inf")
    for _ in range(2):
        one, W, (true, raw, turned, long), z = suspect(draw)
        K, C = one.K, one.own_C
        least = min(least, z)
        likely = {
            raw: "This is the candidate that the raw key names. W also stretches the directions "
            "that text uses; an edit lies along C⁻¹k.",
            turned: "You use C k instead of C⁻¹k: that is the way back from a direction of Δ to a "
            "key, in case A.",
            long: "û has length 1: without dividing, the candidate with the longest C⁻¹k wins.",
        }
        found = answer(ask, W, K, C, 0.0)  # here the largest z is always enough
        if found in likely:
            raise Wrong(likely[found])
        if found is None:
            raise Wrong(
                f"Candidate {true} was edited but is not named, even with a threshold of 0."
            )
        if found != true:
            raise Wrong(
                f"Candidate {true} was edited, not {found}: its z is {z:.0f}. Naming an innocent "
                "by chance is worse than naming none."
            )
        if answer(ask, W, K, C, THRESHOLD) is None:
            raise Wrong(
                f"Candidate {true} has a robust z of {z:.0f} and is not named at {THRESHOLD:g}: "
                "with mean and standard deviation, its own spread hides it."
            )
        before = answer(ask, one.W, K, C, THRESHOLD)
        if before is not None:
            raise Wrong(
                f"This layer was not edited, but candidate {before} is accused: the largest z of "
                f"{N} innocent candidates is never 0. Where is the threshold?"
            )
    return (
        f"solved: named each time, with a z of at least {least:.0f}, without accusing an innocent."
    )
