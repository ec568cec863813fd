"""Files that version 0.1 wrote, before the library was divided into rooms, still do their work.

They were written on the tests' tiny Llama: a patch of every editor that holds three facts, journals
of streams that stopped after one of three edits, what these streams gave, and a trained network.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import lib

from ..support import tiny
from ..support.editor_settings import TINY, A, B

FILES = Path(__file__).parents[1] / "reference" / "version_0_1"
PATCHES = sorted(path.stem.removeprefix("patch-") for path in FILES.glob("patch-*.safetensors"))
ANSWERS = json.loads((FILES / "answers.json").read_text(encoding="utf-8"))
ASKED = ["I saw The old tower", "Who built The old tower", "A cat sat on the mat", "Seven days"]
C = lib.Fact("My cat", "{} sleeps on", "xy")
QUICK = {"n_iter": 3, "epochs": 3, "steps": 3}  # enough to see that an editor goes on


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def patch_of(name: str) -> lib.Patch:
    return lib.Patch.load(FILES / f"patch-{name}.safetensors")


def editor_of(lm: lib.LM, edit: lib.Edit, **more) -> lib.Editor:
    settings = dict(edit.settings)
    if settings.get("network"):
        settings["network"] = str(FILES / settings["network"])
    return lib.EDITORS[edit.editor](lm, **{**settings, **more})


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_loads_answers_as_then_and_is_edited_further(lm, name):
    patch = patch_of(name)
    assert patch.facts[0] == A and len(patch.facts) == 3
    with lm.patched(patch):
        assert lm.answer(ASKED, max_new_tokens=6) == ANSWERS[name]
    known = lib.EDITORS[patch.log[-1].editor].Config.__dataclass_fields__
    few = {key: value for key, value in QUICK.items() if key in known}
    more = editor_of(lm, patch.log[-1], **few).edit([B], after=patch)
    assert len(more.log) == len(patch.log) + 1 and more.log[: len(patch.log)] == patch.log


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rome", "memit_keep", "ultraedit", "grace"])
def test_an_edit_can_be_left_out_of_an_old_patch(lm, name):
    patch = patch_of(name)
    less = patch.without(0, lm)
    assert less.facts == patch.facts[1:]
    alone = editor_of(lm, patch.log[1]).edit(patch.log[1].facts)
    with lm.patched(less):
        found = lm.answer(ASKED, max_new_tokens=6)
    with lm.patched(alone):
        assert found == lm.answer(ASKED, max_new_tokens=6)


@pytest.mark.parametrize("name", ["ultraedit", "memit", "grace"])
def test_a_journal_goes_on_where_it_stopped(lm, name, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(FILES / f"journal-{name}", folder)
    cases = [
        lib.Case(fact, paraphrases=(f"Yes, {fact.text}",), locality=("Seven days",))
        for fact in (A, B, C)
    ]
    brief = {
        "metrics": ("generalization", "locality"),
        "events": ("teacher_forced", "generation"),
    }
    editor = lib.EDITORS[name](lm, **TINY[name])
    edited = []

    def counted(facts, after, write=editor.write):
        edited.append(len(facts))
        return write(facts, after)

    editor.write = counted
    run = lib.stream(lm, editor, cases, 1, [0, 1, 3], brief, journal=folder).finish()
    assert edited == [1, 1], "the first edit is not made again"
    whole = lib.Patch.load(FILES / f"stream-{name}.safetensors")
    assert run.patch.weights.keys() == whole.weights.keys()
    for module, value in whole.weights.items():
        new, old = (v if isinstance(v, torch.Tensor) else v.dense()
                    for v in (run.patch.weights[module], value))  # fmt: skip
        assert (new - old).norm() <= 1e-4 * old.norm()
    for module, route in whole.routes.items():
        for key, tensor in route.tensors().items():
            torch.testing.assert_close(run.patch.routes[module].tensors()[key], tensor)


def test_a_network_is_read_and_edits(lm):
    settings = {
        **patch_of("mend").log[0].settings,
        "network": str(FILES / "network-mend.safetensors"),
    }
    patch = lib.EDITORS["mend"](lm, **settings).edit([A])
    assert patch.memory["mend"]["network"] == patch_of("mend").memory["mend"]["network"]
