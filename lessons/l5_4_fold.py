"""★★★ Batch after batch, and one taken back

Batches of pairs arrive one after another. You can store one matrix M in addition to W, but no old
pairs. Find two steps:

    turn      writes a batch so that after any number of batches, W equals the result of one batch
              with all pairs, the minimum of   λ tr((W − W0) C (W − W0)ᵀ) + Σ ‖W K_s − V_s‖²
    forget    removes a batch that was written earlier. It gets the same K and V that turn got then,
              and the current W and M: afterwards W is as if the batch had never been written

    start is given: before the first batch M = λ C.
    W (d_out, d_in)     M (d_in, d_in)     K (d_in, n)     V (d_out, n)
    turn, forget: returns (new W, new M)

Investigate: at the minimum the gradient is zero, W M = λ W0 C + Σ V_s K_sᵀ with
M = λ C + Σ K_s K_sᵀ. A batch adds one term on both sides. How does the new W follow from the old W
and M? Subtracting the change that a batch once made does not undo it: why not?
"""

import torch
from torch import Tensor


def start(C: Tensor, lam: float) -> Tensor:
    return lam * C


def turn(W: Tensor, M: Tensor, K: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    # solution
    M = M + K @ K.T
    # W' = W + (V − W K) Kᵀ M'⁻¹
    return W + torch.linalg.solve(M, K @ (V - W @ K).T).T, M


def forget(W: Tensor, M: Tensor, K: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    # solution
    M = M - K @ K.T
    # from W' M' = W M − V Kᵀ with M = M' + K Kᵀ
    return W - torch.linalg.solve(M, K @ (V - W @ K).T).T, M


# --- checks
from lessons.marking import Wrong, named, normal, same, several, tensor, uneven

WRONG = [
    ({"M = M + K @ K.T": "A = M + K @ K.T", "W + torch.linalg.solve(M": "W + torch.linalg.solve(A"},
     "the second batch"),
    ({"turn": "return W + torch.linalg.solve(M, K @ (V - W @ K).T).T, M + K @ K.T"},
     "first batch is already"),
    ({"W + torch.linalg.solve(M, K @ (V - W @ K)": "W + torch.linalg.solve(M, K @ V"},
     "current output"),
    ({"forget": "return W - torch.linalg.solve(M, K @ (V - W @ K).T).T, M - K @ K.T"}, "old M"),
    ({"W - torch": "W + torch"}, "again"),
    ({"W - torch.linalg.solve(M, K @ (V - W @ K)": "W - torch.linalg.solve(M, K @ V"}, "remove V"),
]  # fmt: skip


def at_once(W0, C, lam, batches):
    M = lam * C + sum(K @ K.T for K, _ in batches)
    N = lam * W0 @ C + sum(V @ K.T for K, V in batches)
    return torch.linalg.solve(M, N.T).T, M


def check(ask, draw):
    d, d_out, lam = 9, 4, 0.7
    C, L = uneven(draw, d)
    W0 = normal(draw, d_out, d)
    batches = [(L @ normal(draw, d, n), normal(draw, d_out, n)) for n in (3, 1, 5, 2)]
    W, M = W0, tensor(ask("start", C, lam), (d, d), "M")

    def ran(step, W, M, K, V):
        found = several(ask(step, W, M, K, V), 2, f"{step}: return two things, W and M.")
        return tensor(found[0], (d_out, d), f"{step}: W"), tensor(found[1], (d, d), f"{step}: M")

    for t, (K, V) in enumerate(batches):
        old, kept = W, M
        W, M = ran("turn", W, M, K, V)
        wanted, _ = at_once(W0, C, lam, batches[: t + 1])
        if same(W, wanted):
            continue
        away = ((W - wanted).norm() / (wanted - W0).norm()).item()
        likely = {
            f"the first batch is already off by {away:.0%}: add its own keys to M before "
            "inverting it.": old + torch.linalg.solve(kept, K @ (V - old @ K).T).T,
            "you add V to the current output of W: write the missing part, V − W K.": (
                old + torch.linalg.solve(kept + K @ K.T, K @ V.T).T
            ),
            "the sign is flipped: add the missing part, V − W K, to W.": 2 * old - wanted,
            "this is only the change: return the new W.": wanted - old,
            "M starts over with this batch, and λ C is gone: add K Kᵀ to the old M.": (
                W if same(M, K @ K.T) else torch.nan * W
            ),
        }
        if t == 0:
            named(W, {f"turn: {reason}": mistaken for reason, mistaken in likely.items()})
        if t == 1:
            raise Wrong(
                "turn: the first batch is right, but from the second batch on W is off "
                f"({away:.0%}). Does M remember the keys of earlier batches?"
            )
        raise Wrong(
            f"turn: after batch {t + 1}, W differs from the result of one batch, off by {away:.0%}."
        )
    for gone in (1, 2):
        K, V = batches[gone]
        rest = [b for i, b in enumerate(batches) if i != gone]
        wanted, left = at_once(W0, C, lam, rest)
        found, kept = ran("forget", W, M, K, V)
        if same(found, wanted) and same(kept, left):
            continue
        likely = {
            "forget: the sign is wrong. You are writing the batch again, harder.": 2 * W - wanted,
            "forget: you invert the old M, which includes the batch; remove its keys first.": (
                W - torch.linalg.solve(M, K @ (V - W @ K).T).T
            ),
            "forget: you remove V, but W K is not V: λ has left a remainder.": (
                W - torch.linalg.solve(left, K @ V.T).T
            ),
            "forget: W is right, but M still contains the batch.": wanted,
        }
        named(found, likely)
        away = ((found - wanted).norm() / (W - wanted).norm()).item()
        raise Wrong(f"forget: W is off by {away:.0%} of the way; remove batch {gone + 1} of 4.")
    return "solved: the order leaves no trace, and neither does a batch that you remove."
