"""★ Three hinges

WISE trains its router: the side memory shall move the output much at edits and little at everything
else. With Δ_e of an edit and Δ_i of an irrelevant text, one per row, the margin loss is

    max(0, Δ_i − α) + max(0, β − Δ_e) + max(0, γ − (Δ_e − Δ_i))

summed up for each row, and then the mean over the rows that are not yet satisfied (those whose sum
is above 0; with none, the loss is 0). The last line has it; fill in the sum of each row.

    edit, other  (n,)     Δ_e and Δ_i       alpha, beta, gamma: numbers
    returns a number

Hint: x.clamp(min=0) is max(0, x), entry by entry. Is max(0, x) + max(0, y) the same as
max(0, x + y)?
"""

import torch
from torch import Tensor


def margin_loss(edit: Tensor, other: Tensor, alpha: float, beta: float, gamma: float) -> Tensor:
    # solution
    low, high = (other - alpha).clamp(min=0), (beta - edit).clamp(min=0)
    rows = low + high + (gamma - (edit - other)).clamp(min=0)
    # end
    return rows.sum() / max(1, int((rows > 0).sum()))


# --- checks
from lessons.marking import agree, normal, tensor

WRONG = [
    (
        "rows = ((other - alpha) + (beta - edit) + (gamma - (edit - other))).clamp(min=0)",
        "make up for",
    ),
    (
        "rows = (other - alpha).clamp(min=0) + (beta - edit).clamp(min=0)\n"
        "rows = rows + (gamma - (edit - other)).clamp(min=0)\nrows = rows.mean()[None]",
        "satisfied rows",
    ),
    (
        "rows = (alpha - other).clamp(min=0) + (edit - beta).clamp(min=0)\n"
        "rows = rows + (gamma - (edit - other)).clamp(min=0)",
        "turned round",
    ),
    ("rows = (other - alpha).clamp(min=0) + (beta - edit).clamp(min=0)", "third"),
]


def check(ask, draw):
    alpha, beta, gamma = 1.0, 4.0, 2.5
    for n in (12, 5):
        edit, other = 3.5 + 1.5 * normal(draw, n), 0.8 + 0.7 * normal(draw, n).abs()
        edit[0], other[0] = 9.0, 0.1  # a row without any hinge
        edit[1], other[1] = 9.0, 2.0  # one that could make up for another
        found = tensor(ask("margin_loss", edit, other, alpha, beta, gamma), (), "the loss")
        parts = other - alpha, beta - edit, gamma - (edit - other)
        rows = sum(part.clamp(min=0) for part in parts)
        two = sum(part.clamp(min=0) for part in parts[:2])
        summed = sum(parts).clamp(min=0)
        turned = sum((-part).clamp(min=0) for part in parts[:2]) + parts[2].clamp(min=0)

        def mean(rows):
            return rows.sum() / max(1, int((rows > 0).sum()))

        likely = {
            "One max around the whole sum: a wide margin here would make up for a missing one "
            "there. Each hinge has its own.": mean(summed),
            "The mean is over all rows here, and satisfied rows water it down.": rows.mean(),
            "Two hinges are turned round: Δ_i shall be *below* α, Δ_e above β.": mean(turned),
            "The third hinge is missing: the gap between the two.": mean(two),
        }
        agree(found, mean(rows), "the loss", likely)
    quiet = ask("margin_loss", edit * 0 + 9, other * 0, alpha, beta, gamma)
    agree(tensor(quiet, (), "the loss"), torch.zeros(()).double(), "the loss without a hinge")
    return "solved: hinges pull until the margin is there, and then leave the rest to the answer."
