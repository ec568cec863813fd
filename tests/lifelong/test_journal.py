"""A journaled stream: killed anywhere it goes on bit for bit; samples, and logs without facts."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from filelock import FileLock

import lib.editors
from lib.errors import EditError, JournalError
from lib.evaluation.prompt_batch import Base
from lib.lifelong import journal as module
from lib.lifelong.journal import Journal
from lib.lifelong.sample import sampled
from lib.lifelong.stream import stream
from lib.patch.patch import Edit, Patch

from ..support import tiny
from ..support.cases import small_cases
from ..support.streams import Noise, contradicting, fold, same
from ..support.usual import sample

ROOT = Path(__file__).parents[2]
BRIEF = {"metrics": ("generalization", "locality"), "events": ("teacher_forced", "probability")}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def run(lm, folder, cases=None, size=1, points=(0, 2, 4), **more):
    more.setdefault("evaluate_with", BRIEF)
    editor = more.pop("editor", None) or Noise(lm)
    return stream(lm, editor, cases or small_cases(), size, points, journal=folder, **more)


def without_seconds(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def agree(found, expected):
    """All of two runs but measured seconds."""
    assert found.edits == expected.edits
    assert found.patch.log == expected.patch.log and same(found.patch, expected.patch)
    assert without_seconds(found.rows) == without_seconds(expected.rows)
    assert found.contradicted == expected.contradicted
    assert found.scores.keys() == expected.scores.keys()
    for point, scores in expected.scores.items():
        pd.testing.assert_frame_equal(found.scores[point].rows, scores.rows)
        assert found.scores[point].json() == scores.json()
        assert found.scores[point].title == scores.title


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_journaled_run_is_the_same_run(lm, tmp_path):
    folder = tmp_path / "deep" / "run"
    plain = run(lm, None, evaluate_with={}).finish()
    kept = run(lm, folder, evaluate_with={}).finish()
    agree(kept, plain)
    assert names(folder) == ["header.json", "lock", "patch.safetensors", "rows.jsonl"]
    assert same(Patch.load(folder / "patch.safetensors"), plain.patch)
    lines = (folder / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["edits"] for line in lines] == [0, 1, 2, 3, 4]


def test_a_finished_journal_gives_its_result_without_editing(lm, tmp_path):
    first = run(lm, tmp_path).finish()
    Noise.calls = 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again = run(lm, tmp_path)
    agree(again, first)
    assert again.seconds == first.seconds and again.rows == first.rows
    assert list(again) == [] and Noise.calls == 0
    assert again.json()["scores"] == first.json()["scores"]
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.name != "lock"} == {
        p: content for p, content in before.items() if p.name != "lock"
    }


def test_a_run_that_was_left_goes_on(lm, tmp_path):
    plain = run(lm, None).finish()
    for left in range(4):
        folder = tmp_path / str(left)
        for _ in range(left):
            next(iter(run(lm, folder)))
        part = run(lm, folder)
        assert part.edits == left and len(part.rows) == left
        agree(part.finish(), plain)


def test_base_answers_are_read_again_in_the_same_groups(lm, tmp_path, monkeypatch):
    """Other groups would change the last bits of a KL."""
    seen, read = [], Base.read

    def noting(self, *arguments):
        before = set(self.states)
        read(self, *arguments)
        if new := [prompt for prompt in self.states if prompt not in before]:
            seen.append(new)

    monkeypatch.setattr(Base, "read", noting)
    run(lm, None, points=(2, 4)).finish()
    expected, seen[:] = list(seen), []
    rows = iter(run(lm, tmp_path, points=(2, 4)))
    _ = next(rows), next(rows)
    assert seen == expected[:1] and len(expected) == 2
    seen.clear()
    run(lm, tmp_path, points=(2, 4)).finish()
    assert seen == expected


class Crash(BaseException):
    """As a kill: nobody catches it."""


def crash_at(monkeypatch, count, after):
    """The `count`-th call that changes the disk raises, before or after it has done its work."""
    left = [count]

    def failing(call):
        def done(*arguments, **more):
            left[0] -= 1
            if left[0] == 0 and not after:
                raise Crash
            found = call(*arguments, **more)
            if left[0] == 0:
                raise Crash
            return found

        return done

    for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    return left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "save_every", "same"),
    # where the same run goes on, memory may be behind the folder: it is read again
    sample([(False, 1, False), (True, 1, True), (True, 1, False), (False, 2, False)], 1),
)
def test_stopped_at_every_step_of_writing_it_goes_on(lm, tmp_path, after, save_every, same):
    """A new run goes on, or the very one that was stopped."""
    size = 1 + save_every
    more = {"cases": small_cases()[:size], "points": (0, size), "save_every": save_every}
    plain = run(lm, None, **more).finish()
    for count in range(1, 200):
        folder = tmp_path / str(count)
        kept = run(lm, folder, **more) if same else None
        with pytest.MonkeyPatch.context() as patched:
            left = crash_at(patched, count, after)
            try:
                (kept or run(lm, folder, **more)).finish()
            except Crash:
                pass
        if left[0] > 0:  # nothing was left to fail at
            break
        agree((kept or run(lm, folder, **more)).finish(), plain)
        agree(run(lm, folder, **more), plain)  # what it wrote, too
        assert not [name for name in names(folder) if name.endswith(".tmp")]
    assert count > 8


class Stopping(Noise):
    """Noise that is interrupted, or fails, before a given call."""

    at = 0
    error: BaseException = KeyboardInterrupt()

    def write(self, facts, after):
        Stopping.at -= 1
        if Stopping.at == 0:
            raise Stopping.error
        return super().write(facts, after)


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("too much")])
def test_an_interrupted_or_failed_batch_leaves_a_valid_journal(lm, tmp_path, error):
    Stopping.error, Stopping.at = error, 3
    seen = EditError if isinstance(error, ValueError) else KeyboardInterrupt
    kept = run(lm, tmp_path, editor=Stopping(lm))
    with pytest.raises(seen):
        kept.finish()
    assert kept.edits == 2 == len(Patch.load(tmp_path / "patch.safetensors").facts)
    agree(run(lm, tmp_path, editor=Stopping(lm)).finish(), run(lm, None).finish())
    with pytest.raises(JournalError, match="opened again by another run"):
        kept.finish()


def test_rows_after_the_last_saved_patch_are_dropped(lm, tmp_path):
    Stopping.error, Stopping.at = KeyboardInterrupt(), 4
    more = {"points": (), "save_every": 2}
    with pytest.raises(KeyboardInterrupt):
        run(lm, tmp_path, editor=Stopping(lm), **more).finish()
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3
    Noise.calls = 0
    kept = run(lm, tmp_path, editor=Stopping(lm), **more)
    assert kept.edits == 2 and len(kept.rows) == 2
    agree(kept.finish(), run(lm, None, **more).finish())
    assert Noise.calls == 2 + 4


class Renamed(Noise):
    name = "renamed"


OTHER = [
    ({"editor": Renamed}, "other editor"),
    ({"editor": lambda lm: Noise(lm, size=0.3)}, r"other settings size \(0.2, not 0.3\)"),
    (
        {"cases": lambda lm: contradicting()[2:]},
        "a run with other cases. Use another folder",
    ),
    ({"size": lambda lm: 2}, r"other batch size \(1, not 2\)"),
    ({"evaluate_with": lambda lm: {**BRIEF, "seed": 1}}, r"evaluate_with seed \(None, not 1\)"),
    (
        {"editor": Renamed, "size": lambda lm: 2},
        r"other editor \('noise', not 'renamed'\), batch size \(1, not 2\). Use another folder",
    ),
]


@pytest.mark.parametrize(("change", "words"), OTHER)
def test_the_journal_of_another_run_is_refused(lm, tmp_path, change, words):
    next(iter(run(lm, tmp_path)))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(JournalError, match=words) as error:
        run(lm, tmp_path, **{name: value(lm) for name, value in change.items()})
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with FileLock(tmp_path / "lock", timeout=0):  # free for others, though the error is kept
        pass
    assert run(lm, tmp_path).edits == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 1}, "other model"),
        ({"dtype": torch.bfloat16}, r"other dtype \('torch.float32', not 'torch.bfloat16'"),
    ],
)
def test_the_journal_of_another_model_or_dtype(lm, tmp_path, other, words):
    next(iter(run(lm, tmp_path)))
    with pytest.raises(JournalError, match=words):
        run(tiny.model("llama", **other), tmp_path)


def test_what_is_no_journal_is_refused(lm, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(JournalError, match="not a journal. It contains thesis.tex"):
        run(lm, tmp_path)
    assert "thesis.tex" in names(tmp_path)
    with pytest.raises(JournalError, match="cannot contain a journal"):
        run(lm, tmp_path / "thesis.tex")
    folder = tmp_path / "run"
    next(iter(run(lm, folder)))
    whole = {path: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
    for name, content, words in (
        ("header.json", json.dumps({"format": 99}).encode(), "by another version"),
        ("header.json", json.dumps({"format": 2}).encode(), "by another version"),
        ("rows.jsonl", b'{"row"', r"damaged \(rows.jsonl does not contain 1 edits\)"),
        ("rows.jsonl", b"nothing\n", r"damaged \(A file is not valid JSON"),
        ("patch.safetensors", b"", r"damaged \(patch.safetensors is not a patch file"),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(JournalError, match=words) as error:
            run(lm, folder)
        assert "\n" not in str(error.value)
        (folder / name).write_bytes(whole[folder / name])
    assert run(lm, folder).edits == 1


HOLD = """
import sys, time
from lib.lifelong.journal import Journal
try:
    kept = Journal(sys.argv[1], {"a": 1})
except ValueError as error:
    sys.exit(str(error))
sys.stdout.write("held\\n"); sys.stdout.flush()
time.sleep(float(sys.argv[2]))
"""


def other_process(folder, seconds):
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_two_processes_on_one_journal_are_refused(tmp_path):
    holder = other_process(tmp_path, 600)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JournalError, match="in use by another process"):
            Journal(tmp_path, {"a": 1})
    finally:
        holder.kill()  # and the lock goes with the process
        holder.communicate()
    mine = Journal(tmp_path, {"a": 1})
    second = other_process(tmp_path, 0)
    _, said = second.communicate()
    assert second.returncode == 1 and "in use by another process" in said
    assert len(said.strip().splitlines()) == 1
    mine.close()


def test_in_one_process_the_later_run_takes_over(lm, tmp_path):
    first = run(lm, tmp_path)
    rows = iter(first)
    next(rows)
    second = run(lm, tmp_path)
    assert second.edits == 1
    with pytest.raises(JournalError, match="opened again"):
        next(rows)
    agree(second.finish(), run(lm, None).finish())
    del first, rows


def test_floats_and_texts_survive_exactly(tmp_path):
    kept = Journal(tmp_path, {})
    kept.read()
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1e308, -0.0, math.inf]
    rows = pd.DataFrame(
        [["c 東", "efficacy", "generation", "a\u2028b\n", value, None, "x"] for value in values],
        columns=module.COLUMNS,
    )
    row = {"edits": 2, "rows": (0, 1), "seconds": 1 / 7, "scores": {}}
    row["efficacy"] = {"e": 0.1 + 0.2, "n": None}
    point = {"rows": rows, "title": "t", "perplexity": 1 / 3, "contradicted": 0}
    kept.append(2, {"edit": 1 / 3, "evaluate": 0.0}, row, rows, point)
    facts = tuple(case.fact for case in small_cases()[:2])
    kept.save(Patch(log=(Edit("e", {}, facts),)))
    kept.close()
    found = Journal(tmp_path, {}).read()
    assert found.rows == [row] and found.rows[0]["efficacy"]["e"] == 0.30000000000000004
    for frame in (found.written[0], found.points[2]["rows"]):
        assert [*map(float.hex, frame["value"])] == [*map(float.hex, values)]
        assert frame["text"].isna().all() and frame["prompt"][0] == "a\u2028b\n"
    assert found.seconds["edit"] == found.points[2]["perplexity"] == 1 / 3


def long_cases():
    return [
        replace(case, fact=replace(case.fact, prompt=f"{i}: {case.fact.prompt}"), id=i)
        for i, case in enumerate(small_cases() * 10)
    ]


def test_a_stream_has_one_line_in_the_log_that_holds_its_facts(lm, tmp_path, monkeypatch):
    cases = long_cases()[3:10]
    kept = stream(lm, Noise(lm), cases, 3, (0, 7), BRIEF, journal=tmp_path / "run")
    next(iter(kept))
    kept = stream(lm, Noise(lm), cases, 3, (0, 7), BRIEF, journal=tmp_path / "run").finish()
    patch, facts = kept.patch, tuple(case.fact for case in cases)
    assert patch.log == (Edit("noise", {"seed": 0, "size": 0.2}, facts, 3),)
    loaded = Patch.load(patch.save(tmp_path / "p.safetensors"))
    assert loaded.log == patch.log and loaded.facts == facts
    monkeypatch.setitem(lib.editors.EDITORS, "noise", Noise)
    more = Noise(lm).edit([small_cases()[0].fact], after=patch)
    assert len(more.log) == 2
    assert same(more.without(1, lm), fold(Noise(lm), cases, 3)[-1])
    assert same(more.without(0, lm), Noise(lm).edit([small_cases()[0].fact]))


def test_only_whole_batches_of_one_stream_are_joined():
    facts = tuple(case.fact for case in small_cases())
    first, then = Edit("e", {}, facts[:2], 2), Edit("e", {}, facts[2:3], 2)
    assert first.then(then) == (Edit("e", {}, facts[:3], 2),)
    for other in (
        replace(then, editor="f"),
        replace(then, settings={"a": 1}),
        replace(then, batch=1),
    ):
        assert first.then(other) == (first, other)
    assert then.then(first) == (then, first)  # an incomplete batch can only be the last


def test_samples_are_old_between_and_recent():
    found = sampled(1000, 100, 30)
    assert found == sampled(1000, 100, 30) != sampled(1000, 100, 30, seed=1)
    assert {group: len(rows) for group, rows in found.items()} == {
        "old": 30, "between": 30, "recent": 30}  # fmt: skip
    assert max(found["old"]) < 250 <= min(found["between"])
    assert max(found["between"]) < 900 <= min(found["recent"])
    assert sampled(1000, 1, 30)["recent"] == list(range(970, 1000))
    assert min(sampled(1050, 100, 200)["recent"]) >= 900  # the last two batches, one incomplete
    for point in range(1, 40):
        rows = [row for group in sampled(point, 3, 4).values() for row in group]
        assert len(set(rows)) == len(rows) and set(rows) <= set(range(point))
        assert len(rows) == point or point > 4


@pytest.mark.slow
def test_a_sampled_run_measures_its_facts_as_the_whole_run_does(lm, tmp_path):
    cases = long_cases()[:24]
    whole = stream(lm, Noise(lm), list(cases), 4, (0, 12, 24), BRIEF).finish()
    some = stream(lm, Noise(lm), cases, 4, (0, 12, 24), BRIEF, sample=2).finish()
    assert without_seconds(some.rows)[0] == without_seconds(whole.rows)[0]
    assert [r["efficacy"] for r in some.rows] == [r["efficacy"] for r in whole.rows]
    for point in (0, 12, 24):
        draw = sampled(point or 24, 4, 2)
        rows = sorted(row for group in draw.values() for row in group)
        scores = some.scores[point]
        assert set(scores.rows["case"]) == set(rows)
        wanted = whole.scores[point].rows.query("case in @rows")
        keys = ["case", "metric", "event", "prompt"]
        joined = wanted.merge(scores.rows, on=keys, suffixes=("", "_sampled"))
        assert len(joined) == len(wanted) == len(scores.rows)
        assert (joined["value"] - joined["value_sampled"]).abs().max() < 1e-5
        assert "(a sample: 2 old, 2 between, 2 recent)" in scores.title
        apart = some.groups(point)
        assert {g: set(s.rows["case"]) for g, s in apart.items()} == {
            group: set(rows) for group, rows in draw.items()
        }
        kept = some.json()["scores"][str(point)]["groups"]
        assert kept["old"]["retention"] == apart["old"].json()["retention"]
    assert "groups" not in whole.json()["scores"]["24"] and whole.groups(24) == {}
    kept = stream(lm, Noise(lm), cases, 4, (0, 12, 24), BRIEF, sample=2, journal=tmp_path / "j")
    next(iter(kept))
    agree(run(lm, tmp_path / "j", cases, 4, (0, 12, 24), sample=2).finish(), some)
