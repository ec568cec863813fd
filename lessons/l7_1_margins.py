"""★★ Three hinges, and one step

WISE asks how far a side memory τ moves the output of a layer on a prompt: Δ is the mean of ‖τ a‖
over the inputs a at the prompt's tokens. It trains this router: Δ shall be large at edits (Δ_e) and
small at irrelevant texts (Δ_i). The margin loss is the sum of three hinges,

    max(0, Δ_i − α)      max(0, β − Δ_e)      max(0, γ − (Δ_e − Δ_i))

each of them the *mean over its terms above 0*, and 0 if there is none. The first has a term for
each irrelevant text, the second for each edit, the third for each pair of the two.

    edits  (n,)  others  (m,)     Δ_e and Δ_i       alpha, beta, gamma: numbers
    returns a number

Then write one step downhill in this loss. A memory's facts may only change the entries of its mask.

    tau   (d_out, d_in)      mask  (d_out, d_in)  True where an entry may change
    own, others              lists of (tokens, d_in): the inputs at the tokens of each text
    alpha, beta, gamma, lr   numbers
    returns the new τ (d_out, d_in): the old one less lr times the gradient, inside the mask

Hint: x.clamp(min=0) is max(0, x), entry by entry. torch.autograd.grad(loss, tau) is a gradient, if
tau requires one: tau = tau.clone().requires_grad_().
"""

import torch
from torch import Tensor


def margin_loss(edits: Tensor, others: Tensor, alpha: float, beta: float, gamma: float) -> Tensor:
    # solution
    gaps = gamma - (edits[None] - others[:, None])  # (m, n)
    loss = 0
    for terms in (others - alpha, beta - edits, gaps):
        loss = loss + terms.clamp(min=0).sum() / max(1, int((terms > 0).sum()))
    return loss


def margin_step(
    tau: Tensor,
    mask: Tensor,
    own: list[Tensor],
    others: list[Tensor],
    alpha: float,
    beta: float,
    gamma: float,
    lr: float,
) -> Tensor:
    # solution
    tau = tau.clone().requires_grad_()
    edits = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in own])
    calm = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in others])
    loss = margin_loss(edits, calm, alpha, beta, gamma)
    (gradient,) = torch.autograd.grad(loss, tau)
    return tau.detach() - lr * mask * gradient


# --- checks
from lessons.marking import agree, normal, tensor

TERMS = "gaps = gamma - (edits[None] - others[:, None])\n"
MEAN = "return sum(t.clamp(min=0).sum() / max(1, int((t > 0).sum())) for t in terms)"
STEP = (
    "tau = tau.clone().requires_grad_()\n"
    "edits = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in own])\n"
    "calm = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in others])\n"
    "(g,) = torch.autograd.grad(margin_loss(edits, calm, alpha, beta, gamma), tau)\n"
)
WRONG = [
    (
        TERMS + "rows = ((others - alpha)[:, None] + (beta - edits)[None] + gaps).clamp(min=0)\n"
        "return rows.sum() / max(1, int((rows > 0).sum()))",
        "make up for",
    ),
    (
        TERMS + "terms = others - alpha, beta - edits, gaps\n"
        "return sum(t.clamp(min=0).mean() for t in terms)",
        "satisfied terms",
    ),
    (TERMS + f"terms = alpha - others, edits - beta, gaps\n{MEAN}", "turned round"),
    (f"terms = others - alpha, beta - edits\n{MEAN}", "third"),
    ({"margin_step": STEP + "return (tau + lr * mask * g).detach()"}, "uphill"),
    ({"margin_step": STEP + "return (tau - lr * g).detach()"}, "outside the mask"),
    ({"margin_step": STEP + "return (mask * (tau - lr * g)).detach()"}, "set to 0"),
    (
        {
            "margin_step": STEP.replace(".norm(dim=1).mean()", ".mean(0).norm()")
            + "return (tau - lr * mask * g).detach()"
        },
        "mean of lengths",
    ),
    (
        {
            "margin_step": STEP.replace(".norm(dim=1).mean()", ".norm(dim=1).sum()")
            + "return (tau - lr * mask * g).detach()"
        },
        "long texts",
    ),
]


def hinges(edits, others, alpha, beta, gamma):
    return others - alpha, beta - edits, gamma - (edits[None] - others[:, None])


def mean(parts):
    return sum(part.clamp(min=0).sum() / max(1, int((part > 0).sum())) for part in parts)


def check(ask, draw):
    given = alpha, beta, gamma = 1.0, 4.0, 2.5
    for n, m in ((12, 7), (5, 9)):
        edits, others = 3.5 + 1.5 * normal(draw, n), 0.8 + 0.7 * normal(draw, m).abs()
        edits[0], others[0] = 9.0, 0.1  # without any hinge
        edits[1], others[1] = 2.0, 2.0  # with all of them
        found = tensor(ask("margin_loss", edits, others, *given), (), "the loss")
        low, high, gaps = hinges(edits, others, *given)
        rows = (low[:, None] + high[None] + gaps).clamp(min=0)
        likely = {
            "One max around the whole sum: a wide margin here would make up for a missing one "
            "there. Each hinge has its own.": mean([rows]),
            "The mean is over all terms here, and satisfied terms water it down.": sum(
                part.clamp(min=0).mean() for part in (low, high, gaps)
            ),
            "Two hinges are turned round: Δ_i shall be *below* α, Δ_e above β.": mean(
                [-low, -high, gaps]
            ),
            "The third hinge is missing: the gap between the two.": mean([low, high]),
        }
        agree(found, mean((low, high, gaps)), "the loss", likely)
    quiet = ask("margin_loss", edits * 0 + 9, others * 0, *given)
    agree(tensor(quiet, (), "the loss"), torch.zeros(()).double(), "the loss without a hinge")
    step(ask, draw, given)
    return "solved: hinges pull until the margin is there, and then leave the rest to the answer."


def step(ask, draw, given):
    tau, mask = 0.4 * normal(draw, 5, 6), normal(draw, 5, 6) > 0
    own, others = ([normal(draw, length, 6) for length in some] for some in ((4, 7), (3, 9, 5)))
    found = tensor(ask("margin_step", tau, mask, own, others, *given, 0.1), (5, 6), "the new τ")

    def gradient(pool):
        at = tau.clone().requires_grad_()
        edits, calm = (torch.stack([pool(a @ at.T) for a in some]) for some in (own, others))
        return torch.autograd.grad(mean(hinges(edits, calm, *given)), at)[0]

    G = gradient(lambda moved: moved.norm(dim=1).mean())
    likely = {
        "The step goes uphill: subtract the gradient.": tau + 0.1 * mask * G,
        "Entries outside the mask have moved: they belong to other memories.": tau - 0.1 * G,
        "Entries outside the mask were set to 0; they shall stay as they are. Mask the gradient.": (
            mask * (tau - 0.1 * G)
        ),
        "Δ is the mean of lengths; this is the length of a mean, in which tokens cancel.": (
            tau - 0.1 * mask * gradient(lambda moved: moved.mean(0).norm())
        ),
        "Δ is a mean over tokens; with a sum, long texts would always be let in.": (
            tau - 0.1 * mask * gradient(lambda moved: moved.norm(dim=1).sum())
        ),
    }
    agree(found, tau - 0.1 * mask * G, "the new τ", likely)
