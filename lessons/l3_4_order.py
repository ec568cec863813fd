"""★★★ The best order

You can write the facts of a list in any order, and the error at the end depends on it:

    damage = Σ over j of ‖W_T k_j − v_j‖².

There is a rule of thumb, writing the most disturbing facts first: by ‖r_i‖ / q_i from large to
small. It ignores all pairs. Find an order that does at most 90% of the rule's damage.

    rho  (T, T)          ρ(i, j): the fraction of edit i's residual that reaches key j
    R    (d_out, T)      column i is r_i = v_i − W_0 k_i
    q    (T,)            q_i = k_iᵀ C⁻¹ k_i
    returns a list with the numbers 0 … T − 1, in the order of writing; T is 10, and you have 5 s

`damage` predicts it for any order, using exercise 3.2.

Investigate: 10! orders are too many. What can you change about an order, a little at a time? Is the
result the best, or just a good one?
"""

import torch
from torch import Tensor


def damage(rho: Tensor, R: Tensor, order: list[int]) -> float:
    P = rho[order][:, order]
    delta = torch.linalg.solve_triangular(P.triu(), R[:, order], upper=True, left=False)
    return (delta @ P.tril(-1)).pow(2).sum().item()


def order(rho: Tensor, R: Tensor, q: Tensor) -> list[int]:
    # solution
    best = (R.norm(dim=0) / q).argsort(descending=True).tolist()  # from the rule downhill
    least, better = damage(rho, R, best), True
    while better:
        better = False
        for i in range(len(best)):
            for j in range(len(best)):
                tried = best.copy()
                tried.insert(j, tried.pop(i))
                if (found := damage(rho, R, tried)) < least - 1e-12:
                    best, least, better = tried, found, True
    return best


# --- checks
from lessons.marking import Wrong, normal, tensor, uneven

WRONG = [
    ("return list(range(len(q)))", "as given"),
    ({"best = (R": "return (R"}, "the rule itself"),
    ({"best = (R": "return (R", "descending=True": "descending=False"}, "other end"),
    ("return [0] * len(q)", "once"),
]


def check(ask, draw):
    T, theirs, rules = 10, 0.0, 0.0
    for _ in range(3):
        C, L = uneven(draw, 24)
        K = L @ (normal(draw, 24, T) + normal(draw, 24, 2).repeat(1, T // 2))  # two relations
        K, R = K * normal(draw, T).mul(0.3).exp(), normal(draw, 6, T)
        U = torch.linalg.solve(C, K)
        q = (K * U).sum(0)
        rho = K.T @ U / q[:, None]
        found = [int(i) for i in tensor(ask("order", rho, R, q), (T,), "the order of writing")]
        if sorted(found) != list(range(T)):
            raise Wrong(f"The list should contain each number from 0 to {T - 1} once.")
        rule = (R.norm(dim=0) / q).argsort(descending=True).tolist()
        theirs, rules = theirs + damage(rho, R, found), rules + damage(rho, R, rule)
        known = {
            "the rule itself": rule,
            "the order as given": list(range(T)),
            "the rule from the other end, the most disturbing last": rule[::-1],
        }
        which = next((name for name, one in known.items() if one == found), "your own order")
    said = f"damage {theirs:.1f}, by the rule {rules:.1f}"
    if theirs <= 0.9 * rules:
        return f"solved: {said}."
    raise Wrong(
        f"{said}; it should be 90%. This is {which}: try small changes, and keep those that help."
    )
