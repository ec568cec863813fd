"""What earlier versions had under a public name, with what to use instead.

Options of commands are in `cli.main`, settings in each Config, data formats in `data.formats`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

F = TypeVar("F", bound=Callable)
NAMES = {  # of `lib`
    "Arena": "`python -m tests.benchmarks.arena`, in a checkout of the project, compares editors",
    "ArenaError": "catch `lib.EditError`",
    "predicted_kl": "notebook 06 has it now, in `notebooks/support/predicted_kl.py`",
}
_BASE = "leave it out; the base model is asked once in each run"
_INSIDE = "leave it out; a dossier has the answers, and `lib.interpret` looks inside"
ARGUMENTS = {
    "baseline keep_base": _BASE,
    "stream keep_base": _BASE,
    "dossier answers_only": _INSIDE,
    "dossier layers": _INSIDE,
    "superposition C": "leave it out, or use `Superposition.of(keys, C)` of `lib.interpret`",
    "investigate vectors": "leave it out; candidates are compared by lengths alone",
    "investigate null": "leave it out; `lib.forensics.spectrum` reads the matrices as they are",
}


def explained(function: F) -> F:
    """The function, with a TypeError that says what to use in place of a removed argument."""

    @wraps(function)
    def called(*given, **named):
        for argument in named:
            if instead := ARGUMENTS.get(f"{function.__name__} {argument}"):
                raise TypeError(f"{function.__name__} has no '{argument}' any more: {instead}")
        return function(*given, **named)

    return called  # type: ignore[return-value]
