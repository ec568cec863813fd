"""Rows of every format that the readers know: real ones where a license allows it.

`published_rows.json` holds real rows of published files with their source and license. The rows
of the reversal curse have no license file, so those here are written for the tests.
"""

from __future__ import annotations

import json
from pathlib import Path

from .data_files import CLASSROOM, FLAT, FULL, KNOWN, SELFCHECK, TEMPORAL, ZSRE

PUBLISHED = json.loads(
    (Path(__file__).parents[1] / "data/published_rows.json").read_text(encoding="utf-8")
)

REVERSAL = [
    {
        "child": "Ada Byron",
        "parent": "Anne Milbanke",
        "parent_type": "mother",
        "child_prediction": "",
        "can_reverse": "False",
    },
]
OTHERS = {
    "CounterFact": FULL,
    "CounterFact, flat": FLAT,
    "ZsRE": ZSRE,
    "SelfCheckGPT hallucination": SELFCHECK,
    "temporal": TEMPORAL,
    "known facts": KNOWN,
    "this library's own": CLASSROOM,
    "reversal": REVERSAL,
}
# name of the format -> its rows, real and written ones
ROWS: dict[str, list[dict]] = {name: list(rows) for name, rows in OTHERS.items()}
for published in PUBLISHED.values():
    ROWS.setdefault(published["format"], []).extend(published["rows"])
