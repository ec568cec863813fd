"""★ Total and indirect effects

The three runs are made; you get the probabilities of the answer:

    clean        a number
    corrupted    (s,), one for each of s draws of the noise
    restored     (s, tokens, layers), the same draws, with one clean state put back

The total effect TE is what the noise costs, the indirect effect IE of a state is what putting it
back brings. Both are differences of means over the draws. TE is there; fill in the last line.

    returns (TE, IE), a number and a tensor (tokens, layers)

Hint: x.mean(0) is the mean over the first axis.
"""

from torch import Tensor


def effects(clean: float, corrupted: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
    TE = clean - corrupted.mean()
    # solution
    return TE, restored.mean(0) - corrupted.mean()


# --- checks
import torch

from lessons.marking import agree, several, tensor

WRONG = [
    ("return TE, clean - restored.mean(0)", "still missing"),
    ("return TE, restored - corrupted.mean()", "draws"),
    ("return TE, (restored.mean(0) - corrupted.mean()) / TE", "share"),
    ("return TE, restored.mean(0)", "without any"),
]


def check(ask, draw):
    s, T, n = 8, 5, 6
    corrupted = 0.3 * torch.rand(s, generator=draw).double()
    restored = corrupted[:, None, None] + 0.5 * torch.rand(s, T, n, generator=draw).double()
    found = ask("effects", 0.9, corrupted, restored)
    several(found, 2, "Return two things, TE and IE.")
    TE, IE = 0.9 - corrupted.mean(), restored.mean(0) - corrupted.mean()
    agree(tensor(found[0], (), "TE"), TE, "TE", {"The sign: TE is p − p*.": -TE})
    theirs = tensor(found[1], (T, n), "IE", "tokens and layers; take the mean over the draws")
    likely = {
        "This is what is still missing after a state was put back, not what it brought back.": 0.9
        - restored.mean(0),
        "This is a share of TE. IE is a difference of probabilities, and shares would suggest that "
        "they add up.": IE / TE,
        "This is p itself. Subtract what the noisy runs have without any state.": restored.mean(0),
        "The sign: a state that helps has a positive effect.": -IE,
    }
    agree(theirs, IE, "IE", likely)
    return "solved: every state is compared with the same noisy runs."
