"""`tune`: its facts, the time it keeps, how it goes on, what it writes, and who reads that."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

import lib
from lib.errors import EditError, Error
from lib.model.presets_file import Presets, read_presets
from lib.workbench.interpret.causal_trace import average, trace
from lib.workbench.preset_search.scan import Scan
from lib.workbench.preset_search.tune import _Run, divide, tune, values_of

from ..support import tiny
from ..support.usual import sample

TUNE, SCAN = (sys.modules[f"lib.workbench.preset_search.{name}"] for name in ("tune", "scan"))
NAMES = "cat dog bat cow hen pig fox owl ant bee elk emu ape rat eel ram".split()
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
    "rome": {
        "around": 0,
        "depths": (0.2, 0.6),
        "grid": {"clamp": (1.0, 4.0)},
        "settings": {"steps": 3, "contexts": ((3, 1),), "context_start": None},
    },
}


def facts() -> list[lib.Case]:
    """Sixteen facts with true answers, numbered from 0."""
    made = []
    for number, name in enumerate(NAMES):
        fact = lib.Fact(name, "I saw a {}", "xy", target_true="qz")
        made.append(lib.Case(fact, (f"A {name}",), locality=("The sun",), id=number))
    return made


@pytest.fixture
def knowing(monkeypatch):
    """A random model knows nothing, so it is said to know all."""
    monkeypatch.setattr(TUNE, "known", lambda lm, cases: list(cases))
    for name, editor in lib.EDITORS.items():
        monkeypatch.setattr(editor, "search_grid", SMALL.get(name, {}))


@pytest.fixture
def clock(monkeypatch):
    """Trials of ten seconds and held-out edits of twenty, of a made-up clock."""
    made = SimpleNamespace(now=0.0, stop=None, tried=0)

    def trial(self, changes):
        if made.stop == made.tried:
            raise KeyboardInterrupt
        made.tried, made.now = made.tried + 1, made.now + 10
        score = 1 / (1 + changes.get("lr", changes.get("step", 1.0)))
        return {
            **dict.fromkeys(self.scored, score),
            "kl_nats": 0.0,
            "harmonic": score,
            "seconds": 1.0,
        }

    def group(self, name, settings, some):
        if made.stop == made.tried:
            raise KeyboardInterrupt
        made.tried, made.now = made.tried + 1, made.now + 20
        values = {"efficacy": [1.0] * len(some)}
        return {
            "cases": [case.id for case in some],
            "unedited": values,
            "default": values,
            "found": values,
            "seconds": {"default": 1.0, "found": 1.0},
            "trial_seconds": 20.0,
        }

    ticking = SimpleNamespace(perf_counter=lambda: made.now, strftime=lambda _: "today")
    monkeypatch.setattr(Scan, "_trial", trial)
    monkeypatch.setattr(_Run, "_group", group)
    for module in (TUNE, SCAN):
        monkeypatch.setattr(module, "time", ticking)
    return made


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


@pytest.mark.slow
def test_the_page_shows_where_the_facts_are_recalled(knowing, clock, tmp_path, monkeypatch):
    lm = tiny.model("llama")
    head = lm.model.lm_head.weight  # a random model is sure of nothing
    monkeypatch.setattr(head, "data", 30 * head.data)
    cases = [replace(c, fact=replace(c.fact, prompt="I saw a {} and said")) for c in facts()]
    cases[2] = replace(cases[2], fact=lib.Fact(None, "I saw a cow and said", "xy"))
    page = tune(lm, ["ft_m"], cases, 3, tmp_path / "p.toml").page.read_text()
    table = page.split("## Where the facts are recalled")[1].split("## ft_m")[0]
    assert "trace (ROME, section 2) of the 7 facts" in table
    traces = [trace(lm, c.fact, kinds=("mlp",), window=1) for c in cases[::2] if c.fact.subject]
    where = average(traces).query("role == 'last subject'").set_index("layer")
    shown = dict(re.findall(r"^\| (\d) \| (-?\d+) \[", table, re.MULTILINE))
    assert shown == {f"{layer}": f"{100 * row.effect:z.0f}" for layer, row in where.iterrows()}
    assert len(set(shown.values())) > 2
    plain = tune(lm, ["ft_m"], facts(), 3, tmp_path / "q.toml").page.read_text()
    assert "recalled" not in plain  # there the subject is the prompt's last token


def test_the_librarys_presets_of_the_model_do_not_count(knowing, clock, tmp_path):
    lm = tiny.model("gemma3_text")
    lm.name = "gemma-3-270m"
    assert lib.EDITORS["rome"].Config.preset(lm, "rome").clamp == 1.0
    found = tune(lm, ["rome"], facts(), 3, tmp_path / "p.toml")
    default = found.results["rome"]["default"]
    assert (default["clamp"], default["v_lr"], default["layer"]) == (4.0, 0.5, 1)
    assert found.results["rome"]["trials"][0]["clamp"] == 4.0
    assert lib.EDITORS["rome"].Config.preset(lm, "rome").clamp == 1.0


def test_both_halves_are_known_and_share_nothing(monkeypatch):
    lm = tiny.model("llama")
    cases = facts()
    cases[1] = lib.Case(cases[0].fact, id=1)  # the subject of an even one
    monkeypatch.setattr(TUNE, "known", lambda lm, some: [c for c in some if c.id not in (2, 3)])
    tuning, held = divide(lm, cases)
    assert [case.id for case in tuning] == [0, 4, 6, 8, 10, 12, 14]
    assert [case.id for case in held] == [5, 7, 9, 11, 13, 15]
    monkeypatch.setattr(TUNE, "known", lambda lm, some: list(some)[:1])
    with pytest.raises(EditError, match="tiny-llama knows 1 facts to search with and 1 to hold"):
        divide(lm, cases)


@pytest.mark.slow
def test_the_minutes_are_kept_and_shared(knowing, clock, tmp_path):
    lm = tiny.model("llama")
    found = tune(lm, ["ft_m", "ultraedit"], facts(), 3, tmp_path / "p.toml")
    assert clock.now == found.seconds <= 180
    alone = tune(lm, ["rome"], facts(), 2, tmp_path / "r.toml").results["rome"]
    assert clock.now <= 180 + 120 and 1 < len(alone["held_out"]) < 8
    few = tune(lm, ["ft_m", "ultraedit"], facts(), 0.1, tmp_path / "q.toml")
    assert [len(r["trials"]) for r in few.results.values()] == [1, 1]
    assert [len(r["held_out"]) for r in few.results.values()] == [1, 1]
    assert "3.0 minutes of the 3 given" not in few.page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("stop", sample([1, 4, 6], 2))
def test_an_interrupted_run_goes_on(knowing, clock, tmp_path, stop):
    lm = tiny.model("llama")
    whole = tune(lm, ["ft_m", "ultraedit"], facts(), 3, tmp_path / "a.toml")
    count, clock.tried, clock.stop = clock.tried, 0, stop
    again = [lm, ["ft_m", "ultraedit"], facts(), 3, tmp_path / "b.toml"]
    with pytest.raises(KeyboardInterrupt):
        tune(*again)
    assert lm.presets == Presets() and not (tmp_path / "b.toml").exists()
    clock.stop = None
    found = tune(*again)
    assert clock.tried == count and found.seconds == whole.seconds
    strip = ("trial_seconds",)
    rows = [
        {
            name: [{k: v for k, v in row.items() if k not in strip} for row in result["trials"]]
            for name, result in one.results.items()
        }
        for one in (whole, found)
    ]
    assert rows[0] == rows[1]


def test_what_cannot_be_tuned_is_refused(knowing, tmp_path):
    lm = tiny.model("llama")
    taken = tmp_path / "mine.toml"
    taken.write_text("x = 1\n")
    for editors, more, said in (
        (["mend"], {}, "mend cannot be tuned: there are settings to search for rome, ultra"),
        (["no"], {}, "there is no editor 'no'"),
        ([], {}, "name an editor"),
        (["ft_m"], {"minutes": -1}, "minutes should be a number from 0 on, not -1"),
        (["ft_m"], {"minutes": float("nan")}, "minutes should be a number from 0 on, not nan"),
        (["ft_m"], {"to": tmp_path / "p.txt"}, "give a file that ends in .toml"),
        (["ft_m"], {"to": taken}, "is not a file that tune made"),
    ):
        with pytest.raises(Error, match=said):
            tune(lm, editors, facts(), **{"to": tmp_path / "p.toml", **more})
    assert sorted(tmp_path.iterdir()) == [taken]
    (tmp_path / "p.tune").mkdir()
    (tmp_path / "p.tune" / "ft_m.json").write_text('{"rows": 5}')
    with pytest.raises(EditError, match="is not the journal of a search"):
        tune(lm, ["ft_m"], facts(), to=tmp_path / "p.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rome", "is not valid TOML"),
        ("[no.x]\nlayer = 1", "there is no editor 'no'"),
        ("[rome.tiny]\nlaier = 1", "rome has no setting 'laier'"),
        ('[rome.tiny]\nlayer = "a"', "layer is a whole number from 0 on, not 'a'"),
        ("[rome.gpt9]\nlayer = 1", "has presets of gpt9, and none of tiny-llama"),
        ("[rome.gpt9]\nlayer = -1", "layer is a whole number from 0 on, not -1"),
        ("", "has no preset, and none of tiny-llama"),
        ("rome = 1", "which rome does not"),
        ("[rome]\nlayer = 1", "which rome does not"),
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
    with pytest.raises(lib.Error, match="a file is named by a text or a path"):
        read_presets(5, "x")


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
