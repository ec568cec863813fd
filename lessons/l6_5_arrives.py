"""★★★ Why rewordings do not follow

A turn writes Δ = V (KᵀK + λI)⁻¹ Kᵀ: at the key k_i, column i of K, the output should shift by v_i,
column i of V. Another wording of fact i has another key k′. Which part of the shift arrives there?
Write it in three steps:

    arrives  how much of each of the n shifts Δ k′ contains: the numbers a with Δ k′ = V a
    share    ⟨v_i, Δ k′⟩ / ‖v_i‖²: everything that arrives at k′, along the shift of fact i
    wider    write facts in several wordings, and test them in a wording that was not among them

    K  (d_in, n)     V (d_out, n)     k_new (d_in,), k′     lam, i: numbers; i counts from 0
    facts            a list of [wordings, answer], where wordings is a list of prompts
    kept             a whole number: the last `kept` wordings of each fact are not written
    arrives returns (n,), share a number, wider two lists of [prompt, answer]: those to write
    and those to test, fact after fact and each fact's wordings in their order

Hint: you don't need to form Δ. What is (KᵀK + λI)⁻¹ Kᵀ k′, and how does V enter? If the shifts of
two facts point in the same direction, the part that arrives from the second also counts along the
first.
Investigate: what does `arrives` give at an own key, and what if λ is large?
"""

import torch
from torch import Tensor


def arrives(K: Tensor, lam: float, k_new: Tensor) -> Tensor:
    # solution
    return torch.linalg.solve(K.T @ K + lam * torch.eye(K.shape[1]), K.T @ k_new)


def share(V: Tensor, K: Tensor, lam: float, k_new: Tensor, i: int) -> Tensor:
    # solution
    arrived = V @ arrives(K, lam, k_new)  # Δ k′, (d_out,)
    return V[:, i] @ arrived / (V[:, i] @ V[:, i])


def wider(facts: list, kept: int) -> list:
    # solution
    written = [[prompt, answer] for prompts, answer in facts for prompt in prompts[:-kept]]
    asked = [[prompt, answer] for prompts, answer in facts for prompt in prompts[-kept:]]
    return [written, asked]


# --- checks
from lessons.marking import Wrong, agree, normal, several

WRONG = [
    ({"K.T @ K + lam * torch.eye(K.shape[1]), K.T @ k_new": "K.T @ K, K.T @ k_new"}, "98"),
    ({"return torch.linalg.solve(K.T @ K + lam * torch.eye(K.shape[1]), K.T @ k_new)":
      "return K.T @ k_new"}, "overlap"),
    ({"return torch.linalg.solve(K.T @ K + lam * torch.eye(K.shape[1]), K.T @ k_new)":
      "return K.T @ k_new / (K.norm(dim=0) * k_new.norm())"}, "cosines"),
    ({"K.T @ k_new)": "K.T @ (k_new / k_new.norm()))"}, "raw"),
    ({"share": "return arrives(K, lam, k_new)[i]"}, "same direction"),
    ({"V[:, i] @ arrived /": "arrived @ arrived /"}, "along this fact's own"),
    ({" / (V[:, i] @ V[:, i])": " / V[:, i].norm()"}, "Square"),
    ({"prompts[:-kept]]": "prompts]"}, "teach what you test"),
    ({"prompts[:-kept]": "prompts[:1]"}, "additional wordings"),
    ({"prompts[-kept:]": "prompts[-1:]"}, "too few"),
]  # fmt: skip


def check(ask, draw):
    d_in, d_out, n, lam, i = 12, 5, 4, 0.3, 2
    common = normal(draw, d_in)
    K = common[:, None] + 0.7 * normal(draw, d_in, n)  # keys that overlap
    V = normal(draw, d_out, n) + 0.8 * normal(draw, d_out, 1)  # and shifts that do
    k_new = K[:, i] + 0.5 * normal(draw, d_in)
    one, heard = torch.eye(n).double(), K.T @ k_new

    def solved(b, lam=lam):
        return torch.linalg.solve(K.T @ K + lam * one, b)

    wanted = solved(heard)
    likely = {
        "Where is λ? Without it, a shift is granted in full at its own key; with the notebook's "
        "ridge, only about 98% of it.": solved(heard, 0.0),
        "These are inner products: if keys overlap, the regression removes the part counted "
        "twice.": heard,
        "These are cosines; return Δ k′, in fractions of the columns of V.": (
            heard / K.norm(dim=0) / k_new.norm()
        ),
        "k′ has a different length here: the matrix reads raw keys, and k̂ only determines the "
        "size of the requested shift.": solved(heard / k_new.norm()),
        "λ is added to every entry; λ I has it only on the diagonal.": (
            torch.linalg.solve(K.T @ K + lam, heard)
        ),
        "You multiply by (KᵀK + λI); divide by it instead.": (K.T @ K + lam * one) @ heard,
    }
    agree(ask("arrives", K, lam, k_new), wanted, "arrives", likely, note="one per token")
    v, arrived = V[:, i], V @ wanted
    likely = {
        "This is how much of this single shift arrives. Others also arrive, and if shifts point "
        "in the same direction, they count along v_i.": wanted[i],
        "This measures everything that arrives, in any direction: use the part along this fact's "
        "own v_i.": arrived @ arrived / (v @ v),
        "This is the length of everything that arrives: use the part along this fact's own v_i.": (
            arrived.norm() / v.norm()
        ),
        "Square ‖v_i‖: at its own key, a fact should get about 1.": v @ arrived / v.norm(),
        "This is not a fraction yet: divide by ‖v_i‖².": v @ arrived,
        "This is the cosine between the part that arrives and v_i: it does not show how much "
        "arrives.": (v @ arrived / v.norm() / arrived.norm()),
    }
    found = ask("share", V, K, lam, k_new, i)
    agree(found, v @ arrived / (v @ v), "share", likely, note="one number")
    facts = [[[f"{a} {b}" for b in "wxyz"[: 4 - (a == "B")]], a.lower()] for a in "ABC"]
    for kept in (1, 2):
        sentence = (
            "wider: return a list of two lists, the prompts to write and the prompts to test."
        )
        written, asked = several(ask("wider", facts, kept), 2, sentence)
        both = wider(facts, kept)
        pairs = [{tuple(pair) for pair in some} for some in (written, asked)]
        if pairs[0] & pairs[1]:
            raise Wrong("wider: you teach what you test, because a wording is in both lists.")
        if len(written) < len(both[0]):
            raise Wrong("wider: the additional wordings are missing from the prompts to write.")
        if len(asked) < len(both[1]):
            raise Wrong(f"wider: too few are tested, {len(asked)} instead of {len(both[1])}.")
        for name, found, right in zip(("to write", "to test"), (written, asked), both, strict=True):
            if [list(pair) for pair in found] != right:
                raise Wrong(
                    f"wider: the list of prompts {name} is not [prompt, answer], fact after fact."
                )
    return (
        "solved: another wording receives the part that its key has in common with the edit's key."
    )
