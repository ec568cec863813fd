"""The checks of notebook 12's exercises.

Each returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lib.editors.wise.merging import ties, trim

# entry 1: two small ones outvote a large one; 2: the trim takes the dissenter; 3: nothing is left
TAUS = ((3.0, -2.0, 0.4, 1.0), (-2.0, -4.0, 1.0, 0.2), (-1.5, 1.0, 0.3, -5.0))
DENSITY = 0.5
Memories = Sequence[tuple[Tensor, float]]  # τ (d_out, d_in) and ε of each


def forward(
    function: Callable[[Tensor, Memories, Tensor, int], Tensor | str | None],
) -> str:
    """Notebook 12: the output of a layer with side memories, at all tokens of a row."""
    given = [_layer(seed) for seed in range(30)]
    found = []
    for W, memories, a, prompt in given:
        said = function(W.clone(), [(tau.clone(), eps) for tau, eps in memories], a.clone(), prompt)
        if said is None or isinstance(said, str):
            return "not attempted."
        if said.shape != (len(a), len(W)):
            return f"an output at each of {len(a)} tokens is {(len(a), len(W))}, not {said.shape}."
        found.append(said)
    if _equal(found, [_answer(*some) for some in given]):
        return "solved: one decision, at the prompt, for the whole answer."
    likely = {
        "Δ is a mean over the prompt's tokens; those of the answer do not count.": {"whole": True},
        "that is a sum over tokens: long prompts would always pass.": {"pool": "sum"},
        "that is the length of the mean; Δ is the mean of lengths.": {"pool": "vector"},
        "among the memories that are reached the largest Δ wins, not the first.": {"pick": "first"},
        "a memory with a larger Δ but under its own ε must not block another.": {"pick": "blocked"},
        "the decision is taken once for the row, not at each token.": {"pick": "token"},
        "the tokens of the prompt pass through the chosen memory too.": {"only": "answer"},
        "the tokens of the answer pass through the chosen memory too.": {"only": "prompt"},
        "that is τ a alone: the side memory is W + τ.": {"only": "tau"},
    }
    for reason, wrong in likely.items():
        if _equal(found, [_answer(*some, **wrong) for some in given]):
            return f"not yet: {reason}"
    i = next(i for i, some in enumerate(given) if not _equal([found[i]], [_answer(*some)]))
    _, memories, a, prompt = given[i]
    deltas = ", ".join(f"{(a[:prompt] @ tau.T).norm(dim=1).mean():.2f}" for tau, _ in memories)
    least = ", ".join(f"{eps:.2f}" for _, eps in memories)
    return f"a prompt with Δ = {deltas} and ε = {least} gets another output than yours."


def _layer(seed: int) -> tuple[Tensor, list[tuple[Tensor, float]], Tensor, int]:
    """A matrix, up to three side memories, inputs of a row, and how many of them are the prompt."""
    draw = torch.Generator().manual_seed(seed)
    normal = partial(torch.randn, generator=draw, dtype=torch.float64)
    prompt, a = 3 + seed % 4, normal(8, 6)
    memories = []
    for _ in range(1 + seed % 3):
        tau = normal(5, 6) * (0.5 + torch.rand(1, generator=draw).item())
        delta = (a[:prompt] @ tau.T).norm(dim=1).mean().item()
        memories.append((tau, delta * (0.75 + 0.5 * torch.rand(1, generator=draw).item())))
    return normal(5, 6), memories, a, prompt


def _answer(
    W: Tensor,
    memories: Memories,
    a: Tensor,
    prompt: int,
    whole: bool = False,
    pool: str = "mean",
    pick: str = "",
    only: str = "",
) -> Tensor:
    """The output, or what it is with one mistake."""
    if pick == "token":
        rows = [_answer(W, memories, row[None], 1) for row in a]
        return torch.cat(rows)
    read = a if whole else a[:prompt]
    moved = [read @ tau.T for tau, _ in memories]
    deltas = [m.mean(0).norm() if pool == "vector" else m.norm(dim=1).mean() for m in moved]
    if pool == "sum":
        deltas = [m.norm(dim=1).sum() for m in moved]
    every = range(len(memories))
    passed = [i for i in every if deltas[i] >= memories[i][1]]
    best = max(passed, key=lambda i: deltas[i]) if passed else None
    if pick == "first":
        best = passed[0] if passed else None
    if pick == "blocked":
        top = max(every, key=lambda i: deltas[i])
        best = top if top in passed else None
    if best is None:
        return a @ W.T
    added = a @ memories[best][0].T
    if only == "tau":
        return added
    added[slice(0, prompt) if only == "answer" else slice(0, 0)] = 0
    added[slice(prompt, None) if only == "prompt" else slice(0, 0)] = 0
    return a @ W.T + added


def _equal(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    return all(torch.allclose(a.double(), b) for a, b in zip(found, wanted, strict=True))


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
