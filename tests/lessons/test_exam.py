"""The exam: forty questions, answers apart, and numbers that the library computes as well."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
import torch

from lessons import exam, exam_numbers
from lessons.l6_2_moments import settle
from lessons.l7_3_route import ties
from lessons.l10_1_round import rounded
from lib import associative_memory as memory
from lib.evaluation import intervals


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def diagonal(entries):
    return torch.tensor(entries, dtype=torch.float64).diag()


def crosstalk(c, v, w):
    K = torch.cat([column(1, 0), column(c, (1 - c * c) ** 0.5)], 1)
    return torch.tensor([[v, w]]).double() @ memory.gram(K)


def way_back(q, other, rho):
    K = torch.cat([column(1, 0), column(rho, (other / q - rho**2) ** 0.5)], 1) * q**0.5
    found = memory.interference(K)
    assert abs(found[0, 1] - rho) < 1e-9
    return found[1, 0]


def insert(W, k, v, c):
    k, v = torch.tensor([k, v], dtype=torch.float64)
    left, right = memory.insert(torch.tensor(W).double(), k, v, diagonal(c))
    return left @ right


def two_edits(a, b, v, w):
    K, V = torch.tensor([a, b]).double().T, torch.tensor([[v, w]]).double()
    residuals, B = memory.lifelong(torch.zeros(1, 2).double(), K, V)
    return (residuals @ B @ K)[0, 0]


def arrives(q, strength):
    k = column(q**0.5, 0)
    return memory.reach(k, strength=strength) @ k


def spread(layers, arriving):
    missing = 1.0
    for layer in range(layers):
        missing -= arriving * missing / (layers - layer)
    return missing


def null_part(k, c):
    Q = memory.null_space(diagonal(c), 0.02).Q
    return (Q.T @ column(*k)).square().sum() / column(*k).square().sum()


def merged(a, b):
    state = 0, torch.zeros(1).double(), torch.zeros(1).double()
    for part in (a, b):
        n, mean, S, _ = settle(*state, column(*part).T)
        state = n, mean, S
    return torch.cat([mean, S])


LIBRARY = {
    "crosstalk": crosstalk,
    "ridge": lambda k, v, strength: memory.ridge(column(*k), column(v), strength),
    "share": lambda a, b, c: memory.interference(column(*a), diagonal(c), column(*b)),
    "way_back": way_back,
    "insert": insert,
    "two_edits": two_edits,
    "arrives": arrives,
    "strength_for": lambda q, share: q / arrives(q, q * (1 - share) / share) - q,
    "spread": spread,
    "null_part": null_part,
    "merged": merged,
    "elected": lambda taus: ties([column(tau) for tau in taus], 1.0),
    "wilson": lambda hits, n: torch.tensor(intervals.wilson(hits, n)),
    "rounded": lambda bits, largest, entry: rounded(column(largest, entry).T, bits)[0, 1],
}


@pytest.mark.parametrize("kind", exam_numbers.KINDS, ids=lambda kind: kind.__name__)
def test_the_library_computes_the_same_number(kind):
    for seed in range(20):
        question = kind(Random(seed))
        wanted = torch.as_tensor(LIBRARY[kind.__name__](*question.given)).double().flatten()
        assert torch.allclose(torch.tensor(question.value).double(), wanted, atol=1e-4), question
        shown = [float(x.replace("−", "-")) for x in re.findall(r"[-−]?\d+\.?\d*", question.answer)]
        for value in question.value:  # the answer in words has the number, perhaps in per cent
            assert any(min(abs(x - value), abs(x / 100 - value)) < 6e-4 for x in shown), question
    assert len({kind(Random(seed)).text for seed in range(20)}) > 5


def test_forty_questions_of_all_pages_a_third_of_them_anew():
    one, two = exam.sheet(5, 1), exam.sheet(5, 2)
    assert len(one) == len(two) == 40 and exam.sheet(5, 1) == one != exam.sheet(6, 1)
    assert [q.page for q in one] == [q.page for q in two]
    assert [q.page for q in one] == sorted(q.page for q in one)
    own = [a for a, b in zip(one, two, strict=True) if a != b]
    assert 12 <= len(own) <= len(exam_numbers.KINDS) == 14
    assert len({q.text for q in one}) == 40
    pages = Counter(q.page for q in exam.common(5, exam.titles()))
    assert max(pages.values()) <= 2 and len(pages) >= 20


def test_sheets_and_answers_are_apart(tmp_path, capsys):
    out = tmp_path / "exam"
    assert exam.main(["--students", "3", "--seed", "5", str(out)]) == 0
    assert "only for teachers" in capsys.readouterr().out
    names = ["student_01.md", "student_02.md", "student_03.md"]
    for folder in ("sheets", "answers"):
        assert sorted(path.name for path in (out / folder).iterdir()) == names
    for number, name in enumerate(names, 1):
        asked, told = ((out / folder / name).read_text() for folder in ("sheets", "answers"))
        assert len(re.findall(r"^\*\*\d+\.\*\* ", asked, re.M)) == 40
        assert len(re.findall(r"^\*\*\d+\.\*\* .+ \(Page \d\d\w?\.\)$", told, re.M)) == 40
        assert not any(q.answer in asked for q in exam.sheet(5, number))
    assert (out / "sheets.html").read_text().count("<section>") == 3
    assert "Answers to" not in (out / "sheets.html").read_text()


def test_an_exam_of_a_few_pages_asks_about_no_other_page():
    asked = exam.sheet(5, 1, {"00", "01", "05"})
    assert {question.page for question in asked} == {"00", "01", "05"} and 8 < len(asked) < 40


def test_nothing_is_written_over(tmp_path, capsys):
    (tmp_path / "kept").write_text("x")
    for out, why in ((tmp_path, "is there already"), (tmp_path / "no/exam", "there is no folder")):
        assert exam.main(["--students", "1", "--seed", "1", str(out)]) == 2
        assert why in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    for students in ("0", "x", "1001"):
        with pytest.raises(SystemExit):
            exam.main(["--students", students, "--seed", "1", str(tmp_path / "new")])
