"""The command line: what it prints, the JSON of `stream`, and exit code 2 with one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import lib
from lib.workbench.cli.main import main

from ..support import tiny

ROOT = Path(__file__).parents[2]
ROWS = [
    {"prompt": f"I saw a {w}", "subject": w, "target_new": "xy", "paraphrases": [f"Look, a {w}"],
     "neighborhood": [{"prompt": "A dog", "target": "qz"}], "locality": ["A dog"]}
    for w in ("cat", "bat", "rat", "hen")
]  # fmt: skip
TUNE = ["--set", "layer=1", "--set", "lr=0.02", "--set", "epochs=60"]


@pytest.fixture
def tiny_model(monkeypatch):
    """The commands load a tiny model in place of the one they are asked for."""
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    return lm


@pytest.mark.slow
def test_help_teaches():
    command = [sys.executable, "-m", "lib", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("fetch", "edit", "stream", "tune", "--subject", "exit code"):
        assert word.lower() in done.stdout.lower()


def test_edit_prints_before_and_after_and_keeps_the_patch(tiny_model, tmp_path, capsys):
    file = tmp_path / "p.safetensors"
    words = ["--subject", "cat", "--prompt", "I saw a cat", "--target", "xy", "--ask", "A dog"]
    assert main(["edit", *words, "--editor", "ft_m", *TUNE, "--save", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("I saw a cat\n  before: ") and "\n  after:  xy" in shown
    assert "A dog\n" in shown and str(file) in shown
    patch = lib.Patch.load(file)
    assert patch.facts == (lib.Fact("cat", "I saw a {}", "xy"),)
    again = [*words, "--editor", "ft_m", *TUNE, "--after", str(file), "--save", str(file)]
    assert main(["edit", *again]) == 0
    assert len(lib.Patch.load(file).log) == 2


def test_edit_reads_the_place_of_the_subject_however_it_is_written(tiny_model, capsys):
    words = ["edit", "--prompt", "I saw a <subject>", "--target", "xy", "--editor", "ft_m", *TUNE]
    assert main([*words, "--subject", "cat", "--ask", "[X] is a"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("I saw a cat\n  before: ") and "\ncat is a\n" in shown
    assert main(words) != 0
    assert "but there is no subject" in capsys.readouterr().err
    refused = ["edit", "--sentence", "{subject} is in Rome, at", "--target", "x", "--editor", "ft"]
    assert main(refused) != 0 and "but there is no subject" in capsys.readouterr().err


def test_stream_writes_the_json_that_the_design_fixes(tiny_model, tmp_path, capsys):
    out = tmp_path / "deep" / "out.json"
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)))
    command = ["stream", "--editor", "ft_m", "--data", str(data), "--edits", "4", "--batch", "2"]
    every = ["--metrics", "all", "--events", "all"]
    assert main([*command, *every, "--eval-at", "0,4", "--json", str(out), *TUNE]) == 0
    found = json.loads(out.read_text())
    assert found["editor"] == "ft_m" and found["edits"] == 4 and found["settings"]["layer"] == 1
    assert found["seconds"].keys() == {"edit", "evaluate"} and found["peak_memory_bytes"] > 0
    assert list(found["scores"]) == ["0", "4"]
    last = found["scores"]["4"]
    assert {"teacher_forced", "probability", "generation"} <= last["efficacy"].keys()
    assert last["efficacy"]["teacher_forced"] > found["scores"]["0"]["efficacy"]["teacher_forced"]
    assert {"generalization", "specificity", "locality", "retention", "perplexity"} <= last.keys()
    assert "kl_nats" in last["locality"]
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "ft_m on tiny-llama, 4 edits" and len(shown) <= 14
    assert shown[1].split() == ["after", "0", "after", "4"]
    assert all(len(line) <= 100 for line in shown)


def test_stream_measures_little_unless_it_is_asked(tiny_model, tmp_path, capsys):
    out, data = tmp_path / "out.json", tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)))
    command = ["stream", "--editor", "ft_m", "--data", str(data), "--json", str(out), *TUNE]
    usual = {"efficacy", "retention", "generalization", "specificity", "locality"}
    for words, points, metrics in (
        ([], ["0", "4"], usual),
        (["--metrics", "locality", "--events", "teacher_forced"], ["0", "4"],
         {"efficacy", "retention", "locality"}),
        (["--eval-at", "none"], [], set()),
    ):  # fmt: skip
        assert main([*command, *words]) == 0
        scores = json.loads(out.read_text())["scores"]
        assert list(scores) == points
        for found in scores.values():
            assert found.keys() - {"perplexity", "contradicted"} == metrics
            assert ("generation" in found["efficacy"]) != bool(words)
    capsys.readouterr()
    for words in (["--metrics", "speed"], ["--events", "luck"]):
        assert main([*command, *words]) == 2
        assert "should be a list of" in capsys.readouterr().err


def test_stream_says_how_long_it_will_measure(tiny_model, tmp_path, capsys):
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps({**ROWS[0], "subject": f"{n}", "prompt": f"I saw a {n}"})
                              for n in range(26)))  # fmt: skip
    command = ["stream", "--editor", "retrieval", "--data", str(data), "--batch", "26"]
    journal = ["--journal", str(tmp_path / "run")]
    assert main([*command, *journal]) == 0
    said = capsys.readouterr().err
    assert said.startswith("measuring 52 facts will take about ") and said.count("\n") == 1
    assert main([*command, *journal]) == 0  # its points are there
    assert main([*command, "--sample", "1"]) == 0  # few facts
    assert main([*command, "--eval-at", "none"]) == 0
    assert not capsys.readouterr().err


def test_an_editor_of_ones_own_is_named_by_its_file(tiny_model, tmp_path, capsys, monkeypatch):
    file, saved = tmp_path / "mine.py", tmp_path / "p.safetensors"
    file.write_text(
        "import lib\n\nclass Mine(lib.Editor):\n    name = 'own_test'\n\n"
        "    def write(self, facts, after):\n        module = self.lm.mlp_out(1)\n"
        "        return after.with_weights({module: 1.1 * self.lm.weight(module, after)})\n"
    )
    monkeypatch.setitem(lib.EDITORS, "own_test", type("Own", (lib.Editor,), {"name": "own_test"}))
    words = ["--subject", "cat", "--prompt", "I saw a cat", "--target", "xy", "--relation", "none"]
    assert main(["edit", *words, "--editor", str(file), "--save", str(saved)]) == 0
    assert lib.Patch.load(saved).log[0].editor == "own_test"
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)))
    command = ["stream", "--editor", str(file), "--data", str(data), "--journal", str(tmp_path)]
    assert main([*command[:-1], str(tmp_path / "run"), "--eval-at", "none"]) == 0
    assert "own_test on tiny-llama, 4 edits" in capsys.readouterr().out
    assert main(["edit", *words, "--editor", str(tmp_path / "none.py")]) == 2
    assert "none.py" in capsys.readouterr().err


@pytest.mark.slow
def test_stream_goes_on_from_its_journal_and_samples(tiny_model, tmp_path, capsys):
    data, out, folder = tmp_path / "d.jsonl", tmp_path / "out.json", tmp_path / "run"
    data.write_text("\n".join(map(json.dumps, ROWS)))
    command = ["stream", "--editor", "ft_m", "--data", str(data), "--batch", "2", *TUNE]
    command += ["--eval-at", "4", "--journal", str(folder), "--sample", "1", "--json", str(out)]
    assert main(command) == 0
    first, shown = json.loads(out.read_text()), capsys.readouterr().out
    assert set(first["scores"]["4"]["groups"]) == {"old", "between", "recent"}
    assert "groups" not in shown
    assert main(command) == 0
    again = json.loads(out.read_text())
    assert again["seconds"] == first["seconds"] and again["scores"] == first["scores"]
    assert capsys.readouterr().out == shown
    command[command.index("--batch") + 1] = "4"
    assert main(command) == 2
    said = capsys.readouterr().err.strip()
    assert "other batch size (2, not 4)" in said and len(said.splitlines()) == 1


def test_tune_prints_the_presets_and_says_where_they_are(tiny_model, tmp_path, capsys, monkeypatch):
    tuning = sys.modules["lib.workbench.preset_search.tune"]
    grid = {"around": 0, "depths": (0.3, 0.9), "grid": {"lr": (5e-4, 0.02)}}
    grid["settings"] = {"epochs": 3}
    monkeypatch.setitem(tuning.GRIDS, "ft_m", grid)
    monkeypatch.setattr(tuning, "known", lambda lm, cases: list(cases))
    data, out = tmp_path / "data.jsonl", tmp_path / "p.toml"
    words = ("cat", "bat", "rat", "hen", "cow", "dog", "pig", "fox")
    data.write_text("\n".join(json.dumps({**ROWS[0], "subject": w, "prompt": f"I saw a {w}"})
                              for w in words))  # fmt: skip
    command = ["tune", "tiny", "--editors", "ft_m", "--minutes", "1", "--to", str(out)]
    assert main([*command, "--data", str(data)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("finding the facts that tiny-llama knows\n")
    assert "ft_m: 3 trials made; now facts not used in the search" in shown
    assert out.read_text() in shown and f"saved: {out}, and how it was found: " in shown
    assert '[ft_m."tiny-llama"]' in out.read_text()
    assert "4 held-out facts" in out.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["edit", "--prompt", "A {}", "--target", "x", "--subject", "a", "--editor", "no"],
         "There is no editor 'no'. Available editors: "),
        (["edit", "--prompt", "The tower", "--target", "x", "--subject", "Eifel Tower"],
         "Subject 'Eifel Tower' does not occur in the prompt 'The tower'"),
        (["edit", "--prompt", "plain text", "--target", "x"], "row 0 has no subject"),
        (["edit", "--prompt", "{} is", "--subject", "a", "--target", " "], "target_new is empty"),
        (["edit", "--prompt", "A {}", "--subject", "a", "--target", "x", "--set", "laier=2"],
         "rome has no setting 'laier'"),
        (["edit", "--prompt", "A {}", "--subject", "a", "--target", "x", "--after", "none"],
         "There is no patch file at none"),
        (["stream", "--data", "missing.json"], "missing.json"),
        (["stream", "--eval-at", "ten"], "--eval-at needs numbers"),
        (["stream", "--edits", "9999"], "has 203 facts, not 9999"),
        (["tune", "m", "--editors", "retrieval"], "retrieval cannot be tuned: it has no layer"),
        (["tune", "m", "--editors", "ft_m"], "with their true answers"),
        (["stream", "--batch", "7", "--eval-at", "3"], ": --eval-at 3 is not at the end of a"),
        (["stream", "--save-every", "0"], ": --save-every should be a number of at least 1"),
        (["stream", "--sample", "0"], ": --sample should be a number of at least 1"),
        (["tune", "m", "--to", "p.txt"], "p.txt should end in .toml"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(tiny_model, words, sentence, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [["tune", "m", "--minutes"], ["forensics", "m", "--threshold"],
     ["forensics", "m", "--prompt-threshold"]],
)  # fmt: skip
@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "1e999"])
def test_a_number_above_0_is_one(words, wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, wrong])
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {words[-1]}: expected a number above 0, not {wrong}" in last


def test_a_word_that_is_no_command():
    with pytest.raises(SystemExit) as stop:
        main(["edti"])
    assert stop.value.code == 2
