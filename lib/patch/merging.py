"""Two patches compared and added, by what their files hold: no model is needed.

Where both hold a change of a matrix in factors, the changes are added: ΔW = ΔW_a + ΔW_b. That is
not what editing with the one after the other gives, since no edit then sees what the other changed
at its keys. Dense matrices hold the sum W + ΔW, which cannot be added without W.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.facts import quoted
from ..errors import ArgumentError, PatchError
from ..registry import EDITORS
from .patch import LowRank, Patch
from .undo import without

Asked = tuple[str | None, str]  # a fact without its answer: subject and prompt


def written(patch: Patch) -> dict[Asked, str]:
    """{subject and prompt: the answer that was written last}, without the facts of a stream.

    A stream's facts stand in a data file, which is not read here.
    """
    facts = (fact for edit in patch.log for fact in edit.facts)
    return {(fact.subject, fact.prompt): fact.target_new.strip() for fact in facts}


def contradictions(first: Patch, second: Patch) -> list[Asked]:
    """What both patches answer, and differently."""
    one, other = written(first), written(second)
    return [asked for asked in one if asked in other and one[asked] != other[asked]]


def distance(
    first: Patch, second: Patch, module: str
) -> tuple[float | None, tuple[float | None, ...]]:
    """How far the two patches' changes of a matrix are apart, and how large each is (Frobenius).

    (‖ΔW_a − ΔW_b‖, (‖ΔW_a‖, ‖ΔW_b‖)): the first is None where only one of the two is in factors,
    and W would be needed; a norm is 0 where a patch leaves the matrix alone, None for a dense one.
    Raises PatchError for matrices of different shapes.
    """
    one, other = first.weights.get(module), second.weights.get(module)
    if one is not None and other is not None and tuple(one.shape) != tuple(other.shape):
        raise PatchError(f"{module} has the shapes {tuple(one.shape)} and {tuple(other.shape)}")
    norms = tuple(
        None if isinstance(value, Tensor) else moved(None, value) for value in (one, other)
    )
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return float((one.double() - other.double()).norm()), norms
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return None, norms
    return moved(one, other), norms


def moved(old: LowRank | None, new: LowRank | None) -> float:
    """‖ΔW_new − ΔW_old‖ (Frobenius) from the factors, which are never multiplied out."""
    gone, come = (() if one is None else one.chunks for one in (old, new))
    same = 0  # chunks that both begin with cancel; of the rest, the old ones are taken away
    while same < min(len(gone), len(come)) and _same((gone[same],), (come[same],)):
        same += 1
    rest = (*come[same:], *((-a, b) for a, b in gone[same:]))
    if not rest:
        return 0.0
    A, B = LowRank(rest).joined()
    # float64, since differing terms may cancel; A B = Qa Ra Rbᵀ Qbᵀ has the norm of Ra Rbᵀ
    Ra = torch.linalg.qr(A.double(), mode="r").R
    Rb = torch.linalg.qr(B.double().T, mode="r").R
    return float((Ra @ Rb.T).norm())


def _same(one: tuple[tuple[Tensor, Tensor], ...], other: tuple[tuple[Tensor, Tensor], ...]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )


def diff(first: Patch, second: Patch) -> dict[str, Any]:
    """In which facts and by how much two patches differ; facts of streams are not compared.

    "first", "second", "both"  {subject and prompt: answer} of the facts in one alone, in both
    "against"                  subject and prompt of what both answer, and differently
    "modules"                  {module: what `distance` says of its matrices}

    Raises PatchError for matrices of different shapes.
    """
    one, other = written(first), written(second)
    return {
        "first": {asked: answer for asked, answer in one.items() if asked not in other},
        "second": {asked: answer for asked, answer in other.items() if asked not in one},
        "both": {asked: answer for asked, answer in one.items() if answer == other.get(asked)},
        "against": contradictions(first, second),
        "modules": {
            module: distance(first, second, module)
            for module in dict.fromkeys((*first.weights, *second.weights))
        },
    }


def merge(
    first: Patch,
    second: Patch,
    keep: Literal["first", "last"] | None = None,
    lm: Any = None,
) -> Patch:
    """Both patches in one: changes of the same matrix are added, all else stands side by side.

    The log has the lines of the first patch, then those of the second. What an editor remembers for
    its next edit is left out where both patches used it: neither state knows the other's facts.

    keep  whose answer stays where they contradict each other; the other's fact is taken out before
    lm    the model that the patches are for, which taking a fact out needs

    Raises PatchError for different base models; for answers that contradict each other without
    `keep`, or a fact that both hold, which would count twice; and where both change a matrix and
    one of them is dense, or both have a route at one module or the memory of one routed editor.
    """
    if keep and lm is None:
        raise ArgumentError("with keep it needs lm, the model of what is written again")
    for asked in contradictions(first, second) if keep else ():
        if keep == "first":
            second = _without(lm, second, asked)
        else:
            first = _without(lm, first, asked)
    if against := contradictions(first, second):
        raise PatchError(f"the patches contradict each other: {told(against[0], first, second)}")
    if twice := written(first).keys() & written(second).keys():
        said = min(map(_text, twice))
        raise PatchError(f"both patches write {said}, and its change would be added twice")
    sums: dict[str, Tensor | LowRank] = {}
    for module in first.weights.keys() & second.weights:
        one, other = first.weights[module], second.weights[module]
        if not (isinstance(one, LowRank) and isinstance(other, LowRank)):
            raise PatchError(
                f"both patches change {module}, and one holds it as a dense matrix, which cannot "
                "be added: write the facts of one after the other patch (`after=`, `--after FILE`)"
            )
        if one.shape != other.shape:
            raise PatchError(f"{module} has the shapes {one.shape} and {other.shape}")
        if _same(one.chunks[:1], other.chunks[:1]):
            raise PatchError(f"both patches begin with the same change of {module}: merge one")
        sums[module] = LowRank((*one.chunks, *other.chunks))
    forgotten = {
        name
        for name in {edit.editor for edit in first.log} & {edit.editor for edit in second.log}
        if name in EDITORS and EDITORS[name].writes == "weights"
    }
    left, right = (
        replace(
            patch,
            weights={name: value for name, value in patch.weights.items() if name not in sums},
            memory={name: state for name, state in patch.memory.items() if name not in forgotten},
        )
        for patch in (first, second)
    )
    return (left | right).with_weights(sums)


def told(asked: Asked, first: Patch, second: Patch) -> str:
    """One contradiction as a sentence without a full stop: the prompt and both answers."""
    one, other = (quoted(written(patch)[asked]) for patch in (first, second))
    return f"{_text(asked)} is {one} in the first and {other} in the second"


def _text(asked: Asked) -> str:
    """What is asked, for a sentence."""
    subject, prompt = asked
    return quoted(prompt if subject is None else prompt.replace("{}", subject))


def _without(lm: Any, patch: Patch, asked: Asked) -> Patch:
    while at := [n for n, fact in enumerate(patch.facts) if (fact.subject, fact.prompt) == asked]:
        patch = without(lm, patch, at[0]).patch
    return patch
