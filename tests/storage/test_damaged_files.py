"""Every file that we write, damaged: it is refused in one sentence, or does all that it should.

Patches, trained networks and journals here; what is computed once is in test_computed_once, data
files are in tests/data. A case is named by its seed, which a failure says.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

import lib
from lib.editors.hypernetwork import network_file
from lib.errors import JournalError, NetworkError, PatchError

from ..lifelong.test_journal import run as streamed
from ..support import damaged_values, journals, tiny
from ..support.editor_settings import TRAINING, A, quick
from ..support.usual import EVERY, few

ROOT = Path(__file__).parents[2]
MADE = ("rome", "memit", "ft", "grace", "wise", "memoir", "lemoe", "retrieval")  # patches by these
COUNT = 2_000 if EVERY else 200


@dataclass
class Kind:
    """A kind of file.

    key    of its header in the metadata.
    parts  of the header from which most is built.
    error  with which it is refused.
    whole  the bytes of some files, by name.
    use    reads a file of a name, and does all that one does with such files.
    """

    key: str
    parts: tuple[str, ...]
    error: type[Exception]
    whole: dict[str, bytes]
    use: Callable[[str, Path], None]

    def spoiled(self, draw: Random, name: str, way: str) -> bytes:
        """The file of a name, damaged in one way; all but the last two leave no checksum."""
        data = self.whole[name]
        header = damaged_values.header_of(data, self.key)
        plain = damaged_values.with_header(draw, data, self.key, header)
        table, tensors = damaged_values.parts(plain)
        if way == "header":
            return damaged_values.with_header(
                draw, data, self.key, damaged_values.mutated(draw, header)
            )
        if way == "part":
            part = draw.choice([p for p in self.parts if header[p]] or [*header])
            header[part] = damaged_values.mutated(draw, header[part])
            return damaged_values.with_header(draw, data, self.key, header)
        if way == "table":
            return damaged_values.joined(damaged_values.mutated(draw, table), tensors)
        if way == "numbers":
            return damaged_values.joined(table, damaged_values.numbers(draw, tensors))
        if way == "rough":
            return damaged_values.spoiled(draw, data)
        return damaged_values.flipped(draw, data, 8, len(data))


WAYS = ("header", "part", "table", "numbers", "rough", "flip")


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@cache
def patch(name: str) -> lib.Patch:
    """A patch by an editor that keeps a memory where it can."""
    more = {"keep_keys": True} if name == "memit" else {}
    return lib.EDITORS[name](tiny.model("llama"), **quick(name), **more).edit([A], check=False)


@pytest.fixture(scope="module")
def kinds(lm, tmp_path_factory) -> dict[str, Kind]:
    folder = tmp_path_factory.mktemp("files")
    again = folder / "again.safetensors"
    edits = {name: patch(name) for name in MADE}
    settings = {"layer": 1, "clamp": float("inf")}
    edits["stream"] = lib.Patch(log=(lib.Edit("rome", settings, (A,) * 9, batch=3),))
    made = {name: one.save(folder / "p").read_bytes() for name, one in edits.items()}

    def use_patch(name: str, path: Path) -> None:
        loaded = lib.Patch.load(path)
        first = loaded.save(again).read_bytes()
        assert lib.Patch.load(again).save(again).read_bytes() == first
        with lm.patched(loaded):
            try:
                assert len(lm.answer(["I saw The old tower", "A cat"], max_new_tokens=1)) == 2
            except (
                ValueError
            ) as error:  # a note that has grown beyond the context is told when read
                assert "exceeds the context" in str(error)

    networks = {}
    for name in ("mend", "malmen"):
        path = folder / f"{name}.safetensors"
        lib.EDITORS[name](lm, **quick(name)).fit(TRAINING, checkpoint=path, steps=1)
        networks[name] = path.read_bytes()
        networks[f"{name} training"] = path.with_suffix(".training.safetensors").read_bytes()

    def use_network(name: str, path: Path) -> None:
        editor = name.split()[0]
        said, held, _ = network_file.load(path, lm.fingerprint, editor)
        first = network_file.save(again, said, held).read_bytes()
        more = network_file.load(again, lm.fingerprint, editor)[:2]
        assert network_file.save(again, *more).read_bytes() == first
        try:
            nets = lib.EDITORS[editor](lm, **{**quick(editor), "network": str(path)}).networks()
        except lib.errors.EditError as error:  # a network of other settings
            raise NetworkError(str(error)) from None
        assert all(torch.isfinite(p).all() for net in nets.nets.values() for p in net.parameters())

    routes = ("routes", "rewrites", "weights", "memory")
    return {
        "patch": Kind("patch", routes, PatchError, made, use_patch),
        "network": Kind("network", ("state", "modules"), NetworkError, networks, use_network),
    }


def outcome(kind: Kind, name: str, path: Path) -> str:
    """ "used" or "refused", which is one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kind.use(name, path)
    except kind.error as error:
        text = str(error)
        assert "\n" not in text and "Traceback" not in text and 10 < len(text) < 1000, text
        text.encode()
        return "refused"
    return "used"


def damaged(kind: Kind, way: str, seeds: range, path: Path) -> Counter:
    found: Counter = Counter()
    names = sorted(kind.whole)
    for seed in seeds:
        name = names[seed % len(names)]
        path.write_bytes(kind.spoiled(Random(f"{way} {seed}"), name, way))
        try:
            found[outcome(kind, name, path)] += 1
        except Exception as error:
            raise AssertionError(f"{way} {seed} of {name}") from error
    print(way, dict(found))
    return found


@pytest.mark.parametrize("way", few(WAYS, 2))
@pytest.mark.parametrize("what", ["patch", "network"])
def test_a_damaged_file_is_refused_or_works(kinds, what, way, tmp_path):
    found = damaged(kinds[what], way, range(COUNT), tmp_path / "case.safetensors")
    assert found["refused"] > COUNT / 20
    # a flipped bit is never believed: what is read all the same holds the same, as where a bit of
    # a letter's escape or of the order of the table was hit
    assert way != "flip" or found["used"] < COUNT / 20


@pytest.mark.parametrize("what", ["patch", "network"])
def test_what_is_no_file_is_one_sentence(kinds, what, tmp_path):
    kind = kinds[what]
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").touch()
    for name in ("folder", "text", "empty", "none"):
        assert outcome(kind, sorted(kind.whole)[0], tmp_path / name) == "refused"


# ---- crafted patches -----------------------------------------------------------------------------


def route(header: dict) -> dict:
    (found,) = header["routes"].values()
    return found["header"]


def weights(header: dict, count: object) -> None:
    header["weights"] = dict.fromkeys(header["weights"], count)


def deep(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def line(**changes: Any) -> Callable[[dict], None]:
    return lambda header: header["log"][0].update(changes)


CRAFTED = {
    "experts": ("lemoe", lambda h: route(h).update(experts=10**9)),
    "no expert": ("lemoe", lambda h: route(h).update(experts=0)),
    "kappa": ("lemoe", lambda h: route(h)["router"].update(kappa=1e308)),
    "bos": ("lemoe", lambda h: route(h).update(bos=1 << 40)),
    "chunks": ("rome", lambda h: weights(h, 10**12)),
    "no chunks": ("rome", lambda h: weights(h, -1)),
    "text": ("rome", lambda h: weights(h, "3")),
    "shape": ("wise", lambda h: route(h).update(shape=[10**6, 10**6])),
    "eps": ("wise", lambda h: route(h).update(eps=[])),
    "pool": ("wise", lambda h: route(h).update(pool="max")),
    "k": ("memoir", lambda h: route(h).update(k=10**11)),
    "tau": ("memoir", lambda h: route(h).update(tau=1e308)),
    "module": ("grace", lambda h: route(h).update(module="lm_head")),
    "replacement": ("grace", lambda h: route(h).update(replacement="x")),
    "kind": ("grace", lambda h: h["routes"].update(x={"kind": "os", "header": {}})),
    "source": ("rome", line(source="x")),
    "batch": ("rome", line(batch=0)),
    "editor": ("rome", line(editor={})),
    "settings": ("rome", line(settings=[1])),
    "null": ("rome", line(settings=None)),
    "no setting": ("rome", line(settings={"lm": 1})),
    "deep": ("rome", line(settings={"x": deep(200)})),
    "deepest": ("rome", lambda h: h.update(base=deep(900))),
    "huge": ("rome", line(settings={"x": 10**300})),
    "unknown": ("rome", lambda h: h.update(run="x")),
    "checksum": ("rome", lambda h: h.update(sha256="0" * 64, zzz=1)),
    "borrowed": ("memit", lambda h: h["memory"]["memit"]["dict"].update(
        x={"tensor": "w/model.layers.1.mlp.down_proj/0/a"})),
    "memory": ("memit", lambda h: h["memory"].update(memit={"value": 1})),
    "unnamed": ("grace", lambda h: h.update(memory={})),
}  # fmt: skip


def crafted(name: str, change: Callable[[dict], None], path: Path) -> Path:
    """The patch of an editor, with its header changed."""
    data = patch(name).save(path).read_bytes()
    header = damaged_values.header_of(data, "patch")
    change(header)
    path.write_bytes(damaged_values.with_header(Random(0), data, "patch", header))
    return path


@pytest.mark.parametrize("name", CRAFTED)
def test_a_promise_that_the_file_does_not_keep_is_one_sentence(kinds, name, tmp_path):
    path = crafted(*CRAFTED[name], tmp_path / "p.safetensors")
    with pytest.raises(PatchError, match="^p.safetensors is ") as error:
        lib.Patch.load(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


BOUNDED = """
import resource, sys
import lib
lines = open("/proc/self/status")
size = next(int(line.split()[1]) * 1024 for line in lines if "VmSize" in line)
resource.setrlimit(resource.RLIMIT_AS, (size + 200_000_000,) * 2)
try:
    lib.Patch.load(sys.argv[1])
except lib.errors.PatchError as error:
    print("refused:", error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs resource limits")
def test_a_file_that_promises_much_takes_no_memory(tmp_path):
    """The worst of them: 91 kB that promise 10⁹ experts, which once took 21 GB."""
    path = crafted(*CRAFTED["experts"], tmp_path / "p")
    command = [sys.executable, "-c", BOUNDED, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "announces 1000000000 experts but contains" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize("where", ["model.layers.9.mlp.down_proj", "lm_head", "", "model.norm",
                                   "model.layers.1.mlp.up_proj"])  # fmt: skip
@pytest.mark.parametrize("name", ["grace", "wise", "memoir", "lemoe", "ft"])
def test_a_patch_of_modules_that_are_not_there_or_not_so_is_one_sentence(lm, name, where):
    one = patch(name)
    first, routes = ([*part.values()][:1] for part in (one.weights, one.routes))
    moved = lib.Patch({where: first[0]} if first else {}, {where: routes[0]} if routes else {})
    with pytest.raises(PatchError, match="This patch"), lm.patched(moved):
        pass


def test_what_no_file_can_hold_is_not_written(tmp_path):
    path, fact = tmp_path / "p.safetensors", lib.Fact("cat", "A {} is", "xy")
    for settings in ({"x": {1, 2}}, {"x": "\ud800"}, {"x": float("nan")}, {"x": 1 << 70}):
        with pytest.raises(PatchError, match="This patch cannot be saved"):
            lib.Patch(log=(lib.Edit("rome", settings, (fact,)),)).save(path)
    assert list(tmp_path.iterdir()) == []
    endless = lib.Patch(log=(lib.Edit("rome", {"clamp": float("inf")}, (fact,)),))
    assert lib.Patch.load(endless.save(path)).log == endless.log


@pytest.mark.parametrize("path", sorted(network_file.SHIPPED.glob("*.safetensors")))
def test_a_shipped_network_is_what_it_was(path):
    """They were written before the checksum, and patches name them by the hash of their file."""
    said = damaged_values.header_of(path.read_bytes(), "network")
    header, state, content = network_file.load(path, said["base"].split()[-1], said["editor"])
    assert "sha256" not in header and json.dumps(header) == json.dumps(
        {key: value for key, value in said.items() if key != "state"}
    )
    assert state["now"].keys() == set(header["modules"].values())
    known = {"malmen": "c989ca0ab9ed6069", "mend": "89430ab1522c273c", "rledit": "7ba88f975763bd1a"}
    assert content == known[header["editor"]]


# ---- journals ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def begun(lm, tmp_path_factory):
    """A journal that stopped after three of four edits, with two points."""
    folder = tmp_path_factory.mktemp("begun")
    rows = iter(streamed(lm, folder))
    for _ in range(3):
        next(rows)
    rows.close()
    return folder


@pytest.mark.slow
def test_a_damaged_journal_is_a_sentence_or_goes_on(lm, begun, tmp_path):
    """The patch has a checksum. A number that was changed in a line of rows is believed."""
    found: Counter = Counter()
    folder, cases = tmp_path / "run", 300 if EVERY else 60
    for case in range(cases):
        draw = Random(f"journal {case}")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(begun, folder)
        what = journals.damage(folder, draw)
        try:
            journals.known(streamed(lm, folder))
            found["goes on"] += 1
        except JournalError as error:
            found["refused"] += 1
            text = str(error)
            assert "\n" not in text and str(folder) in text and "Traceback" not in text, what
        except Exception as error:
            raise AssertionError(f"case {case}: {what}") from error
    print(dict(found))
    assert found["refused"] > 0.3 * cases
