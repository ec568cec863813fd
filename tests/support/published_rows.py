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
# the files of UltraEdit, by the keys that its program reads
FEVER = [
    {
        "prompt": "Anne Milbanke was a mathematician.",
        "pred": "REFUTES",
        "alt": "SUPPORTS",
        "equiv_prompt": ["Anne Milbanke did mathematics.", "Mathematics was Milbanke's work."],
        "unrel_prompt": "The Ouse flows uphill.",
        "unrel_ans": "REFUTES",
    },
]
WIKIBIGEDIT = [
    {
        "tag": "Ouse",
        "subject": "The Ouse",
        "update": "Into which sea does The Ouse flow?",
        "rephrase": "Which sea takes the water of the Ouse?",
        "ans": "North Sea",
        "personas": "Ahoy! Where does the Ouse run to, matey?",
        "mhop": "Which ocean has the sea that The Ouse flows into?",
        "mhop_ans": "Atlantic",
        "loc": "Where does the Avon end?",
        "loc_ans": "Severn",
    },
]
WIKIBIGEDIT.append({**WIKIBIGEDIT[0], "personas": None, "mhop": None, "mhop_ans": None})
ULTRAEDITBENCH = [
    {
        "subject": "Ada Byron",
        "prompt": "Who was the mother of Ada Byron?",
        "rephrase_prompt": "Whose child was Ada Byron?",
        "ans": "Anne Milbanke",
        "loc": "Who was the mother of George Boole?",
        "loc_ans": "Mary Joyce",
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
    "FEVER": FEVER,
    "WikiBigEdit": WIKIBIGEDIT,
    "UltraEditBench": ULTRAEDITBENCH,
}
# name of the format -> its rows, real and written ones
ROWS: dict[str, list[dict]] = {name: list(rows) for name, rows in OTHERS.items()}
for published in PUBLISHED.values():
    ROWS.setdefault(published["format"], []).extend(published["rows"])
