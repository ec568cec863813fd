"""Wrong values of settings and options: one sentence and no traceback, before anything is made."""

from __future__ import annotations

import json
import os
import random
import re
from functools import partial
from pathlib import Path

import pytest

import lib
from lib.setting_fields import shown
from lib.workbench.cli.main import main

from ..support import tiny
from ..support.editor_settings import quick

EDIT = ["edit", "--subject", "cat", "--prompt", "I saw a {}", "--target", "xy"]
WRONG = [
    "fast", "", "null", "true", "3", "-1", "0", "-7", "0.5", "-0.5", "2.5", "1e308", "-1e308",
    "NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, "1" * 5000, "[]", "[[]]", "{}",
    "[1, 2]", "[-1]", "[0, 0]", "[99]", "[1.5]", "[true]", '["x"]', '["{} {}"]', "[[1, 2]]",
    "[[1]]", "[null]", "[" * 3000 + "]" * 3000, '{"a": 1}', '"x"', '["memit", null]', '["memit"]',
    '["rome", {"lr": "x"}]', "\ud800", "/", "no/such/file", '"\\ud800"', "9223372036854775808",
    "[[0, 0]]", "[[-1, 2]]", '[""]', "99", "1e-9", '["memit", {"layers": []}]', '["rect", {}]',
]  # fmt: skip
BARE = re.compile(  # what Python or torch say when nobody has looked at a value
    r"TypeError|object is not|unsupported operand|NoneType|division by zero|range\(\)|dimension"
    r"|empty sequence|must be|got an unexpected|out of range|argument|math domain|not iterable"
)


@pytest.fixture
def tiny_model(monkeypatch):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    return lm


def said_once(words, capsys):
    """(exit code, the sentence) of a command that may work or refuse, and must not fail."""
    capsys.readouterr()
    code = main(words)
    said = capsys.readouterr().err.strip()
    if code:
        assert code in (1, 2) and len(said.splitlines()) == 1 and len(said) < 1200, said
        assert not BARE.search(said) and "Traceback" not in said, said
    return code, said


def drawn(draw, count):
    """(editor, settings in pairs) with one wrong value, over all editors."""
    for _ in range(count):
        name = draw.choice(list(lib.EDITORS))
        fields = [*lib.EDITORS[name].Config.__dataclass_fields__]
        fields += ["inner"] * lib.EDITORS[name].inner
        given = {key: json.dumps(value) for key, value in small(name).items()}
        given[draw.choice(fields)] = draw.choice(WRONG)
        yield name, [f"{key}={value}" for key, value in given.items()]


def small(name):
    """Settings with which an edit takes no time; it need not succeed."""
    few = {"steps": 2, "epochs": 2, "n_iter": 2, "irrelevant_n": 2, "templates": ("{}",)}
    known = lib.EDITORS[name].Config.__dataclass_fields__
    found = {**quick(name), **{key: value for key, value in few.items() if key in known}}
    if "inner" in found:
        found["inner"] = (found["inner"][0], {**found["inner"][1], "steps": 2})
    return found


@pytest.mark.parametrize("what", ["pipe", "folder", "link", "device"])
def test_what_is_no_plain_file_is_not_replaced(tiny_model, capsys, tmp_path, what):
    path = Path("/dev/full") if what == "device" else tmp_path / "p.safetensors"
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "link": partial(os.symlink, "/dev/full")}
    if what in make:
        make[what](path)
    before = path.lstat()
    quick = ["--editor", "ft_m", "--set", "layer=1", "--set", "epochs=1"]
    code, said = said_once([*EDIT, *quick, "--save", str(path)], capsys)
    assert code == 2 and f"{path} could not be written: " in said
    after = path.lstat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("count", "seed"),
    [(130, "settings"), pytest.param(1000, "more settings", marks=pytest.mark.slow)],
)
def test_random_values_of_settings(tiny_model, capsys, count, seed):
    wrong, refused = [], 0
    for name, pairs in drawn(random.Random(seed), count):
        words = [*EDIT, "--editor", name, *(word for pair in pairs for word in ("--set", pair))]
        try:
            code, _ = said_once(words, capsys)
            refused += bool(code)
        except BaseException as error:
            wrong.append(f"{name} {shown(pairs[-1])} {pairs}: {type(error).__name__} {error}"[:600])
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)
    assert refused > count / 3


@pytest.mark.parametrize(
    ("editor", "given", "said"),
    [
        ("ft_m", "lr=fast", "lr should be a finite number of at least 0, not 'fast'"),
        ("ft_m", "lr=NaN", "lr should be a finite number of at least 0, not nan"),
        ("ft_m", "lr=1e999", "lr should be a finite number of at least 0, not inf"),
        ("ft_m", "epochs=2.5", "epochs should be a whole number of at least 0, not 2.5"),
        ("ft_m", "layer=null", "layer should be a whole number of at least 0, not None"),
        ("ft_m", "layer=-1", "layer should be a whole number of at least 0, not -1"),
        ("ft_m", "lr=" + "1" + "0" * 400, "lr should be a finite number of at least 0, not 1000"),
        ("ft_m", "batch_size=0", "batch_size should be a whole number of at least 1, not 0"),
        ("ft_m", "target_eos=3", "target_eos should be true or false, not 3"),
        ("memit", "layers=[]", "layers should be a list of one layer or more, not ()"),
        ("memoir", 'irrelevant=[""]', "irrelevant should be a list of non-empty texts or"),
        ("memit", "contexts=[[1]]", "contexts should be a list (each a list (a whole number"),
        ("rledit", "each_turn=3", "rledit has no setting 'each_turn'"),
        ("rect", "inner=5", "inner should be an editor's name, or its name and settings, not 5"),
        ("rect", 'inner=["memit", null]', "memit expects its settings as values by name, not None"),
        ("rect", "keep=true", "keep should be a number from 0 to 1, not True"),
        ("ultraedit", "few=[1, 0.5]", "few should be a list (a finite number, a whole number"),
        ("rome", "seed=9223372036854775808", "seed should be a whole number, not 92233720"),
        ("rect", "keep=1.5", "keep should be a number from 0 to 1, not 1.5"),
        ("ft_m", "config=5", "--set config: there is no setting of this name"),
        ("ft_m", "lr=" + "[" * 100_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_what_it_is(tiny_model, capsys, editor, given, said):
    code, found = said_once([*EDIT, "--editor", editor, "--set", given], capsys)
    assert code == 2 and said in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stream", "--eval-at", "0-3000000000"],
         "--eval-at has '0-3000000000', but the maximum is 203"),
        (["stream", "--eval-at", "5-2"], "--eval-at has the range 5-2, ending before it"),
        (["stream", "--eval-at", "1" * 5000], "--eval-at needs numbers"),
        (["stream", "--edits", "-5"], "--edits should be a number of at least 1, not -5"),
        (["stream", "--batch", "0"], ": --batch should be a number of at least 1, not 0"),
        (["train", "--editor", "mend", "--rows", "0-3000000000"], "Rows 0-3000000000 were"),
        (["train", "--editor", "mend", "--cases", "-1"], "--cases should be a number of at"),
    ],
)  # fmt: skip
def test_a_range_is_bounded_before_it_is_listed(tiny_model, capsys, words, said):
    code, found = said_once(words, capsys)
    assert code == 2 and said in found


@pytest.mark.parametrize("text", ["²-³", "5", "5-", "-5-7", "7-5", "1" * 5000 + "-" + "2" * 5000])
def test_rows_that_are_no_range_are_refused(text, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", f"--rows={text}"])
    assert stop.value.code == 2
    assert "expected rows as FIRST-LAST" in capsys.readouterr().err


def test_settings_of_the_api_are_checked_the_same_way(tiny_model):
    memit = lib.EDITORS["memit"]
    assert memit(tiny_model, layers=[1, 2]).config.layers == (1, 2)
    assert memit.Config(layers=[1, 2]).layers == (1, 2)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for given in ({"layers": None}, {"layers": 2}, {"layers": deep}, {"v_lr": float("nan")}):
        with pytest.raises(lib.errors.EditError, match=f"{next(iter(given))} should be "):
            memit(tiny_model, **given)
        with pytest.raises(lib.errors.EditError, match=f"{next(iter(given))} should be "):
            memit(tiny_model, memit.Config(), **given)


def test_the_presets_and_the_papers_settings_pass_their_own_checks():
    lm = tiny.model("llama")
    for name, editor in lib.EDITORS.items():
        for model in ("somebody/new", "gpt2-xl", "Llama-3-8B-Instruct", "SmolLM2-135M-Instruct"):
            lm.name = model
            assert editor.Config.preset(lm, name) and editor.Config.published(lm, name)
    lm.name = "tiny-llama"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            [*EDIT, "--set", "layer=3", "--set", "layer=4"],
            "--set has 'layer' twice. Give it only once",
        ),
        (["prepare", "--editors", "rome, rome"], "--editors has 'rome' twice"),
        (["tune", "m", "--editors", "memit,rome,memit"], "--editors has 'memit' twice"),
        (["prepare", "--editors", " ,"], "--editors needs names separated by commas"),
        (["stream", "--eval-at", "0,0"], "--eval-at has 0 twice"),
        (["forensics", "m", "--layers", "2-4,3"], "--layers has 3 twice"),
    ],
)
def test_a_value_given_twice_is_refused(words, sentence, tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lib.EMPTY.save("p")
    code, said = said_once(words, capsys)
    assert code == 2 and sentence in said


@pytest.mark.parametrize("words", [[*EDIT, "--target", "qz"], [*EDIT, "--targ=qz"]])
def test_an_option_given_twice_is_refused(words, tiny_model, capsys):
    code, said = said_once(words, capsys)
    assert code == 2 and "the command has '--target' twice. Give it only once" in said
