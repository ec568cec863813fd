"""The checks of notebook 12's exercises.

Each returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lib.editors.wise.merging import ties, trim

# entry 1: two small ones outvote a large one; 2: the trim takes the dissenter; 3: nothing is left
TAUS = ((3.0, -2.0, 0.4, 1.0), (-2.0, -4.0, 1.0, 0.2), (-1.5, 1.0, 0.3, -5.0))
DENSITY = 0.5


def by_hand(answer: Sequence[float] | str | None) -> str:
    """Notebook 12: the three vectors of TAUS merged by TIES, half of each kept."""
    if answer is None or isinstance(answer, str):
        return "not attempted."
    found = torch.as_tensor(answer, dtype=torch.float32).flatten()
    if found.numel() != len(TAUS[0]):
        return f"four numbers, not {found.numel()}."
    taus = [torch.tensor(tau) for tau in TAUS]
    kept = torch.stack([trim(tau, DENSITY) for tau in taus])
    wanted = ties(taus, density=DENSITY)
    likely = {
        "that is without the trim.": ties(taus, density=1.0),
        "that is divided by three: only vectors with the elected sign count.": kept.mean(0),
        "that is the sum: TIES takes a mean.": wanted * _voters(kept),
        "that divides by three, also where fewer vote.": wanted * _voters(kept) / 3,
        "each entry goes to the largest: the sign is elected by the sum.": _largest(kept),
    }
    if torch.allclose(found, wanted, atol=1e-3):
        return "solved: at the first entry the largest of the three was outvoted."
    for reason, value in likely.items():
        if torch.allclose(found, value, atol=1e-3):
            return f"not yet: {reason}"
    wrong = int((found - wanted).abs().argmax())
    left = ", ".join(f"{x:g}" for x in kept[:, wrong])
    return f"entry {wrong + 1}: after the trim the three are {left}. Elect a sign, then the mean."


def conflict(function: Callable[[list[Tensor], float], list[int] | str | None]) -> str:
    """Notebook 12: the entries where trimmed vectors disagree in sign."""
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        taus = [torch.randn(10, generator=draw) for _ in range(2 + seed % 3)]
        density = (0.3, 0.5, 1.0)[seed % 3]
        found = function([tau.clone() for tau in taus], density)
        if found is None or isinstance(found, str):
            return "not attempted."
        found = sorted(int(i) for i in found)
        wanted, untrimmed = _torn(taus, density), _torn(taus, 1.0)
        if found == wanted:
            continue
        where = f"{len(taus)} vectors, density {density}: "
        if found == untrimmed:
            return f"{where}trim first: some of these disagree only in what is thrown away."
        if extra := sorted(set(found) - set(wanted)):
            values = ", ".join(f"{trim(tau, density)[extra[0]]:.2f}" for tau in taus)
            return f"{where}entry {extra[0]} holds {values}: is 0 a sign?"
        missing = sorted(set(wanted) - set(found))[0]
        values = ", ".join(f"{trim(tau, density)[missing]:.2f}" for tau in taus)
        return f"{where}entry {missing} holds {values}: that is a conflict."
    return "solved: the trim settles many conflicts before anybody votes."


def _torn(taus: Sequence[Tensor], density: float) -> list[int]:
    kept = torch.stack([trim(tau, density) for tau in taus])
    return ((kept > 0).any(0) & (kept < 0).any(0)).nonzero()[:, 0].tolist()


def _voters(kept: Tensor) -> Tensor:
    elected = torch.where(kept.sum(0) >= 0, 1.0, -1.0)
    return (kept.sign() == elected).sum(0)


def _largest(kept: Tensor) -> Tensor:
    return kept.gather(0, kept.abs().argmax(0, keepdim=True))[0]
