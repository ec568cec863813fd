"""`python -m lib patch …` on files of small patches: what is shown, dropped, and refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lib
from lib.workbench.cli.main import main

from ..support import tiny

QUICK = {"layer": 1, "lr": 0.02, "epochs": 3}


def chain(*facts, base="m 1", shape=(4, 6), module="a.b", seed=0):
    """A patch of edits by hand, one chunk each; a fact is (subject, answer)."""
    draw = torch.Generator().manual_seed(seed)
    chunks = [
        (torch.randn(shape[0], 1, generator=draw), torch.randn(1, shape[1], generator=draw))
        for _ in facts
    ]
    log = tuple(
        lib.Edit("rome", {"layer": 1}, (lib.Fact(who, "{} is in", answer),))
        for who, answer in facts
    )
    return lib.Patch({module: lib.LowRank(tuple(chunks))}, log=log, base=base)


@pytest.fixture
def files(tmp_path):
    one = chain(("Anna", "Rome"), ("Bert", "Bonn"))
    other = chain(("Anna", "Oslo"), ("Cleo", "Kyiv"), seed=1)
    return one.save(tmp_path / "a.safetensors"), other.save(tmp_path / "b.safetensors")


@pytest.fixture
def no_model(monkeypatch):
    def refuse(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("lib.workbench.cli.options.load", refuse)


def refused(capsys, *words):
    """The one sentence with which a command ends."""
    capsys.readouterr()
    assert main(["patch", *map(str, words)]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and "Traceback" not in said
    return said


def test_show_says_what_is_in_a_file(files, no_model, tmp_path, capsys):
    assert main(["patch", "show", str(files[0])]) == 0
    shown = capsys.readouterr().out
    assert "bytes, for m 1" in shown and 'line 1: rome, 1 fact\n  {"layer": 1}' in shown
    assert "fact 1: Bert is in -> Bonn" in shown and "a.b: 4 × 6, a change of rank 2" in shown


def test_an_edit_is_dropped_and_the_rest_is_written_again(tmp_path, monkeypatch, capsys):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    editor = lib.EDITORS["ft_m"](lm, **QUICK)
    cat, hen = lib.Fact("cat", "I saw a {}", "xy"), lib.Fact("hen", "I saw a {}", "qz")
    alone = editor.edit([hen])
    file = editor.edit([hen], after=editor.edit([cat])).save(tmp_path / "p.safetensors")
    out = tmp_path / "q.safetensors"
    assert main(["patch", "drop", str(file), "--fact", "0", "--to", str(out)]) == 0
    assert "written again" in capsys.readouterr().out
    left = lib.Patch.load(out)
    assert left.facts == (hen,)
    (name,) = alone.weights
    torch.testing.assert_close(lm.weight(name, left), lm.weight(name, alone))
    for words, why in (
        (("--fact", 10**9), "has 2 facts; there is no fact '1000000000'"),
        (("--fact", -1), "there is no fact '-1'"),
        ((), "needs --fact, a number"),
    ):
        assert why in refused(capsys, "drop", file, "--to", out, *words)
    both = editor.edit([cat, hen]).save(tmp_path / "r.safetensors")
    assert main(["patch", "drop", str(both), "--fact", "cat", "--to", str(out)]) == 0
    assert lib.Patch.load(out).facts == (hen,)
    other = chain(("Anna", "Rome")).save(tmp_path / "s.safetensors")
    assert "This patch is for m 1" in refused(capsys, "drop", other, "--to", out, "--fact", 0)


def test_what_is_no_patch_and_wrong_options_are_refused(files, no_model, tmp_path, capsys):
    damaged = tmp_path / "x.safetensors"
    damaged.write_bytes(files[0].read_bytes()[:-9])
    assert "damaged" in refused(capsys, "show", damaged)
    assert "There is no patch file" in refused(capsys, "show", tmp_path)
    assert "show has no --fact" in refused(capsys, "show", files[0], "--fact", "1")
    assert "drop needs --to" in refused(capsys, "drop", files[0], "--fact", "1")


def test_edit_finds_the_subject_of_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: tiny.model("llama"))
    tune = ["--editor", "ft_m", *[w for k, v in QUICK.items() for w in ("--set", f"{k}={v}")]]
    words = ["--sentence", "roti is from", "--target", "xy", *tune, "--relation", "none"]
    assert main(["edit", *words]) == 2
    assert "looks like a name. State the subject" in capsys.readouterr().err
    words[1] = "The cat of Anna is"
    assert main(["edit", *words]) == 0
    assert capsys.readouterr().out.startswith("subject: Anna\nprompt:  The cat of {} is\n")
    assert main(["edit", "--target", "xy"]) == 2
    assert "--prompt, or --sentence instead" in capsys.readouterr().err
    assert main(["edit", *words, "--subject", "Anna"]) == 2
    assert "Use --subject only with --prompt" in capsys.readouterr().err


def test_a_memory_that_no_editor_wrote_is_one_sentence(monkeypatch, tmp_path, capsys):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    quick = {"layer": 1, "steps": 1, "second_moment": False}
    rome = lib.EDITORS["rome"](lm, templates=("{}",), **quick)
    patch = rome.edit([lib.Fact("cat", "I saw a {}", "xy")], check=False)
    hostile = replace(patch, memory={"rome": {"templates": 5}}).save(tmp_path / "p.safetensors")
    words = ["--prompt", "I saw a {}", "--subject", "hen", "--target", "xy", "--editor", "rome"]
    words += [
        word for name, value in quick.items() for word in ("--set", f"{name}={value}".lower())
    ]
    assert main(["edit", *words, "--relation", "none", "--after", str(hostile)]) == 2
    said = capsys.readouterr().err.strip()
    assert "rome cannot continue from the memory in" in said and len(said.splitlines()) == 1
