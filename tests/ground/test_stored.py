"""What is computed once: damage is noticed and made again, and nothing depends on the folder."""

from __future__ import annotations

import copy
import os
import random
import warnings
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing

import lib
from lib import stored as store
from lib.data.facts import Fact
from lib.errors import CacheWarning
from lib.keys_values import null_space, output_moment, second_moment
from lib.memory import Moment

from ..support import tiny

LAYERS = [1, 2]


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


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


FACT = Fact("alpha", "{} is", "xy")
EDITS = {
    "norm_anchor": {"layers": (1,), "steps": 2, "contexts": (), "anchor_n": 3},
    "ultraedit": {"down": (1,)},
    "horen": {"layer": 2, "n_iter": 2},
}


def everything(lm) -> dict[str, torch.Tensor]:
    """Each of the library's computed things, or what an edit makes of it."""
    store.forget()
    moments = second_moment.second_moment(lm, LAYERS, tokens=300)
    spaces = null_space.null_space(lm, LAYERS, None, 0.5, tokens=300)
    outputs = output_moment.moments(lm, LAYERS, tokens=300)
    found = {
        **{f"C {layer}": one.C for layer, one in moments.items()},
        **{f"Q {layer}": one.Q for layer, one in spaces.items()},
        **{f"S {layer}": one.S for layer, one in outputs.items()},
    }
    for name, settings in EDITS.items():
        patch = lib.EDITORS[name](lm, **settings).edit([FACT])
        for module, weight in patch.weights.items():
            found[f"{name} {module}"] = weight.dense()
        for module, route in patch.routes.items():
            found |= {f"{name} {module} {key}": t for key, t in route.tensors().items()}
    return found


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def damaged(path: Path, others: list[Path], draw: random.Random) -> str:
    """Damage one file in a way that is drawn; what was done, in words."""
    content, how = bytearray(path.read_bytes()), draw.choice(sorted(WAYS))
    if how == "of another":
        other = draw.choice([one for one in others if one != path])
        path.write_bytes(other.read_bytes())
        return f"{path.name}: the file of another, {other.name}"
    path.write_bytes(WAYS[how](content, draw))
    return f"{path.name}: {how}"


def flipped(content: bytearray, at: int, draw: random.Random) -> bytes:
    content[at] ^= 1 << draw.randrange(8)
    return bytes(content)


def header(content: bytearray) -> int:
    return 8 + int.from_bytes(content[:8], "little")


WAYS = {
    "bit of the header": lambda c, d: flipped(c, d.randrange(8, header(c)), d),
    "bit of the size": lambda c, d: flipped(c, d.randrange(8), d),
    "bit of a number": lambda c, d: flipped(c, d.randrange(header(c), len(c)), d),
    "cut": lambda c, d: bytes(c[: d.randrange(len(c))]),
    "longer": lambda c, d: bytes(c) + d.randbytes(9),
    "empty": lambda c, d: b"",
    "noise": lambda c, d: d.randbytes(len(c)),
    "of another": None,
}


def test_of_two_hundred_damaged_files_none_is_used_and_each_is_made_again(lm, folder):
    wanted = everything(lm)
    files = sorted(folder.rglob("*.safetensors"))
    assert {path.parent.name for path in files} == {
        "moments", "eigen", "output_moments", "anchors", "warmup", "queries"
    }  # fmt: skip
    whole = {path: path.read_bytes() for path in files}
    draw, count = random.Random(0), 0
    while count < 200:
        done = [damaged(path, files, draw) for path in files]
        changed = [path for path in files if path.read_bytes() != whole[path]]
        count += len(changed)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert equal(everything(lm), wanted), done
        said = [str(one.message) for one in seen if one.category is CacheWarning]
        # one warning for each: a header that still says what it should may have changed its spaces
        assert len(said) == len(changed), (done, said)
        assert all(any(path.name in text for text in said) for path in changed)
        assert all("\n" not in text for text in said)
        assert {path: path.read_bytes() for path in files} == whole, done
    with warnings.catch_warnings():
        warnings.simplefilter("error", CacheWarning)
        assert equal(everything(lm), wanted)


@pytest.mark.parametrize("what", ["folder", "pipe", "read-only", "a file as cache folder"])
def test_without_a_cache_folder_everything_works(lm, folder, what, monkeypatch):
    wanted = everything(lm)
    files = sorted(folder.rglob("*.safetensors"))
    for path in files:
        path.unlink()
        if what == "folder":
            path.mkdir()
        elif what == "pipe":
            os.mkfifo(path)
    if what == "a file as cache folder":
        folder.rename(folder.with_name("away"))
        folder.write_text("mine")
    if what == "read-only":  # for root, too, for whom permissions do not count

        def refuse(self, *_, **__):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.warns(CacheWarning) as seen:
        assert equal(everything(lm), wanted)
    said = [str(one.message) for one in seen if one.category is CacheWarning]
    assert 0 < len(said) <= len(files)
    assert all("is not kept for the next run" in text for text in said)
    # nothing is computed twice in one process
    made = store.Stored("moments", "x", lambda: {"a": torch.ones(2)})
    made.write({"a": torch.ones(2)})
    assert made.is_there()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_on_one_cache_get_what_was_computed(folder):
    """Each finds the file of the other, none, or a damaged one, many times."""
    path = store.Stored("things", "one", dict).path
    path.parent.mkdir(parents=True)

    def go_on() -> int:
        for i in range(60):
            damaged = path.with_name(f"{os.getpid()}")
            damaged.write_bytes(b"damaged" * i)
            damaged.replace(path) if i % 3 else path.unlink(missing_ok=True)
            store.forget()
            if not store.stored("things", "one", lambda: {"a": torch.ones(99)})["a"].eq(1).all():
                return 1
        return 0

    others = [os.fork() for _ in range(2)]
    if not all(others):
        code = 2
        try:
            warnings.simplefilter("ignore")
            code = go_on()
        finally:
            os._exit(code)
    assert [os.waitpid(other, 0)[1] for other in others] == [0, 0]
    assert [one.name for one in path.parent.iterdir()] in ([], [path.name])


def test_another_tokenizer_is_another_model(lm, folder):
    first = lm.stored_identity
    other = tiny.model("llama")
    assert other.fingerprint == lm.fingerprint and other.stored_identity == first
    other.tokenizer = copy.deepcopy(other.tokenizer)
    assert other.stored_identity == first
    other.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    assert other.fingerprint == lm.fingerprint and other.stored_identity != first


def test_what_is_asked_for_together_is_made_together_and_kept(folder):
    asked = []

    def make(keys):
        asked.append(list(keys))
        return [(key, {"a": torch.tensor(float(key))}) for key in keys]

    labels = {key: f"thing {key}" for key in range(4)}
    found = store.stored_each("things", {key: labels[key] for key in (0, 1)}, make)
    assert asked == [[0, 1]] and found[1].tensors()["a"] == 1
    found = store.stored_each("things", labels, make)
    assert asked == [[0, 1], [2, 3]]
    assert [float(found[key].tensors()["a"]) for key in labels] == [0, 1, 2, 3]
    assert store.stored("things", labels[3], lambda: None)["a"] == 3
    found[2].path.unlink()
    assert found[2].tensors()["a"] == 2 and asked[2:] == [[2]]


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
    assert store.size(Moment(torch.eye(3).double())) == 2 * 8 * 9
    assert store.size({"a": torch.zeros(2), "b": 1}) == 8


def test_layers_of_several_passes_have_the_bits_of_one(lm, monkeypatch):
    together = second_moment.second_moment(lm, [0, 1, 2], tokens=700)
    spaces = null_space.null_space(lm, [0, 1, 2], None, 0.5, tokens=700)
    moments = second_moment.stored_moments(lm, [0, 1, 2], None, 700, None)
    before = {layer: one.path.read_bytes() for layer, one in moments.items()}
    for path in store.cache_folder().rglob("*.safetensors"):
        path.unlink()
    store.forget()
    passes, accumulate = [], second_moment.accumulated
    monkeypatch.setattr(
        second_moment, "accumulated", lambda *a: passes.append(a[1]) or accumulate(*a)
    )
    for module in (second_moment, store):
        monkeypatch.setattr(module, "room", lambda: 2 * 8 * 48 * 48)
    # one layer is asked for, and those that will be wanted too are made in the same passes
    found = second_moment.second_moment(lm, [1], tokens=700, among=[0, 1, 2])
    assert list(found) == [1] and passes == [[1, 0], [2]]
    assert torch.equal(found[1].C, together[1].C)
    assert {layer: one.path.read_bytes() for layer, one in moments.items()} == before
    space = null_space.null_space(lm, [2], None, 0.5, tokens=700, among=[0, 1, 2])
    assert list(space) == [2] and torch.equal(space[2].Q, spaces[2].Q)
    assert passes == [[1, 0], [2]]


def test_damping_adds_its_share_of_the_mean_eigenvalue_to_the_diagonal(lm):
    plain = second_moment.second_moment(lm, [1], tokens=300, damping=0.0)[1].C
    damped = second_moment.second_moment(lm, [1], tokens=300, damping=0.3)[1].C
    wanted = plain + 0.3 * plain.diagonal().mean() * torch.eye(48, dtype=torch.float64)
    assert torch.equal(damped, wanted)
