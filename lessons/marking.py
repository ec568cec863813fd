"""Functions for writing checks: random inputs, comparisons, and messages on the difference.

Every exercise imports from here, and the grader recognizes a verdict by the exceptions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

UNNAMED = "where it differs most."  # the end of a message on a mistake without a known cause
FACTOR = "A sign or a factor is wrong."  # and on a mistake with a partly known cause


class Wrong(Exception):
    """Not solved; the text explains the difference and the likely cause."""


class Stopped(Wrong):
    """The student's code did not return an answer: an error, a limit, the end of its process."""


class Limit(Stopped):
    """The code exceeded its limit on time, memory, or output.

    `functions` are the functions of the file that were running, if known.
    """

    def __init__(self, message: str, functions: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.functions = functions


class NotAttempted(Exception):
    """The unchanged stub."""


def normal(draw: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def uneven(draw: torch.Generator, d: int) -> tuple[Tensor, Tensor]:
    """A second moment C (d, d) with eigenvalues 1, ½, ⅓ … in random directions, and L: C = L Lᵀ.

    L @ normal(draw, d, n) are n keys with this second moment.
    """
    L = torch.linalg.qr(normal(draw, d, d)).Q * torch.arange(1, d + 1).double() ** -0.5
    return L @ L.T, L


def tensor(found: Any, shape: tuple[int, ...], name: str, note: str = "") -> Tensor:
    """Return the answer as float64 numbers of this shape, or raise Wrong.

    Lists and plain numbers count as tensors. `note` describes the axes.
    """
    if found is None:
        raise Wrong(f"{name}: nothing (None) came back. Is there a `return` at the end?")
    if not isinstance(found, Tensor):
        try:
            found = torch.as_tensor(found, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise Wrong(f"{name}: should be numbers of shape {shape}, not {short(found)}") from None
    if tuple(found.shape) != shape:
        turned = " It is transposed." if tuple(found.shape) == shape[::-1] != shape else ""
        note = f" ({note})" if note else ""
        raise Wrong(f"{name}: the shape is {tuple(found.shape)}, not {shape}{note}.{turned}")
    found = found.double()
    if not found.isfinite().all():
        raise Wrong(f"{name}: not finite everywhere. Do you divide by 0 somewhere?")
    return found


def number(found: Any, name: str) -> float:
    """Return the answer as one number, or raise Wrong."""
    if isinstance(found, Tensor) and found.numel() == 1:
        found = found.reshape(())
    return tensor(found, (), name).item()


def several(found: Any, n: int, sentence: str) -> list:
    """Return the answer if it consists of n things, or raise Wrong with this sentence."""
    if not isinstance(found, list) or len(found) != n:
        raise Wrong(sentence)
    return found


def numbers(found: Any, n: int, sentence: str, name: str = "a number") -> Tensor:
    """Return n returned numbers as one tensor (n,), or raise Wrong."""
    return torch.stack([tensor(one, (), name) for one in several(found, n, sentence)])


def same(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> bool:
    """Return whether two tensors agree, relative to the length of the second."""
    if found.shape != wanted.shape:
        return False
    return bool((found - wanted).norm() <= tolerance * wanted.norm().clamp(min=1e-12))


def named(found: Tensor, likely: Mapping[str, Tensor | float], tolerance: float = 1e-5) -> None:
    """Raise Wrong with the reason if `likely` contains a mistake that gives this answer."""
    for reason, mistaken in likely.items():
        if same(found, torch.as_tensor(mistaken).double(), tolerance):
            raise Wrong(reason)


def mistaken(right: FunctionType, pieces: Mapping[str, str]) -> Callable:
    """A solution with pieces of its text replaced, to find the result of a typical mistake."""
    return _replaced(right, tuple(pieces.items()))


@cache
def _replaced(right: FunctionType, pieces: tuple[tuple[str, str], ...]) -> Callable:
    text, names = inspect.getsource(right), dict(right.__globals__)
    for piece, other in pieces:
        text = text.replace(piece, other)
    exec(text, names)
    return names[right.__name__]


def agree(
    found: Any,
    wanted: Tensor | float,
    name: str,
    likely: Mapping[str, Tensor | float] | None = None,
    tolerance: float = 1e-5,
    note: str = "",
    told: bool = False,
) -> None:
    """Raise Wrong unless the answer has the wanted shape and numbers.

    `likely` maps a reason to the result of that mistake, and `note` describes the axes. If `told`
    is set, the returned and the expected value are put before the reason.
    """
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    found = tensor(found, tuple(wanted.shape), name, note)
    if same(found, wanted, tolerance):
        return
    away = (found - wanted).abs()
    place = [int(i) for i in torch.unravel_index(away.argmax(), away.shape)] if away.ndim else []
    pair = [x[tuple(place)].item() for x in (found, wanted)]
    theirs, ours = next(t for n in (4, 8, 17) if len(set(t := [f"{x:.{n}g}" for x in pair])) > 1)
    where = f" at {place}" + f" ({note})" * bool(told and note) + "," if place else ""
    seen = f"{name}: you returned {theirs}{where or ','} not {ours}. " * told
    named(
        found, {seen + reason: mistaken for reason, mistaken in (likely or {}).items()}, tolerance
    )
    times = ((found * wanted).sum() / wanted.square().sum().clamp(min=1e-12)).item()
    if (found.numel() > 1 or times < 0) and times and same(found, times * wanted, tolerance):
        said = f"{times:.3g} times what it should be. {FACTOR}"
        raise Wrong(f"{seen}It is {said}" if told else f"{name}: {said}")
    raise Wrong(f"{name}: {theirs}, not {ours},{where} {UNNAMED}")


def short(value: Any) -> str:
    """A value for a message: one line, at most 60 characters, printable."""
    text = clean(repr(value)).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "…"


def clean(text: str) -> str:
    """Return the text without control characters, which could repaint a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "·" for c in str(text))
