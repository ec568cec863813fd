"""★★ Three hinges, and one step

WISE asks how far a side memory τ moves the output of a layer on a text: Δ is the mean of ‖τ a‖ over
the inputs a at the text's tokens. It trains this router: Δ shall be large at edits (Δ_e) and small
at irrelevant texts (Δ_i). The margin loss is the sum of three hinges,

    max(0, Δ_i − α)      max(0, β − Δ_e)      max(0, γ − (Δ_e − Δ_i))

each the *mean over its terms above 0* (0 if there is none): one for each irrelevant text, one for
each edit, one for each pair of the two. Write it in two steps, of which the second uses the first:

    margin_loss   this loss, of some Δ
    margin_step   one step of τ downhill in this loss, inside the mask

    edits (n,), calm (m,)  Δ of each edit, and of each irrelevant text
    margins      (alpha, beta, gamma)
    tau, mask    (d_out, d_in)      mask is True where an entry may change
    own, others  lists of (tokens, d_in): the inputs of each edit, and of each irrelevant text
    lr           a number
    margin_loss: returns one number, as a tensor
    margin_step: returns the new τ: the old one less lr times the gradient, inside the mask

Hint: x.clamp(min=0) is max(0, x). torch.autograd.grad(loss, tau) needs a tau that requires_grad_().
"""

import torch
from torch import Tensor


def margin_loss(edits: Tensor, calm: Tensor, margins: tuple) -> Tensor:
    # solution
    alpha, beta, gamma = margins
    gaps = gamma - (edits[None] - calm[:, None])
    hinges = [terms.clamp(min=0) for terms in (calm - alpha, beta - edits, gaps)]
    return sum(hinge.sum() / max(1, int((hinge > 0).sum())) for hinge in hinges)


def margin_step(
    tau: Tensor, mask: Tensor, own: list, others: list, margins: tuple, lr: float
) -> Tensor:
    # solution
    tau = tau.clone().requires_grad_()
    edits = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in own])
    calm = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in others])
    loss = margin_loss(edits, calm, margins)
    return tau.detach() - lr * mask * torch.autograd.grad(loss, tau)[0]


# --- checks
from lessons.marking import agree, normal

WRONG = [
    ({"(calm - alpha, beta - edits, gaps)": "[(calm - alpha)[:, None] + beta - edits + gaps]"},
     "make up for"),
    ({"hinge.sum() / max(1, int((hinge > 0).sum()))": "hinge.mean()"}, "satisfied"),
    ({"max(1, int((hinge > 0).sum()))": "(hinge > 0).sum()"}, "no term above 0"),
    ({"tau.detach() - lr * mask * ": "mask * tau.detach() - lr * mask * "}, "erases"),
    ({"edits, gaps)": "edits)"}, "third"),
    ({"() - lr": "() + lr"}, "uphill"),
    ({"mask * ": ""}, "outside the mask"),
    ({".norm(dim=1).mean()": ".mean(0).norm()"}, "length of a mean"),
    ({".norm(dim=1).mean()": ".norm(dim=1).sum()"}, "long texts"),
]  # fmt: skip


def mean(parts):
    return sum(part.clamp(min=0).sum() / max(1, int((part > 0).sum())) for part in parts)


def check(ask, draw):
    alpha, beta, gamma = margins = (1.0, 4.0, 2.5)
    e, i = torch.tensor([9.0, 2.0, 3.6]).double(), torch.tensor([0.1, 2.0, 1.3]).double()
    parts = [i - alpha, beta - e, gamma - (e - i[:, None])]
    likely = {
        "One max around the whole sum: a wide margin here would make up for a missing one there. "
        "Each hinge has its own.": mean([parts[0][:, None] + parts[1] + parts[2]]),
        "The mean is over all terms here, and satisfied terms water it down.": sum(
            part.clamp(min=0).mean() for part in parts
        ),
        "The third hinge is missing: the gap.": mean(parts[:2]),
        "Each hinge is a sum here, and not a mean over its terms above 0.": sum(
            part.clamp(min=0).sum() for part in parts
        ),
        "max(0, ·) is missing: terms that are satisfied pull as well.": sum(
            part.mean() for part in parts
        ),
        "The gap is turned round: Δ_e should be larger than Δ_i by γ.": mean(
            [*parts[:2], 2 * gamma - parts[2]]
        ),
        "The first two hinges are turned round: Δ_i should be small, and Δ_e large.": mean(
            [-parts[0], -parts[1], parts[2]]
        ),
        "The gap is taken pair by pair in a row; each edit belongs to each irrelevant text.": (
            mean([*parts[:2], parts[2].diagonal()])
        ),
    }
    agree(ask("margin_loss", e, i, margins), mean(parts), "margin_loss", likely)
    agree(ask("margin_loss", e[:1], i[:1], margins), 0.0, "margin_loss of no term above 0")
    tau, mask = normal(draw, 5, 6), normal(draw, 5, 6) > 0
    own, others = (
        [d[n] * a / (a @ tau.T).norm(dim=1).mean() for n, a in enumerate(normal(draw, 3, 4, 6))]
        for d in (e, i)
    )

    def gradient(pool=lambda moved: moved.norm(dim=1).mean()):
        at = tau.clone().requires_grad_()
        e, i = (torch.stack([pool(a @ at.T) for a in some]) for some in (own, others))
        return torch.autograd.grad(mean([i - alpha, beta - e, gamma - (e - i[:, None])]), at)[0]

    likely = {
        "Δ has lengths, and not squares.": gradient(lambda moved: moved.pow(2).sum(1).mean()),
        "The step goes uphill: subtract the gradient.": -gradient(),
        "Δ is a mean of lengths; in the length of a mean, tokens cancel.": gradient(
            lambda moved: moved.mean(0).norm()
        ),
        "Δ is a mean over tokens; with a sum, long texts would always be let in.": gradient(
            lambda moved: moved.norm(dim=1).sum()
        ),
    }
    likely = {reason: tau - 0.1 * mask * found for reason, found in likely.items()}
    likely |= {
        "Entries outside the mask have moved, those of other memories.": tau - 0.1 * gradient(),
        "The mask is turned round: True is where an entry may change.": tau
        - 0.1 * ~mask * gradient(),
        "This is the step alone: the new τ is asked for.": -0.1 * mask * gradient(),
        "The mask is for the step; here it erases τ outside.": mask * (tau - 0.1 * gradient()),
    }
    agree(
        ask("margin_step", tau, mask, own, others, margins, 0.1),
        tau - 0.1 * mask * gradient(),
        "the new τ",
        likely,
    )
    return "solved: hinges pull until the margin is there, and then leave the rest to the answer."
