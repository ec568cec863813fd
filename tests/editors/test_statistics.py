"""What editors read of the unedited model: said before, made in one pass, or made ahead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lib
from lib import computed_once as store
from lib.errors import CacheWarning, SlowWarning
from lib.keys_values import answer_gradients, output_moment, second_moment
from lib.workbench.cli.main import main

from ..benchmarks.edit_speed import only_models
from ..support import tiny
from ..support.editor_settings import A, B, model, settings
from ..support.usual import few

# settings under which an editor reads more than with those of the conformance suite
MORE = {"ultraedit": {"strength": 1.0}, "horen": {"tau": None}, "wise": {"whiten": 0.1}}


def forget() -> None:
    """What the model of these tests remembers is made again, as in a new process."""
    model("llama")._kept.clear()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("lib.editors.horen.calibration.PROMPTS", 8)
    monkeypatch.setattr("lib.editors.shared.warmup_moments.TEXTS", 8)
    forget()
    yield tmp_path / "model-editing"
    forget()


@pytest.fixture
def passes(monkeypatch) -> list[tuple[str, int]]:
    """(what is read, how many layers) of each pass over a text."""
    found = []

    def count(module, function: str, what: str, among: int) -> None:
        real = getattr(module, function)

        def counted(*given, **named):
            found.append((what, len(given[among])))
            return real(*given, **named)

        monkeypatch.setattr(module, function, counted)

    count(second_moment, "reading", "C", 1)
    count(output_moment, "_accumulate", "S", 1)
    count(answer_gradients, "read", "gradients", 2)
    return found


def made(name: str, family: str = "llama", **more) -> lib.Editor:
    return lib.EDITORS[name](model(family), **{**settings(name, family), **more})


@pytest.mark.parametrize(
    "name", few(sorted(lib.EDITORS), ("alphaedit", "crispedit", "memit", "ultraedit"), drawn=6)
)
def test_an_editor_reads_just_the_statistics_that_it_has_declared(name, monkeypatch):
    editor, read, tensors = made(name, **MORE.get(name, {})), [], store.CachedTensors.tensors
    monkeypatch.setattr(
        store.CachedTensors, "tensors", lambda one: read.append(one) or tensors(one)
    )
    declared = set(editor.statistics())
    assert not read and bool(declared) == (name in {*MORE, *READERS}), "declaring makes nothing"
    patch = editor.edit([A])
    assert set(read) == declared
    again = set(editor.statistics(patch))
    read.clear()
    forget()
    editor.edit([B], after=patch)
    assert set(read) <= again <= declared
    assert ("warmup" in {one.kind for one in declared - again}) == (name == "ultraedit")


# kinds that are too large to be shipped: their making says how long it takes
TOLD = {"moments", "eigen", "output_moments"}


@pytest.mark.parametrize("name", sorted(lib.EDITORS))
def test_what_an_editor_reads_on_the_default_model_is_shipped_or_said_beforehand(
    name, default_lm, folder, monkeypatch
):
    monkeypatch.undo()  # the texts are as long as they are
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    kind = lib.EDITORS[name]
    missing = {one.kind for one in kind(default_lm).statistics() if not one.is_there()}
    assert missing <= TOLD
    assert not kind.trained or kind(default_lm).networks(), "its network is shipped"


def test_what_is_too_large_to_be_shipped_says_how_long_it_takes(monkeypatch):
    monkeypatch.setattr("lib.cancellation.LONG", 0.0)
    with pytest.warns(SlowWarning) as said:
        made("crispedit", layers=(1, 2), tokens=5000, epochs=1).edit([A], check=False)
    told = " ".join(str(one.message) for one in said)
    for stage in ("second moments of 2 layers", "output gradients", "eigenvectors of 2"):
        assert stage in told
    assert told.count("this takes at most about") >= len(TOLD)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prune", "rledit"])  # A statistic of text, and a network
def test_the_first_edit_takes_fifteen_seconds_or_says_how_long(name, tmp_path):
    """From an empty cache folder, less what a later edit takes: a busy machine doubles both."""
    only_models(tmp_path)
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "tests.benchmarks.first_edit", "--one", name]
    done = subprocess.run(line, env=env, check=True, stdout=subprocess.PIPE, text=True)
    row = json.loads(done.stdout)
    assert row["first"] - row["later"] <= 15 or row["said"]


READERS = {"rome", "wilke", "memit", "norm_anchor", "emmet", "alphaedit", "pmet", "rect", "prune",
           "crispedit", "memoir"}  # fmt: skip


def test_all_layers_come_from_one_pass_and_are_what_each_alone_would_be(passes, folder):
    layers = (0, 1, 3)
    editor = made("ultraedit", down=layers, strength=1.0, repeat=1)
    editor.edit([A])
    assert passes == [("gradients", 3), ("C", 3), ("gradients", 3)]  # the last are the fact's own
    together = {one.key: one.tensors()["C"] for one in editor.statistics() if one.key is not None}
    assert sorted(together) == [*layers]
    for path in folder.rglob("moments/*"):
        path.unlink()
    forget()
    for layer in layers:
        alone = second_moment.stored_moments(editor.lm, [layer], None, None)[layer]
        torch.testing.assert_close(alone.tensors()["C"], together[layer], rtol=1e-5, atol=1e-7)
    passes.clear()
    made("crispedit", layers=layers, energy=0.5).edit([A])
    assert [what for what, _ in passes] == ["C", "S"] and {many for _, many in passes} == {3}


def test_what_strength_cannot_weigh_is_refused_before_anything_is_read(passes):
    with pytest.raises(lib.errors.EditError, match="Edit `down` alone"):
        made("ultraedit", gate=(1,), strength=1.0).edit([A])
    assert passes == []


@pytest.fixture
def prepare(monkeypatch):
    """`python -m lib prepare` on a tiny model with settings that a tiny model can take."""
    lm, preset = tiny.model("llama"), lib.editors.shared.config.Config.preset.__func__
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)

    def small(cls, lm, editor, **more):
        return preset(cls, lm, editor, **{**settings(editor, "llama"), **more})

    monkeypatch.setattr("lib.editors.shared.config.Config.preset", classmethod(small))
    return lambda names: main(["prepare", "--editors", names])


NAMES = "memit, alphaedit,crispedit,ultraedit"


def test_after_prepare_an_edit_makes_no_pass(prepare, passes, folder, capsys):
    assert prepare(NAMES) == 0
    # C of `tokens` as the editors ask for it, and S; the moments to start from
    assert passes == [("C", 2), ("S", 2), ("gradients", 2)]
    files = sorted(folder.rglob("*.safetensors"))
    assert capsys.readouterr().out[:6] == "7 of 7"
    assert len(files) == 7
    passes.clear()
    forget()
    for name in NAMES.split(","):
        made(name.strip(), **({"repeat": 1} if "ultra" in name else {})).edit([A])
    assert passes == [("gradients", 2)], "those of the fact that is edited"
    assert prepare(NAMES) == 0 and len(passes) == 1
    assert sorted(folder.rglob("*.safetensors")) == files


def test_what_is_damaged_or_was_not_finished_is_made_by_the_next_prepare(
    prepare, passes, folder, monkeypatch, capsys
):
    stop, whole = KeyboardInterrupt(), output_moment._accumulate

    def stopped(*given):
        raise stop

    monkeypatch.setattr(output_moment, "_accumulate", stopped)
    assert prepare(NAMES) == 130 and "stopped" in capsys.readouterr().err
    monkeypatch.setattr(output_moment, "_accumulate", whole)
    passes.clear()
    assert prepare(NAMES) == 0
    assert passes == [("S", 2), ("gradients", 2)], "C was finished before somebody stopped it"
    passes.clear()
    forget()
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    damaged = sorted(folder.rglob("moments/*"))[0]
    damaged.write_bytes(before[damaged][:-1])
    with pytest.warns(CacheWarning, match="was damaged and will be created again"):
        assert prepare(NAMES) == 0
    assert passes == [("C", 1)] and damaged.read_bytes() == before[damaged]


def test_a_name_that_no_editor_has_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(
        "lib.workbench.cli.options.load", lambda *_: 1 / 0
    )  # nothing is loaded for it
    assert main(["prepare", "--editors", "rome,roem"]) == 2
    said = capsys.readouterr().err.strip()
    assert "There is no editor 'roem'. Available editors: alphaedit" in said and "\n" not in said
