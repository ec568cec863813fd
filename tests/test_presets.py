"""Presets: every row fits its editor, names are matched, and defaults agree with their sweep."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import lib
from lib.editors.shared.config import _words

from . import tiny

LIB = Path(lib.__file__).parent
SWEEPS = Path(__file__).parent / "benchmarks" / "sweeps.json"
TABLE = tomllib.loads((LIB / "editors" / "presets.toml").read_text(encoding="utf-8"))


def test_every_row_names_an_editor_and_its_settings():
    assert TABLE.keys() <= lib.EDITORS.keys()
    for name, rows in TABLE.items():
        known = {f.name for f in fields(lib.EDITORS[name].Config)} | {"depth", "width", "like"}
        for row in rows.values():
            assert row.keys() <= known, (name, row)


def test_a_model_gets_its_row_and_an_unknown_one_a_layer_by_depth():
    lm = tiny.model("llama")
    rome = lib.EDITORS["rome"]
    assert rome(lm).config.layer == round(0.18 * 4)
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
    lm.name = "somebody/new-model"
    assert memit(lm).config.layers == (0, 1)  # no more layers than there are below a quarter


WORDS = [(editor, name, words) for editor, kind in lib.EDITORS.items()
         for name, words in _words(kind.Config).items()]  # fmt: skip


@pytest.mark.parametrize(("editor", "name", "words"), WORDS, ids=str)
def test_a_mistyped_word_is_refused_with_those_there_are(editor, name, words):
    config = lib.EDITORS[editor].Config
    for word in words:
        assert getattr(config(**{name: word}), name) == word
    with pytest.raises(lib.EditError, match=f"{name} is {' or '.join(words)}, not 'sosme'"):
        lib.EDITORS[editor](tiny.model("llama"), **{name: "sosme"})


def test_the_defaults_of_the_embedded_model_are_the_best_of_their_sweep(default_lm):
    for name, sweep in json.loads(SWEEPS.read_text(encoding="utf-8")).items():
        config = lib.EDITORS[name](default_lm).config
        assert sweep["model"] == default_lm.identity
        for key in [key for key in sweep["best"] if hasattr(config, key)]:
            assert json.loads(json.dumps(getattr(config, key))) == sweep["best"][key], (name, key)
        for key, value in config.current(name, sweep["settings"]).items():
            assert json.loads(json.dumps(getattr(config, key))) == value, (name, key)
