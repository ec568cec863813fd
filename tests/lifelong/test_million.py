"""The stream of a million made-up facts, two thousand of them: killed once, and gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.data.readers import read_cases

from ..benchmarks import million

ROOT = Path(__file__).parents[2]


def started(*words: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.benchmarks.million", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_thousand_edits_killed_once_end_in_the_same_bits(tmp_path):
    out = tmp_path / "million.json"
    words = ["--edits", "2000", "--turn", "100", "--kills", "1", "--folder", str(tmp_path / "runs")]
    done = started(*words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["2000"]
    (kill,) = found["kills"]
    assert found["same"] and 100 <= kill["saved"] < 2000 and kill["saved"] % 100 == 0
    assert [point["edits"] for point in found["points"]] == [1000, 2000]
    assert all(point["least"] <= point["cpu_ms"] <= point["most"] for point in found["points"])
    early, late = (point["anonymous"] for point in found["points"])
    assert abs(late / early - 1) < 0.1
    assert found["bytes"]["journal"] < 1e6
    (cheapest,) = found["calm"]
    assert cheapest["least"] <= min(point["least"] for point in found["points"])
    # another result is seen: a row of the run that was killed says something else
    journal = tmp_path / "runs" / "killed"
    before = million.content(journal)
    assert before == million.content(tmp_path / "runs" / "whole")
    rows = (journal / "rows.jsonl").read_text()
    (journal / "rows.jsonl").write_text(rows.replace('"rows": [100, 199]', '"rows": [100, 198]'))
    with pytest.raises(ValueError, match="checksum"):
        million.content(journal)


def test_the_facts_are_all_different_and_read_lazily(tmp_path):
    million.facts(tmp_path / "facts.jsonl", 3000)
    cases = read_cases(tmp_path / "facts.jsonl", lazy=True)
    assert len({case.fact.text for case in cases}) == 3000
    assert {case.fact.target_new for case in cases} == {"xy", "qz"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--edits", "2000", "--turn", "300"), "turns of 300 do not end at the points"),
        (("--edits", "50", "--turn", "10"), "at least 100 edits"),
        (("--edits", "500", "--turn", "0"), "turns of 0"),
    ],
)
def test_wrong_numbers_are_one_sentence(tmp_path, words, said, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["million", *words, "--out", str(tmp_path / "no.json")])
    with pytest.raises(ValueError, match=said):
        million.main()
    assert not list(tmp_path.iterdir())
