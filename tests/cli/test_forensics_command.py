"""`python -m lib forensics`: what it prints and keeps, and its sentences for wrong input."""

from __future__ import annotations

import json

import pytest

import lib
from lib.keys_values.second_moment import second_moment
from lib.workbench.cli.main import main

from ..forensics.conftest import LAYER, NAMES, SUBJECT, rank_one, text  # noqa: F401 (a fixture)
from ..support import tiny


@pytest.fixture
def models(monkeypatch, tmp_path):
    """{name: model} that the command loads in place of real ones."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = {None: tiny.model("llama"), "base": tiny.model("llama")}
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda given, *_: found[given.model])
    return found


@pytest.fixture
def words(tmp_path, text):  # noqa: F811
    names = tmp_path / "names.txt"
    names.write_text("\n".join(NAMES), encoding="utf-8")
    return ["--subjects", str(names), "--text", str(text)]


@pytest.fixture
def patch(models, text):  # noqa: F811
    lm = models[None]
    return rank_one(lm, second_moment(lm, [LAYER], text)[LAYER].C, size=8.0)[0]


def test_weights_are_examined_alone(models, patch, words, tmp_path, capsys):
    file, out = patch.save(tmp_path / "p.safetensors"), tmp_path / "out.json"
    more = ["--layers", f"0-{LAYER}", "--threshold", "4", "--json", str(out)]
    assert main(["forensics", str(file), *words, *more]) == 0
    said = capsys.readouterr().out
    assert f"Consistent with an edit of: {SUBJECT} (layer {LAYER}, z " in said
    assert "Not covered:" in said and "200 candidates, no base model." in said
    kept = json.loads(out.read_text())
    assert kept["base"] is None and kept["suspects"][0]["layers"] == [LAYER]
    assert main(["forensics", "base", *words, "--threshold", "1000", "--layers", "0"]) == 0
    assert "No candidate stands out" in capsys.readouterr().out


def test_whole_prompts_are_candidates_beside_subjects(models, text, words, tmp_path, capsys):  # noqa: F811
    lm, prompts = models[None], [f"{name} and {name[::-1]}" for name in NAMES]
    C = second_moment(lm, [LAYER], text)[LAYER].C
    file = rank_one(lm, C, prompts[5], size=8.0, prefix="{}")[0].save(tmp_path / "p.safetensors")
    listed, out = tmp_path / "prompts.txt", tmp_path / "out.json"
    listed.write_text("\n".join(prompts), encoding="utf-8")
    more = ["--prompts", str(listed), "--json", str(out)]
    layers = ["--layers", f"0-{LAYER}", "--threshold", "4", "--prompt-threshold", "4"]
    assert main(["forensics", str(file), *words, *more, *layers]) == 0
    said = capsys.readouterr().out
    assert "200 candidates and 200 whole prompts, no base model." in said
    assert f"Consistent with an edit of: “{prompts[5]} …” (layer {LAYER}, z " in said
    assert json.loads(out.read_text())["suspects"][0]["prompt"] is True
    assert main(["forensics", "base", *words, "--prompts", "classroom", "--layers", "0"]) == 0
    assert "200 candidates and 203 whole prompts" in capsys.readouterr().out


def test_without_a_list_the_classroom_is_asked(models, capsys):
    assert main(["forensics", "base", "--layers", "1"]) == 0
    said = capsys.readouterr().out
    assert " candidates, no base model." in said and "Not covered:" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["none.safetensors"], "There is no patch file at none.safetensors"),
        (["base", "--subjects", "no/such"], "The list of subjects no/such cannot be read"),
        (["base", "--prompts", "no/such"], "The list of prompts no/such cannot be read"),
        (
            ["base", "--layers", "0-3000000000"],
            "--layers has '0-3000000000', but the maximum is 10000",
        ),
        (["base", "--layers", "9"], "has layers 0 to 3, not these: [9]"),
        (["base", "--layers", "x"], "--layers needs numbers"),
        (["base", "--prefix", "{} is"], "A prefix should end with its one {}"),
        (["base", "--text", "no/such"], "The text for C, no/such, cannot be read"),
    ],
)
def test_wrong_input_is_one_sentence(models, capsys, given, said):
    assert main(["forensics", *given]) == 2
    found = capsys.readouterr().err.strip()
    assert said in found and len(found.splitlines()) == 1 and "Traceback" not in found


def test_files_that_are_no_suspects_are_refused(models, patch, tmp_path, capsys):
    broken, routes = tmp_path / "broken.safetensors", tmp_path / "routes.safetensors"
    broken.write_bytes(b"\x00" * 100)
    lib.EMPTY.save(routes)
    foreign = patch.with_weights({}, base="another 0").save(tmp_path / "foreign.safetensors")
    few = tmp_path / "few.txt"
    few.write_text("a\nb\n")
    for given, said in (
        ([str(broken)], "broken.safetensors"),
        ([str(routes)], "routes.safetensors does not change any weights"),
        ([str(foreign)], "This patch is for another 0"),
        (["base", "--subjects", str(few)], "at least 20 candidates"),
        (["base", "--prompts", str(few)], "at least 20 whole prompts"),
    ):
        assert main(["forensics", *given]) == 2
        found = capsys.readouterr().err.strip()
        assert said in found and len(found.splitlines()) == 1, found
