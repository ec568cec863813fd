"""One fact taken out of a patch: the three ways, and that each is what it says."""

from __future__ import annotations

import json

import pytest
import torch

import lib
from lib.patch.patch import Edit
from lib.patch.undo import SAID
from lib.workbench.cli.main import main

from ..support import tiny
from ..support.usual import few
from .test_deletion import EDITORS as SOLVED

WORDS = (("I saw {}", " xy"), ("Who built {}", " qz"), ("Near {}", " qz"), ("{}", " xy"))
FACTS = [lib.Fact("The old tower", prompt, target) for prompt, target in WORDS]
OTHERS = [lib.Fact(who, "I saw a {}", "xy") for who in ("cat", "bat", "rat", "hen")]
TUNED = {"layer": 1, "lr": 0.02, "epochs": 3}
BOOKS = {
    "grace": {"layer": 1, "n_iter": 20, "eps_init": 1e-3},
    "horen": {"layer": 1, "n_iter": 20, "tau": 0.999},
    "retrieval": {},
}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def streamed(lm, name, settings, tmp_path, batch, facts=FACTS):
    """The patch of a stream, which has one line in its log."""
    data = tmp_path / "d.jsonl"
    rows = [{"subject": f.subject, "prompt": f.text, "target_new": f.target_new} for f in facts]
    more = {"paraphrases": ["A test"], "locality": ["A dog"]}
    data.write_text("\n".join(json.dumps({**row, **more}) for row in rows))
    editor = lib.EDITORS[name](lm, **settings)
    brief = {"metrics": (), "events": ("teacher_forced",)}
    patch = lib.stream(lm, editor, lib.read_cases(data), batch, (), brief).finish().patch
    assert len(patch.log) == 1 and patch.log[0].source
    return patch


def made(lm, name, settings, calls):
    """The patch of these calls of an editor, one after the other."""
    patch = lib.EMPTY
    for facts in calls:
        if facts:
            patch = lib.EDITORS[name](lm, **settings).edit(facts, after=patch)
    return patch


def changed(lm, patch):
    """The matrices that a patch changes, as they are with it."""
    return {name: lm.weight(name, patch) for name in patch.weights}


@pytest.mark.parametrize("name", sorted(SOLVED))
@pytest.mark.parametrize("batch", few([1, 2, 4], (2,)))
def test_a_column_is_solved_out_of_a_stream(lm, tmp_path, name, batch):
    whole = streamed(lm, name, SOLVED[name], tmp_path, batch)
    for at in range(4):
        found = lib.without(lm, whole, at)
        assert found.way == "solved" and found.fact == whole.facts[at]
        rest = [fact for fact in whole.facts if fact != found.fact]
        assert list(found.patch.facts) == rest
        calls = [whole.facts[i : i + batch] for i in range(0, 4, batch)]
        again = made(lm, name, SOLVED[name], [[f for f in c if f in rest] for c in calls])
        for module, wanted in changed(lm, again).items():
            mine = lm.weight(module, found.patch)
            assert (mine - wanted).norm() < 1e-4 * (wanted - lm.weight(module)).norm()
        loaded = lib.Patch.load(found.patch.save(tmp_path / "p.safetensors"))
        assert loaded.log == found.patch.log and loaded.facts == found.patch.facts
        # and once more, on what is left
        twice = lib.without(lm, loaded, rest[0])
        assert twice.way == "solved" and list(twice.patch.facts) == rest[1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BOOKS))
def test_an_entry_leaves_a_memory_and_the_rest_stays(lm, tmp_path, name):
    whole = streamed(lm, name, BOOKS[name], tmp_path, 2, OTHERS)
    asked = [fact.text for fact in OTHERS]
    plain = lm.answer(asked)
    with lm.patched(whole):
        before = lm.answer(asked)
    for at in (0, 2):
        found = lib.without(lm, whole, at)
        assert found.way == "entry" and len(found.patch.facts) == 3
        with lm.patched(found.patch):
            after = lm.answer(asked)
        assert after[at] == plain[at]
        assert [a for n, a in enumerate(after) if n != at] == [
            a for n, a in enumerate(before) if n != at
        ]
        loaded = lib.Patch.load(found.patch.save(tmp_path / "p.safetensors"))
        with lm.patched(loaded):
            assert lm.answer(asked) == after
        more = lib.EDITORS[name](lm, **BOOKS[name]).edit([OTHERS[at]], after=loaded)
        with lm.patched(more):
            assert lm.answer(asked) == before
    less = found.patch
    for _ in range(2):
        less = lib.without(lm, less, 0).patch
    assert lib.without(lm, less, 0) == (lib.EMPTY, OTHERS[3], "empty")


def test_the_weights_of_other_editors_stay_bit_for_bit(lm):
    before = made(lm, "ft_m", TUNED, [[FACTS[0]]])
    editor = lib.EDITORS["grace"](lm, **{**BOOKS["grace"], "layer": 2})
    both = editor.edit([OTHERS[0]], after=before)
    found = lib.without(lm, both, 1)
    assert found.way == "entry" and not found.patch.routes and not found.patch.memory
    assert all(found.patch.weights[name] is value for name, value in before.weights.items())


@pytest.mark.slow
def test_an_entry_that_holds_or_shaped_others_is_written_again(lm):
    # one ball for two facts, a ball cut in half, and an answer that took another one's place
    wide = {**BOOKS["grace"], "eps_init": 1e4}
    same, cut = OTHERS[:2], [OTHERS[0], lib.Fact("bat", "I saw a {}", "qz")]
    twice = [OTHERS[0], lib.Fact("cat", "I saw a {}", "qz")]
    for settings, facts in ((wide, same), (wide, cut), (BOOKS["grace"], twice)):
        whole = made(lm, "grace", settings, [[fact] for fact in facts])
        for at in (0, 1):
            found = lib.without(lm, whole, at)
            again = made(lm, "grace", settings, [[facts[1 - at]]])
            assert found.way == "written again" and found.patch.log == again.log
            for name, route in again.routes.items():
                for part, tensor in route.tensors().items():
                    assert torch.equal(found.patch.routes[name].tensors()[part], tensor)


def test_a_note_that_replaced_another_brings_it_back(lm):
    old, new = (lib.Fact("cat", "I saw a {}", answer) for answer in ("xy", "qz"))
    whole = made(lm, "retrieval", {}, [[old], [new]])
    found = lib.without(lm, whole, new)
    assert found.way == "written again" and found.patch.facts == (old,)
    assert [entry.target for entry in found.patch.rewrites[0].entries] == ["xy"]


@pytest.mark.parametrize("batch", [1, 3])
def test_otherwise_the_rest_is_written_again(lm, tmp_path, batch):
    whole = streamed(lm, "ft_m", TUNED, tmp_path, batch)
    found = lib.without(lm, whole, 1)
    rest = [fact for fact in whole.facts if fact != found.fact]
    calls = [[rest[0]], [rest[1]], [rest[2]]] if batch == 1 else [rest[:2], rest[2:]]
    again = made(lm, "ft_m", TUNED, calls)
    assert found.way == "written again" and list(found.patch.facts) == rest
    for name, wanted in changed(lm, again).items():
        assert torch.equal(lm.weight(name, found.patch), wanted)
    assert whole.without(whole.facts[1], lm).facts == found.patch.facts


def test_the_log_says_what_is_in_it():
    line = Edit("ft_m", {}, (), "d.jsonl", (10, 70), {"target": "new"}, 1)
    first, then = line.part(0, 5), line.part(6, 60)
    assert (first.rows, then.rows, len(first) + len(then)) == ((10, 15), (16, 70), 59)
    kept = Edit("ft_m", {"a": 1}, tuple(OTHERS), batch=2)
    assert kept.less(1) == (
        Edit("ft_m", {"a": 1}, (OTHERS[0],)),
        Edit("ft_m", {"a": 1}, tuple(OTHERS[2:]), batch=2),
    )
    assert Edit("ft_m", {}, tuple(OTHERS)).less(3) == (Edit("ft_m", {}, tuple(OTHERS[:3])),)
    assert kept.part(0, 1).less(0) == ()


def test_a_fact_is_named_by_number_subject_or_itself(lm):
    whole = made(lm, "retrieval", {}, [OTHERS, FACTS[:2]])
    for named in (1, " BAT ", OTHERS[1], lib.Case(OTHERS[1])):
        assert lib.without(lm, whole, named).fact == OTHERS[1]
    for named, why in (
        (6, "holds 6 facts, there is no fact '6'"),
        (-1, "there is no fact '-1'"),
        (10**30, "there is no fact"),
        ("cow", "there is no fact 'cow'"),
        ("", "there is no fact"),
        ("the old tower", "'the old tower' may be fact 4 or 5: give a number"),
        (lib.Fact("cow", "I saw a {}", "xy"), "there is no fact 'I saw a cow'"),
    ):
        with pytest.raises(lib.errors.PatchError, match=why):
            lib.without(lm, whole, named)
    for named in (None, True, 1.0, b"cat", [1]):
        with pytest.raises(lib.errors.ArgumentTypeError, match="fact should be"):
            lib.without(lm, whole, named)
    with pytest.raises(lib.errors.PatchError, match="there is no fact"):
        lib.without(lm, lib.EMPTY, 0)


def test_the_command_lists_drops_and_says_how(lm, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    whole = streamed(lm, "retrieval", {}, tmp_path, 2, OTHERS)
    file, out = str(whole.save(tmp_path / "a.safetensors")), str(tmp_path / "b.safetensors")
    assert main(["patch", "show", file]) == 0
    assert "fact 3: I saw a hen -> xy" in capsys.readouterr().out
    for named in ("2", "rat"):
        assert main(["patch", "drop", file, "--fact", named, "--to", out]) == 0
        shown = capsys.readouterr().out
        assert "dropped: I saw a rat -> xy\n" + SAID["entry"] in shown and "saved: " in shown
        left = lib.Patch.load(out)
        assert [fact.subject for fact in left.facts] == ["cat", "bat", "hen"]
    assert main(["patch", "drop", file, "--fact", "cow", "--to", out]) == 2
    assert "there is no fact 'cow'" in capsys.readouterr().err
    (tmp_path / "d.jsonl").unlink()
    assert main(["patch", "show", out]) == 0
    assert "facts from number 0 on are not shown: there is no file" in capsys.readouterr().out
    assert main(["patch", "drop", file, "--fact", "0", "--to", out]) == 2


def test_a_memory_of_anybody_is_one_sentence(lm):
    whole = made(lm, "grace", BOOKS["grace"], [OTHERS[:2]])
    module = next(iter(whole.routes))
    spoiled = lib.Patch(
        routes=whole.routes, memory={"grace": {module: {}}}, log=whole.log, base=whole.base
    )
    with pytest.raises(
        lib.errors.EditError, match="grace cannot go on from the memory in this patch"
    ):
        lib.without(lm, spoiled, 0)
