"""★★★ What do the pairs give away?

Somebody hides a matrix W and shows a few of its pairs, K and V = W K, without any noise. Then you
are asked about new keys. For some of them the answer W q is certain, whatever W is; for the others
W could be a matrix that says something else. Return the certain answers.

    K  (d_in, n)     the keys shown; there may be more or fewer than d_in, and they may overlap
    V  (d_out, n)    V = W K exactly
    Q  (d_in, m)     the keys asked for
    returns a list of m entries: W q as a tensor (d_out,) where it is certain, None where it is not

Investigate: two matrices that agree on K differ by an H with H K = 0. For which q is H q = 0 for
every such H? Is it a matter of how many pairs there are?

Hint: torch.linalg.lstsq(K, q[:, None], driver="gelsd").solution is the combination of shown keys
that comes closest to q. Count a rest of less than 10⁻⁶ ‖q‖ as none.
"""

import torch
from torch import Tensor


def betrayed(K: Tensor, V: Tensor, Q: Tensor) -> list:
    # solution
    answers = []
    for q in Q.T:
        # q = K a: then W q = W K a = V a
        a = torch.linalg.lstsq(K, q[:, None], driver="gelsd").solution
        certain = (K @ a - q[:, None]).norm() < 1e-6 * q.norm()
        answers.append((V @ a)[:, 0] if certain else None)
    return answers


# --- checks
from lessons.marking import Wrong, normal, same, tensor

WRONG = [
    ("W = V @ torch.linalg.pinv(K)\nreturn list((W @ Q).T)", "another matrix"),
    (
        "if K.shape[1] < K.shape[0]:\n"
        "    return [None] * Q.shape[1]\n"
        "return list((V @ torch.linalg.pinv(K) @ Q).T)",
        "few pairs",
    ),
    (
        "out = []\nfor q in Q.T:\n"
        "    near = [(K[:, i] - q).norm() < 1e-6 for i in range(K.shape[1])]\n"
        "    out.append(V[:, near.index(True)] if any(near) else None)\n"
        "return out",
        "combination",
    ),
]


def check(ask, draw):
    d, out = 8, 3
    flat = normal(draw, d, 3) @ normal(draw, 3, 12)
    given = {"5 keys": normal(draw, d, 5), "12 keys in 3 dimensions": flat}
    given["20 keys"] = normal(draw, d, 20)
    for what, K in given.items():
        n, W = K.shape[1], normal(draw, out, d)
        inside = K @ normal(draw, n, 2)
        Q = torch.cat([K[:, :1], inside, normal(draw, d, 2)], 1)
        Q, known = Q.roll(1, 1), [n == 20, True, True, True, n == 20]
        found = ask("betrayed", K, W @ K, Q)
        if not isinstance(found, list) or len(found) != 5:
            raise Wrong("Return a list with one entry per new key, a tensor or None.")
        for i, (answer, certain) in enumerate(zip(found, known, strict=True)):
            where = f"{what}, new key {i + 1}: "
            if answer is None and certain:
                if any(a is not None for a in found):
                    raise Wrong(
                        f"{where}it is a combination of shown keys, and W is linear: W q follows."
                    )
                if n < d:
                    raise Wrong(f"{where}few pairs do not give W, but they do give this answer.")
                raise Wrong(f"{where}W itself is open, but is W q for this one key?")
            if answer is None:
                continue
            if not certain:
                raise Wrong(
                    f"{where}there is another matrix with the same pairs and another answer here."
                )
            answer = tensor(answer, (out,), f"{where}the answer")
            if not same(answer, W @ Q[:, i]):
                raise Wrong(f"{where}the answer is certain, but it is not this one.")
    return "solved: certain is what lies in the span of the keys shown, however many they are."
