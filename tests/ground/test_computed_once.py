"""What is computed once: damage is noticed and made again, and nothing depends on the folder."""

from __future__ import annotations

import copy
import operator
import os
import random
import signal
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing

import lib
from lib import computed_once as store
from lib.associative_memory import Moment
from lib.data.facts import Fact
from lib.data.relations import relations
from lib.data.texts import CLASSROOM, GENERAL
from lib.errors import CacheWarning
from lib.evaluation import own_facts
from lib.keys_values import null_space, output_moment, second_moment
from lib.workbench.instruments import dossier_answers

from ..support import damaged_values, output_moments, tiny
from ..support.usual import EVERY, few

COUNT = 1000 if EVERY else 60
LAYERS = (1, 2)
FACT = Fact("alpha", "{} is", "xy")
KINDS = {"moments", "eigen", "output_moments", "anchors", "warmup", "queries"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("lib.editors.horen.calibration.PROMPTS", 8)
    monkeypatch.setattr("lib.editors.shared.warmup_moments.TEXTS", 8)
    cases = lib.classroom()[:4]
    monkeypatch.setattr("lib.editors.shared.value_norm.classroom", lambda: cases)
    store.forget()
    yield tmp_path / "cache" / "model-editing"
    store.forget()


def model(**more) -> lib.LM:
    return tiny.model("llama", vocab_size=tiny.EOS + 4, **more)  # with room for one more word


@pytest.fixture(scope="module")
def lm():
    return model()


def everything(lm, layers=LAYERS, fresh=True) -> dict[str, torch.Tensor]:
    """Each of the library's computed things, or what an edit makes of it.

    fresh  as a new process has it, which remembers nothing
    """
    if fresh:
        store.forget()
    first, last = layers
    moments = second_moment.second_moment(lm, layers, tokens=300)
    spaces = null_space.null_space(lm, layers, None, 0.5, tokens=300)
    outputs = output_moments.moments(lm, layers, tokens=300)
    curvatures = output_moment.curvatures(lm, layers, 0.5, tokens=300)
    found = {
        **{f"C {layer}": one.C for layer, one in moments.items()},
        **{f"Q {layer}": one.Q for layer, one in spaces.items()},
        **{f"S {layer}": pair[1] for layer, pair in outputs.items()},
        **{f"curvature {layer}": one.sharpness for layer, one in curvatures.items()},
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


def asked(lm, wanted: dict | None = None, **more) -> tuple[dict, list[str]]:
    """Everything, equal to what is wanted, and the sentences of all warnings of the cache."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = everything(lm, **more)
    said = [str(one.message) for one in seen if one.category is CacheWarning]
    assert all("\n" not in text and 20 < len(text) < 1000 for text in said)
    assert wanted is None or equal(found, wanted)
    return found, said


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


@pytest.mark.parametrize("what", few([*OTHERS, "layer", "texts", "format"], ("type", "texts")))
def test_what_differs_in_one_thing_is_never_served(lm, folder, what, monkeypatch, tmp_path):
    wanted, _ = asked(lm)
    before = set(files(folder))
    other, layers = OTHERS.get(what, model)(), (2, 1) if what == "layer" else LAYERS
    if what == "texts":
        other_texts(monkeypatch, tmp_path)
    if what == "format":
        monkeypatch.setattr(store, "FORMAT", 2)
    # nor what is in memory, but for another format, which no process has beside its own
    found, said = asked(other, layers=layers, fresh=what == "format")
    made = set(files(folder)) - before
    kinds = {path.parent.name for path in made}
    if what == "layer":  # both layers had their moments already
        assert kinds >= {"anchors", "queries", "warmup"}
    else:
        assert len(made) == len(before) and kinds == KINDS
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    assert asked(other, found, layers=layers)[1] == said == []
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


def test_what_is_in_memory_belongs_to_one_tokenizer_too(lm):
    known = dict(list(relations().items())[:2])
    (one, _), other = known.values(), OTHERS["begin of sequence"]()

    def found(lm) -> tuple[torch.Tensor, torch.Tensor]:
        usual = dossier_answers.usual_answers(lm, one, one.templates[:1], "alpha", 2)[0]
        wordings = tuple((name, text) for name, it in known.items() for text in it.templates)
        return usual, own_facts._scaled(lm, known, wordings)[0]

    first, second = found(lm), found(other)
    store.forget()
    assert all(map(torch.equal, second, found(other)))
    assert not any(map(torch.equal, first, second))


# ---- damage --------------------------------------------------------------------------------------


def flipped(draw: random.Random, data: bytes, part: str) -> bytes:
    """One bit of a part of the file: its size, its header, the checksum in it, its numbers."""
    start = data.index(b'"stored":"') + 10
    header = 8 + int.from_bytes(data[:8], "little")
    first, end = {
        "size": (0, 8), "header": (8, header), "checksum": (start, start + 64),
        "numbers": (header, len(data)),
    }[part]  # fmt: skip
    return damaged_values.flipped(draw, data, first, end)


def retold(draw: random.Random, data: bytes) -> bytes:
    """JSON of other types in the table, or in its metadata."""
    table, tensors = damaged_values.parts(data)
    if draw.random() < 0.5:
        return damaged_values.joined(damaged_values.mutated(draw, table), tensors)
    said = damaged_values.mutated(draw, table["__metadata__"])
    return damaged_values.joined({**table, "__metadata__": said}, tensors)


def promising(draw: random.Random, data: bytes) -> bytes:
    """A size of the table, or of a tensor, that no machine holds."""
    huge = draw.choice([1 << 27, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
    if draw.random() < 0.5:
        return huge.to_bytes(8, "little") + data[8:]
    table, tensors = damaged_values.parts(data)
    one = table[draw.choice([name for name in table if name != "__metadata__"])]
    one["shape"], one["data_offsets"][1] = [huge], draw.choice([huge, one["data_offsets"][1]])
    return damaged_values.joined(table, tensors)


WAYS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    **{
        f"bit of the {part}": lambda draw, data, part=part: flipped(draw, data, part)
        for part in ("size", "header", "checksum", "numbers")
    },
    "rough": damaged_values.spoiled,
    "empty": lambda draw, data: b"",
    "noise": lambda draw, data: draw.randbytes(len(data)),
    "types": retold,
    "huge": promising,
}
SWAPS = ("weights", "begin of sequence", "type", "format", "layer", "kind")


def foreign(folder: Path, monkeypatch, tmp_path) -> dict[str, dict[Path, bytes]]:
    """{in what it differs: {path: whole file}}, of other models, tokenizers and formats."""
    found = {}
    for what in SWAPS[:4]:
        with monkeypatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / what))
            if what == "format":
                patch.setattr(store, "FORMAT", 2)
            everything(OTHERS.get(what, model)())
        found[what] = files(tmp_path / what)
    return found


def swapped(draw: random.Random, path: Path, whole: dict, others: dict, how: str) -> bytes:
    """The whole file of something else, of the same shape unless it is of another kind."""
    if how == "kind":
        return draw.choice([data for one, data in whole.items() if one.parent != path.parent])
    rest = others.get(how, {one: data for one, data in whole.items() if one != path})
    # where a kind has one file only, that of another model stands for that of another layer
    same = [data for one, data in rest.items() if one.parent.name == path.parent.name]
    return draw.choice(same or list(others["weights"].values()))


def attack(lm, folder: Path, others: dict, count: int, seed: int) -> Counter:
    """Damage all files again and again, and ask for everything; what came of them."""
    wanted, _ = asked(lm)
    whole, draw, found = files(folder), random.Random(seed), Counter()
    assert {path.parent.name for path in whole} == KINDS
    while sum(found.values()) < count:
        done = {}
        for path, data in whole.items():
            how = draw.choice([*WAYS, *SWAPS])
            spoiled = (
                WAYS[how](draw, data) if how in WAYS else swapped(draw, path, whole, others, how)
            )
            if spoiled != data:
                path.write_bytes(spoiled)
                done[path] = how, spoiled
        try:
            _, said = asked(lm, wanted)
        except BaseException as error:  # also a panic of the reader, which is no Exception
            raise AssertionError(
                f"{ {path.name: how for path, (how, _) in done.items()} }"
            ) from error
        for path, (how, spoiled) in done.items():
            told = sum(path.name in text for text in said)
            # a table may say the same in other words, or hold more than anybody asks for
            harmless = how in ("types", "bit of the header") and path.read_bytes() == spoiled
            assert told == (0 if harmless else 1), (path, how, said)
            assert harmless or path.read_bytes() == whole[path], (path, how)
            found["harmless" if harmless else "made again"] += 1
            path.write_bytes(whole[path])
        assert len(said) <= len(done) and files(folder) == whole
    assert asked(lm, wanted)[1] == []
    return found


@pytest.mark.slow
def test_of_many_damaged_files_none_is_used_and_each_is_made_again(
    lm, folder, monkeypatch, tmp_path
):
    found = attack(lm, folder, foreign(folder, monkeypatch, tmp_path), COUNT, seed=60)
    print(dict(found))
    assert found["harmless"] < COUNT / 20


def blocked(path: Path, what: str) -> None:
    """Something in the place of a file that is none."""
    path.unlink(missing_ok=True)
    if what == "folder":
        (path / "with a file").mkdir(parents=True)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link loop":
        path.symlink_to(path)
    elif what == "link to nothing":  # no link is replaced
        path.symlink_to(path.with_name("nothing"))
    elif what == "device":
        path.symlink_to(f"/dev/{'full' if path.parent.name == 'moments' else 'zero'}")
    elif what == "link to a damaged file":
        path.with_suffix(".other").write_bytes(b"x")
        path.symlink_to(path.with_suffix(".other"))


def refused(*_, **__):
    raise PermissionError(13, "Permission denied", "the cache")


def homeless():
    raise RuntimeError("Could not determine home directory.")


MENDED = ("pipe", "device", "link loop", "link to a damaged file")


@pytest.mark.parametrize(
    "what",
    few(
        [
            *MENDED,
            "link to nothing",
            "folder",
            "read-only",
            "read-only and damaged",
            "no home",
            "a file as cache folder",
        ],
        ("read-only",),
    ),
)
def test_without_a_cache_folder_everything_works(lm, folder, what, monkeypatch):
    wanted, _ = asked(lm)
    whole = files(folder)
    for path in whole:
        blocked(path, what)
    if what == "read-only and damaged":
        for path, data in whole.items():
            path.write_bytes(data[:-1])
    if what == "a file as cache folder":
        folder.rename(folder.with_name("away"))
        folder.write_text("mine")
    if what == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", homeless)
    if what.startswith("read-only"):  # for root, too, for whom permissions do not count
        monkeypatch.setattr("tempfile.mkdtemp", refused)
        monkeypatch.setattr(Path, "unlink", refused)
    _, said = asked(lm, wanted)
    again = sum("is made again" in text for text in said)
    assert again == (len(whole) if what in (*MENDED, "folder", "read-only and damaged") else 0)
    if what in MENDED:
        assert len(said) == again and files(folder) == whole
        return
    kept = [text for text in said if "is not kept for the next run" in text]
    assert len(kept) == len(whole) == len(said) - again  # one sentence for each
    # nothing is computed twice in one process
    made = store.Stored("moments", "x", lambda _: [(None, {"a": torch.ones(2)})])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.write({"a": torch.ones(2)})
    assert made.is_there()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["os.path.lexists", "safe_open", "whole_file"])
def test_a_file_that_another_process_removes_in_the_middle_is_made_again(
    lm, folder, when, monkeypatch
):
    wanted, _ = asked(lm)
    whole, function = files(folder), operator.attrgetter(when)(store)

    def removed_before(*given, **named):
        for path in whole:
            path.unlink(missing_ok=True)
        return function(*given, **named) or when == "os.path.lexists"

    with monkeypatch.context() as patched:
        patched.setattr(f"lib.computed_once.{when}", removed_before)
        assert asked(lm, wanted)[1] == []
    assert asked(lm, wanted)[1] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a second process")
@pytest.mark.parametrize("killed", [True, False])
def test_two_processes_write_the_same_thing(folder, killed):
    """One of them may be killed in the middle of it. A child makes no sums: it has no threads."""
    one = store.Stored("moments", "of two", lambda _: [(None, {"a": torch.ones(1000)})])
    child = os.fork()
    if child == 0:
        try:
            if killed:
                store.save_file = half_written
            while True:
                one.write({"a": torch.ones(1000)})
        finally:
            os._exit(1)
    if killed:
        os.waitpid(child, 0)
        (left,) = one.path.parent.iterdir()
        assert left.suffix == ".tmp" and list(left.iterdir())[0].stat().st_size == 100
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CacheWarning)
            for _ in range(1 if killed else 300):
                assert one.tensors()["a"].sum() == 1000
                one.write({"a": torch.ones(1000)})
                assert one._read() is not None
    finally:
        if not killed:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert not killed or list(one.path.parent.iterdir()) == [one.path]


def half_written(tensors, part, metadata) -> None:
    save_file(tensors, part, metadata)
    os.truncate(part, 100)
    os.kill(os.getpid(), signal.SIGKILL)


# ---- made together, and kept in memory -----------------------------------------------------------


def test_what_is_asked_for_together_is_made_together_and_kept(folder):
    asked = []

    def make(keys):
        asked.append(list(keys))
        for key in keys:
            if key == 5:
                raise KeyboardInterrupt
            yield key, {"a": torch.tensor(float(key))}

    found = [store.Stored("things", "of a kind", make, key) for key in range(6)]
    store.make_missing(found[:2])
    assert asked == [[0, 1]] and found[1].tensors()["a"] == 1
    store.make_missing([*found[:4], found[3]])
    assert asked == [[0, 1], [2, 3]]
    assert [float(one.tensors()["a"]) for one in found[:4]] == [0, 1, 2, 3]
    assert store.Stored("things", "of a kind", None, 3).tensors()["a"] == 3
    assert not store.Stored("things", "of another", None, 3).is_there()
    found[2].path.unlink()
    assert found[2].tensors()["a"] == 2 and asked[2:] == [[2]]
    # what was made before somebody stopped it stays
    with pytest.raises(KeyboardInterrupt):
        store.make_missing(found)
    assert asked[3:] == [[4, 5]] and found[4].is_there() and not found[5].is_there()


def test_what_is_remembered_fits_into_the_room_and_is_made_again_otherwise(monkeypatch):
    made = []

    def matrix(i):
        def make():
            made.append(i)
            return torch.full((10, 10), float(i)), torch.zeros(10)

        return store.remembered(("matrix", i), make)

    monkeypatch.setattr(store, "room", lambda: 3 * 4 * 110)
    for i in (0, 1, 2, 0, 1, 2):
        assert matrix(i)[0][0, 0] == i
    assert made == [0, 1, 2]
    matrix(3)  # the one that was asked for longest ago goes
    assert (matrix(2), matrix(1)) and made == [0, 1, 2, 3]
    matrix(0)
    assert made == [0, 1, 2, 3, 0]
    monkeypatch.setattr(store, "room", lambda: 0)
    assert matrix(5) is matrix(5) and made == [0, 1, 2, 3, 0, 5]  # the newest stays in any case
    store.forget()
    matrix(5)
    assert made == [0, 1, 2, 3, 0, 5, 5]
    assert store.size(Moment(torch.eye(3).double())) == 8 * (9 + 3)
    assert store.size({"a": torch.zeros(2), "b": 1}) == 8


def test_layers_of_several_passes_have_the_bits_of_one(lm, monkeypatch):
    together = second_moment.second_moment(lm, [0, 1, 2], tokens=700)
    spaces = null_space.null_space(lm, [0, 1, 2], None, 0.5, tokens=700)
    moments = second_moment.stored_moments(lm, [0, 1, 2], None, 700, None)
    before = {layer: one.path.read_bytes() for layer, one in moments.items()}
    for path in store.cache_folder().rglob("*.safetensors"):
        path.unlink()
    store.forget()
    passes, reading = [], second_moment.reading

    def counted(*given, **named):
        passes.append(given[1])
        return reading(*given, **named)

    monkeypatch.setattr(second_moment, "reading", counted)
    for module in (second_moment, store):
        monkeypatch.setattr(module, "room", lambda: 2 * 8 * 48 * 48)
    # one layer is asked for, and those that will be wanted too are made in the same passes
    found = second_moment.second_moment(lm, [1], tokens=700, among=[0, 1, 2])
    assert list(found) == [1] and passes == [[1, 0], [2]]
    assert torch.equal(found[1].C, together[1].C)
    assert {layer: one.path.read_bytes() for layer, one in moments.items()} == before
    space = null_space.null_space(lm, [2], None, 0.5, tokens=700)
    assert list(space) == [2] and torch.equal(space[2].Q, spaces[2].Q)
    assert passes == [[1, 0], [2]]


def test_damping_adds_its_share_of_the_mean_eigenvalue_to_the_diagonal(lm):
    plain = second_moment.second_moment(lm, [1], tokens=300, damping=0.0)[1].C
    damped = second_moment.second_moment(lm, [1], tokens=300, damping=0.3)[1].C
    wanted = plain + 0.3 * plain.diagonal().mean() * torch.eye(48, dtype=torch.float64)
    assert torch.equal(damped, wanted)


def test_what_comes_with_the_library_is_not_made_again_unless_it_is_damaged(
    folder, monkeypatch, tmp_path
):
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "with the library")
    one = store.Stored("things", "small", lambda _: [(None, {"a": torch.ones(2)})])
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
