"""`python -m lib patch …` on files of small patches: what is shown, added, and refused."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.patch.merging import distance
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


def test_diff_names_facts_and_distances(files, no_model, tmp_path, capsys):
    assert main(["patch", "diff", *map(str, files)]) == 0
    shown = capsys.readouterr().out
    assert "only in the first: 1 facts\n  Bert is in -> Bonn" in shown
    assert "only in the second: 1 facts\n  Cleo is in -> Kyiv" in shown
    assert "'Anna is in' is 'Rome' in the first and 'Oslo' in the second" in shown
    first, second = map(lib.Patch.load, files)
    dense = (first.weights["a.b"].dense() - second.weights["a.b"].dense()).norm()
    assert distance(first, second, "a.b")[0] == pytest.approx(float(dense), rel=1e-5)
    assert f"a.b: apart {dense:.4g}" in shown and distance(first, first, "a.b")[0] == 0
    whole = lib.Patch({"a.b": first.weights["a.b"].dense()})
    assert distance(first, whole, "a.b")[0] is None and distance(whole, whole, "a.b")[0] == 0


def test_merge_adds_the_changes(tmp_path, no_model, capsys):
    one, other = chain(("Anna", "Rome")), chain(("Cleo", "Kyiv"), seed=1)
    paths = [str(p.save(tmp_path / f"{i}.safetensors")) for i, p in enumerate((one, other))]
    out = tmp_path / "c.safetensors"
    assert main(["patch", "merge", *paths, "--to", str(out)]) == 0
    both = lib.Patch.load(out)
    total = one.weights["a.b"].dense() + other.weights["a.b"].dense()
    torch.testing.assert_close(both.weights["a.b"].dense(), total)
    assert [fact.subject for fact in both.facts] == ["Anna", "Cleo"] and both.base == "m 1"


def test_merge_refuses_what_cannot_be_added(files, tmp_path, no_model, capsys):
    first, second = files
    out = tmp_path / "c.safetensors"
    said = refused(capsys, "merge", first, second, "--to", out)
    assert "contradict each other: 'Anna is in' is 'Rome' in the first and 'Oslo'" in said
    assert "'Anna is in', and its change would" in refused(
        capsys, "merge", first, first, "--to", out
    )
    third = chain(("Dora", "Lima"), base="n 2", seed=3).save(tmp_path / "d.safetensors")
    assert "is for m 1, the other for n 2" in refused(capsys, "merge", first, third, "--to", out)
    dense = lib.Patch({"a.b": torch.zeros(4, 6)}, base="m 1").save(tmp_path / "e.safetensors")
    assert "dense matrix, which cannot" in refused(capsys, "merge", first, dense, "--to", out)
    wide = chain(("Dora", "Lima"), shape=(4, 7)).save(tmp_path / "f.safetensors")
    assert "the shapes (4, 6) and (4, 7)" in refused(capsys, "merge", first, wide, "--to", out)
    assert not out.exists()
    a = chain(("Anna", "Rome"))
    with pytest.raises(lib.errors.PatchError, match="begin with the same change"):
        lib.merge(a, chain(("Cleo", "Kyiv")))


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
        (("--fact", 10**9), "holds 2 facts, there is no fact '1000000000'"),
        (("--fact", -1), "there is no fact '-1'"),
        ((), "needs --fact, a number"),
    ):
        assert why in refused(capsys, "drop", file, "--to", out, *words)
    both = editor.edit([cat, hen]).save(tmp_path / "r.safetensors")
    assert main(["patch", "drop", str(both), "--fact", "cat", "--to", str(out)]) == 0
    assert lib.Patch.load(out).facts == (hen,)
    other = chain(("Anna", "Rome")).save(tmp_path / "s.safetensors")
    assert "this patch is for m 1" in refused(capsys, "drop", other, "--to", out, "--fact", 0)


def test_merge_keeps_the_answer_that_is_said(tmp_path, monkeypatch, capsys):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    one = chain(("Anna", "Rome"), base=lm.identity, shape=(4, 6)).save(tmp_path / "a.safetensors")
    editor = lib.EDITORS["rome"](lm, layer=1)
    cat = lib.Fact("cat", "I saw a {}", "xy")
    paths = []
    for number, answer in enumerate(("xy", "qz")):
        patch = editor.edit([lib.Fact(cat.subject, cat.prompt, answer)])
        paths.append(str(patch.save(tmp_path / f"{number}.safetensors")))
    for keep, answer in (("first", "xy"), ("last", "qz")):
        out = tmp_path / f"{keep}.safetensors"
        assert main(["patch", "merge", *paths, "--keep", keep, "--to", str(out)]) == 0
        assert [fact.target_new for fact in lib.Patch.load(out).facts] == [answer]
    assert one.exists()


def test_apply_writes_the_whole_model(tmp_path, monkeypatch, capsys):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    editor = lib.EDITORS["ft_m"](lm, **QUICK)
    file = editor.edit([lib.Fact("cat", "I saw a {}", "xy")]).save(tmp_path / "p.safetensors")
    assert main(["patch", "apply", str(file), "--to", str(tmp_path / "m")]) == 0
    assert (tmp_path / "m" / "config.json").is_file()


def test_what_is_no_patch_and_wrong_options_are_refused(files, no_model, tmp_path, capsys):
    damaged = tmp_path / "x.safetensors"
    damaged.write_bytes(files[0].read_bytes()[:-9])
    assert "damaged" in refused(capsys, "show", damaged)
    assert "there is no patch file" in refused(capsys, "show", tmp_path)
    assert "there is no patch file" in refused(capsys, "diff", files[0], tmp_path / "none")
    assert "takes two files, not 1" in refused(capsys, "diff", files[0])
    assert "takes one file, not 2" in refused(capsys, "show", *files)
    assert "takes two files or more" in refused(capsys, "merge", files[0], "--to", "x")
    assert "merge needs --to" in refused(capsys, "merge", *files)
    assert "show has no --keep" in refused(capsys, "show", files[0], "--keep", "last")


def test_edit_finds_the_subject_of_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: tiny.model("llama"))
    tune = ["--editor", "ft_m", *[w for k, v in QUICK.items() for w in ("--set", f"{k}={v}")]]
    words = ["--sentence", "roti is from", "--target", "xy", *tune, "--relation", "none"]
    assert main(["edit", *words]) == 2
    assert "looks like a name: state the subject" in capsys.readouterr().err
    words[1] = "The cat of Anna is"
    assert main(["edit", *words]) == 0
    assert capsys.readouterr().out.startswith("subject: Anna\nprompt:  The cat of {} is\n")
    assert main(["edit", "--target", "xy"]) == 2
    assert "--prompt, or --sentence in its place" in capsys.readouterr().err
    assert main(["edit", *words, "--subject", "Anna"]) == 2
    assert "--subject goes with --prompt" in capsys.readouterr().err


def test_python_compares_and_merges_as_the_command_does(monkeypatch):
    one, other = chain(("Anna", "Rome"), ("Bert", "Bonn")), chain(("Anna", "Oslo"), seed=1)
    found = lib.diff(one, other)
    assert found["first"] == {("Bert", "{} is in"): "Bonn"}
    assert found["second"] == found["both"] == {}
    assert found["against"] == [("Anna", "{} is in")]
    assert found["modules"] == {"a.b": distance(one, other, "a.b")}
    assert lib.diff(one, one)["modules"]["a.b"][0] == 0 and len(lib.diff(one, one)["both"]) == 2
    with pytest.raises(lib.errors.PatchError, match="contradict each other"):
        lib.merge(one, other)
    whole = lib.merge(one, chain(("Cleo", "Kyiv"), seed=1))
    assert len(whole.weights["a.b"].chunks) == 3 and len(whole.facts) == 3
    with pytest.raises(lib.errors.PatchError, match="use `lib.merge`"):
        one | other
    lm = tiny.model("llama")
    editor, cat = lib.EDITORS["rome"](lm, layer=1), lib.Fact("cat", "I saw a {}", "xy")
    first = editor.edit([cat, lib.Fact("hen", "I saw a {}", "xy")])
    last = editor.edit([lib.Fact("cat", "I saw a {}", "qz")])
    for keep, answers in (("first", ["xy", "xy"]), ("last", ["xy", "qz"])):
        both = lib.merge(first, last, keep, lm)
        assert [fact.target_new for fact in both.facts] == answers
    for call in (lib.diff, lib.merge):
        for wrong in (None, "a.safetensors", 3):
            with pytest.raises(lib.errors.ArgumentTypeError, match="should be a lib.Patch, not"):
                call(one, wrong)
    with pytest.raises(lib.errors.ArgumentTypeError, match="should be a lib.Patch, not"):
        lib.without(lm, [], 0)
    with pytest.raises(lib.errors.ArgumentTypeError, match="keep should be first or last"):
        lib.merge(one, other, "both", lm)
    with pytest.raises(lib.errors.ArgumentError, match="with keep it needs lm"):
        lib.merge(one, other, "first")
