"""What is computed once: damage is noticed and made again, and nothing depends on the folder."""

from __future__ import annotations

import copy
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing

import lib
from lib import computed_once as store
from lib.computed_once import CachedTensors
from lib.data.facts import Fact
from lib.data.relations import relations
from lib.data.texts import CLASSROOM, GENERAL
from lib.errors import CacheWarning
from lib.evaluation import own_facts
from lib.keys_values import null_space, second_moment
from lib.workbench.instruments import dossier_answers

from ..support import damaged_values, output_moments, tiny
from ..support.usual import few

LAYERS = (1, 2)
FACT = Fact("alpha", "{} is", "xy")
KINDS = {"moments", "eigen", "output_moments", "anchors", "warmup", "queries"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_UNWRITTEN", {})
    monkeypatch.setattr("lib.editors.horen.calibration.PROMPTS", 8)
    monkeypatch.setattr("lib.editors.shared.warmup_moments.TEXTS", 8)
    cases = lib.classroom()[:4]
    monkeypatch.setattr("lib.editors.shared.value_norm.classroom", lambda: cases)
    return tmp_path / "cache" / "model-editing"


def model(**more) -> lib.LM:
    return tiny.model("llama", vocab_size=tiny.EOS + 4, **more)  # with room for one more word


@pytest.fixture(scope="module")
def lm():
    return model()


def everything(lm, layers=LAYERS) -> dict[str, torch.Tensor]:
    """Each of the library's computed things, or what an edit makes of it, as in a new process."""
    lm._kept.clear()
    first, last = layers
    moments = second_moment.second_moment(lm, layers, tokens=300)
    spaces = null_space.null_space(lm, layers, None, 0.5, tokens=300)
    outputs = output_moments.moments(lm, layers, tokens=300)
    found = {
        **{f"C {layer}": one.C for layer, one in moments.items()},
        **{f"Q {layer}": one.Q for layer, one in spaces.items()},
        **{f"S {layer}": pair[1] for layer, pair in outputs.items()},
    }
    edits = {
        "norm_anchor": {"layers": (first,), "steps": 2, "contexts": (), "anchor_n": 3},
        "ultraedit": {"down": (first,)},
        "horen": {"layer": last, "n_iter": 2},
    }
    for name, settings in edits.items():
        patch = lib.EDITORS[name](lm, **settings).edit([FACT])
        for module, weight in patch.weights.items():
            found[f"{name} {module}"] = weight.dense()
        for module, route in patch.routes.items():
            found |= {f"{name} {module} {key}": t for key, t in route.tensors().items()}
    return found


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


# ---- what is stored belongs to one model, tokenizer, layer, text, type and format ----------------


def with_tokenizer(change: Callable) -> lib.LM:
    lm = model()
    lm.tokenizer = copy.deepcopy(lm.tokenizer)
    change(lm.tokenizer)
    return lm


def begins(tokenizer) -> None:
    """A token of its own before every text, as `sink=` has it, and nothing else changed."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", tiny.EOS)]
    )


def other_texts(monkeypatch, folder: Path) -> None:
    """The shipped texts with one letter changed."""
    for path, a, b in ((GENERAL, "e", "a"), (CLASSROOM, "Eiffel", "Eiffal")):
        copied = folder / path.name
        copied.write_text(path.read_text(encoding="utf-8").replace(a, b, 1), encoding="utf-8")
    monkeypatch.setattr("lib.keys_values.general_text.GENERAL", folder / GENERAL.name)
    for name in ("value_norm", "warmup_moments"):
        monkeypatch.setattr(f"lib.editors.shared.{name}.CLASSROOM", folder / CLASSROOM.name)


OTHERS: dict[str, Callable[[], lib.LM]] = {
    "weights": lambda: model(seed=1),
    "type": lambda: model(dtype=torch.bfloat16),
    "configuration": lambda: model(rms_norm_eps=1e-3),
    "begin of sequence": lambda: with_tokenizer(begins),
    "one word more": lambda: with_tokenizer(lambda one: one.add_tokens(["Eiffel"])),
    "another end": lambda: with_tokenizer(lambda one: setattr(one, "eos_token", " xy")),
}


@pytest.mark.parametrize("what", few([*OTHERS, "texts", "format"], ("type", "texts")))
def test_what_differs_in_one_thing_is_never_served(lm, folder, what, monkeypatch, tmp_path):
    wanted = everything(lm)
    before = set(files(folder))
    other = OTHERS.get(what, model)()
    if what == "texts":
        other_texts(monkeypatch, tmp_path)
    if what == "format":
        monkeypatch.setattr(store, "FORMAT", 2)
    found = everything(other)
    made = set(files(folder)) - before
    assert len(made) == len(before) and {path.parent.name for path in made} == KINDS
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    assert equal(everything(other), found)
    if what in ("weights", "type", "begin of sequence"):
        assert not equal(found, wanted)


def test_a_changed_tokenizer_is_noticed(lm):
    first = lm.stored_identity
    other = model()
    assert other.fingerprint == lm.fingerprint and other.stored_identity == first
    other.tokenizer = copy.deepcopy(other.tokenizer)
    assert other.stored_identity == first
    for change in (begins, lambda one: one.add_tokens(["Eiffel"])):
        change(other.tokenizer)
        assert other.fingerprint == lm.fingerprint and other.stored_identity != first
        first = other.stored_identity


# ---- damage --------------------------------------------------------------------------------------


def retold(draw: Random, data: bytes) -> bytes:
    """JSON of other types in the table of tensors."""
    table, tensors = damaged_values.parts(data)
    return damaged_values.joined(damaged_values.mutated(draw, table), tensors)


WAYS: dict[str, Callable[[Random, bytes], bytes]] = {
    "a bit of the header": lambda draw, data: damaged_values.flipped(draw, data, 0, 200),
    "a bit of the numbers": lambda draw, data: damaged_values.flipped(draw, data, -80, -1),
    "rough": damaged_values.spoiled,
    "empty": lambda draw, data: b"",
    "noise": lambda draw, data: draw.randbytes(len(data)),
    "types": retold,
    "a huge size": lambda draw, data: (1 << 62).to_bytes(8, "little") + data[8:],
}


def one_thing(key=None, value: float = 1.0) -> CachedTensors:
    def make(keys):
        return [(key, {"a": torch.full((30,), value)}) for key in keys]

    return CachedTensors("things", "of a test", make, key)


@pytest.mark.parametrize("way", WAYS)
def test_no_damaged_file_is_used_and_each_is_made_again(way):
    one, draw = one_thing(), Random(way)
    wanted = one.tensors()["a"]
    whole = one.path.read_bytes()
    for _ in range(60):
        one.path.write_bytes(spoiled := WAYS[way](draw, whole))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert torch.equal(one.tensors()["a"], wanted)
        said = [str(w.message) for w in seen if w.category is CacheWarning]
        if one.path.read_bytes() != whole:  # a table may say the same in other words
            assert not said and way in ("types", "rough", "a bit of the header")
        else:
            assert spoiled == whole or (len(said) == 1 and one.path.name in said[0])


def test_the_file_of_something_else_is_not_used():
    one, other = one_thing(1), one_thing(2, value=2.0)
    other.tensors()
    one.path.write_bytes(other.path.read_bytes())
    with pytest.warns(CacheWarning, match="created again"):
        assert one.tensors()["a"][0] == 1


def test_damage_in_the_cache_does_not_change_an_edit(lm, folder):
    wanted = everything(lm)
    whole = files(folder)
    assert {path.parent.name for path in whole} == KINDS
    for path, data in whole.items():
        path.write_bytes(data[:-9])
    with pytest.warns(CacheWarning):
        assert equal(everything(lm), wanted)
    assert files(folder) == whole


def refused(*_, **__):
    raise PermissionError(13, "Permission denied", "the cache")


@pytest.mark.parametrize("what", ["read-only", "a file as cache folder", "folders as files"])
def test_without_a_cache_folder_everything_works(lm, folder, what, monkeypatch):
    wanted = everything(lm)
    whole = files(folder)
    for path in whole:
        path.unlink()
        if what == "folders as files":
            (path / "with a file").mkdir(parents=True)
    if what == "a file as cache folder":
        folder.rename(folder.with_name("away"))
        folder.write_text("mine")
    if what == "read-only":  # for root, too, for whom permissions do not count
        monkeypatch.setattr("tempfile.mkdtemp", refused)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert equal(everything(lm), wanted)
    said = [str(one.message) for one in seen if one.category is CacheWarning]
    kept = [text for text in said if "are not kept for the next run" in text]
    assert len(kept) == len(whole), "one sentence for each, and nothing is computed twice"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a second process")
def test_who_is_killed_while_writing_leaves_no_file():
    """The child makes no sums: it has no threads."""
    one = one_thing()

    def half_written(tensors, part, metadata) -> None:
        save_file(tensors, part, metadata)
        os.truncate(part, 100)
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        store.save_file = half_written
        one.write({"a": torch.ones(30)})
    os.waitpid(child, 0)
    assert not one.is_there() and one.tensors()["a"].sum() == 30 and one.path.is_file()


# ---- made together, and kept in memory -----------------------------------------------------------


def test_what_is_asked_for_together_is_made_together_and_kept(folder):
    asked = []

    def make(keys):
        asked.append(list(keys))
        for key in keys:
            if key == 5:
                raise KeyboardInterrupt
            yield key, {"a": torch.tensor(float(key))}

    found = [CachedTensors("things", "of a kind", make, key) for key in range(6)]
    store.make_missing(found[:2])
    assert asked == [[0, 1]] and found[1].tensors()["a"] == 1
    store.make_missing([*found[:4], found[3]])
    assert asked == [[0, 1], [2, 3]]
    assert [float(one.tensors()["a"]) for one in found[:4]] == [0, 1, 2, 3]
    assert CachedTensors("things", "of a kind", None, 3).tensors()["a"] == 3
    assert not CachedTensors("things", "of another", None, 3).is_there()
    found[2].path.unlink()
    assert found[2].tensors()["a"] == 2 and asked[2:] == [[2]]
    # what was made before somebody stopped it stays
    with pytest.raises(KeyboardInterrupt):
        store.make_missing(found)
    assert asked[3:] == [[4, 5]] and found[4].is_there() and not found[5].is_there()


def test_what_a_model_remembers_belongs_to_its_weights():
    lm, made = model(), []
    for _ in range(2):
        assert lm.once("a key", lambda: made.append(1) or len(made)) == 1
    assert model().once("a key", lambda: 2) == 2
    with torch.no_grad():
        lm.model.get_submodule(lm.mlp_out(1)).weight.mul_(2)
    with pytest.warns(lib.errors.EditWarning, match="have changed"):
        assert lm.stored_identity
    assert lm.once("a key", lambda: 3) == 3


def test_what_a_model_remembers_belongs_to_one_tokenizer_too():
    known, lm = dict(list(relations().items())[:2]), model()
    one, _ = known.values()

    def found(lm) -> tuple[torch.Tensor, torch.Tensor]:
        usual = dossier_answers.usual_answers(lm, one, one.templates[:1], "alpha", 2)[0]
        wordings = tuple((name, text) for name, it in known.items() for text in it.templates)
        return usual, own_facts._scaled(lm, known, wordings)[0]

    first = found(lm)
    lm.tokenizer = copy.deepcopy(lm.tokenizer)
    begins(lm.tokenizer)
    second = found(lm)
    assert not any(map(torch.equal, first, second))
    assert all(map(torch.equal, second, found(OTHERS["begin of sequence"]())))


def test_layers_of_several_passes_have_the_bits_of_one(lm, monkeypatch):
    together = second_moment.second_moment(lm, [0, 1, 2], tokens=700)
    moments = second_moment.stored_moments(lm, [0, 1, 2], None, 700, None)
    before = {layer: one.path.read_bytes() for layer, one in moments.items()}
    for path in store.cache_folder().rglob("*.safetensors"):
        path.unlink()
    lm._kept.clear()
    passes, reading = [], second_moment.reading

    def counted(*given, **named):
        passes.append(given[1])
        return reading(*given, **named)

    monkeypatch.setattr(second_moment, "reading", counted)
    monkeypatch.setattr(second_moment, "room", lambda: 2 * 8 * 48 * 48)
    # one layer is asked for, and those that will be wanted too are made in the same passes
    found = second_moment.second_moment(lm, [1], tokens=700, among=[0, 1, 2])
    assert list(found) == [1] and passes == [[1, 0], [2]]
    assert torch.equal(found[1].C, together[1].C)
    assert {layer: one.path.read_bytes() for layer, one in moments.items()} == before


def test_damping_adds_its_share_of_the_mean_eigenvalue_to_the_diagonal(lm):
    plain = second_moment.second_moment(lm, [1], tokens=300, damping=0.0)[1].C
    damped = second_moment.second_moment(lm, [1], tokens=300, damping=0.3)[1].C
    wanted = plain + 0.3 * plain.diagonal().mean() * torch.eye(48, dtype=torch.float64)
    assert torch.equal(damped, wanted)


def test_what_comes_with_the_library_is_not_made_again_unless_it_is_damaged(
    folder, monkeypatch, tmp_path
):
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "with the library")
    one = one_thing()
    one.write({"a": torch.full((2,), 7.0)})  # other numbers tell from where they come
    with_it = store.SHIPPED / "things" / one.path.name
    with_it.parent.mkdir(parents=True)
    one.path.rename(with_it)
    assert one.is_there() and one.path == with_it and one.tensors()["a"][0] == 7
    with_it.write_bytes(with_it.read_bytes()[:-1])
    with pytest.warns(CacheWarning, match="damaged"):
        assert one.tensors()["a"][0] == 1
    assert one.path.parent == folder / "things" and one.tensors()["a"][0] == 1


@pytest.mark.parametrize("editor, kind", [("ultraedit", "warmup"), ("memoir", "fingerprints")])
def test_small_statistics_of_the_embedded_model_come_with_the_library(
    editor, kind, folder, default_lm, monkeypatch
):
    """Where this fails, what the model is called has changed: run `ship_statistics` again."""
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    found = [one for one in lib.EDITORS[editor](default_lm).statistics() if one.kind == kind]
    assert found and all(one.is_there() for one in found)
