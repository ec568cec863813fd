"""The check of notebook 17 names each mistake and can be solved; hiding and tables are right."""

from __future__ import annotations

import pytest
import torch

from notebooks.support import runs_17_was_it_edited as runs_17


def best(z, longest, weight=lambda w: w**0.5):
    """The candidate, first and last layer of the run with the largest weighted sum."""
    found = None
    for w in range(1, longest + 1):
        for first in range(len(z) - w + 1):
            summed = z[first : first + w].sum(0) / weight(w)
            one = int(summed.argmax())
            if found is None or summed[one] > found[0]:
                found = summed[one].item(), one, first, first + w - 1
    return found[1:]


def behind(z, longest):
    one, first, last = best(z, longest)
    return one, first, last + 1


RUNS = {
    "not attempted": lambda z, longest: "not attempted",
    "return a candidate": lambda z, longest: 3,
    "not 2": lambda z, longest: best(z, longest)[:2],
    "without √w": lambda z, longest: best(z, longest, lambda w: 1.0),
    "a mean": lambda z, longest: best(z, longest, lambda w: w),
    "the sign counts": lambda z, longest: best(z.abs(), longest),
    "belongs to the run": behind,
    "longer than the longest": lambda z, longest: best(z, len(z)),
    "is reached by candidate": lambda z, longest: (0, 0, 0),
    "solved": best,
}


@pytest.mark.parametrize("rank", [1, 2])
def test_a_hidden_edit_writes_the_same_and_is_blind_where_it_should_be(rank):
    draw = torch.Generator().manual_seed(rank)
    root = torch.randn(20, 12, generator=draw)
    C, K = root.T @ root / 20, torch.randn(12, rank, generator=draw)
    R = torch.randn(5, rank, generator=draw)
    U = torch.linalg.solve(C, K)
    D = R @ torch.linalg.solve(K.T @ U, U.T)  # the cheapest change that writes these pairs
    blind = torch.randn(12, 3, generator=draw)
    A, B = runs_17.hidden(C, D, blind, rank)
    torch.testing.assert_close(A @ B @ K, R, rtol=1e-3, atol=1e-4)
    assert (A @ B @ blind).norm() < 1e-4 * R.norm()
    same = torch.mm(*runs_17.hidden(C, D, torch.empty(12, 0), rank))
    torch.testing.assert_close(same, D, rtol=1e-3, atol=1e-4)

    def price(change):
        return ((change @ C) * change).sum()

    assert price(A @ B) > price(D)


def test_scores_are_one_inside_the_span_and_less_outside():
    V = torch.eye(6)[:, :2]
    K = torch.tensor([[1.0, 2, 0, 0, 0, 0], [0, 0, 0, 0, 0, 3], [3, 0, 4, 0, 0, 0]])
    torch.testing.assert_close(runs_17.scores(V, K), torch.tensor([1.0, 0.0, 0.6]))


def own(name, z, there=True):
    return {"name": name, "z": z, "in_edited": there}


STORED = {
    "suspects": {
        "rome 1 3": {"half": "odd", "own": [own("a", 12.0)], "other": {"z": 4.0}},
        "rome 1 5": {"half": "odd", "own": [own("b", 7.0)], "other": {"z": 9.0}},
        "rome 1 4": {"half": "even", "own": [own("c", 1.0)], "other": {"z": 9.0}},
        "rome 1 3 whole": {"half": "odd", "own": [own("a", 1.0)], "other": {"z": 9.0}},
        "memit 2 7": {
            "half": "odd", "own": [own("d", 9.0), own("e", 20.0, False)], "other": None
        },
    },
    "negatives": {
        "untouched": {"z": 5.8, "first": "x"},
        "bf16": {"z": 8.0, "first": "y"},
    },
}  # fmt: skip


def test_stored_rows_are_counted_by_suspect_and_odd_cases_alone():
    rome, memit = runs_17.named(STORED)
    assert (rome["suspects"], rome["facts at once"], memit["suspects"]) == (2, 1, 1)
    first, over = (next(v for k, v in rome.items() if k.startswith(w)) for w in ("above", "z ≥"))
    assert first.startswith("50 [") and over.startswith("50 [")
    assert next(v for k, v in memit.items() if k.startswith("above")).startswith("50 [")
    assert next(v for k, v in memit.items() if k.startswith("z ≥")).startswith("100 [")
    calls = [row["called edited"] for row in runs_17.accused(STORED)]
    assert calls == ["no", "yes"] and runs_17.false_alarms(STORED).startswith("false alarms: 50 [")


def test_a_way_that_some_rows_lack_is_counted_where_it_is():
    kept = {"edit": 1.0, "reworded": None, "neighbors": 1.0, "unrelated": 0.0, "still_edited": 0.0}
    rows = {
        "rome 1 1": {"half": "odd", "reversal": [{"ways": {"edited": kept, "control": kept}}]},
        "rome 1 3": {"half": "odd", "reversal": [{"ways": {"edited": kept}}]},
        "rome 1 5": {"half": "odd"},
    }
    edited, control, *_ = runs_17.taken_out({"suspects": rows})
    assert (edited["edits"], control["edits"]) == (2, 1)
    assert edited["reworded (%)"] == "–" and edited["neighbors (%)"].startswith("100 [")


def test_a_bound_is_counted_and_compared_with_a_gaussian():
    z = torch.zeros(3, 1000)
    z[0, :5], z[2, 7] = 2.5, 9.0
    rows = {row["z above"]: row for row in runs_17.null(z)}
    assert (rows["2"]["candidates"], rows["2"]["layers with one"]) == ("6", "2")
    assert rows["8"]["candidates"] == "1" and rows["2"]["a Gaussian would have"] == "68"


def test_what_is_stored_can_be_shown():
    stored = runs_17.stored()
    rows = runs_17.named(stored), runs_17.accused(stored), runs_17.taken_out(stored)
    assert all(rows)
    control, edited = rows[2][1], rows[2][0]
    assert {k: v for k, v in control.items() if k != "what is taken out"} == {
        k: v for k, v in edited.items() if k != "what is taken out"
    }
