"""Presets: every row fits its editor, names are matched, and defaults agree with their sweep."""

from __future__ import annotations

import json
import tomllib
import warnings
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

import lib
from lib.setting_fields import explain, words
from lib.workbench.preset_search.tune import best as best_of

from ..support import tiny
from ..support.usual import few

LIB = Path(lib.__file__).parent
SWEEPS = Path(__file__).parents[1] / "benchmarks" / "sweeps.json"  # without the token in front
OTHERS = sorted(SWEEPS.parent.glob("sweeps-*.json"))  # of models that have presets
EMBEDDED = "SmolLM2-135M-Instruct behind"  # in TABLE; its file is sweeps-behind.json
TABLE = tomllib.loads((LIB / "editors" / "presets.toml").read_text(encoding="utf-8"))


def test_every_row_names_an_editor_and_its_settings():
    assert TABLE.keys() <= lib.EDITORS.keys()
    for name, rows in TABLE.items():
        known = {f.name for f in fields(lib.EDITORS[name].Config)} | {
            "depth",
            "width",
            "like",
            "tuned",
            "n_layers",
        }
        waiting = [*rows.values()]
        for row in waiting:
            waiting += (value for value in row.values() if isinstance(value, dict))
            assert {key for key in row if not isinstance(row[key], dict)} <= known, (name, row)


def test_a_model_gets_its_row_and_an_unknown_one_a_layer_by_depth():
    lm = tiny.model("llama")
    rome = lib.EDITORS["rome"]
    assert rome(lm).config.layer == round(0.18 * 4)
    assert lib.EDITORS["memit"](lm).config.layers == (
        0,
        1,
    )  # there are no more below
    lm = tiny.model("llama", num_hidden_layers=32)
    lm.name = "meta-llama/Llama-3.1-8B"
    found = rome(lm, clamp=2.0).config
    assert (found.layer, found.steps, found.decay, found.clamp) == (5, 25, 1e-3, 2.0)
    lm.name = "gpt2-xl"
    assert rome(lm).config.layer == 17
    memit = lib.EDITORS["memit"]
    assert (memit(lm).config.layers, memit(lm).config.strength) == ((13, 14, 15, 16, 17), 20_000)
    assert lib.EDITORS["norm_anchor"](lm).config.layers == (13, 14, 15, 16, 17)  # like memit
    wilke = lib.EDITORS["wilke"](lm).config
    assert (wilke.ceiling, wilke.clamp) == (24, 4.0)


@pytest.mark.parametrize(
    ("name", "layers", "row"),
    [
        ("openai-community/gpt2-xl", 48, "gpt2-xl"),
        ("models/GPT2-XL/", 48, "gpt2-xl"),
        ("gpt2-xl behind </s>", 48, "gpt2-xl"),
        ("my-gpt2-xl-test", 48, None),
        ("gpt2-xl/checkpoint", 48, None),
        ("meta-llama/Meta-Llama-3-8B", 32, "Llama-3"),
        ("meta-llama/Llama-3.1-70B", 80, None),  # its row is for 32 blocks
    ],
)
def test_a_row_is_of_models_whose_name_begins_with_its_own(name, layers, row):
    lm = tiny.model("llama", num_hidden_layers=layers)
    lm.name = name
    rome = lib.EDITORS["rome"]
    found = TABLE["rome"][row] if row else {"layer": round(0.18 * layers)}
    settings = {key: value for key, value in found.items() if key != "n_layers"}
    assert rome(lm).config == rome.Config(**settings)


@pytest.mark.parametrize("name", ["rome", "wilke"])
def test_the_preset_for_a_stream_differs_from_the_one_for_a_fact_in_the_rate(name):
    lm, editor = tiny.model("llama", num_hidden_layers=30), lib.EDITORS[name]
    lm.name = f"{EMBEDDED} <|endoftext|>"
    single, stream = editor(lm).config, editor(lm, preset="stream").config
    assert (single.v_lr, stream) == (0.5, replace(single, v_lr=0.25))
    assert editor(lm, preset="stream", v_lr=0.1, clamp=2.0).config.v_lr == 0.1
    assert editor(lm, editor.published(lm)).config.v_lr == 0.5  # the row is ours
    for given in ("Stream", ["stream"], "clamp"):
        with pytest.raises(
            lib.errors.EditError, match=r"no preset named .*. Available presets: ours, stream$"
        ):
            editor(lm, preset=given)
    lm.name = "gpt2-xl"
    with pytest.raises(lib.errors.EditError, match="no preset named 'stream' for gpt2-xl.*: ours$"):
        editor(lm, preset="stream")


WORDS = [
    (e, name, some) for e in lib.EDITORS for name, some in words(lib.EDITORS[e].Config).items()
]


@pytest.mark.parametrize(("editor", "name", "some"), WORDS, ids=str)
def test_a_mistyped_word_is_refused_with_those_there_are(editor, name, some):
    config = lib.EDITORS[editor].Config
    for word in some:
        assert getattr(config(**{name: word}), name) == word
    with pytest.raises(lib.errors.EditError, match=f"{name} should be {' or '.join(some)}.*, not"):
        lib.EDITORS[editor](tiny.model("llama"), **{name: "sosme"})


def row_of(path: Path) -> str:
    """The name of a model's row in TABLE, by the file of its sweeps."""
    return EMBEDDED if path.stem == "sweeps-behind" else path.stem.removeprefix("sweeps-")


def editor_of(key: str) -> str:
    """The editor of a sweep: "wise ours" is of our form of WISE."""
    return key.partition(" ")[0]


def own_form(key: str, sweep: dict) -> bool:
    """Whether a sweep chose what `preset="ours"` of its editor is."""
    default = "" if any("ours" in row for row in TABLE[editor_of(key)].values()) else "ours"
    return sweep.get("purpose", default) == "ours"


def plain(value: object) -> str:
    """A number without the zeros behind its point, and a list as it stands."""
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def test_what_was_not_swept_behind_the_token_is_the_best_of_the_sweep_without_it(default_lm):
    behind = json.loads(SWEEPS.with_name("sweeps-behind.json").read_text(encoding="utf-8"))
    swept = {editor_of(key) for key, sweep in behind.items() if own_form(key, sweep)}
    for name, sweep in json.loads(SWEEPS.read_text(encoding="utf-8")).items():
        assert sweep["model"] == f"{default_lm.plain_name} {default_lm.identity.split()[-1]}"
        if name in swept or name == "steer":  # which writes no facts by which it would be chosen
            continue
        config = lib.EDITORS[name](default_lm, preset="ours").config
        for key in [key for key in sweep["best"] if hasattr(config, key)]:
            assert json.loads(json.dumps(getattr(config, key))) == sweep["best"][key], (name, key)
        for key in [key for key in sweep["settings"] if hasattr(config, key)]:
            value = sweep["settings"][key]
            assert json.loads(json.dumps(getattr(config, key))) == value, (name, key)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_the_defaults_of_a_further_model_are_the_best_of_their_sweep(path):
    lm = tiny.model("llama", num_hidden_layers=40)
    lm.name = row_of(path) + " <|endoftext|>" * row_of(path).endswith(" behind")
    known = {case.id for case in lib.classroom(lm.name)}
    for row, sweep in json.loads(path.read_text(encoding="utf-8")).items():
        name = editor_of(row)
        config = lib.EDITORS[name](lm, preset=sweep.get("purpose")).config
        assert sweep["model"].startswith(f"{lm.name} ")
        assert {case % 2 for case in sweep["cases"]} == {0} and set(sweep["cases"]) <= known
        chosen = {**sweep["settings"], **sweep["best"]}
        for key in [key for key in chosen if hasattr(config, key)]:
            assert json.loads(json.dumps(getattr(config, key))) == chosen[key], (name, key)


@pytest.mark.parametrize("path", [SWEEPS, *OTHERS], ids=lambda path: path.stem)
def test_a_chosen_row_is_the_one_that_the_rule_picks_or_its_reason_stands_beside_it(path):
    """The rule of a search on all stored rows, whatever the field `best` says."""
    for name, sweep in json.loads(path.read_text(encoding="utf-8")).items():
        said, best = sweep.get("reason", ""), sweep["best"]
        rows = [row for row in sweep["rows"] if "harmonic" in row]
        if not rows:
            assert said.startswith("The rows have no score") and sweep["note"], name
            continue
        found = best_of(rows)
        if best.items() <= found.items():
            assert not said, name
            continue
        other = [f"{key} {plain(found[key])}" for key in found if found[key] != best.get(key)]
        pair = f"({found['harmonic']:.4f} against {best['harmonic']:.4f})"
        assert said.startswith(f"The rule picks {other[0]} {pair}: "), (name, other[0], pair)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_a_row_of_ours_is_marked_tuned_exactly_where_its_trials_are_recorded(path):
    model, recorded = row_of(path), {*map(editor_of, json.loads(path.read_text(encoding="utf-8")))}
    if model == EMBEDDED:  # some rows were taken over; STEER's sweep chose nothing
        recorded |= json.loads(SWEEPS.read_text(encoding="utf-8")).keys() - {"steer"}
    marks = {e: rows[model].get("tuned") for e, rows in TABLE.items() if model in rows}
    assert marks.pop("wilke", None) is None  # ROME's row with another key
    assert marks == {editor: editor in recorded for editor in marks}
    assert recorded <= marks.keys()


@pytest.mark.parametrize("name", lib.EDITORS)
def test_without_its_token_the_embedded_model_is_one_that_nobody_has_tuned(name):
    lm, config, found = tiny.model("llama"), lib.EDITORS[name].Config, []
    for lm.name in (EMBEDDED.split()[0], "somebody/new"):
        found.append((config.preset(lm, name), config.published(lm, name)))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", lib.EDITORS)
def test_every_setting_has_a_sentence_and_a_source(name):
    for setting in explain(lib.EDITORS[name].Config).values():
        said = setting.sentence
        assert said[0].isupper() and said.endswith("."), (name, setting.name)
        assert " " in said and "  " not in said and "\n" not in said, (name, setting.name)
        assert setting.source in ("paper", "ours"), (name, setting.name)


def test_a_setting_is_looked_up_along_the_bases():
    spread, emmet = (explain(lib.EDITORS[name].Config) for name in ("memit", "emmet"))
    assert emmet["strength"].sentence == spread["strength"].sentence
    assert (spread["strength"].published, emmet["strength"].published) == (15_000.0, 0.0)
    tuned = explain(lib.EDITORS["lora"].Config)["batch_size"]
    assert (tuned.source, tuned.sentence) == ("ours", "Number of facts sharing one step.")
    assert explain(lib.EDITORS["rledit"].Config)["rank"].published == 1024


# what the papers set otherwise than the library's own defaults
PUBLISHED = {
    "rome": {"keys": "mixed", "damping": 0.0},
    "wilke": {"damping": 0.0},
    **dict.fromkeys(("memit", "norm_anchor", "emmet", "alphaedit", "pmet"), {"damping": 0.0}),
    "ultraedit": {"eta": 1e-6, "warmup": "none"},
    "malmen": {"rank": 1920},
    "rledit": {"rank": 1024},
    "crispedit": {"project": "grad"},
    "lora": {"modules": ("q_proj", "v_proj"), "enough": 0.0, "target_eos": False},
    "retrieval": {"always": True},
    "grace": {"lr": 1.0, "value_init": "cold", "strict": False, "enough": 0.0},
    "horen": {
        "tau": 0.85,
        "lr": 1.0,
        "value_init": "cold",
        "exclude_sink": False,
        "enough": 0.0,
        "strict": False,
    },
    "wise": {
        "alpha": 5.0,
        "beta": 20.0,
        "gamma": 10.0,
        "weight_decay": 1e-5,
        "pool": "row",
        "activation": "hidden",
        "units": "absolute",
    },
    "lemoe": {"routing": "paper", "lr": 2e-4},
    "memoir": {"weight_decay": 1e-5},
}


@pytest.fixture(scope="module")
def deep():
    """A model with as many layers as published settings name."""
    return tiny.model("llama", num_hidden_layers=40)


@pytest.mark.slow
@pytest.mark.parametrize("name", lib.EDITORS)
def test_the_published_settings_differ_where_it_is_said(name, deep, monkeypatch):
    lm, editor = deep, lib.EDITORS[name]
    config, own = editor.published(lm), editor(lm).config  # of a model that has no row
    differs = {key: value for key, value in asdict(config).items() if value != getattr(own, key)}
    assert differs == PUBLISHED.get(name, {})
    # tuned here: nothing but its layers is taken
    monkeypatch.setattr(lm, "name", f"{EMBEDDED} <|endoftext|>")
    tuned = editor.published(lm)
    rows = TABLE.get(TABLE.get(name, {}).get("any", {}).get("like", name), {})
    row = rows.get(EMBEDDED, {})
    for key, value in asdict(tuned).items():
        if key in ("layer", "layers", "down", "gate", "up") and key in row:
            wanted = row[key]
            assert json.loads(json.dumps(value)) == wanted, key
        elif key not in ("layer", "layers", "down", "gate", "up"):
            assert value == getattr(config, key), key
    assert editor(lm, tuned).config == tuned


def test_a_model_that_a_paper_names_has_the_paper_s_settings():
    lm = tiny.model("llama")
    lm.name = "gpt2-xl"
    memit = lib.EDITORS["memit"].published(lm)
    assert (memit.layers, memit.steps, memit.strength) == ((13, 14, 15, 16, 17), 20, 20_000)
    assert lib.EDITORS["wise"].published(lm).act_ratio == 0.8


NAMES = [name for name in lib.EDITORS if not lib.EDITORS[name].trained]


@pytest.mark.parametrize("name", few(NAMES, ("grace", "memit", "rome", "ultraedit"), drawn=4))
def test_an_edit_as_published_is_made(name):
    """On random weights the published step sizes say little: the patch is whole, and logged."""
    lm = tiny.model("llama")
    quick = {
        "ceiling": 2,
        "n_iter": 2,
        "steps": 2,
        "epochs": 2,
        "anchor_n": 4,
        "damping": 1e-4,
        "tau": 0.5,
    }
    config = lib.EDITORS[name].published(lm)
    config = replace(config, **{key: quick[key] for key in quick.keys() & asdict(config).keys()})
    editor = lib.EDITORS[name](lm, config)
    facts = [lib.Fact("The old tower", "{} is in", "xy"), lib.Fact("Anna", "{} is in", "qz")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch = editor.edit(facts)
    assert patch and patch.log[0].editor == name
    for key, value in asdict(config).items():
        assert patch.log[0].settings[key] == value


def test_layers_that_the_model_does_not_have_are_refused_at_the_constructor():
    lm = tiny.model("llama")
    for name, kind in lib.EDITORS.items():
        config = kind.Config.preset(lm, name)
        for place in ("layer", "layers", "down", "gate", "up"):
            if not hasattr(config, place) or isinstance(getattr(config, place), str):
                continue  # LEMoE's gate is a word
            one = place == "layer"
            for wrong in (4, 99, -1, True, 1.5, "1"):
                with pytest.raises(lib.errors.EditError, match=place):
                    kind(lm, **{place: wrong if one else (1, wrong)})
            with pytest.raises(
                lib.errors.EditError, match=f"{place}: layer 4 does not exist. .* 0 to 3"
            ):
                kind(lm, replace(config, **{place: 4 if one else (4,)}))
    with pytest.raises(lib.errors.EditError, match="layers: layer 7 does not exist"):
        lib.EDITORS["rect"](lm, inner=("memit", {"layers": (0, 7)}))


def test_an_unknown_setting_or_editor_is_answered_with_near_names():
    lm = tiny.model("llama")
    rome = lib.EDITORS["rome"]
    near = r"rome has no setting 'layr'. Available settings: .*. Did you mean 'layer'\?"
    for given in ((lm,), (lm, rome.Config())):
        with pytest.raises(lib.errors.EditError, match=near):
            rome(*given, layr=3)
    with pytest.raises(lib.errors.EditError, match="has no setting 'xyzzy'. Available settings:"):
        rome(lm, xyzzy=3)
    with pytest.raises(lib.errors.EditError, match=r"no editor .rmoe..*Did you mean .rome"):
        lib.EDITORS["rmoe"]
    with pytest.raises(lib.errors.EditError, match=r"no editor 'ROME'"):
        lib.stream(lm, "ROME", lib.Fact("Ann", "{} is", "x"))
    for wrong in (5, {"layer": 1}, "layer=1", lib.EDITORS["ft"].Config(), rome.Config):
        with pytest.raises(lib.Error, match="The settings of rome should be a "):
            rome(lm, wrong)
