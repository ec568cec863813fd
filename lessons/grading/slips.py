"""Slips that can occur in every exercise: a sign, an axis, a mean, a ridge.

A check lists the mistakes typical of its subject. If none of them matches, the solution is run with
one slip after another, and the message reports the slip that gives the student's numbers, without
naming the line.
"""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch

from lessons.grading.exercise_source import Exercise
from lessons.marking import same

SECONDS = 2.0  # for trying all slips on an answer
RIDGES = ("lam", "penalty", "damping", "strength")  # names of a ridge's size
SIZES = [10.0**-n for n in range(9)]
SIGN, AXIS = "one sign is flipped, {} instead of {}", "one axis is used instead of another"
COLUMN, ROW = (ast.parse(text, mode="eval").body.slice for text in ("x[:, None]", "x[None]"))
REDUCE = "sum mean median std amax amin max min softmax log_softmax cat stack norm".split()
OTHER = {  # of operators
    ast.Add: (ast.Sub(), SIGN.format("−", "+")),
    ast.Sub: (ast.Add(), SIGN.format("+", "−")),
    ast.USub: (ast.UAdd(), "a minus is missing"),
    ast.Lt: (ast.Gt(), SIGN.format(">", "<")),
    ast.Gt: (ast.Lt(), SIGN.format("<", ">")),
}
WORDS = {  # of functions and methods
    "mean": ("sum", "a sum is used instead of a mean"),
    "sum": ("mean", "a mean is used instead of a sum"),
    "median": ("mean", "a mean is used instead of a median"),
    "abs": ("clone", "an absolute value is missing"),
    "sqrt": ("clone", "a root is missing"),
    "argmax": ("argmin", "the smallest is used instead of the largest"),
    "argmin": ("argmax", "the largest is used instead of the smallest"),
    "amax": ("amin", "the smallest is used instead of the largest"),
    "amin": ("amax", "the largest is used instead of the smallest"),
    "tril": ("triu", AXIS),
    "triu": ("tril", AXIS),
    "T": ("real", "a transpose is missing"),
}


Tried = Iterator[tuple[Callable, Sequence, str]]  # a function, its arguments, the slip


def slip(exercise: Exercise, calls: Sequence[tuple[str, Sequence, Any]]) -> str:
    """Return a sentence on the slip that gives the first wrong answer, or an empty string.

    calls  (function, its arguments, its result) for each call
    """
    until = time.monotonic() + SECONDS
    for function, args, found in calls:
        right = getattr(exercise.module, function)
        if not gives(right, args, found):
            for run, given, said in chain(ridges(right, args), edited(exercise, function, args)):
                if time.monotonic() > until:
                    break
                if gives(run, given, found):
                    return f"{function}: you get these numbers if {said}."
            break
    return ""


def gives(run: Callable, args: Sequence, found: Any) -> bool:
    """Return whether a function returns these numbers; it may also fail."""
    try:
        return equal(found, run(*args))
    except Exception:
        return False


def equal(found: Any, wanted: Any) -> bool:
    """Return whether two answers have the same numbers."""
    if wanted is None or isinstance(wanted, str):
        return found == wanted
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(equal, found, wanted))
    return same(torch.as_tensor(found).double(), torch.as_tensor(wanted).double())


def ridges(right: Callable, args: Sequence) -> Tried:
    """The solution with a different C, or a different ridge, than given."""
    for at, name in enumerate([*inspect.signature(right).parameters][: len(args)]):
        before, C, after = args[:at], args[at], args[at + 1 :]
        if name == "C" and isinstance(C, torch.Tensor):
            one = torch.eye(len(C)).to(C)
            yield right, (*before, one, *after), "I is used instead of C"
            for size in SIZES:
                for more in (size, size * C.trace().item() / len(C)):
                    other = C + more * one
                    yield right, (*before, other, *after), f"C has a ridge, C + {more:.3g} I"
        if name in RIDGES:
            for size, said in ((0.0, "is left out"), (1.0, "is 1")):
                yield right, (*before, size, *after), f"the ridge {said}"


def edited(exercise: Exercise, function: str, args: Sequence) -> Tried:
    """The solution with one slip in its text. A `while` is skipped, since it might never end."""
    tree = ast.parse(exercise.solution)
    (one,) = (part for part in tree.body if getattr(part, "name", "") == function)
    tree.body = [one]
    if any(isinstance(part, ast.While) for part in ast.walk(one)):
        return
    for part in [*ast.walk(one)]:
        for where, field, other, said in slips(part):
            before = getattr(where, field)
            setattr(where, field, other)
            names = dict(vars(exercise.module))
            exec(compile(ast.fix_missing_locations(tree), exercise.path.name, "exec"), names)
            setattr(where, field, before)
            yield names[function], args, said


def slips(part: ast.AST) -> Iterator[tuple[ast.AST, str, Any, str]]:
    """Yield (node, field, new value, sentence) for each slip in a piece of a program."""
    match part:
        case ast.BinOp(op=op) | ast.UnaryOp(op=op) if type(op) in OTHER:
            yield part, "op", *OTHER[type(op)]
        case ast.BinOp(op=ast.Div()):
            yield part, "right", ast.Constant(1), "a division is left out"
        case ast.BinOp(op=ast.Mult(), left=ast.Name(id=name)) if name in RIDGES:
            yield part, "left", ast.Constant(1), "the ridge is 1"
        case ast.Call(func=ast.Attribute(attr="solve"), args=[matrix, *rest]):
            for size in SIZES[2:7]:
                more = ast.parse(f"{size} * torch.eye(9)", mode="eval").body
                more.right.args = [ast.Call(ast.Name("len", ast.Load()), [matrix], [])]
                ridged = ast.BinOp(matrix, ast.Add(), more)
                yield (
                    part,
                    "args",
                    [ridged, *rest],
                    f"an inverted matrix has a ridge, {size:g} I",
                )
        case ast.Compare(ops=[op]) if type(op) in OTHER:
            other, said = OTHER[type(op)]
            yield part, "ops", [other], said
        case ast.Attribute(attr=word) if word in WORDS:
            yield part, "attr", *WORDS[word]
        case ast.Call(func=ast.Name(id="min" | "max" as word)):
            more, less = ("largest", "smallest") if word == "min" else ("smallest", "largest")
            other = {"min": "max", "max": "min"}[word]
            yield part.func, "id", other, f"the {more} is used instead of the {less}"
        case ast.Subscript(slice=ast.Tuple(elts=[ast.Slice(), ast.Constant(value=None)])):
            yield part, "slice", ROW, AXIS
        case ast.Subscript(slice=ast.Constant(value=None)):
            yield part, "slice", COLUMN, AXIS
    reduces = isinstance(part, ast.Call) and getattr(part.func, "attr", "") in REDUCE
    axes = [part.value] if isinstance(part, ast.keyword) and part.arg == "dim" else []
    for axis in part.args[-1:] if reduces else axes:
        sign = isinstance(axis, ast.UnaryOp) and isinstance(axis.operand, ast.Constant)
        if sign or (isinstance(axis, ast.Constant) and axis.value in (0, 1)):
            yield (axis.operand if sign else axis), "value", 0 if sign else 1 - axis.value, AXIS
