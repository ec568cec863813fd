"""The long run of notebook 17 keeps what the page counts."""

from __future__ import annotations

import torch

from lib.workbench.forensics.matched_filter import Filtered
from notebooks.support import runs_17_was_it_edited as runs_17


def test_the_edited_subject_is_not_among_the_others():
    names = tuple(f"subject {i}" for i in range(9))
    norms = torch.arange(9.0).repeat(2, 1)
    norms[1, 3] = 50.0  # stands out in the second layer
    found = Filtered(names, (4, 5), norms, torch.zeros(2, 9, dtype=torch.bool))
    row = runs_17.looked(found, "subject 3")["one layer"]
    assert row["own"] > 10 and row["layers"] == (5,) and row["other"]["name"] == "subject 8"
    assert runs_17.looked(found)["one layer"]["other"] == {"name": "subject 3", "z": row["own"]}


def test_no_subject_stands_in_two_draws():
    draws = runs_17.draws()
    subjects = [str(case.fact.subject) for cases in draws.values() for case in cases]
    assert len(set(subjects)) == len(subjects) == 6 * len(draws)
    parities = {name: {case.id % 2 for case in cases} for name, cases in draws.items()}
    assert parities.pop(runs_17.EVEN) == {0} and all(some == {1} for some in parities.values())
