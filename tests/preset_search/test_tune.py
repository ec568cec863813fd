"""`tune`: candidates and their order, time, going on, failures, files, and who reads them.

Most tests replace the one function that runs an edit, `edited`, and the clock.
"""

from __future__ import annotations

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
from lib.errors import EditError, Error
from lib.model.presets_file import Presets, read_presets
from lib.workbench.preset_search.tune import (
    GRIDS,
    Rows,
    best,
    divide,
    preset,
    search,
    settings_of,
    tune,
    values_of,
)
from notebooks.support.runs_02_insert import WITHOUT_TOKEN

from ..benchmarks import sweep
from ..support import tiny
from ..support.cases import scores_of, small_cases
from ..support.editor_settings import TINY
from ..support.usual import sample

MODULE = sys.modules["lib.workbench.preset_search.tune"]
NAMES = "cat dog bat cow hen pig fox owl ant bee elk emu ape rat eel ram".split()
QUICK = {"steps": 3, "contexts": ((3, 1),), "context_start": None}
SMALL = {
    "ft_m": {
        "around": 0,
        "depths": (0.3, 0.9),
        "grid": {"lr": (5e-4, 0.02)},
        "settings": {"epochs": 3},
    },
    "ultraedit": {
        "around": 0,
        "depths": (0.5, 1.0),
        "widths": (1, 2),
        "grid": {"step": (0.015, 0.2)},
    },
    "rome": {"around": 0, "depths": (0.2, 0.6), "grid": {"clamp": (1.0, 4.0)}, "settings": QUICK},
}


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


def facts() -> list[lib.Case]:
    """Sixteen facts with true answers, numbered from 0."""
    made = []
    for number, name in enumerate(NAMES):
        fact = lib.Fact(name, "I saw a {}", "xy", target_true="qz")
        made.append(lib.Case(fact, (f"A {name}",), locality=("The sun",), id=number))
    return made


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
def knowing(monkeypatch):
    """A random model knows nothing, so it is said to know all."""
    monkeypatch.setattr(MODULE, "known", lambda lm, cases: list(cases))
    monkeypatch.setattr(MODULE, "GRIDS", SMALL)


@pytest.fixture
def trials(monkeypatch):
    """Edits of ten seconds of a made-up clock, best at layer 17; the list of their settings."""
    made = SimpleNamespace(tried=[], now=0.0, peak=17, rate=0.5, stop=None)

    def edited(lm, name, settings, cases, base, facts):
        if made.stop == len(made.tried):
            raise KeyboardInterrupt
        made.tried.append(dict(settings))
        made.now += 10
        place = settings.get("layer", settings.get("layers", settings.get("down", [0])))
        layer = place if isinstance(place, int) else [0, *place][-1]
        score = 0.9 - 0.02 * abs(layer - made.peak) - abs(settings.get("v_lr", 0.5) - made.rate)
        return scores_of(cases, score), 1.0

    monkeypatch.setattr(MODULE, "edited", edited)
    ticking = SimpleNamespace(perf_counter=lambda: made.now, strftime=lambda _: "today")
    monkeypatch.setattr(MODULE, "time", ticking)
    base = lambda lm, cases, **_: SimpleNamespace(scores=scores_of(cases, 0.5))  # noqa: E731
    monkeypatch.setattr(MODULE, "baseline", base)
    return made


@pytest.fixture
def tried(tmp_path):
    """The trials of a search whose file is a new one."""

    def run(lm, name, space, cases=None, **more):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        return search(lm, name, cases or small_cases(), space, Rows(file, lm, []), **more)

    return run


def layers_of(found: list[dict]) -> list:
    return [row.get("layer", row.get("layers")) for row in found]


def test_layers_are_spread_and_the_neighbors_of_the_best_one_follow(deep, trials, tried):
    found = tried(deep, "rome", {"around": 2})
    assert layers_of(found) == [17, 8, 28, 2, 13, 22, 16, 18, 15, 19]
    assert best(found)["layer"] == 17 and len(trials.tried) == 10
    within = tried(deep, "rome", {"layers": range(16, 19), "around": 5})
    assert {*layers_of(within)} == {16, 17, 18}


def test_the_first_setting_is_crossed_with_layers_and_others_are_tried_alone(deep, trials, tried):
    grid = {"v_lr": (0.1, 0.5), "clamp": (4.0, 20.0), "steps": [5, 20]}
    found = tried(deep, "rome", {"layers": (12, 17, 22), "grid": grid, "around": 1})
    assert {"layer": 12, "v_lr": 0.5, "clamp": 4.0, "steps": 20}.items() <= found[0].items()
    assert len(trials.tried) == 3 + 3 * 2 - 1 + 1 + 1
    assert [one["clamp"] for one in trials.tried].count(20.0) == 1
    config = lib.EDITORS["rome"](deep).settings_dict()
    chosen = {"layer": 17, "v_lr": 0.5, "clamp": 4.0, "steps": 20}
    assert settings_of(best(found), config) == chosen


def test_windows_end_at_the_layer_and_are_cut_at_the_bottom(lm, window, trials, tried):
    trials.peak = 1
    found = tried(lm, "window", {"widths": (1, 3), "around": 1, "layers": (3, 1)})
    assert layers_of(found) == [[1, 2, 3], [0, 1], [1], [2], [0, 1, 2]]
    chosen = settings_of(best(found), {"layers": None})
    assert lib.EDITORS["window"](lm, **chosen).config.layers == (0, 1)


def test_a_sweep_over_the_recorded_trials_of_rome_proposes_its_preset(
    deep, monkeypatch, trials, tmp_path
):
    """The stored rows of the model without its token are played back; others fail.

    It begins with the settings that it proposes, as the sweep did. Stored runs have them, too.
    """
    monkeypatch.setattr(deep, "name", deep.plain_name)
    monkeypatch.setattr(deep, "presets", Presets(rows={"rome": WITHOUT_TOKEN}))
    kept = json.loads(sweep.OUT.read_text())["rome"]
    rows = [row for row in kept["rows"] if "enough" not in row]  # tried beside the grid
    known = {(row["layer"], row["v_lr"]): row for row in rows}

    def edited(lm, name, settings, cases, base, facts):
        if (settings["layer"], settings["v_lr"]) not in known:
            raise lib.errors.EditError("not recorded")
        row = known[settings["layer"], settings["v_lr"]]
        found = {m: row[m] for m in ("efficacy", "generalization", "specificity")}
        made = scores_of(cases, 0.0, **found)
        made.rows.loc[made.rows["event"] == "kl_nats", "value"] = row["kl_nats"]
        return made, row["seconds"]

    monkeypatch.setattr(MODULE, "edited", edited)
    monkeypatch.setattr(lib, "load", lambda *_, **__: deep)
    monkeypatch.setattr(sweep, "write", lambda *_: None)
    journal = tmp_path / "sweep.jsonl"
    found = sweep.sweep("rome", len(kept["cases"]), {}, sweep.OUT, journal, None)
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
def test_every_prepared_sweep_is_a_search_its_editor_can_make(model, deep, trials, tried):
    embedded = model in (None, sweep.BEHIND)
    lm = deep if embedded else tiny.model("llama", num_hidden_layers=18)
    lm.name = deep.name if embedded else model
    for name in sweep.GRID if model is None else sweep.GRIDS[model]:
        assert best(tried(lm, name.partition(" ")[0], sweep.grid_of(model, name)))
    assert {case.id % 2 for case in sweep.even(4, model)} == {0}


@pytest.mark.parametrize("name", GRIDS)
def test_every_row_of_the_grids_is_a_search_its_editor_can_make(name, deep, trials, tried):
    found = tried(deep, name, GRIDS[name])
    assert "error" not in best(found) and 5 <= len(trials.tried) <= 30


def test_an_editor_without_a_row_is_searched_over_layers(deep, window, trials, tried):
    assert "window" not in GRIDS
    assert best(tried(deep, "window", {}))["layers"] == [15, 16, 17]


@pytest.mark.parametrize("seconds", [1, 15, 45, 62, 99])
def test_seconds_make_a_search_coarser_and_are_kept(deep, trials, tried, seconds):
    found = tried(deep, "rome", {"around": 2}, seconds=seconds)
    assert trials.now <= max(seconds, 10) and best(found) in found
    if seconds > 40:  # neighbors get their share
        assert {abs(layer - 17) for layer in layers_of(found)} & {1, 2}


def test_close_scores_are_decided_by_damage_alone():
    """The last row has the least damage, and is too far below."""
    names = ("harmonic", "specificity", "kl_nats", "layer")
    rows = [(0.9, 0.5, 0, 0), (0.895, 0.6, 2, 1), (0.892, 0.6, 1, 2), (0.88, 1.0, 0, 3)]
    assert best([dict(zip(names, row, strict=True)) for row in rows])["layer"] == 2


def test_a_failed_trial_is_a_row_and_the_search_goes_on(lm, window, tried):
    space = {"layers": [2], "grid": {"size": (0.01, 9.0, 0.05)}, "together": False}
    found = tried(lm, "window", space)
    (failed,) = [row for row in found if "error" in row]
    assert failed["size"] == 9 and failed["harmonic"] == 0 and "not finite" in failed["error"]
    assert len(found) == 4 and "error" not in best(found)
    with pytest.raises(EditError, match="No trial of window succeeded: the loss is not finite"):
        tried(lm, "window", {"settings": {"size": 9}})


def test_real_trials_score_what_evaluate_and_singly_score(lm, tried):
    cases = small_cases()[:2]
    given = {**{k: v for k, v in TINY["rome"].items() if k != "layer"}, "steps": 4}
    alone = tried(lm, "rome", {"layers": [2, 1], "around": 0, "settings": given}, cases)
    scores = lib.singly(lib.EDITORS["rome"](lm, **given, layer=2), cases).json()
    for metric in ("efficacy", "generalization", "specificity"):
        assert alone[0][metric] == pytest.approx(scores[metric]["generation"], abs=1e-4)
    assert alone[0]["kl_nats"] == pytest.approx(scores["locality"]["kl_nats"], abs=1e-4)
    trained = {"lr": 0.02, "epochs": 20}
    (batch,) = tried(lm, "ft", {"layers": [1], "settings": trained}, cases)
    editor = lib.EDITORS["ft"](lm, **trained, layer=1)
    scores = lib.evaluate(lm, cases, editor.edit([case.fact for case in cases])).json()
    assert batch["efficacy"] == pytest.approx(scores["efficacy"]["generation"], abs=1e-4)


def test_locality_stands_in_if_the_cases_have_no_neighborhood(lm, tried):
    cases = [replace(case, neighborhood=(), paraphrases=()) for case in small_cases()[:2]]
    (row,) = tried(lm, "ft", {"layers": [1], "settings": {"epochs": 2}}, cases)
    assert "locality" in row and not {"generalization", "specificity"} & row.keys()


def test_the_preset_is_a_row_that_gives_the_same_settings(lm, trials, tried, monkeypatch):
    monkeypatch.setattr(lm, "name", "some/where/Tiny-1B")
    trials.rate = 0.1
    given = {"templates": ("{}", 'a "b" {}'), "text": None, "keys": "mean"}
    grid = {"v_lr": (0.1, 1e-5)}
    text = preset(lm, "rome", tried(lm, "rome", {"grid": grid, "settings": given}), 4)
    assert "# text: none" in text and "trials on 4 cases" in text.splitlines()[0]
    row = tomllib.loads(text)["rome"]["Tiny-1B"]
    wanted = {"layer": 3, "v_lr": 0.1, "templates": ["{}", 'a "b" {}'], "keys": "mean"}
    assert row == {"tuned": True, **wanted}


# a norm after the MLP, grouped heads, a tied head
@pytest.mark.slow
@pytest.mark.parametrize("family", sample(["gemma3_text", "qwen3", "gpt2"], 1))
def test_presets_and_page_come_out_and_are_used(knowing, tmp_path, family):
    lm = tiny.model(family)
    found = tune(lm, ["rome", "ultraedit"], facts(), 1, tmp_path / "p.toml")
    page = found.page.read_text()
    assert list(found.results) == ["ultraedit", "rome"]  # the fast one first
    assert lm.presets == Presets()
    for name, result in found.results.items():
        assert f"## {name}\n" in page and result["trials"]
        held = [case for row in result["held_out"] for case in row["cases"]]
        assert held and all(case % 2 for case in held)
        for which in ("unedited", "default", "found"):
            assert len(values_of(result["held_out"], which, "efficacy")) == len(held)
    assert page.count("held-out facts | unedited | default | found | found − default |") == 2
    lm.presets = read_presets(found.presets, lm.name)
    for name, result in found.results.items():
        config = json.loads(json.dumps(lib.EDITORS[name](lm).settings_dict()))
        assert config == result["found"]
    assert f"presets of {found.presets}" in repr(lm)


def test_the_librarys_presets_of_the_model_do_not_count(knowing, trials, tmp_path):
    lm = tiny.model("gemma3_text")
    lm.name = "gemma-3-270m"
    assert lib.EDITORS["rome"].Config.preset(lm, "rome").clamp == 1.0
    found = tune(lm, ["rome"], facts(), 3, tmp_path / "p.toml")
    default = found.results["rome"]["default"]
    assert (default["clamp"], default["v_lr"], default["layer"]) == (4.0, 0.5, 1)
    assert found.results["rome"]["trials"][0]["clamp"] == 4.0
    assert lib.EDITORS["rome"].Config.preset(lm, "rome").clamp == 1.0


def test_both_halves_are_known_and_share_nothing(monkeypatch, lm):
    cases = facts()
    cases[1] = lib.Case(cases[0].fact, id=1)  # the subject of an even one
    monkeypatch.setattr(MODULE, "known", lambda lm, some: [c for c in some if c.id not in (2, 3)])
    tuning, held = divide(lm, cases)
    assert [case.id for case in tuning] == [0, 4, 6, 8, 10, 12, 14]
    assert [case.id for case in held] == [5, 7, 9, 11, 13, 15]
    monkeypatch.setattr(MODULE, "known", lambda lm, some: list(some)[:1])
    with pytest.raises(EditError, match="tiny-llama knows 1 facts to search with and 1 to hold"):
        divide(lm, cases)


def test_the_minutes_are_kept_and_shared(lm, knowing, trials, tmp_path):
    found = tune(lm, ["ft_m", "ultraedit"], facts(), 3, tmp_path / "p.toml")
    assert trials.now == found.seconds <= 180
    alone = tune(lm, ["rome"], facts(), 2, tmp_path / "r.toml").results["rome"]
    assert trials.now <= 180 + 120 and 1 < len(alone["held_out"]) < 8
    few = tune(lm, ["ft_m", "ultraedit"], facts(), 0.1, tmp_path / "q.toml")
    assert [len(result["trials"]) for result in few.results.values()] == [1, 1]
    assert [len(result["held_out"]) for result in few.results.values()] == [1, 1]


@pytest.mark.parametrize("stop", sample([1, 4, 6], 2))
def test_an_interrupted_run_goes_on(lm, knowing, trials, tmp_path, stop):
    whole = tune(lm, ["ft_m", "ultraedit"], facts(), 3, tmp_path / "a.toml")
    count, trials.tried, trials.stop = len(trials.tried), [], stop
    again = [lm, ["ft_m", "ultraedit"], facts(), 3, tmp_path / "b.toml"]
    with pytest.raises(KeyboardInterrupt):
        tune(*again)
    assert lm.presets == Presets() and not (tmp_path / "b.toml").exists()
    trials.stop = None
    found = tune(*again)
    assert found.results == whole.results
    assert count <= len(trials.tried) <= count + 1  # a row of two edits begins anew
    assert found.seconds == whole.seconds
    count = len(trials.tried)
    tune(*again)
    assert len(trials.tried) == count and [*tmp_path.glob(".*")] == []
    for other in (facts()[:12], [*facts()[:-2], facts()[0], facts()[1]]):
        with pytest.raises(EditError, match=r"b\.jsonl contains no trials of these facts on tiny"):
            tune(lm, ["ft_m"], other, 3, tmp_path / "b.toml")


def test_what_cannot_be_tuned_is_refused(lm, knowing, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text("x = 1\n")
    for editors, more, said in (
        (["mend"], {}, "mend cannot be tuned: it has to be trained first"),
        (["no"], {}, "There is no editor 'no'"),
        ([], {}, "Name at least one"),
        (["ft_m"], {"minutes": -1}, "minutes should be a number of at least 0, not -1"),
        (["ft_m"], {"to": tmp_path / "p.txt"}, "p.txt should end in .toml"),
        (["ft_m"], {"to": mine}, "was not created by tune"),
        (["retrieval"], {}, "retrieval cannot be tuned: it has no layer"),
    ):
        with pytest.raises(Error, match=said):
            tune(lm, editors, facts(), **{"to": tmp_path / "p.toml", **more})
    assert sorted(tmp_path.iterdir()) == [mine]
    for broken in ("", "5", "[]", "{", '{"rows": 5}'):
        (tmp_path / "p.jsonl").write_text(broken)
        with pytest.raises(EditError, match="p.jsonl contains no trials"):
            tune(lm, ["ft_m"], facts(), to=tmp_path / "p.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rome", "is not valid TOML"),
        ("[no.x]\nlayer = 1", "There is no editor 'no'"),
        ("[rome.tiny]\nlaier = 1", "rome has no setting 'laier'"),
        ('[rome.tiny]\nlayer = "a"', "layer should be a whole number of at least 0, not 'a'"),
        ("[rome.gpt9]\nlayer = 1", "has presets of gpt9, and none of tiny-llama"),
        ("[rome.gpt9]\nlayer = -1", "layer should be a whole number of at least 0, not -1"),
        ("", "has no preset, and none of tiny-llama"),
        ("rome = 1", "but rome is not"),
        ("[rome]\nlayer = 1", "but rome is not"),
        ("a = " + 9999 * "[", "is not valid TOML"),
        ("#" * (1 << 21), "is too large for a file of presets"),
    ],
)
def test_a_bad_file_of_presets_is_one_sentence(tmp_path, text, said):
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(EditError, match=said) as error:
        read_presets(file, "tiny-llama")
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_other_bad_files_of_presets(tmp_path):
    (tmp_path / "p.toml").write_bytes(b"\xff\x00")
    with pytest.raises(EditError, match="is not valid TOML"):
        read_presets(tmp_path / "p.toml", "x")
    with pytest.raises(EditError, match="none.toml cannot be read"):
        read_presets(tmp_path / "none.toml", "x")
    with pytest.raises(EditError, match="cannot be read"):
        read_presets(tmp_path, "x")


def test_load_carries_presets_in_place_of_the_librarys(tmp_path):
    lm = tiny.model("llama")
    folder = tmp_path / "gemma-3-270m-mine"
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    file = tmp_path / "p.toml"
    file.write_text('[rome."gemma-3"]\ntuned = true\nlayer = 2\n')
    loaded = lib.load(str(folder), presets=file)
    own = lib.EDITORS["rome"](loaded).config
    assert (own.layer, own.clamp, own.v_lr) == (2, 4.0, 0.5)  # nothing of the library's row
    assert lib.EDITORS["rome"].published(loaded).layer == 2
    memit = lib.EDITORS["memit"].Config.preset(loaded, "memit")
    assert memit.layers == (1, 2, 3, 4, 5)  # the library's row
    assert lib.EDITORS["rome"].Config.preset(lib.load(str(folder)), "rome").clamp == 1.0
    file.write_text("[rome.other]\nlayer = 2\n")
    with pytest.raises(EditError, match="has presets of other, and none of gemma-3-270m-mine"):
        lib.load(str(folder), presets=file)
