"""Every file that we write, damaged: it is refused in one sentence, or does all that it should.

Patches, trained networks and journals here; what is computed once is in test_stored, data files are
in tests/data. A case is named by its seed, which a failure says.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
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
from ..support.editor_settings import TRAINING, quick
from ..support.usual import EVERY, few

OLD = Path(__file__).parents[1] / "reference" / "version_0_1"
COUNT = 2_000 if EVERY else 300


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


@pytest.fixture(scope="module")
def kinds(lm, tmp_path_factory) -> dict[str, Kind]:
    folder = tmp_path_factory.mktemp("files")
    again = folder / "again.safetensors"
    # patches of every editor of version 0.1, saved today, one of a stream, and a rewrite
    patches = {p.stem: lib.Patch.load(p) for p in sorted(OLD.glob("patch-*.safetensors"))}
    patches["stream"] = lib.Patch(log=(lib.Edit(
        "rome", {"layer": 1, "clamp": float("inf")}, source="cases.json", rows=(0, 9),
        reader={"target": "new", "unrelated_suffix": ""}, batch=3,
    ),))  # fmt: skip
    fact = lib.Fact("cat", "A {} is", "xy")
    patches["retrieval"] = lib.EDITORS["retrieval"](lm).edit([fact])
    made = {name: p.save(folder / "p").read_bytes() for name, p in patches.items()}

    def use_patch(name: str, path: Path) -> None:
        patch = lib.Patch.load(path)
        first = patch.save(again).read_bytes()
        assert lib.Patch.load(again).save(again).read_bytes() == first
        with lm.patched(patch):
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
def test_a_flipped_bit_in_the_numbers_is_noticed(kinds, what, tmp_path):
    kind, path = kinds[what], tmp_path / "case.safetensors"
    names = sorted(kind.whole)
    for seed in range(COUNT):
        data = kind.whole[names[seed % len(names)]]
        first = len(data) - len(damaged_values.parts(data)[1])
        path.write_bytes(damaged_values.flipped(Random(f"flip {seed}"), data, first, len(data)))
        with pytest.raises(kind.error, match="is damaged: its content does not agree"):
            kind.use(names[seed % len(names)], path)


@pytest.mark.parametrize("what", ["patch", "network"])
def test_what_is_no_file_is_one_sentence(kinds, what, tmp_path):
    kind = kinds[what]
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").touch()
    for name in ("folder", "text", "empty", "none"):
        assert outcome(kind, sorted(kind.whole)[0], tmp_path / name) == "refused"


@pytest.mark.parametrize("what", ["pipe", "folder"])
def test_what_is_no_network_is_waited_for_by_nobody(lm, what, tmp_path):
    path = tmp_path / what
    os.mkfifo(path) if what == "pipe" else path.mkdir()
    with pytest.raises(
        lib.errors.EditError, match=f"no trained network for tiny-llama at .*{what}: train"
    ):
        lib.EDITORS["mend"](lm, **{**quick("mend"), "network": str(path)}).networks()


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
    "rows": ("rome", line(facts=[], source="x", rows=[0, 1 << 60])),
    "ends": ("rome", line(facts=[], source="x", rows=[9, 3])),
    "no source": ("rome", line(facts=[], rows=[0, 10**9])),
    "batch": ("rome", line(batch=0)),
    "reader": ("rome", line(reader={"lazy": "x"})),
    "editor": ("rome", line(editor={})),
    "settings": ("rome", line(settings=[1])),
    "null": ("rome", line(settings=None)),
    "deep": ("rome", line(settings={"x": deep(200)})),
    "deepest": ("rome", lambda h: h.update(base=deep(900))),
    "huge": ("rome", line(settings={"x": 10**300})),
    "unknown": ("rome", lambda h: h.update(run="x")),
    "checksum": ("rome", lambda h: h.update(sha256="0" * 64, zzz=1)),
    "borrowed": ("memit_keep", lambda h: h["memory"]["memit"]["dict"].update(
        x={"tensor": "w/model.layers.1.mlp.down_proj/0/a"})),
    "memory": ("memit_keep", lambda h: h["memory"].update(memit={"value": 1})),
    "unnamed": ("grace", lambda h: h.update(memory={})),
}  # fmt: skip


def crafted(name: str, change: Callable[[dict], None], path: Path) -> Path:
    """The patch of an editor by version 0.1, with its header changed."""
    data = (OLD / f"patch-{name}.safetensors").read_bytes()
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
    done = subprocess.run(command, cwd=OLD.parents[2], capture_output=True, text=True)
    assert "promises 1000000000 experts and holds" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize("where", ["model.layers.9.mlp.down_proj", "lm_head", "", "model.norm",
                                   "model.layers.1.mlp.up_proj"])  # fmt: skip
@pytest.mark.parametrize("name", ["grace", "wise", "memoir", "lemoe", "ft"])
def test_a_patch_of_modules_that_are_not_there_or_not_so_is_one_sentence(lm, name, where):
    patch = lib.Patch.load(OLD / f"patch-{name}.safetensors")
    first, routes = ([*part.values()][:1] for part in (patch.weights, patch.routes))
    moved = lib.Patch({where: first[0]} if first else {}, {where: routes[0]} if routes else {})
    with pytest.raises(PatchError, match="this patch"), lm.patched(moved):
        pass


def test_what_no_file_can_hold_is_not_written(tmp_path):
    path, fact = tmp_path / "p.safetensors", lib.Fact("cat", "A {} is", "xy")
    for settings in ({"x": {1, 2}}, {"x": "\ud800"}, {"x": float("nan")}, {"x": 1 << 70}):
        with pytest.raises(PatchError, match="this patch cannot be saved"):
            lib.Patch(log=(lib.Edit("rome", settings, (fact,)),)).save(path)
    assert list(tmp_path.iterdir()) == []
    endless = lib.Patch(log=(lib.Edit("rome", {"clamp": float("inf")}, (fact,)),))
    assert lib.Patch.load(endless.save(path)).log == endless.log


def test_a_source_is_not_quoted(tmp_path):
    """A patch may name any file of this machine; its error must not show what stands there."""
    secret = tmp_path / "secret"
    path = crafted("rome", line(facts=[], source=str(secret), rows=[0, 2]), tmp_path / "p")
    patch = lib.Patch.load(path)
    for text in ("root:x:0:0 hunter2\n", '{"hunter2": 1}\n', '[{"prompt": "hunter2"}]', "\xff\n"):
        secret.write_text(text)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(lib.errors.FactError, match="no data file that the reader") as error:
                patch.facts  # noqa: B018
        assert "hunter2" not in str(error.value) and "x:0" not in str(error.value)
    secret.unlink()
    with pytest.raises(lib.errors.FactError, match="there is no file"):
        patch.facts  # noqa: B018


# ---- files from before the checksum --------------------------------------------------------------


def test_a_patch_without_a_checksum_is_read_and_old_libraries_read_one_with_it(tmp_path):
    old = OLD / "patch-rome.safetensors"
    path = lib.Patch.load(old).save(tmp_path / "p.safetensors")
    tables = [damaged_values.parts(file.read_bytes()) for file in (old, path)]
    before, after = (json.loads(table["__metadata__"]["patch"]) for table, _ in tables)
    assert len(after.pop("sha256")) == 64 and after.pop("library") > before.pop("library")
    assert after == before, "an older library finds all that it asks for, and the same format"
    assert tables[0][1] == tables[1][1], "the same tensors, bit for bit"


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
    """A journal that stopped after three of four edits, with two points; and one of format 1."""
    folder = tmp_path_factory.mktemp("begun")
    rows = iter(streamed(lm, folder / "2"))
    for _ in range(3):
        next(rows)
    rows.close()
    journals.aged(Path(shutil.copytree(folder / "2", folder / "1")))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "cases"), [("2", 300 if EVERY else 40), ("1", 20)])
def test_a_damaged_journal_is_refused_or_gives_the_same_run(lm, begun, number, cases, tmp_path):
    """Format 1 has no checksums: what does not contradict itself is believed there."""
    whole = journals.known(streamed(lm, begun / number))
    start = journals.known(streamed(lm, tmp_path / "empty"))
    found: Counter = Counter()
    folder = tmp_path / "run"
    for case in range(cases):
        draw = Random(f"journal {number} {case}")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(begun / number, folder)
        what = journals.damage(folder, draw)
        try:
            got = journals.known(streamed(lm, folder))
        except JournalError as error:
            found["refused"] += 1
            text = str(error)
            assert "\n" not in text and str(folder) in text and "Traceback" not in text, what
        except Exception as error:
            raise AssertionError(f"case {case}: {what}") from error
        else:
            same = "same" if got == whole else "from the start" if got == start else "other"
            found[same] += 1
            assert same != "other" or number == "1", f"case {case}: {what}"
    print(dict(found))
    assert found["refused"] > 0.3 * cases


def test_a_damaged_part_is_named_with_what_to_do(lm, begun, tmp_path):
    for name in ("header.json", "state.json", "rows.jsonl", "point-2.json", "patch-3.safetensors"):
        folder = Path(shutil.copytree(begun / "2", tmp_path / name))
        data = (folder / name).read_bytes()
        at = next(i for i in range(len(data) // 2, len(data)) if data[i] in b"12345678")
        (folder / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(JournalError, match=f"is damaged: {name} .* or delete the folder"):
            streamed(lm, folder)


def test_files_of_another_moment_are_noticed(lm, begun, tmp_path):
    folder = Path(shutil.copytree(begun / "2", tmp_path / "run"))
    shutil.copy(folder / "point-0.json", folder / "point-2.json")
    with pytest.raises(JournalError, match="point-2.json has another checksum than state.json"):
        streamed(lm, folder)


def test_checksums_cannot_be_left_out(lm, begun, tmp_path):
    folder = Path(shutil.copytree(begun / "2", tmp_path / "run"))
    shutil.copy(begun / "1" / "state.json", folder / "state.json")
    with pytest.raises(JournalError, match="no checksums"):
        streamed(lm, folder)


def test_an_old_journal_goes_on_and_has_checksums_from_then_on(lm, begun, tmp_path):
    folder = Path(shutil.copytree(begun / "1", tmp_path / "run"))
    assert journals.known(streamed(lm, folder)) == journals.known(streamed(lm, begun / "2"))
    done = streamed(lm, folder).finish()
    other = streamed(lm, None).finish()
    assert done.scores.keys() == other.scores.keys() and done.patch.log == other.patch.log
    with pytest.raises(JournalError, match="rows.jsonl has another checksum than state.json says"):
        rows = folder / "rows.jsonl"
        rows.write_bytes(rows.read_bytes().replace(b'"seconds": 0.', b'"seconds": 1.', 1))
        streamed(lm, folder)
