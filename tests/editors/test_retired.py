"""Files of earlier versions hold settings that are gone: accepted at the one value that is left."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

import lib
from lib.editors.hypernetwork import network_file
from lib.editors.shared.earlier_settings import RETIRED
from lib.lifelong.journal import FORMAT, sealed

from ..support import journals, tiny
from ..support.editor_settings import TINY, A, B
from ..support.networks import CASES, SMALL

C = lib.Fact("My cat", "{} sleeps on", "xy")
GONE = [(e, n, v) for e, gone in RETIRED.items() for n, v in gone.items()]
FT = {"layer": 2, "lr": 2e-2, "epochs": 5}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def aged(patch: lib.Patch, **settings) -> lib.Patch:
    """The patch with more settings in its log, as an earlier version wrote them."""
    log = tuple(replace(edit, settings={**edit.settings, **settings}) for edit in patch.log)
    return replace(patch, log=log)


@pytest.mark.parametrize(("editor", "name", "value"), GONE, ids=str)
def test_a_retired_setting_is_dropped_at_its_value_and_refused_at_others(lm, editor, name, value):
    Config = lib.EDITORS[editor].Config
    assert name not in {field.name for field in fields(Config)}
    plain = lib.EDITORS[editor](lm, **TINY.get(editor, {})).config
    given = json.loads(json.dumps(value))  # as a file gives it back
    assert lib.EDITORS[editor](lm, **TINY.get(editor, {}), **{name: given}).config == plain
    with pytest.raises(
        lib.errors.EditError, match=f"{editor} has no setting '{name}' any more"
    ) as said:
        lib.EDITORS[editor](lm, **{name: "other"})
    assert "\n" not in str(said.value)


def test_an_old_patch_is_folded_again(lm, tmp_path):
    editor = lib.EDITORS["ft"](lm, **FT)
    wanted = editor.edit([C], after=editor.edit([A]))
    old = aged(editor.edit([B], after=editor.edit([A])), restart=False)
    old = lib.Patch.load(old.save(tmp_path / "old.safetensors"))
    found = editor.edit([C], after=old).without(1, lm)
    (name,) = wanted.weights
    assert (found.weights[name] - wanted.weights[name]).norm() < 1e-5
    with pytest.raises(lib.errors.EditError, match="no setting 'restart' any more"):
        aged(old, restart=True).without(1, lm)
    around = lib.EDITORS["rect"](lm, inner=("ft", {**FT, "restart": False}))
    outer = aged(around.edit([A, B]), inner=("ft", {**FT, "restart": False}))
    assert around.current(outer.log[0].settings)["inner"] == ("ft", FT)


def test_an_old_patch_still_loses_an_edit_in_closed_form(lm, monkeypatch):
    monkeypatch.setitem(RETIRED, "memit", {"gone": 3})
    editor = lib.EDITORS["memit"](
        lm, **{**TINY["memit"], "layers": (1,), "keep_keys": True, "values_on": "base"}
    )
    patch = editor.edit([C], after=aged(editor.edit([B], after=editor.edit([A])), gone=3))
    monkeypatch.setattr(type(editor), "edit", None)  # a fold would call it
    assert len(patch.without(1, lm).log) == 2


def test_an_old_journal_goes_on(lm, tmp_path):
    path = tmp_path / "facts.json"
    rows = [
        {
            "requested_rewrite": {
                "subject": f.subject,
                "prompt": f.prompt,
                "target_new": {"str": f.target_new},
                "target_true": {"str": "qzq"},
            },
            "paraphrase_prompts": [],
            "neighborhood_prompts": [],
        }
        for f in (A, B)
    ]
    path.write_text(json.dumps(rows))
    cases = lib.read_cases(path)

    def run(**settings):
        editor = lib.EDITORS["ft"](lm, **FT, **settings)
        return lib.stream(lm, editor, cases, eval_at=[2], journal=tmp_path / "kept")

    begun = run()
    next(iter(begun))
    begun.journal.close()
    journals.aged(tmp_path / "kept")  # the version that had the setting wrote no checksums
    header, state = tmp_path / "kept" / "header.json", tmp_path / "kept" / "state.json"
    kept, patch = json.loads(header.read_text()), tmp_path / "kept" / "patch-1.safetensors"
    kept["settings"]["restart"] = False
    header.write_text(json.dumps(kept))
    aged(lib.Patch.load(patch), restart=False).save(patch)
    done = run().finish()
    assert done.edits == 2 and json.loads(state.read_text())["edits"] == 2
    assert len(done.patch.log) == 1, "both edits in the line of one stream"
    kept["settings"]["restart"] = True
    header.write_bytes(sealed({**kept, "format": FORMAT}))
    with pytest.raises(lib.errors.JournalError, match="no setting 'restart' any more"):
        run()


def test_an_old_network_is_read(lm, tmp_path, monkeypatch):
    path, small = tmp_path / "net.safetensors", {**SMALL, "turns": 2}
    lib.EDITORS["rledit"](lm, **small).fit(CASES, checkpoint=path, steps=1)
    header, state, _ = network_file.load(path, lm.fingerprint, "rledit")
    header["settings"].update(discount=0.95, reg=1e-4, each_turn=False)
    network_file.save(path, header, state)
    assert lib.EDITORS["rledit"](lm, **small, network=str(path)).edit([A]).weights
    header["settings"]["discount"] = 0.5
    network_file.save(path, header, state)
    with pytest.raises(lib.errors.EditError, match="no setting 'discount' any more"):
        lib.EDITORS["rledit"](lm, **small, network=str(path)).edit([A])
