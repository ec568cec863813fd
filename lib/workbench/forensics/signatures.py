"""Methods leaving a difference of a given shape: the rules for `Difference.signature`.

A rule is a condition on the table of a difference, with a description of what it is consistent
with. Shapes do not prove a method: a LoRA of rank 1 in one matrix looks like ROME. The wording is
therefore "consistent with".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pandas as pd

PILED = 0.05  # fraction of entries at the bound indicating fine-tuning in a box
ZEROS = 0.5  # fraction of unchanged entries that only a mask leaves
ALIKE = 0.5  # cosine of left spaces of neighboring layers; one spread leaves 0.9, chance 0.04
TAIL = 0.02  # fraction of a change that rounding to bf16 or int8 adds to its directions
NARROW = 0.95  # fraction of C's directions below which a null space is meant


def signature(table: pd.DataFrame, elsewhere: Sequence[str] = ()) -> str:
    """Return what a difference is consistent with, one sentence; the narrowest rules come first.

    table      of `Difference`
    elsewhere  changed parameters other than matrices of a block
    """
    if not len(table):
        return (
            "No matrix of a block differs."
            if not elsewhere
            else f"No matrix of a block differs, but {_some(elsewhere)} changed."
        )
    above = table[table["rank"] > 0]
    said = next((words for holds, words in RULES if holds(table, above)), OTHER)
    more = f" Outside the blocks' matrices, {_some(elsewhere)} also changed." if elsewhere else ""
    return f"Consistent with {said}.{more}"


def _some(names: Sequence[str]) -> str:
    """Return the first of some names, and the number of remaining ones."""
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{rest}"


def _layers(table: pd.DataFrame) -> list[int]:
    """Return the numbers of the layers of a table's modules, ascending, each once."""
    found = {int(part) for name in table.index for part in name.split(".") if part.isdigit()}
    return sorted(found)


def _kinds(table: pd.DataFrame) -> set[str]:
    """Return the kinds of a table's modules, such as mlp.down_proj, without layer numbers."""
    kinds = set()
    for name in table.index:
        parts = name.split(".")
        at = [i for i, part in enumerate(parts) if part.isdigit()]
        kinds.add(".".join(parts[at[-1] + 1 :]) if at else name)
    return kinds


def _spread(_: pd.DataFrame, above: pd.DataFrame) -> bool:
    """Return whether one kind of matrix changed in consecutive layers, with similar left spaces."""
    layers = _layers(above)
    alike = above["next"].dropna()
    return (
        2 <= len(above) <= 10
        and len(_kinds(above)) == 1
        and all(b - a == 1 for a, b in pairwise(layers))
        and len(alike) > 0
        and bool((alike > ALIKE).all())
    )


def _exact(table: pd.DataFrame) -> bool:
    """Return whether every change is of low rank except for rounding: only its rank has a size."""
    rounding = table["noise"] < 1e-4 * table["norm"]
    return bool((rounding & (table["rank"] > 0)).all())


def _two(above: pd.DataFrame) -> bool:
    """Return whether every change is one or two directions, with at most rounding."""
    return bool(((above["rank"] <= 2) & (above["tail"] < TAIL)).all())


def _null(above: pd.DataFrame) -> bool:
    """Return whether all right vectors lie in a null space of C."""
    known = above["null"].dropna()
    return len(known) == len(above) > 0 and bool((known < NARROW).all())


RULES: tuple[tuple[Callable[[pd.DataFrame, pd.DataFrame], bool], str], ...] = (
    (
        lambda table, above: not len(above),
        "rounding or quantization: noise without a direction, and no edit above it",
    ),
    (
        lambda table, above: bool((table["zeros"] > ZEROS).all()) and len(_kinds(table)) == 1,
        "an edit keeping only the relatively largest entries (RECT)",
    ),
    (
        lambda table, above: len(table) <= 2 and bool((table["piled"] > PILED).all()),
        "fine-tuning inside a box (FT-L): many entries are at one bound",
    ),
    (
        lambda table, above: _spread(table, above) and _null(above),
        "a batch spread over layers inside a null space of general text (AlphaEdit)",
    ),
    (
        lambda table, above: _spread(table, above),
        "a batch spread over neighboring layers (MEMIT, EMMET, PMET)",
    ),
    (
        lambda table, above: len(above) == 1 and _null(above) and (_exact(above) or _two(above)),
        "an edit inside a null space of general text (AlphaEdit in one layer)",
    ),
    (
        lambda table, above: len(above) == 1 and _two(above) and not _exact(above),
        "one edit of one layer that was rounded (ROME, R-ROME, WilKE), or fine-tuning of this "
        "layer on one fact (FT, FT-M): one or two directions, and little else",
    ),
    (
        lambda table, above: len(above) == 1 and _two(above),
        "one edit of one layer (ROME, R-ROME, WilKE; rank 2 if two keys were written)",
    ),
    (
        lambda table, above: len(above) == 1 and _exact(above),
        "several edits of one layer (ROME one after another, EMMET, or a LoRA of this rank)",
    ),
    (
        lambda table, above: len(table) <= 2 and not _exact(table),
        "fine-tuning of one layer (FT, FT-M): a few large directions and a tail",
    ),
    (
        lambda table, above: len(_layers(table)) == 1 and len(_kinds(table)) > 3,
        "training of one whole block (UnKE)",
    ),
    (
        lambda table, above: _exact(table) and table["rank"].nunique() == 1,
        "a merged low-rank adapter (LoRA): one rank in many matrices",
    ),
    (
        lambda table, above: _exact(table),
        "an editor of many matrices of late or middle layers (UltraEdit, MEND, MALMEN, RLEdit)",
    ),
)
OTHER = "training of many matrices at full rank (fine-tuning)"
