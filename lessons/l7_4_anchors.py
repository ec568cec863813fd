"""★★ Anchors, and a null anchor

Every expert has an anchor, a unit vector, and a prompt goes to the expert whose anchor is nearest,
unless it is not close to any: then the null anchor wins, and the unedited model answers. When an
expert is added, the router is fitted again, to all stored prompts: a classification with one extra
class, for no expert. A row of scores is [b, s_1 … s_t], with s_i = κ cos(k_i, v).

    refit_loss   with p the softmax over a row of scores [b, s_1 … s_t],
                     mean over stored prompts of −log p(their own expert)
                   + mean over calm texts of −log p(no expert)
    refit        steps of Adam on this loss, all from the same start: the two matrices of the
                 network, the newest anchor (the last one), and b change, and older anchors stay
                 fixed. At the end, normalize all anchors to unit vectors. `scored` is given: it
                 computes rows of scores for a router

    own (n, 1 + t)   scores of stored prompts, the null anchor's b in the first column
    owner (n,)       the expert of each prompt, 0 … t − 1
    calm (m, 1 + t)  scores of texts that belong to no expert
    router           [down (h, m), up (d, h), keys (t, d), b ()], tensors
    e (n, m), others (k, m)   representations of stored prompts, and of calm texts
    refit_loss: returns one number
    refit: returns the new router, a list of its four parts

Hint: torch.nn.functional.normalize(x, dim=-1) makes rows unit vectors. Which column of `own`
belongs to expert 0?
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize, silu


def refit_loss(own: Tensor, owner: Tensor, calm: Tensor) -> Tensor:
    # solution
    stored = own.log_softmax(1)[torch.arange(len(own)), owner + 1]
    nobody = calm.log_softmax(1)[:, 0]
    return -stored.mean() - nobody.mean()


def scored(router: list, e: Tensor, kappa: float = 16.0) -> Tensor:
    """Rows of scores (n, 1 + t): b, then κ cos of v with every anchor."""
    down, up, keys, b = router
    v = silu(e @ down.T) @ up.T
    cosines = normalize(v, dim=1) @ normalize(keys, dim=1).T
    return torch.cat([b.expand(len(e), 1), kappa * cosines], 1)


def refit(router: list, e: Tensor, owner: Tensor, others: Tensor, steps: int, lr: float) -> list:
    # solution
    old = router[2][:-1]
    parts = [part.clone().requires_grad_() for part in (*router[:2], router[2][-1:], router[3])]
    adam = torch.optim.Adam(parts, lr=lr)
    for _ in range(steps):
        down, up, key, b = parts
        now = [down, up, torch.cat([old, key]), b]
        loss = refit_loss(scored(now, e), owner, scored(now, others))
        adam.zero_grad()
        loss.backward()
        adam.step()
    down, up, key, b = (part.detach() for part in parts)
    return [down, up, normalize(torch.cat([old, key]), dim=1), b]


# --- checks
from lessons.marking import Wrong, agree, mistaken, normal, same, several, tensor

LOSS = {  # message: the pieces of `refit_loss` that the mistake replaces
    "refit_loss: calm texts are ignored, so no text is kept out.": {" - nobody.mean()": ""},
    "refit_loss: every prompt is sent to the expert before its own: b is the first column.": {
        "owner + 1": "owner"
    },
    "refit_loss: this is one mean over all texts, so the larger group counts more: each group has "
    "its own mean.": {"-stored.mean() - nobody.mean()": "-torch.cat([stored, nobody]).mean()"},
    "refit_loss: stored prompts also have to compete with the null anchor, or a score below b "
    "costs nothing.": {"own.log": "own[:, 1:].log", "owner + 1": "owner"},
    "refit_loss: these are probabilities; a cross-entropy uses their logarithm.": {
        "stored.mean() - nobody": "stored.exp().mean() - nobody.exp()"
    },
    "refit_loss: these are sums; each group has its own mean.": {"mean()": "sum()"},
    "refit_loss: the softmax runs over the prompts; in each row the anchors compete.": {
        "log_softmax(1)": "log_softmax(0)"
    },
    "refit_loss: calm texts have the other sign here, so they are sent to an expert.": {
        "- nobody": "+ nobody"
    },
    "refit_loss: these are scores; p is their softmax.": {".log_softmax(1)": ""},
    "refit_loss: the null anchor is in the first column, not in the last.": {"[:, 0]": "[:, -1]"},
    "refit_loss: each prompt is compared with every owner; row i has only owner[i].": {
        "[torch.arange(len(own)), owner + 1]": "[:, owner + 1]"
    },
    "refit_loss: the sign is flipped; this grows if routing is right.": {
        "return -stored.mean() - nobody": "return stored.mean() + nobody"
    },
}
WRONG = [
    *((pieces, why) for why, pieces in LOSS.items()),
    ({"old = router[2][:-1]": "old = router[2][:0]", "router[2][-1:]": "router[2]"},
     "older anchors"),
    ({"    adam.zero_grad()\n": ""}, "add up"),
    ({"loss.backward()": "(-loss).backward()"}, "uphill"),
    ({"normalize(torch.cat([old, key]), dim=1)": "torch.cat([old, key])"}, "unit"),
    ({"Adam(parts,": "Adam(parts[:3],"}, "did not change"),
]  # fmt: skip


def check(ask, draw):
    d, t = 10, 4
    owner = torch.arange(12) % t
    own, away = normal(draw, 12, 1 + t), normal(draw, 5, 1 + t)
    given = own, owner, away
    likely = {why: mistaken(refit_loss, how)(*given) for why, how in LOSS.items()}
    wanted = refit_loss(*given)
    agree(ask("refit_loss", own, owner, away), wanted, "refit_loss", likely)
    start = [normal(draw, 8, d), normal(draw, 6, 8), normalize(normal(draw, t, 6), dim=1)]
    start += [torch.tensor(8.0).double()]
    e, others = normal(draw, 12, d), normal(draw, 5, d)
    names = "down, the first matrix", "up, the second matrix", "the anchors", "b"
    for steps in (1, 3):
        asked = start, e, owner, others, steps, 0.02
        found, wanted = ask("refit", *asked), refit(*asked)
        several(found, 4, "refit: return a router, a list of four: down, up, the anchors and b.")
        found = [
            tensor(one, tuple(part.shape), f"refit: {name}")
            for one, part, name in zip(found, wanted, names, strict=True)
        ]
        if not same(found[2][:-1], start[2][:-1]):
            raise Wrong("refit: older anchors have changed; fit only the newest.")
        if not same(found[2].norm(dim=1), torch.ones(t).double()):
            raise Wrong(
                "refit: normalize the anchor at the end, so that it is a unit vector again."
            )
        for name, one, part, old in zip(names, found, wanted, start, strict=True):
            if steps > 1 and not same(one, part):
                raise Wrong(
                    f"refit: {name}: one step is right, but three are not. Does each step "
                    "continue from the previous step? Gradients add up unless you reset them to "
                    "zero."
                )
            likely = {
                f"refit: {name}, did not change; it should also be fitted.": old,
                f"refit: {name}, moved uphill.": 2 * old - part,
            }
            agree(one, part, f"refit: {name}", likely)
    return "solved: twelve prompts find their expert, and the fit uses all of them at once."
