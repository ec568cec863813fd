"""Damaged and hostile files of trained networks: refused in one sentence, or as good as new."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest
import torch

import lib
from lib.editors.hypernetwork import network_file
from lib.errors import NetworkError

from ..support import mutations, tiny
from ..support.editor_settings import TRAINING, quick

OLD = Path(__file__).parents[1] / "reference" / "version_0_1" / "network-mend.safetensors"
FEW, MANY = 500, 10_000


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(scope="module")
def files(lm, tmp_path_factory) -> dict[str, Path]:
    """A network of each editor, a training that is not finished, and the network of version 0.1."""
    folder = tmp_path_factory.mktemp("networks")
    found = {}
    for name in ("mend", "malmen"):
        path = folder / f"{name}.safetensors"
        lib.EDITORS[name](lm, **quick(name)).fit(TRAINING, checkpoint=path, steps=1)
        found[name], found[f"{name} training"] = path, path.with_suffix(".training.safetensors")
    found["mend old"] = Path(shutil.copy(OLD, folder / "old.safetensors"))
    return found


def plain(data: bytes) -> dict:
    return mutations.header_of(data, "network")


def header(draw: Random, data: bytes) -> bytes:
    """A header that says something else."""
    return mutations.with_header(draw, data, "network", mutations.mutated(draw, plain(data)))


def state(draw: Random, data: bytes) -> bytes:
    """Modules and a state that say something else: what networks are made of."""
    said, part = plain(data), draw.choice(["state", "state", "modules"])
    said[part] = mutations.mutated(draw, said[part])
    return mutations.with_header(draw, data, "network", said)


def table(draw: Random, data: bytes) -> bytes:
    """Tensors of other names, types, shapes and places, without the checksum."""
    found, tensors = mutations.parts(mutations.with_header(draw, data, "network", plain(data)))
    return mutations.joined(mutations.mutated(draw, found), tensors)


def numbers(draw: Random, data: bytes) -> bytes:
    """Extreme numbers in the tensors, without the checksum."""
    found, tensors = mutations.parts(mutations.with_header(draw, data, "network", plain(data)))
    return mutations.joined(found, mutations.numbers(draw, tensors))


def rough(draw: Random, data: bytes) -> bytes:
    """A file cut off, or with pieces missing, added, or at random."""
    return mutations.spoiled(draw, data)


KINDS = [header, state, table, numbers, rough]


def tried(lm: lib.LM, name: str, path: Path, again: Path) -> str:
    """What becomes of a file: "refused", "other" where the settings want another, "loaded"."""
    editor_name = name.split()[0]
    try:
        said, held, _ = network_file.load(path, lm.fingerprint, editor_name)
    except NetworkError as error:
        check_sentence(str(error))
        return "refused"
    first = network_file.save(again, said, held).read_bytes()
    more = network_file.load(again, lm.fingerprint, editor_name)[:2]
    assert network_file.save(again, *more).read_bytes() == first
    editor = lib.EDITORS[editor_name](lm, **{**quick(editor_name), "network": str(path)})
    try:
        networks = editor.networks()
    except (lib.EditError, NetworkError) as error:
        check_sentence(str(error))
        return "other"
    assert all(torch.isfinite(p).all() for net in networks.nets.values() for p in net.parameters())
    return "loaded"


def check_sentence(text: str) -> None:
    assert "\n" not in text and "Traceback" not in text and 10 < len(text) < 1000, text
    text.encode()


def run(lm, files, kind, seeds, folder) -> Counter:
    found: Counter = Counter()
    path, again, names = folder / "case.safetensors", folder / "again.safetensors", sorted(files)
    whole = {name: file.read_bytes() for name, file in files.items()}
    for seed in seeds:
        name = names[seed % len(names)]
        path.write_bytes(kind(Random(f"{kind.__name__} {seed}"), whole[name]))
        try:
            found[tried(lm, name, path, again)] += 1
        except Exception as error:
            raise AssertionError(f"{kind.__name__} {seed} of {name}") from error
    print(kind.__name__, dict(found))
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_damaged_network_is_refused_or_works(lm, files, kind, tmp_path):
    found = run(lm, files, kind, range(FEW), tmp_path)
    assert found["refused"] > FEW / 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_many_damaged_networks_are_refused_or_work(lm, files, kind, tmp_path):
    run(lm, files, kind, range(FEW, FEW + MANY), tmp_path)


def flips(lm, files, seeds, folder) -> None:
    """One flipped bit anywhere in the numbers is refused."""
    path, names = folder / "case.safetensors", sorted(files.keys() - {"mend old"})
    for seed in seeds:
        name = names[seed % len(names)]
        data = files[name].read_bytes()
        first = len(data) - len(mutations.parts(data)[1])
        path.write_bytes(mutations.flipped(Random(f"flip {seed}"), data, first, len(data)))
        with pytest.raises(NetworkError, match="is damaged: its content does not agree"):
            network_file.load(path, lm.fingerprint, name.split()[0])


def test_a_flipped_bit_in_the_numbers_is_noticed(lm, files, tmp_path):
    flips(lm, files, range(FEW), tmp_path)


@pytest.mark.slow
def test_many_flipped_bits_in_the_numbers_are_noticed(lm, files, tmp_path):
    flips(lm, files, range(FEW, FEW + MANY), tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": None}, "no trained network, or is damaged"),
        ({"format": 2}, "has format 2: update the library"),
        ({"base": {}}, "is damaged: expected `str`, got `object` at `base`"),
        ({"base": " "}, "is damaged"),
        ({"modules": {"m": "32x99999999999"}}, "is damaged: expected `str` matching regex"),
        ({"modules": {"m": "3200x48"}}, "is damaged: now"),
        ({"state": {"dict": {"now": {"value": 3}}}}, "is damaged: it has a tensor"),
        ({"unknown": 1}, "is damaged: object contains unknown field `unknown`"),
        ({"settings": {"x": float("nan")}}, "is damaged: `settings.x` is NaN"),
    ],
)
def test_a_hostile_header_is_one_sentence(lm, files, tmp_path, changes, said):
    data = files["mend"].read_bytes()
    path = tmp_path / "case.safetensors"
    path.write_bytes(mutations.with_header(Random(0), data, "network", {**plain(data), **changes}))
    with pytest.raises(NetworkError, match=said) as error:
        network_file.load(path, lm.fingerprint, "mend")
    check_sentence(str(error.value))


@pytest.mark.parametrize("path", sorted(network_file.SHIPPED.glob("*.safetensors")))
def test_a_shipped_network_is_what_it_was(path):
    """They were written before the checksum, and patches name them by the hash of their file."""
    said = plain(path.read_bytes())
    header, state, content = network_file.load(path, said["base"].split()[-1], said["editor"])
    assert "sha256" not in header and json.dumps(header) == json.dumps(
        {key: value for key, value in said.items() if key != "state"}
    )
    assert state["now"].keys() == set(header["modules"].values())
    known = {"malmen": "0d1775e44bfbcac6", "mend": "b94da4d5a4c392ce", "rledit": "b3d82dcb256ae083"}
    assert content == known[header["editor"]]
