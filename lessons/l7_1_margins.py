"""★★ Three hinges

WISE measures how far a side memory τ moves the output of a layer on a text: Δ is the mean of ‖τ a‖
over the inputs a at the text's tokens. It trains this router: Δ should be large at edits (Δ_e) and
small at irrelevant texts (Δ_i). The margin loss is the sum of three hinges,

    max(0, Δ_i − α)      max(0, β − Δ_e)      max(0, γ − (Δ_e − Δ_i))

each the *mean over its terms above 0* (0 if there is none): one for each irrelevant text, one for
each edit, one for each pair of the two.

    edits (n,), calm (m,)  Δ of each edit, and of each irrelevant text
    margins                (alpha, beta, gamma)
    returns one number, as a tensor

Hint: x.clamp(min=0) is max(0, x). What shape do all pairs of Δ_e and Δ_i have?
"""

import torch
from torch import Tensor


def margin_loss(edits: Tensor, calm: Tensor, margins: tuple) -> Tensor:
    # solution
    alpha, beta, gamma = margins
    gaps = gamma - (edits[None] - calm[:, None])
    hinges = [terms.clamp(min=0) for terms in (calm - alpha, beta - edits, gaps)]
    return sum(hinge.sum() / max(1, int((hinge > 0).sum())) for hinge in hinges)


# --- checks
from lessons.marking import agree, normal

WRONG = [
    ({"(calm - alpha, beta - edits, gaps)": "[(calm - alpha)[:, None] + beta - edits + gaps]"},
     "compensate for"),
    ({"hinge.sum() / max(1, int((hinge > 0).sum()))": "hinge.mean()"}, "satisfied"),
    ({"max(1, int((hinge > 0).sum()))": "(hinge > 0).sum()"}, "without any term"),
    ({"edits, gaps)": "edits)"}, "third"),
    ({"(edits[None] - calm[:, None])": "(calm[:, None] - edits[None])"}, "reversed"),
    ({".clamp(min=0)": "", "hinge.sum() / max(1, int((hinge > 0).sum()))": "hinge.mean()"},
     "also contribute"),
    ({"hinge.sum() / max(1, int((hinge > 0).sum()))": "hinge.sum()"}, "is a sum here"),
]  # fmt: skip


def mean(parts):
    return sum(part.clamp(min=0).sum() / max(1, int((part > 0).sum())) for part in parts)


def check(ask, draw):
    alpha, beta, gamma = margins = (1.0, 4.0, 2.5)
    e, i = torch.tensor([9.0, 2.0, 3.6]).double(), torch.tensor([0.1, 2.0, 1.3]).double()
    parts = [i - alpha, beta - e, gamma - (e - i[:, None])]
    likely = {
        "One max around the whole sum: a wide margin here would compensate for a missing margin "
        "there. Each hinge has its own max.": mean([parts[0][:, None] + parts[1] + parts[2]]),
        "You average over all terms, so satisfied terms dilute the mean.": sum(
            part.clamp(min=0).mean() for part in parts
        ),
        "The third hinge is missing: the gap.": mean(parts[:2]),
        "Each hinge is a sum here instead of a mean over its terms above 0.": sum(
            part.clamp(min=0).sum() for part in parts
        ),
        "max(0, ·) is missing: satisfied terms also contribute.": sum(
            part.mean() for part in parts
        ),
        "The gap is reversed: Δ_e should be larger than Δ_i by γ.": mean(
            [*parts[:2], 2 * gamma - parts[2]]
        ),
        "The first two hinges are reversed: Δ_i should be small, and Δ_e large.": mean(
            [-parts[0], -parts[1], parts[2]]
        ),
        "The gap is computed only for texts at the same place; combine each edit with each "
        "irrelevant text.": (mean([*parts[:2], parts[2].diagonal()])),
    }
    agree(ask("margin_loss", e, i, margins), mean(parts), "margin_loss", likely)
    agree(ask("margin_loss", e[:1], i[:1], margins), 0.0, "margin_loss without any term above 0")
    return "solved: hinges act until the margin is reached, and leave the rest to the answer."
