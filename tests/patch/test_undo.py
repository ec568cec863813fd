"""One fact taken out of a patch: all others are written again, in the calls that they were in."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.patch.patch import Edit
from lib.workbench.cli.main import main

from ..support import tiny

WORDS = (("I saw {}", " xy"), ("Who built {}", " qz"), ("Near {}", " qz"), ("{}", " xy"))
FACTS = [lib.Fact("The old tower", prompt, target) for prompt, target in WORDS]
OTHERS = [lib.Fact(who, "I saw a {}", "xy") for who in ("cat", "bat", "rat", "hen")]
TUNED = {"layer": 1, "lr": 0.02, "epochs": 3}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def streamed(lm, name, settings, batch, facts=FACTS):
    """The patch of a stream, which has one line in its log."""
    editor = lib.EDITORS[name](lm, **settings)
    brief = {"metrics": (), "events": ("teacher_forced",)}
    patch = lib.stream(lm, editor, facts, batch, (), brief).finish().patch
    assert len(patch.log) == 1 and patch.log[0].batch == batch
    return patch


def made(lm, name, settings, calls):
    """The patch of these calls of an editor, one after the other."""
    patch = lib.EMPTY
    for facts in calls:
        if facts:
            patch = lib.EDITORS[name](lm, **settings).edit(facts, after=patch)
    return patch


@pytest.mark.parametrize("batch", [1, 3])
def test_the_rest_is_written_again(lm, batch):
    whole = streamed(lm, "ft_m", TUNED, batch)
    found = lib.without(lm, whole, 1)
    rest = [fact for fact in whole.facts if fact != whole.facts[1]]
    calls = [[rest[0]], [rest[1]], [rest[2]]] if batch == 1 else [rest[:2], rest[2:]]
    again = made(lm, "ft_m", TUNED, calls)
    assert list(found.facts) == rest
    for name in again.weights:
        assert torch.equal(lm.weight(name, found), lm.weight(name, again))
    assert whole.without(whole.facts[1], lm).facts == found.facts
    alone = lib.without(lm, lib.without(lm, lib.without(lm, found, 0), 0), 0)
    assert alone == lib.EMPTY


def test_a_note_that_replaced_another_brings_it_back(lm):
    old, new = (lib.Fact("cat", "I saw a {}", answer) for answer in ("xy", "qz"))
    found = lib.without(lm, made(lm, "retrieval", {}, [[old], [new]]), new)
    assert found.facts == (old,)
    assert [entry.target for entry in found.rewrites[0].entries] == ["xy"]


def test_the_log_says_what_is_in_it():
    kept = Edit("ft_m", {"a": 1}, tuple(OTHERS), batch=2)
    assert kept.less(1) == (
        Edit("ft_m", {"a": 1}, (OTHERS[0],)),
        Edit("ft_m", {"a": 1}, tuple(OTHERS[2:]), batch=2),
    )
    assert Edit("ft_m", {}, tuple(OTHERS)).less(3) == (Edit("ft_m", {}, tuple(OTHERS[:3])),)
    assert Edit("ft_m", {}, tuple(OTHERS[:1])).less(0) == ()


def test_a_fact_is_named_by_number_subject_or_itself(lm):
    whole = made(lm, "retrieval", {}, [OTHERS, FACTS[:2]])
    for named in (1, " BAT ", OTHERS[1], lib.Case(OTHERS[1])):
        assert OTHERS[1] not in lib.without(lm, whole, named).facts
    for named, why in (
        (6, "has 6 facts; there is no fact '6'"),
        (-1, "there is no fact '-1'"),
        (10**30, "there is no fact"),
        ("cow", "there is no fact 'cow'"),
        ("", "there is no fact"),
        ("the old tower", "'the old tower' may be fact 4 or 5. Give a number"),
        (lib.Fact("cow", "I saw a {}", "xy"), "there is no fact 'I saw a cow'"),
    ):
        with pytest.raises(lib.errors.PatchError, match=why):
            lib.without(lm, whole, named)
    with pytest.raises(lib.errors.PatchError, match="there is no fact"):
        lib.without(lm, lib.EMPTY, 0)


def test_the_command_lists_and_drops(lm, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    whole = streamed(lm, "retrieval", {}, 2, OTHERS)
    file, out = str(whole.save(tmp_path / "a.safetensors")), str(tmp_path / "b.safetensors")
    assert main(["patch", "show", file]) == 0
    assert "fact 3: I saw a hen -> xy" in capsys.readouterr().out
    for named in ("2", "rat"):
        assert main(["patch", "drop", file, "--fact", named, "--to", out]) == 0
        assert "written again without it: 3 other facts in the patch" in capsys.readouterr().out
        assert [fact.subject for fact in lib.Patch.load(out).facts] == ["cat", "bat", "hen"]
    assert main(["patch", "drop", file, "--fact", "cow", "--to", out]) == 2
    assert "there is no fact 'cow'" in capsys.readouterr().err
