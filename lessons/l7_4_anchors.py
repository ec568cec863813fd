"""★★ Anchors, and one for nobody

Every expert has an anchor, a unit vector, and a prompt goes to the expert whose anchor is nearest,
unless it is near to none: then the null anchor wins, and the base model answers.

    route    scores s_i = κ cos(k_i, v); the largest wins, if it is above b, otherwise nobody, −1
    place    unit anchors, each along the mean of the *unit* vectors of its own prompts, and b in
             the middle between the largest score of any calm text and the smallest that a stored
             prompt has with its own anchor (they can be told apart here)

    keys (t, d)      unit anchors, one per row     b, kappa: numbers
    v (n, d)         prompts, one per row, of any length
    owner (n,)       whose prompt each is, 0 … t − 1     calm (m, d): texts that are nobody's
    route: returns (n,), numbers of experts, −1 for nobody
    place: returns [keys (t, d), b]

Hint: torch.nn.functional.normalize(x, dim=-1) makes rows unit vectors. Is a mean of unit vectors
one?
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def route(keys: Tensor, b: float, v: Tensor, kappa: float) -> Tensor:
    # solution
    best, i = (kappa * normalize(v, dim=-1) @ keys.T).max(1)
    return torch.where(best > b, i, -1)


def place(v: Tensor, owner: Tensor, calm: Tensor, kappa: float) -> list:
    # solution
    v, calm = normalize(v, dim=-1), normalize(calm, dim=-1)
    count = int(owner.max()) + 1
    keys = normalize(torch.stack([v[owner == t].mean(0) for t in range(count)]), dim=-1)
    own = kappa * (v * keys[owner]).sum(1)
    return [keys, (own.min() + kappa * (calm @ keys.T).max()) / 2]


# --- checks
from lessons.marking import Wrong, agree, normal, tensor

PLACE = (
    "v, calm = normalize(v, dim=-1), normalize(calm, dim=-1)\ncount = int(owner.max()) + 1\n"
    "keys = normalize(torch.stack([v[owner == t].mean(0) for t in range(count)]), dim=-1)\n"
    "own = kappa * (v * keys[owner]).sum(1)\n"
)
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
    (
        {
            "place": PLACE.replace("keys = normalize(torch.stack(", "keys = (torch.stack(").replace(
                "range(count)]), dim=-1)", "range(count)]))"
            )
            + "return [keys, (own.min() + kappa * (calm @ keys.T).max()) / 2]"
        },
        "shorter",
    ),
    (
        {
            "place": PLACE.replace("v, calm = normalize(v, dim=-1), ", "calm = ")
            + "return [keys, (own.min() + kappa * (calm @ keys.T).max()) / 2]"
        },
        "loudest",
    ),
    ({"place": PLACE + "return [keys, kappa * (calm @ keys.T).max()]"}, "edge"),
    ({"place": PLACE + "return [keys, kappa / 2]"}, "guess"),
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
    means = torch.stack([unit[owner == i].mean(0) for i in range(t)])
    keys = means / means.norm(dim=1, keepdim=True)
    scores, others = kappa * unit @ keys.T, kappa * quiet @ keys.T
    low, high = others.max(), scores[torch.arange(12), owner].min()
    b = ((low + high) / 2).item()
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
        "route: nobody is ever chosen. A cosine is at most 1, and b is a score: κ is missing.": (
            torch.full_like(wanted, -1)
        ),
    }
    agree(found, wanted, "route", likely)
    found = ask("place", v, owner, calm, kappa)
    if not isinstance(found, list) or len(found) != 2:
        raise Wrong("place: return two things, the anchors and b.")
    theirs = tensor(found[0], (t, d), "place: keys", "one anchor per row")
    raw = torch.stack([v[owner == i].mean(0) for i in range(t)])
    likely = {
        "place: anchors are unit vectors, and a mean of unit vectors is shorter.": means,
        "place: the loudest prompt draws its anchor to itself: take unit vectors, then the mean.": (
            raw / raw.norm(dim=1, keepdim=True)
        ),
    }
    agree(theirs, keys, "place: keys", likely)
    likely = {
        "place: b is at the edge, the largest score of a calm text: the next one is let in.": low,
        "place: b is at the edge, the smallest score of a prompt stored: rewordings miss.": high,
        "place: κ/2 is a guess; look at the scores.": torch.tensor(kappa / 2),
        "place: b is a score, κ cos: this is a cosine.": torch.tensor(b / kappa),
    }
    agree(tensor(found[1], (), "place: b"), torch.tensor(b).double(), "place: b", likely)
    return "solved: twelve prompts find their expert, and the rest stays with the base model."
