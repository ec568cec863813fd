"""The leaderboard: good and bad editors of students on a tiny model, in their own processes."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import lib
from lessons import leaderboard
from lessons.grading.leaderboard_entrant import editor_of
from lessons.grading.leaderboard_entry import Entry, Failed
from lib.atomic_files import digest

from ..support import tiny

EXAMPLE = Path(leaderboard.__file__).with_name("example_editor.py")
FACTS = [case.fact for case in lib.classroom()[1:4:2]]
ODD = '''
import time
import torch
import lib


class Mine(lib.Editor):
    """Fails at will: the fact says how."""

    def write(self, facts, after):
        (fact,) = facts
        if fact.target_new == "error":
            raise ValueError("no idea\\nsecond line")
        if fact.target_new == "nothing":
            return None
        if fact.target_new == "wait":
            time.sleep(600)
        name = self.lm.mlp_out(1)
        if fact.target_new == "route":
            return lib.Patch(routes={name: Door()})
        if fact.target_new == "nan":
            return after.with_weights({name: self.lm.weight(name, after) * float("nan")})
        print("printed by a student")
        return after.with_weights({name: self.lm.weight(name, after) + 0.1})


class Door(lib.patch.route.Route):
    kind = "door"

    def decide(self, inputs, output, seqs):
        return torch.full((len(output),), -1)

    def apply(self, inputs, output, choice, seqs):
        return output

    def tensors(self):
        return {}

    def header(self):
        return {}

    @classmethod
    def load(cls, tensors, header):
        return cls()
'''


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model in a folder, as `--model` takes it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    lm = tiny.model("llama")
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return str(folder)


def fact(answer):
    return lib.Fact("Ada", "{} lives in", answer)


@pytest.mark.slow
def test_a_ranking_of_an_example_and_ours(model, tmp_path, capsys):
    ada = tmp_path / "students" / "ada" / "my"
    ada.mkdir(parents=True)
    (ada / "editor.py").write_text(EXAMPLE.read_text())
    files = {kind: tmp_path / f"found.{kind}" for kind in ("json", "csv")}
    call = ["--folder", str(tmp_path / "students"), "--against", "", "--model", model]
    call += ["--cases", "1", "--stream", "2", "--seed", "3", "--memory", "0"]
    call += [part for kind, path in files.items() for part in (f"--{kind}", str(path))]
    assert leaderboard.main(call) == 0
    shown = capsys.readouterr().out
    assert "ada *" in shown and "no edit" in shown and "seed 3" in shown
    found = json.loads(files["json"].read_text())
    assert (found["model"], found["cases"], found["stream"], found["seed"]) == ("tiny", 1, 2, 3)
    lines = {line["editor"]: line for line in found["editors"]}
    assert not lines["ada"]["failed"] and len(lines["ada"]["seconds"]) == 3
    for line in lines.values():
        for column in leaderboard.COLUMNS:
            cell = line[column]
            if column == "consequences" and cell["mean"] is None:
                continue  # a drawn case may have no question whose parts the model knows
            assert 0 <= cell["mean"] <= 1
            if cell["low"] is not None:  # one case that is neither 0 nor 1 has no interval
                assert 0 <= cell["low"] <= cell["mean"] <= cell["high"] <= 1
    assert lines["no edit"]["locality"]["mean"] == 1 and lines["no edit"]["score"] == 0
    with files["csv"].open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head[:3] == ["editor", "place", "score"] and [row[1] for row in rows] == ["1", "2"]


def test_a_contest_that_was_stopped_goes_on_after_its_rows(model, tmp_path, capsys, monkeypatch):
    """No process runs here: what an editor does is measured above."""
    paths = [tmp_path / f"{name}.py" for name in ("ada", "ben")]
    for path in paths:
        path.write_text(f"# {path.stem}")
    asked = []

    class Nobody(Entry):
        def __init__(self, source, *given, **more):
            asked.append(Path(source).stem)
            if asked == ["ada", "ben"]:
                raise KeyboardInterrupt  # in the middle of the second

        def close(self):
            pass

    monkeypatch.setattr(leaderboard, "Entry", Nobody)
    right = (0.5, 0.25, float("nan"))
    line = dict.fromkeys(leaderboard.COLUMNS, right)
    monkeypatch.setattr(
        leaderboard.Contest, "run", lambda self, name, own, entry: leaderboard.Row(name, own, line)
    )
    monkeypatch.setattr(
        leaderboard.Contest, "nothing", lambda self: leaderboard.Row("no edit", False, line)
    )
    where = tmp_path / "all.json"
    call = [*map(str, paths), "--against", "", "--model", model, "--cases", "1"]
    call += ["--json", str(where)]
    assert leaderboard.main(call) == leaderboard.STOPPED and not where.exists()
    kept = tmp_path / "all-unfinished.json"
    seed = json.loads(kept.read_text())["seed"]
    assert leaderboard.main([*call, "--seed", str(seed + 1)]) == 2, (
        "other facts are another contest"
    )
    assert "move it away" in capsys.readouterr().err
    assert leaderboard.main(call) == 0 and asked == ["ada", "ben", "ben"] and not kept.exists()
    found = json.loads(where.read_text())
    assert found["seed"] == seed and len(found["editors"]) == 3 and "not measured" not in found

    short = json.dumps({"editors": [found["editors"][0] | {"efficacy": {"mean": 1.0}}]})
    for text in (short, "{", "[]", '{"editors": 3}', '{"editors": [{"editor": "ada"}]}', "\ud800"):
        kept.write_text(text, "utf-8", "surrogatepass")
        assert leaderboard.main(call) == 2 and "move it away" in capsys.readouterr().err


def test_the_first_command_shows_the_own_editor_first_beside_stored_rows(
    tmp_path, capsys, monkeypatch
):
    """No process runs here: what an editor does is measured above."""
    stored, rows = leaderboard.kept(leaderboard.QUICK)
    alone, stream = leaderboard.unseen(4, 0, stored["seed"])
    assert stored["facts"] == digest(str((alone, stream)), {}), "other facts: make it again"
    assert len(rows) == 7 and all(not row.own and not row.failed for row in rows)
    line = dict.fromkeys(leaderboard.COLUMNS, (1.0, 0.5, 1.0))
    monkeypatch.setattr(leaderboard, "Contest", Unmeasured)
    monkeypatch.setattr(leaderboard, "Entry", lambda *_, **__: contextlib.nullcontext())
    Unmeasured.line, Unmeasured.asked = line, []
    mine = tmp_path / "my" / "editor.py"
    for said in ("is a copy of lessons/example_editor.py", "is there already and stays as it is"):
        assert leaderboard.main([str(mine), "--start", "--quick"]) == 0
        told = capsys.readouterr()
        assert said in told.err and mine.read_text()
        assert told.out.count("\n") > 9 and all(row.name in told.out for row in rows)
        mine.write_text("# my own")
    assert len(Unmeasured.asked) == 2, "ours are not run again"
    assert mine.read_text() == "# my own"


class Unmeasured(leaderboard.Contest):
    def __init__(self, model, alone, stream):
        self.lm = SimpleNamespace(name=leaderboard.kept(leaderboard.QUICK)[0]["model"])

    def nothing(self):
        return leaderboard.Row(leaderboard.NOTHING, False, self.line)

    def run(self, name, own, entry):
        self.asked.append(name)
        return leaderboard.Row(name, own, self.line)


def test_each_edit_is_told_when_it_is_measured(capsys):
    class Counted(leaderboard.Contest):
        def __init__(self):
            self.alone = self.stream = lib.classroom()[1:4:2]

        def measured(self, cases, patch, of):
            asked = [(m, e) for place, m, e in leaderboard.COLUMNS.values() if place == of]
            keys = "case", "metric", "event", "value"
            some = [dict(zip(keys, (c.id, *a, 1.0), strict=True)) for c in cases for a in asked]
            return pd.DataFrame(some, columns=keys)

    made = SimpleNamespace(edit=lambda facts, on: 0.5, made=lambda: lib.EMPTY)
    row = Counted().run("mine", True, made)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("mine: 1 of 2 single edits, efficacy 100, ")
    assert lines[-1] == "mine: 2 of 2 edits in a row" and len(lines) == 4 and row.score == 1


@pytest.mark.slow
def test_the_stored_rows_of_quick_are_made_again(tmp_path):
    where = tmp_path / "all.json"
    stored, rows = leaderboard.kept(leaderboard.QUICK)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(leaderboard, "QUICK", tmp_path / "none")
        call = ["--quick", "--against", "ft,retrieval", "--seed", str(stored["seed"])]
        assert leaderboard.main([*call, "--json", str(where)]) == 0
    again = {row.name: row.values for row in leaderboard.kept(where)[1]}
    for row in rows:
        for column, values in again.get(row.name, {}).items():
            assert row.values[column] == pytest.approx(values, abs=0.01, nan_ok=True), row.name


@pytest.mark.slow
def test_whatever_fails_is_told_and_the_next_edit_is_made(model):
    with Entry("odd.py", model, 20.0, text=ODD) as entry:
        assert entry.edit([fact("Rome")]) > 0
        patch = entry.made()
        assert list(patch.weights) and patch.log[0].editor == "odd"
        for answer, why in (
            ("error", "ValueError: no idea"),
            ("nothing", "not|NoneType"),
            ("nan", "EditError"),
        ):
            with pytest.raises(Failed, match=why) as failed:
                entry.edit([fact(answer)], "last")
            assert "\n" not in str(failed.value) and not failed.value.over
        entry.edit([fact("Oslo")], "last")  # goes on from the last one that was made
        assert [line.facts[0].target_new for line in entry.made().log] == ["Rome", "Oslo"]
        entry.edit([fact("route")])
        with pytest.raises(Failed, match="cannot be read"):  # its class is not known here
            entry.made()
        entry.seconds = 0.5
        for _ in range(2):
            with pytest.raises(Failed, match="no answer after") as failed:
                entry.edit([fact("wait")])
            assert failed.value.over
    assert entry.process.returncode is not None and not Path(entry.folder.name).exists()


def test_a_file_has_one_editor():
    lm = tiny.model("llama")
    for source in ("x = 1\n", ODD + "\n\nclass Other(Mine):\n    pass\n"):
        with pytest.raises(lib.errors.EditError, match="needs a function edit"):
            editor_of(Path("mine.py"), source)
    edit = editor_of(Path(EXAMPLE.name), EXAMPLE.read_text())(lm)
    before, fact = lm.fingerprint, FACTS[0]
    patch = edit.edit([fact])
    with lm.patched(patch):
        now = lm.score(fact.text, fact.target_new).mean()
    assert now > lm.score(fact.text, fact.target_new).mean() and lm.fingerprint == before
    assert patch.log[0].editor == "example_editor"


def test_cases_are_odd_disjoint_and_drawn_by_the_seed():
    alone, stream = leaderboard.unseen(5, 7, seed=1)
    ids = [case.id for case in (*alone, *stream)]
    assert len(set(ids)) == 12 and all(number % 2 for number in ids)
    again = leaderboard.unseen(5, 7, seed=1)
    assert [case.id for part in again for case in part] == ids
    assert [case.id for case in leaderboard.unseen(5, 7, seed=2)[0]] != ids[:5]
    for count, length in ((0, 3), (1, -1), (90, 90)):
        with pytest.raises(ValueError, match="case"):
            leaderboard.unseen(count, length, seed=0)


def test_the_score_wants_everything():
    row = leaderboard.Row("x", True, {"a": (1.0, 0, 1), "b": (0.5, 0, 1)})
    assert row.score == pytest.approx(2 / 3)
    row.values["consequences"] = (0.0, 0, 1)
    assert row.score == pytest.approx(2 / 3), "they are shown beside the score, not in it"
    row.values["c"] = (0.0, 0, 1)
    assert row.score == 0
