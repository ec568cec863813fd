"""★★ Anchors, and one for nobody

Every expert has an anchor, a unit vector, and a prompt goes to the expert whose anchor is nearest,
unless it is near to none: then the null anchor wins, and the base model answers. When an expert is
added, the router is fitted again, to all prompts that are stored: a classification with one class
more, for nobody.

    route        scores s_i = κ cos(k_i, v); the largest wins if it is above b, else nobody, −1
    refit_loss   with p the softmax over a row of scores [b, s_1 … s_t],
                     mean over stored prompts of −log p(their own expert)
                   + mean over calm texts of −log p(nobody)

    keys (t, d)      unit anchors, one per row     b, kappa: numbers
    v (n, d)         prompts, one per row, of any length
    own (n, 1 + t)   scores of stored prompts, the null anchor's b in the first column
    owner (n,)       whose prompt each is, 0 … t − 1
    calm (m, 1 + t)  scores of texts that are nobody's
    route: returns (n,), numbers of experts, −1 for nobody
    refit_loss: returns one number

Hint: torch.nn.functional.normalize(x, dim=-1) makes rows unit vectors. In which column of `own`
does expert 0 stand?
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def route(keys: Tensor, b: float, v: Tensor, kappa: float) -> Tensor:
    # solution
    best, i = (kappa * normalize(v, dim=-1) @ keys.T).max(1)
    return torch.where(best > b, i, -1)


def refit_loss(own: Tensor, owner: Tensor, calm: Tensor) -> Tensor:
    # solution
    stored = own.log_softmax(1)[torch.arange(len(own)), owner + 1]
    nobody = calm.log_softmax(1)[:, 0]
    return -stored.mean() - nobody.mean()


# --- checks
from lessons.marking import agree, normal, tensor

OWN = "stored = own.log_softmax(1)[torch.arange(len(own)), owner + 1]\n"
CALM = "nobody = calm.log_softmax(1)[:, 0]\n"
BOTH = CALM + "return -stored.mean() - nobody.mean()"
WRONG = [
    ({"route": "return (kappa * normalize(v, dim=-1) @ keys.T).argmax(1)"}, "always"),
    (
        {"route": "best, i = (kappa * v @ keys.T).max(1)\nreturn torch.where(best > b, i, -1)"},
        "long",
    ),
    (
        {
            "route": "best, i = (normalize(v, dim=-1) @ keys.T).max(1)\n"
            "return torch.where(best > b, i, -1)"
        },
        "κ",
    ),
    ({"refit_loss": OWN + "return -stored.mean()"}, "stays out"),
    ({"refit_loss": OWN.replace("owner + 1", "owner") + BOTH}, "expert before"),
    ({"refit_loss": OWN + CALM + "return -torch.cat([stored, nobody]).mean()"}, "one mean"),
    (
        {"refit_loss": OWN.replace("own.", "own[:, 1:].").replace("owner + 1", "owner") + BOTH},
        "compete",
    ),
    (
        {"refit_loss": OWN + CALM + "return -stored.exp().mean() - nobody.exp().mean()"},
        "logarithm",
    ),
]


def check(ask, draw):
    d, t, kappa = 10, 4, 16.0
    centers = torch.linalg.qr(normal(draw, d, d)).Q
    owner = torch.arange(12) % t
    v = centers[owner] + 0.12 * normal(draw, 12, d)
    v = v * (0.7 * normal(draw, 12, 1)).exp()
    v[0] *= 8.0
    calm = (centers[t:] + 0.15 * normal(draw, d - t, d)) * 3 + centers[0]
    unit, quiet = (x / x.norm(dim=1, keepdim=True) for x in (v, calm))
    keys = torch.stack([unit[owner == i].mean(0) for i in range(t)])
    keys = keys / keys.norm(dim=1, keepdim=True)
    scores, others = kappa * unit @ keys.T, kappa * quiet @ keys.T
    b = ((others.max() + scores[torch.arange(12), owner].min()) / 2).item()
    asked = torch.cat([v, calm])
    found = tensor(ask("route", keys, b, asked, kappa), (12 + d - t,), "route", "one per prompt")
    wanted = torch.cat([owner, torch.full((d - t,), -1)]).double()
    plain = (kappa * asked @ keys.T).max(1)
    likely = {
        "route: somebody always answers: where is the null anchor?": (
            (kappa * torch.cat([unit, quiet]) @ keys.T).argmax(1)
        ),
        "route: a long vector is near to everybody here. A cosine has unit vectors.": (
            torch.where(plain.values > b, plain.indices, -1)
        ),
        "route: nobody answers anywhere. Is it the largest score? And is κ in it? Without κ "
        "a score is a cosine, at most 1 and below b.": torch.full_like(wanted, -1),
        "route: experts count from 0, and nobody is −1.": wanted + 1,
        "route: turned round, an expert answers where its score is *below* b.": torch.where(
            torch.cat([scores, others]).max(1).values > b,
            -1,
            torch.cat([scores, others]).argmax(1),
        ),
        "route: a prompt is a row of v; here its columns have been made unit vectors.": torch.where(
            (kappa * asked / asked.norm(dim=0) @ keys.T).max(1).values > b,
            (asked / asked.norm(dim=0) @ keys.T).argmax(1),
            -1,
        ),
    }
    agree(found, wanted, "route", likely)
    own, away = normal(draw, 12, 1 + t), normal(draw, 5, 1 + t)
    found = tensor(ask("refit_loss", own, owner, away), (), "refit_loss")
    rows = torch.arange(12)
    stored = -own.log_softmax(1)[rows, owner + 1]
    nobody = -away.log_softmax(1)[:, 0]
    alone = -own[:, 1:].log_softmax(1)[rows, owner]
    likely = {
        "refit_loss: no calm text counts, so nothing says what stays out.": stored.mean(),
        "refit_loss: every prompt is sent to the expert before its own: b has the first column.": (
            nobody.mean() - own.log_softmax(1)[rows, owner].mean()
        ),
        "refit_loss: this is one mean over all texts, in which the larger group has more to say: "
        "each group has a mean of its own.": torch.cat([stored, nobody]).mean(),
        "refit_loss: stored prompts have to compete with the null anchor as well, or a score below "
        "b costs nothing.": alone.mean() + nobody.mean(),
        "refit_loss: these are probabilities; a cross-entropy has their logarithm.": (
            -(-stored).exp().mean() - (-nobody).exp().mean()
        ),
        "refit_loss: these are sums; each group has a mean of its own.": (
            stored.sum() + nobody.sum()
        ),
        "refit_loss: the softmax runs over the prompts; in each row the anchors compete.": (
            -own.log_softmax(0)[rows, owner + 1].mean() - away.log_softmax(0)[:, 0].mean()
        ),
        "refit_loss: calm texts have the other sign here, so they are sent to an expert.": (
            stored.mean() - nobody.mean()
        ),
        "refit_loss: these are scores; p is their softmax.": (
            -own[rows, owner + 1].mean() - away[:, 0].mean()
        ),
        "refit_loss: nobody stands in the first column, not in the last one.": (
            stored.mean() - away.log_softmax(1)[:, -1].mean()
        ),
        "refit_loss: each prompt is asked for every owner; row i has owner[i] alone.": (
            nobody.mean() - own.log_softmax(1)[:, owner + 1].mean()
        ),
        "refit_loss: the sign is turned; this grows where prompts go right.": -stored.mean()
        - nobody.mean(),
    }
    agree(found, stored.mean() + nobody.mean(), "refit_loss", likely)
    return "solved: twelve prompts find their expert, and the fit asks for all of them at once."
