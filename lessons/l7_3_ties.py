"""★★ Trim, elect, merge

Several shards were trained apart, and each changed the same matrix by its own τ_s. TIES joins them
to one change:

    trim      of every τ keep the share `density` of its entries that are largest in magnitude,
              round(density · number of entries) of them, and set the others to 0
    elect     per entry a sign: that of the sum of the trimmed τ
    merge     per entry the mean over those trimmed τ that have the elected sign; 0 where none has

    taus      list of tensors of one shape, which is any shape
    density   a number between 0 and 1
    returns a tensor of that shape

Hint: tau.abs().flatten().topk(count).indices are the places of the largest. A zero has no sign and
takes no part in a mean.
"""

import torch
from torch import Tensor


def ties(taus: list[Tensor], density: float) -> Tensor:
    # solution
    trimmed = []
    for tau in taus:
        kept = torch.zeros_like(tau).flatten()
        places = tau.abs().flatten().topk(round(density * tau.numel())).indices
        kept[places] = tau.flatten()[places]
        trimmed.append(kept.view_as(tau))
    stack = torch.stack(trimmed)
    chosen = (stack.sign() == stack.sum(0).sign()) & (stack != 0)
    return (stack * chosen).sum(0) / chosen.sum(0).clamp(min=1)


# --- checks
from lessons.marking import agree, normal

WRONG = [
    ("return sum(taus) / len(taus)", "plain mean"),
    ({"stack.sum(0).sign()) & (stack != 0)": "stack.sign())"}, "conflict"),
    ({"chosen.sum(0).clamp(min=1)": "len(taus)"}, "divisor"),
    ({"density * tau": "tau"}, "trim"),
    ({"round(density": "int(density"}, "cut off"),
    ({".clamp(min=1)": ""}, "divided by 0"),
    ({"stack.sum(0).sign())": "stack.sign().sum(0).sign())"}, "heads"),
    ({"stack.sum(0).sign()": "torch.stack(taus).sum(0).sign()"}, "has no vote"),
]


def trim(tau, density, size=torch.abs):
    least = size(tau).flatten().sort(descending=True).values[round(density * tau.numel()) - 1]
    return torch.where(size(tau) >= least, tau, 0.0)


def merged(stack, votes):
    chosen = (stack.sign() == votes.sign()) & (stack != 0)
    return (stack * chosen).sum(0) / chosen.sum(0).clamp(min=1), (stack * chosen).sum(0)


def check(ask, draw):
    for shape, k, density in (((9, 14), 4, 0.5), ((30,), 4, 0.72)):
        masks = [normal(draw, *shape) > -1 for _ in range(k)]
        taus = [  # at the first places two of them are in balance
            torch.where(m, normal(draw, *shape), 0.0).index_fill(-1, torch.tensor(0), x)
            for m, x in zip(masks, (5.0, -5.0, 0.0, 0.0), strict=True)
        ]
        raw, stack = torch.stack(taus), torch.stack([trim(tau, density) for tau in taus])
        wanted, total = merged(stack, stack.sum(0))
        signed, least, rest, fewer = (
            torch.stack([trim(tau, *how) for tau in taus])
            for how in (
                (density, torch.Tensor.double),
                (density, lambda x: -x.abs()),
                (1 - density,),
                (int(density * raw[0].numel()) / raw[0].numel(),),
            )
        )
        likely = {
            "This is a plain mean of all τ: what one shard alone changed is divided by their "
            "number.": raw.mean(0),
            "A mean over all of them: where two are in conflict they cancel. Elect a sign first.": (
                stack.mean(0)
            ),
            "The divisor is the number of shards; it should be the number that agreed.": total / k,
            "Without the trim: small entries vote, too.": merged(raw, raw.sum(0))[0],
            "Heads are counted here. The sign of the *sum* is elected: a large entry has a louder "
            "voice.": merged(stack, stack.sign().sum(0))[0],
            "All τ elect the sign here; what was trimmed has no vote.": (
                merged(stack, raw.sum(0))[0]
            ),
            "No sign is elected: those who disagree are in the mean, too.": (
                stack.sum(0) / (stack != 0).sum(0).clamp(min=1)
            ),
            "The largest by value are kept; by magnitude large negative entries stay, too.": (
                merged(signed, signed.sum(0))[0]
            ),
            "The smallest entries are kept; trim sets these to 0.": merged(least, least.sum(0))[0],
            "`density` is the share that is kept, not set to 0.": merged(rest, rest.sum(0))[0],
            "The count of entries is cut off, not rounded.": merged(fewer, fewer.sum(0))[0],
            "The merge has lost its signs: it is a mean of entries, not of sizes.": wanted.abs(),
            "A sum over those who agree; their mean is asked for.": total,
        }
        agree(ask("ties", taus, density), wanted, "the merge", likely)
    return "solved: what only one shard changed comes through whole."
