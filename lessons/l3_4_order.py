"""★★★ The best order

The facts of one list can be written in any order, and what is wrong in the end depends on it:

    damage = Σ over j of ‖W_T k_j − v_j‖².

There is a rule of thumb, the loudest first: by ‖r_i‖ / q_i from large to small. It looks at
no pair. You know ρ and the residuals, so you can compute the damage of any order before anything
is written. Find an order that does at most 90 % of the rule's damage.

    rho  (T, T)          ρ(i, j): the share of edit i's residual that lands on key j
    R    (d_out, T)      column i is r_i = v_i − W_0 k_i
    q    (T,)            q_i = k_iᵀ C⁻¹ k_i
    returns a list with the numbers 0 … T − 1, in the order of writing; T is 10, and 5 s are allowed

Investigate: 10! orders are too many. What can you change about an order, a little at a time? How do
you forecast the damage of an order (exercise 3.2)? Is the result the best, or just a good one?
"""

import torch
from torch import Tensor


def order(rho: Tensor, R: Tensor, q: Tensor) -> list[int]:
    # solution
    def damage(tried):
        P = rho[tried][:, tried]
        delta = torch.linalg.solve_triangular(P.triu(), R[:, tried], upper=True, left=False)
        return (delta @ P.tril(-1)).pow(2).sum().item()

    best = (R.norm(dim=0) / q).argsort(descending=True).tolist()  # from the rule downhill
    least, better = damage(best), True
    while better:
        better = False
        for i in range(len(best)):
            for j in range(len(best)):
                tried = best.copy()
                tried.insert(j, tried.pop(i))
                if (found := damage(tried)) < least - 1e-12:
                    best, least, better = tried, found, True
    return best


# --- checks
from lessons.marking import Wrong, normal, uneven

RULE = "return (R.norm(dim=0) / q).argsort(descending={}).tolist()"
WRONG = [
    ("return list(range(len(q)))", "as given"),
    (RULE.format(True), "the rule itself"),
    (RULE.format(False), "other end"),
    ("return [0] * len(q)", "once"),
]


def damage(rho, R, order):
    P = rho[order][:, order]
    delta = torch.linalg.solve_triangular(P.triu(), R[:, order], upper=True, left=False)
    return (delta @ P.tril(-1)).pow(2).sum().item()


def check(ask, draw):
    T, theirs, rules, given, same = 10, 0.0, 0.0, 0.0, True
    for _ in range(3):
        C, L = uneven(draw, 24)
        K = L @ (normal(draw, 24, T) + normal(draw, 24, 2).repeat(1, T // 2))  # two relations
        K, R = K * normal(draw, T).mul(0.3).exp(), normal(draw, 6, T)
        U = torch.linalg.solve(C, K)
        q = (K * U).sum(0)
        rho = K.T @ U / q[:, None]
        found = ask("order", rho, R, q)
        try:
            found = [int(i) for i in found]
        except (TypeError, ValueError):
            raise Wrong("Return a list of numbers, the order of writing.") from None
        if sorted(found) != list(range(T)):
            raise Wrong(f"Each number from 0 to {T - 1} should be there once.")
        rule = (R.norm(dim=0) / q).argsort(descending=True).tolist()
        same &= found in (rule, rule[::-1])
        turned, plain = found == rule[::-1], found == list(range(T))
        theirs, rules = theirs + damage(rho, R, found), rules + damage(rho, R, rule)
        given += damage(rho, R, list(range(T)))
    said = f"damage {theirs:.1f}, by the rule {rules:.1f}, in the order given {given:.1f}"
    if theirs <= 0.9 * rules:
        return f"solved: {said}."
    if same:
        why = (
            "the rule from the other end: the loudest comes last." if turned else "the rule itself."
        )
        raise Wrong(f"{said}: this is {why} Try small changes, and keep what helps.")
    if plain:
        raise Wrong(f"{said}: this is the order as given. Forecast the damage of another one.")
    raise Wrong(
        f"{said}: 90 % of the rule's is asked. Can two facts still be swapped for the better?"
    )
