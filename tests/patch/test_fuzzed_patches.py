"""Damaged and hostile patch files: each is refused in one sentence, or does all that a patch does.

The files are those of version 0.1 of every editor, saved again, which gives them their checksum. A
case is named by its seed, which a failure says: `kind(Random("KIND SEED"), …)` makes it again.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from random import Random

import pytest

import lib

from ..support import mutations, tiny

FILES = Path(__file__).parents[1] / "reference" / "version_0_1"
SOURCES = sorted(FILES.glob("patch-*.safetensors"))
FEW, MANY = 500, 10_000


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """The patch files of today, by editor; one more names a stream."""
    folder = tmp_path_factory.mktemp("patches")
    found = {}
    for path in SOURCES:
        made = lib.Patch.load(path).save(folder / path.name)
        found[path.stem.removeprefix("patch-")] = made.read_bytes()
    line = lib.Edit("rome", {"layer": 1, "clamp": float("inf")}, source="cases.json", rows=(0, 9),
                    reader={"target": "new", "unrelated_suffix": ""}, batch=3)  # fmt: skip
    found["stream"] = lib.Patch(log=(line,)).save(folder / "s.safetensors").read_bytes()
    notes = lib.EDITORS["retrieval"](tiny.model("llama")).edit([lib.Fact("cat", "A {} is", "xy")])
    found["retrieval"] = notes.save(folder / "r.safetensors").read_bytes()
    return found


def header(draw: Random, data: bytes) -> bytes:
    """A header that says something else."""
    changed = mutations.mutated(draw, mutations.header_of(data, "patch"))
    return mutations.with_header(draw, data, "patch", changed)


def code(draw: Random, data: bytes) -> bytes:
    """Routes, rewrites, weights and memory that say something else: where most is built."""
    said = mutations.header_of(data, "patch")
    part = draw.choice(
        [p for p in ("routes", "rewrites", "weights", "memory") if said[p]] or ["log"]
    )
    said[part] = mutations.mutated(draw, said[part])
    return mutations.with_header(draw, data, "patch", said)


def table(draw: Random, data: bytes) -> bytes:
    """Tensors of other names, types, shapes and places, without the checksum."""
    data = mutations.with_header(draw, data, "patch", mutations.header_of(data, "patch"))
    found, tensors = mutations.parts(data)
    return mutations.joined(mutations.mutated(draw, found), tensors)


def numbers(draw: Random, data: bytes) -> bytes:
    """Extreme numbers in the tensors, without the checksum."""
    data = mutations.with_header(draw, data, "patch", mutations.header_of(data, "patch"))
    found, tensors = mutations.parts(data)
    return mutations.joined(found, mutations.numbers(draw, tensors))


def rough(draw: Random, data: bytes) -> bytes:
    """A file cut off, or with pieces missing, added, or at random."""
    return mutations.spoiled(draw, data)


KINDS = [header, code, table, numbers, rough]


def tried(lm: lib.LM, path: Path, again: Path) -> str:
    """What becomes of a file: "refused", "misfit" where no model has its modules, or "applied"."""
    try:
        patch = lib.Patch.load(path)
    except lib.PatchError as error:
        check_sentence(str(error))
        assert path.name in str(error)
        return "refused"
    # what is read can be saved, and is read again as the same
    first = patch.save(again).read_bytes()
    assert lib.Patch.load(again).save(again).read_bytes() == first
    try:
        with lm.patched(patch):
            assert len(lm.answer(["I saw The old tower", "A cat"], max_new_tokens=1)) == 2
    except lib.PatchError as error:
        check_sentence(str(error))
        return "misfit"
    return "applied"


def check_sentence(text: str) -> None:
    assert "\n" not in text and "Traceback" not in text and 10 < len(text) < 700, text
    text.encode()


def run(lm, whole, kind, seeds, folder) -> Counter:
    found: Counter = Counter()
    path, again = folder / "case.safetensors", folder / "again.safetensors"
    names = sorted(whole)
    for seed in seeds:
        draw = Random(f"{kind.__name__} {seed}")
        name = names[seed % len(names)]
        path.write_bytes(kind(draw, whole[name]))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found[tried(lm, path, again)] += 1
        except Exception as error:
            raise AssertionError(f"{kind.__name__} {seed} of {name}") from error
    print(kind.__name__, dict(found))
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_damaged_patch_is_refused_or_works(lm, whole, kind, tmp_path):
    found = run(lm, whole, kind, range(FEW), tmp_path)
    assert found["refused"] > FEW / 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_many_damaged_patches_are_refused_or_work(lm, whole, kind, tmp_path):
    run(lm, whole, kind, range(FEW, FEW + MANY), tmp_path)


def flips(whole, seeds, folder) -> None:
    """One flipped bit anywhere in the numbers is refused."""
    path, names = folder / "case.safetensors", sorted(whole)
    for seed in seeds:
        draw, data = Random(f"flip {seed}"), whole[names[seed % len(names)]]
        tensors = mutations.parts(data)[1]
        path.write_bytes(mutations.flipped(draw, data, len(data) - len(tensors), len(data)))
        with pytest.raises(lib.PatchError, match="case.safetensors is damaged: its content does"):
            lib.Patch.load(path)


def test_a_flipped_bit_in_the_numbers_is_noticed(whole, tmp_path):
    flips(whole, range(FEW), tmp_path)


@pytest.mark.slow
def test_many_flipped_bits_in_the_numbers_are_noticed(whole, tmp_path):
    flips(whole, range(FEW, FEW + MANY), tmp_path)


def test_a_flipped_bit_in_the_header_is_noticed(whole, tmp_path):
    """Also where it makes another right header: a digit of a setting, a letter of a fact."""
    path, names = tmp_path / "case.safetensors", sorted(whole)
    for seed in range(FEW):
        draw, data = Random(f"header flip {seed}"), whole[names[seed % len(names)]]
        place = data.index(b"__metadata__")
        text = data.index(b'\\"log\\"', place), data.index(b'\\"memory\\"', place)
        path.write_bytes(mutations.flipped(draw, data, *text))
        with pytest.raises(lib.PatchError):
            lib.Patch.load(path)
