from __future__ import annotations

import json
from dataclasses import replace

import pytest

import lib.editors
from lib.data.facts import Case
from lib.errors import EditError
from lib.evaluation.evaluate import evaluate
from lib.lifelong.sample import contradicted
from lib.lifelong.stream import stream
from lib.patch.patch import EMPTY

from ..support import tiny
from ..support.cases import small_cases, table
from ..support.streams import Noise, contradicting, fold, same

SILENT = {"metrics": ("generalization", "locality", "specificity")}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_a_run_is_the_fold_and_lazy(lm):
    Noise.calls = 0
    run = stream(lm, Noise(lm), small_cases(), batch_size=3, eval_at=(), evaluate_with=SILENT)
    assert Noise.calls == 0 and run.patch is EMPTY and run.edits == 0
    rows = iter(run)
    first = next(rows)
    assert Noise.calls == 1 and run.edits == 3 and run.rows == [first]
    assert (first["edits"], first["rows"]) == (3, (0, 2)) and first["seconds"] > 0
    assert set(first["efficacy"]) == {
        "probability", "teacher_forced", "generation", "generation_exact"}  # fmt: skip
    rows.close()
    rest = list(run)  # a run that was left goes on
    assert [row["edits"] for row in rest] == [4] and list(run) == []
    patches = fold(Noise(lm), small_cases(), 3)
    assert same(run.patch, patches[-1]) and len(run.patch.log) == 1
    assert run.scores == {}


@pytest.mark.slow
def test_everything_is_measured_at_the_points(lm):
    cases = small_cases()
    run = stream(lm, Noise(lm), cases, batch_size=2, evaluate_with={"pool": cases}).finish()
    assert list(run.scores) == [0, 4]
    patches = fold(Noise(lm), cases, 2)
    alone = evaluate(lm, cases, patches[-1])
    found, expected = table(run.scores[4]), table(alone)
    for (case, metric, prompt, event), value in expected.items():
        metric = "retention" if metric == "efficacy" else metric
        assert found.pop((case, metric, prompt, event)) == pytest.approx(value, abs=1e-5)
    assert {metric for _, metric, _, _ in found} == {"efficacy"}
    for batch, patch in ((cases[:2], patches[1]), (cases[2:], patches[2])):
        now = table(evaluate(lm, batch, patch, metrics=()))
        for key, value in now.items():
            assert found.pop(key) == value
    assert not found
    after = table(evaluate(lm, cases[:2], patches[1], metrics=()))
    assert any(value != expected[key] for key, value in after.items())  # the second batch matters
    assert run.scores[4].perplexity == alone.perplexity
    assert run.scores[4].title == "noise, 4 edits in batches of 2, 4 cases on tiny-llama"
    means = [row["efficacy"]["teacher_forced"] for row in run.rows]
    assert run.json()["scores"]["4"]["efficacy"]["teacher_forced"] == sum(means) / 2


def test_at_0_it_is_the_base_model(lm):
    cases = small_cases()
    run = stream(lm, Noise(lm), cases, 4, eval_at=[0], evaluate_with={"seed": 3}).finish()
    base = evaluate(lm, cases, seed=3)
    found = table(run.scores[0])
    assert {k: v for k, v in found.items() if k[1] != "retention"} == table(base)
    for (case, metric, prompt, event), value in table(base).items():
        if metric == "efficacy":
            assert found[case, "retention", prompt, event] == value
    assert found["c0", "locality", "The sea is", "kl_nats"] == 0
    assert run.scores[0].title.startswith("base model")


def test_points_on_the_way_measure_the_facts_so_far(lm):
    run = stream(lm, Noise(lm), small_cases(), eval_at=[2], evaluate_with=SILENT)
    rows = list(run)
    assert [("scores" in row) for row in rows] == [False, True, False, False]
    assert set(run.scores[2].rows["case"]) == {"c0", "c1"}
    assert rows[1]["scores"]["retention"] == run.scores[2].json()["retention"]
    assert json.loads(json.dumps(rows)) == [{**row, "rows": list(row["rows"])} for row in rows]


def test_json(lm):
    run = stream(lm, Noise(lm, size=0.03), small_cases(), 2).finish()
    found = json.loads(json.dumps(run.json()))
    assert list(found) == [
        "editor",
        "model",
        "settings",
        "edits",
        "seconds",
        "peak_memory_bytes",
        "scores",
    ]
    assert found["editor"] == "noise" and found["model"] == "tiny-llama" and found["edits"] == 4
    assert found["settings"] == {"seed": 0, "size": 0.03, "batch": 2}
    assert found["seconds"].keys() == {"edit", "evaluate"} and min(found["seconds"].values()) > 0
    assert found["peak_memory_bytes"] > 10**7
    assert list(found["scores"]) == ["0", "4"]
    for scores in found["scores"].values():
        for metric in ("efficacy", "retention", "generalization", "specificity"):
            assert {"teacher_forced", "probability", "generation"} <= scores[metric].keys()
        assert scores["locality"].keys() == {"teacher_forced", "generation", "kl_nats"}
        assert "perplexity" in scores and scores["contradicted"] == 0


def test_contradicted_facts_leave_retention(lm):
    cases = contradicting()
    assert contradicted(cases) == {0}  # the same target again, but for case and quotes, is none
    assert contradicted(cases[:4]) == set()
    back = [*cases, Case(cases[0].fact, id="c6")]
    assert contradicted(back) == {0, 4, 5}
    run = stream(lm, Noise(lm), cases, 2, eval_at=[0, 4, 6], evaluate_with=SILENT).finish()
    assert run.contradicted == {0: 0, 4: 0, 6: 1}
    rows = run.scores[6].rows
    gone = rows[rows["case"] == "c0"]
    assert set(gone["metric"]) == {"efficacy", "specificity", "locality"}
    assert set(rows[rows["metric"] == "retention"]["case"]) == {"c1", "c2", "c3", "c4", "c5"}
    assert "retention" in set(run.scores[4].rows.query("case == 'c0'")["metric"])
    assert run.json()["scores"]["6"]["contradicted"] == 1


def test_an_error_names_the_rows_and_leaves_the_run(lm):
    cases = small_cases()
    cases[3] = replace(cases[3], fact=replace(cases[3].fact, target_new="no"))
    run = stream(lm, Noise(lm), cases, 2, eval_at=(), evaluate_with=SILENT)
    rows = iter(run)
    next(rows)
    before = run.patch, run.edits, list(run.rows), dict(run.seconds)
    for _ in range(2):
        with pytest.raises(EditError, match="Rows 2 to 3 could not be edited: the answer 'no'"):
            next(iter(run))
        assert (run.patch, run.edits, run.rows, run.seconds) == before
    assert run.json()["edits"] == 2
    run.cases[3] = small_cases()[3]
    assert [row["edits"] for row in run] == [4]
    single = stream(lm, Noise(lm), cases[3:], evaluate_with=SILENT)
    with pytest.raises(EditError, match="^Row 0 could not"):
        single.finish()


def test_a_failed_measurement_leaves_the_run(lm, monkeypatch):
    cases = small_cases()
    cases[1] = replace(cases[1], locality=("long " * 200,))
    run = stream(lm, Noise(lm), cases, 1, eval_at=[2], evaluate_with=SILENT)
    rows = iter(run)
    next(rows)
    before = run.patch
    with pytest.raises(ValueError, match="exceeds the context"):
        next(rows)
    assert run.patch is before and run.edits == 1 and run.scores == {} and len(run.rows) == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cases": []}, "no case"),
        ({"batch_size": 0}, "batch_size should be a number of at least 1, not 0"),
        ({"batch_size": 2, "eval_at": [3]}, "not at the end of a batch"),
        ({"editor": "magic"}, "no editor 'magic'. Available editors: "),
        ({"evaluate_with": {"events": ["luck"]}}, "events should be"),
    ],
)
def test_bad_input(lm, change, message):
    with pytest.raises(ValueError, match=message):
        stream(**{"lm": lm, "editor": Noise(lm), "cases": small_cases(), **change})


def test_progress_goes_to_stderr_only_when_asked(lm, capsys):
    stream(lm, Noise(lm), small_cases()[:1], eval_at=(), evaluate_with=SILENT).finish()
    assert capsys.readouterr() == ("", "")
    stream(
        lm, Noise(lm), small_cases()[:2], eval_at=(), evaluate_with=SILENT, progress=True
    ).finish()
    shown = capsys.readouterr()
    assert shown.out == "" and "2/2" in shown.err


class Choosy(Noise):
    """Noise that needs a subject, as ROME does."""

    needs_subject = True


@pytest.fixture
def unfit():
    """Five cases, of which rows 1, 2 and 4 cannot be edited."""
    long, plain = "x" * 300, [Case(lib.Fact(None, f"Once {i}", "Rome")) for i in range(3)]
    first, second, *_ = small_cases()
    return [first, plain[0], Case(lib.Fact("Finn", "{} is", long)), second, plain[1]]


def test_a_stream_names_the_rows_that_cannot_be_edited_before_the_first_one(lm, unfit, tmp_path):
    Noise.calls = 0
    run = stream(lm, Choosy(lm), unfit, 3, evaluate_with=SILENT, journal=tmp_path)
    for attempt in (run.finish, lambda: next(iter(run))):
        with pytest.raises(EditError) as error:
            attempt()
        said = str(error.value)
        assert "3 rows cannot be edited: " in said
        assert all(word in said for word in ("row 1 has no subject", "Row 2: with its answer"))
        assert "row 4 has no subject" in said and "skip_unusable=True" in said
    assert Noise.calls == 0 and run.patch is EMPTY and run.scores == {}
    assert {path.name for path in tmp_path.iterdir()} <= {"header.json", "lock"}


def test_a_stream_goes_on_without_the_rows_that_cannot_be_edited(lm, unfit, tmp_path):
    cases = unfit
    settings = {"batch_size": 1, "evaluate_with": SILENT, "skip_unusable": True}
    with pytest.warns(
        lib.errors.DataWarning, match="Skipped, because 3 rows cannot be edited: .*row 1 has"
    ):
        run = stream(lm, Choosy(lm), cases, journal=tmp_path / "a", **settings).finish()
    assert run.edits == 2 and run.json()["rows"] == [0, 3]
    assert run.patch.facts == (cases[0].fact, cases[3].fact)
    plain = stream(lm, Choosy(lm), [cases[0], cases[3]], evaluate_with=SILENT).finish()
    assert same(run.patch, plain.patch) and "rows" not in plain.json()
    cases[3] = replace(cases[3], fact=replace(cases[3].fact, target_new="no"))
    with (
        pytest.warns(lib.errors.DataWarning),
        pytest.raises(EditError, match="^Row 3 could not be"),
    ):
        stream(lm, Choosy(lm), cases, **settings).finish()
    with pytest.warns(lib.errors.DataWarning), pytest.raises(EditError, match="There is no case"):
        stream(lm, Choosy(lm), cases[1:3], **settings)
    # without such a row it is the same run, whose journal either call goes on from
    good = small_cases()[:2]
    first = stream(lm, Choosy(lm), good, journal=tmp_path / "b", evaluate_with=SILENT).finish()
    again = stream(lm, Choosy(lm), good, journal=tmp_path / "b", **settings)
    assert again.edits == 2 and same(first.patch, again.patch)


def test_a_run_that_has_begun_checks_only_what_is_left(lm, tmp_path, monkeypatch):
    settings = {"eval_at": (), "evaluate_with": SILENT, "journal": tmp_path}
    next(iter(stream(lm, Choosy(lm), small_cases()[:3], **settings)))
    seen = []
    monkeypatch.setattr(Choosy, "check", lambda self, facts, first=0: seen.append(first))
    run = stream(lm, Choosy(lm), small_cases()[:3], **settings)
    assert run.edits == 1 and seen == [], "nothing happens before it is iterated"
    run.finish()
    assert seen[:2] == [1, 2]
