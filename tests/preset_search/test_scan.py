"""Scans: which candidates are tried in which order, time, journal, failures, and what is proposed.

Most tests replace the one method that runs the model, `Scan._trial`, and the clock.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

import lib
from lib.editors.shared.base import Editor
from lib.editors.shared.config import Config
from lib.errors import EditError
from lib.model.presets_file import Presets
from lib.workbench.preset_search.scan import Scan, scan
from notebooks.support.runs_02_insert import WITHOUT_TOKEN

from ..benchmarks import sweep
from ..support import tiny
from ..support.cases import small_cases
from ..support.editor_settings import TINY

MODULE = sys.modules["lib.workbench.preset_search.scan"]
SHARES = {"efficacy": 0.5, "generalization": 0.5, "specificity": 0.5}
ROME = {**{k: v for k, v in TINY["rome"].items() if k != "layer"}, "steps": 4}


@dataclass(frozen=True)
class WindowConfig(Config):
    layers: tuple[int, ...] = (1, 2, 3)
    size: float = 0.2


class Window(Editor):
    """Moves several matrices at random; fails at size 9."""

    name = "window"
    paper = "none"
    Config = WindowConfig
    needs_subject = True

    def write(self, facts, after):
        if self.config.size == 9:
            raise lib.errors.EditError("the loss is not finite")
        torch.manual_seed(len(facts))
        moved = {}
        for module in map(self.lm.mlp_out, self.config.layers):
            W = self.lm.weight(module, after)
            moved[module] = W + self.config.size * torch.randn_like(W)
        return after.with_weights(moved)


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(scope="module")
def deep():
    """Thirty layers under the embedded model's name, so that its presets are found."""
    made = tiny.model("llama", num_hidden_layers=30)
    made.name = "SmolLM2-135M-Instruct behind <|endoftext|>"
    return made


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setitem(lib.EDITORS, "window", Window)


@pytest.fixture
def trials(monkeypatch):
    """Trials that cost `seconds` of a made-up clock and peak at layer 17; the list of them."""
    made = SimpleNamespace(tried=[], seconds=10.0, now=0.0, peak=17, rate=0.5, stop=None)

    def trial(self, changes):
        if made.stop == len(made.tried):
            raise KeyboardInterrupt
        made.tried.append(changes)
        made.now += made.seconds
        layer = changes.get("layer", changes.get("layers", [0])[-1])
        score = 0.9 - 0.02 * abs(layer - made.peak)
        score -= abs(changes.get("v_lr", made.rate) - made.rate)
        return {"harmonic": score, "kl_nats": 0.0, "seconds": 1.0, **dict.fromkeys(SHARES, score)}

    monkeypatch.setattr(Scan, "_trial", trial)
    monkeypatch.setattr(MODULE, "time", SimpleNamespace(perf_counter=lambda: made.now))
    before = {m: {"generation": v} for m, v in SHARES.items()}
    base = SimpleNamespace(scores=SimpleNamespace(json=lambda: before))
    monkeypatch.setattr(MODULE, "baseline", lambda *_, **__: base)
    return made


def layers_of(found: Scan) -> list:
    return [row.get("layer", row.get("layers")) for row in found.rows]


def test_coarse_layers_are_spread_and_the_fine_ones_lie_around_the_best(deep, trials):
    found = scan(deep, "rome", small_cases())
    assert layers_of(found) == [17, 7, 27, 2, 12, 22, 16, 18, 15, 19]
    assert found.best["layer"] == 17 and found.note == "" and found.estimate == 100
    within = scan(deep, "rome", small_cases(), layers=range(16, 19), around=5)
    assert sorted(layers_of(within)) == [16, 17, 18]


def test_the_first_dimension_is_crossed_with_layers_and_others_are_tried_alone(deep, trials):
    grid = {"v_lr": (0.1, 0.5), "clamp": (4.0, 20.0), "steps": [5, 20]}
    found = scan(deep, "rome", small_cases(), layers=(12, 17, 22), grid=grid, around=1)
    assert {"layer": 17, "v_lr": 0.5, "clamp": 4.0, "steps": 20}.items() <= found.rows[0].items()
    assert len(found.rows) == 3 + 3 * 2 - 1 + 1 + 1
    assert [row["clamp"] for row in found.rows].count(20.0) == 1
    assert [row["steps"] for row in found.rows].count(5) == 1
    assert found.settings == {"layer": 17, "v_lr": 0.5, "clamp": 4.0, "steps": 20}


def test_windows_end_at_the_layer_and_are_cut_at_the_bottom(lm, window, trials):
    trials.peak = 1
    found = scan(lm, "window", small_cases(), widths=(1, 3), around=1, layers=(1, 3))
    assert layers_of(found) == [[1, 2, 3], [0, 1], [1], [2], [0, 1, 2]]
    assert found.together and found.settings == {"layers": (0, 1)}
    assert lib.EDITORS["window"](lm, **found.settings).config.layers == (0, 1)


def test_a_sweep_over_the_recorded_trials_of_rome_proposes_its_preset(deep, monkeypatch, trials):
    """The stored rows of the model without its token are played back; others fail.

    It begins with the settings that it proposes, as the sweep did. Stored runs have them, too.
    """
    monkeypatch.setattr(deep, "name", deep.plain_name)
    monkeypatch.setattr(deep, "presets", Presets(rows={"rome": WITHOUT_TOKEN}))
    kept = json.loads(sweep.OUT.read_text())["rome"]
    rows = [row for row in kept["rows"] if "enough" not in row]  # tried beside the grid
    known = {(row["layer"], row["v_lr"]): row for row in rows}

    def trial(self, changes):
        if (changes["layer"], changes["v_lr"]) not in known:
            raise lib.errors.EditError("not recorded")
        return known[changes["layer"], changes["v_lr"]]

    monkeypatch.setattr(Scan, "_trial", trial)
    monkeypatch.setattr(lib, "load", lambda *_, **__: deep)
    monkeypatch.setattr(sweep, "write", lambda *_: None)
    found = sweep.sweep("rome", len(kept["cases"]), {}, sweep.OUT, None, None)
    assert {(2, 0.25), (3, 0.25), (20, 0.25)} <= {(r["layer"], r["v_lr"]) for r in found["rows"]}
    same = ("command", "cases", "best")
    assert {k: found[k] for k in same} == {k: kept[k] for k in same}
    # settings come and go; those of both agree
    both = found["settings"].keys() & kept["settings"]
    assert all(found["settings"][name] == kept["settings"][name] for name in both)
    assert kept.keys() - {"reason"} <= found.keys()
    assert found["rows"][0].keys() == kept["rows"][0].keys()
    chosen = tomllib.loads(found["preset"])["rome"]["SmolLM2-135M-Instruct"]
    assert chosen == {"tuned": True, **WITHOUT_TOKEN}


@pytest.mark.parametrize("model", [None, *sweep.GRIDS])
def test_every_prepared_sweep_is_a_scan_its_editor_can_make(model, deep, trials):
    lm = deep if model in (None, sweep.BEHIND) else tiny.model("llama", num_hidden_layers=18)
    lm.name = deep.name if model in (None, sweep.BEHIND) else model
    for name in sweep.GRID if model is None else sweep.GRIDS[model]:
        options = sweep.grid_of(model, name)
        options = {k: v for k, v in options.items() if k not in ("facts", "purpose")}
        assert scan(lm, name.partition(" ")[0], small_cases()[:2], **options).best
    assert {case.id % 2 for case in sweep.even(4, model)} == {0}


def test_estimate_is_said_after_the_first_trial(deep, trials):
    said = []
    scan(deep, "rome", small_cases(), say=lambda line: said.append((line, len(trials.tried))))
    assert said == [("10 trials of about 10 s: about 100 s", 1)]


@pytest.mark.parametrize("budget", [1, 15, 45, 62, 99])
def test_a_budget_makes_the_scan_coarser_and_is_kept(deep, trials, budget):
    found = scan(deep, "rome", small_cases(), budget=budget)
    assert trials.now <= max(budget, trials.seconds) and found.best in found.rows
    assert len(found.rows) == max(1, budget // 10)
    assert f"about 100 s; the budget of {budget} s left" in found.note
    if budget > 40:  # both stages get their share
        assert {abs(layer - 17) for layer in layers_of(found)} & {1, 2}


def test_a_trial_slower_than_foreseen_ends_the_scan_one_trial_late_at_most(deep, trials):
    def say(_):
        trials.seconds = 80

    found = scan(deep, "rome", small_cases(), budget=100, say=say)
    assert len(found.rows) == 2 and trials.now == 90 and "left 8 out" in found.note


def test_a_killed_scan_goes_on_from_its_journal(deep, trials, tmp_path):
    options = {"grid": {"v_lr": (0.1, 0.5)}, "layers": range(10, 25), "journal": tmp_path / "j/s"}
    whole = scan(deep, "rome", small_cases(), **{**options, "journal": None})
    for more in (2, 7):  # one end in either stage
        trials.tried, trials.stop = [], more
        with pytest.raises(KeyboardInterrupt):
            scan(deep, "rome", small_cases(), **options)
    trials.stop, trials.tried = None, []
    found = scan(deep, "rome", small_cases(), **options)
    assert found.rows == whole.rows and found.best == whole.best
    assert len(trials.tried) == len(whole.rows) - 9
    again = scan(deep, "rome", small_cases(), **options)
    assert len(trials.tried) == len(whole.rows) - 9 and again.estimate == 0
    assert not list((tmp_path / "j").glob(".*"))
    more = {"grid": {"v_lr": (0.1, 0.5), "clamp": (20.0,)}}  # rows without clamp have its default
    scan(deep, "rome", small_cases(), **{**options, **more})
    assert len(trials.tried) == len(whole.rows) - 9 + 1


def test_the_journal_of_another_scan_is_refused(lm, deep, trials, tmp_path):
    file = tmp_path / "s.json"
    scan(deep, "rome", small_cases(), journal=file)
    text = file.read_text()
    shallow = replace(small_cases()[0], paraphrases=())
    for model, cases, more, name in [
        (lm, small_cases(), {}, "model"),
        (deep, small_cases()[:3], {}, "cases"),
        (deep, [shallow, *small_cases()[1:]], {}, "cases"),
        (deep, small_cases(), {"settings": {"clamp": 3.0}}, "settings"),
        (deep, small_cases(), {"together": True}, "together"),
    ]:
        with pytest.raises(EditError, match=f"s.json is of a scan with other '{name}', not"):
            scan(model, "rome", cases, journal=file, **more)
    for broken in ("[]", "{", '{"a": 1}'):
        file.write_text(broken)
        with pytest.raises(EditError, match="s.json is not the journal of a search"):
            scan(deep, "rome", small_cases(), journal=file)
    # version 0.1 told the cases by their `repr`
    said = repr((small_cases(), [case.fact for case in small_cases()])).encode()
    before = json.loads(text) | {"cases": hashlib.sha256(said).hexdigest()[:16]}
    file.write_text(json.dumps(before))
    scan(deep, "rome", small_cases(), journal=file)


def test_close_scores_are_decided_by_damage_alone(lm, trials, monkeypatch):
    """Score, efficacy, specificity, KL; the last row has the least damage, and is too far below."""
    rows = [(0.9, 0.9, 0.5, 0), (0.895, 0.8, 0.6, 2), (0.892, 0.8, 0.6, 1), (0.88, 1.0, 1.0, 0)]

    def trial(self, changes):
        score, *others = rows[changes["layer"]]
        return {
            "harmonic": score,
            **dict(zip(("efficacy", "specificity", "kl_nats"), others, strict=True)),
        }

    monkeypatch.setattr(Scan, "_trial", trial)
    assert scan(lm, "ft", small_cases()).best["layer"] == 2


def test_a_failed_trial_is_a_row_and_the_scan_goes_on(lm, window):
    found = scan(
        lm, "window", small_cases(), layers=[2], grid={"size": (0.01, 9.0, 0.05)}, together=False
    )
    (failed,) = [row for row in found.rows if "error" in row]
    assert failed["size"] == 9 and failed["harmonic"] == 0 and "not finite" in failed["error"]
    assert len(found.rows) == 4 and "error" not in found.best and "not finite" in repr(found)
    none = scan(lm, "window", small_cases(), settings={"size": 9})
    assert none.note == "Every score is 0: there is nothing to choose from."
    with pytest.raises(EditError, match="no trial of window succeeded: the loss is not finite"):
        _ = none.best


def test_real_trials_score_what_evaluate_and_singly_score(lm):
    cases = small_cases()[:2]
    alone = scan(lm, "rome", cases, layers=[1, 2], around=0, settings=ROME)
    assert not alone.together and len(alone.rows) == 2 and alone.rows[0]["layer"] == 2
    editor = lib.EDITORS["rome"](lm, **ROME, layer=2)
    scores = lib.singly(editor, cases).json()
    for metric in SHARES:
        assert alone.rows[0][metric] == pytest.approx(scores[metric]["generation"], abs=1e-4)
    assert alone.rows[0]["kl_nats"] == pytest.approx(scores["locality"]["kl_nats"], abs=1e-4)
    assert lib.EDITORS["rome"](lm, **alone.settings).config.layer == alone.best["layer"]

    tune = {"lr": 0.02, "epochs": 20}
    batch = scan(lm, "ft", cases, layers=[1], settings=tune)
    editor = lib.EDITORS["ft"](lm, **tune, layer=1)
    scores = lib.evaluate(lm, cases, editor.edit([case.fact for case in cases])).json()
    assert batch.together and batch.best["efficacy"] == pytest.approx(
        scores["efficacy"]["generation"], abs=1e-4
    )
    assert batch.before["efficacy"] < batch.best["efficacy"]
    shown = repr(batch)
    assert "2 cases after 2 facts in one call, by generation" in shown
    assert "base model: efficacy" in shown and batch.table()["harmonic"].is_monotonic_decreasing


def test_locality_stands_in_where_the_cases_have_no_neighborhood(lm):
    cases = [replace(case, neighborhood=(), paraphrases=()) for case in small_cases()[:2]]
    found = scan(lm, "ft", cases, layers=[1], settings={"epochs": 2})
    assert found.before["locality"] == 1 and "locality" in found.best
    assert found.note.startswith("Not in these cases: generalization, specificity; locality stands")


def test_the_preset_is_a_row_that_gives_the_same_settings(lm, window, trials, monkeypatch):
    monkeypatch.setattr(lm, "name", "some/where/Tiny-1B")
    trials.rate = 0.1
    given = {"templates": ("{}", 'a "b" {}'), "text": None, "keys": "mean"}
    found = scan(lm, "rome", small_cases(), grid={"v_lr": (0.1, 1e-5)}, settings=given)
    text = found.preset()
    assert "# text: none" in text and "scan, " in text.splitlines()[0]
    row = tomllib.loads(text)["rome"]["Tiny-1B"]
    wanted = {"layer": 3, "v_lr": 0.1, "templates": ["{}", 'a "b" {}'], "keys": "mean"}
    assert row == {"tuned": True, **wanted}


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("roem", {}, "there is no editor 'roem'"),
        ("retrieval", {}, "retrieval has no layer to scan"),
        ("rome", {"layers": [4]}, "layer 4 does not exist: tiny-llama has layers 0 to 3"),
        ("rome", {"layers": []}, "there is no layer to try"),
        ("rome", {"widths": (1, 3)}, "do not fit: rome writes to its 'layer'"),
        ("rome", {"grid": {"v_rl": (1, 2)}}, "rome has no setting 'v_rl'"),
        ("rome", {"grid": {"v_lr": 0.5}}, "the grid of 'v_lr' should be a list of values: 0.5"),
        ("rome", {"grid": {"layer": (1, 2)}}, "'layer' is given elsewhere"),
        ("rome", {"facts": []}, "need together=True"),
        ("rome", {"facts": [], "together": True}, "there is no fact to edit"),
        ("rome", {"settings": {"laier": 1}}, "rome has no setting 'laier'"),
    ],
)
def test_bad_input_is_one_sentence(lm, name, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        scan(lm, name, small_cases(), **options)
    with pytest.raises(EditError, match="there is no case"):
        scan(lm, "rome", [])
