"""The table of a second model: what it has right of what was made for the embedded one."""

from __future__ import annotations

from lib import classroom as classroom_cases
from lib.data.texts import known_by
from tests.benchmarks.abilities import items

from .tables import made, table


@made("known-by-gemma")
def known_by_gemma() -> str:
    """What a model other than the embedded one has right of what was made for that one."""
    found, every = known_by("gemma-3-270m"), classroom_cases()
    if found is None:
        raise ValueError("known.json does not name gemma-3-270m")
    rows = [("cases of the classroom", len(found["classroom"]["known"]), len(every))]
    rows += [
        (f"{of} of these cases", *found["classroom"][of]) for of in ("neighbors", "rewordings")
    ]
    every_item = items()
    rows += [
        (f"abilities: {kind}", len(right), sum(item.kind == kind for item in every_item))
        for kind, right in found["abilities"].items()
    ]
    return table(("what", "right", "asked"), rows)
