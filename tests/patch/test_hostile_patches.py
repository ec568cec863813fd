"""Crafted patch files that promise what they do not hold, and what a file may not make us do."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import torch

import lib
from lib.patch import tensor_file

from ..support import mutations, tiny

FILES = Path(__file__).parents[1] / "reference" / "version_0_1"
ROOT = Path(__file__).parents[2]
FACT = lib.Fact("cat", "A {} is", "xy")


def route(header: dict) -> dict:
    (found,) = header["routes"].values()
    return found["header"]


def crafted(name: str, change, path: Path) -> Path:
    """The patch of an editor by version 0.1, with its header changed."""
    data = (FILES / f"patch-{name}.safetensors").read_bytes()
    header = mutations.header_of(data, "patch")
    change(header)
    path.write_bytes(mutations.with_header(Random(0), data, "patch", header))
    return path


def weights(header: dict, count: object) -> None:
    header["weights"] = dict.fromkeys(header["weights"], count)


HOSTILE = {
    "experts": ("lemoe", lambda h: route(h).update(experts=10**9), "promises 1000000000 experts"),
    "no expert": ("lemoe", lambda h: route(h).update(experts=0), "expected `int` >= 1"),
    "kappa": ("lemoe", lambda h: route(h)["router"].update(kappa=1e308), "expected `float` <= "),
    "bos": ("lemoe", lambda h: route(h).update(bos=1 << 40), "expected `int` <= 2147483647"),
    "chunks": ("rome", lambda h: weights(h, 10**12), "promise 1000000000000 chunks"),
    "no chunks": ("rome", lambda h: weights(h, -1), "expected `int` >= 0"),
    "text": ("rome", lambda h: weights(h, "3"), "expected `int`, got `str`"),
    "shape": ("wise", lambda h: route(h).update(shape=[10**6, 10**6]), "the mask of memory 0 has"),
    "eps": ("wise", lambda h: route(h).update(eps=[]), "0 thresholds"),
    "pool": ("wise", lambda h: route(h).update(pool="max"), "invalid enum value 'max'"),
    "k": ("memoir", lambda h: route(h).update(k=10**11), "does not have 100000000000 ones"),
    "tau": ("memoir", lambda h: route(h).update(tau=1e308), "expected `float` <= "),
    "module": ("grace", lambda h: route(h).update(module="lm_head"), "that of another module"),
    "places": ("grace", lambda h: route(h).update(replacement="x"), "invalid enum value 'x'"),
    "kind": ("grace", lambda h: h["routes"].update(x={"kind": "os", "header": {}}), "unknown rou"),
    "rows": ("rome", lambda h: h["log"][0].update(facts=[], source="x", rows=[0, 1 << 60]),
             "expected `int` <= 1099511627776"),
    "ends": ("rome", lambda h: h["log"][0].update(facts=[], source="x", rows=[9, 3]), "end before"),
    "no source": ("rome", lambda h: h["log"][0].update(facts=[], rows=[0, 10**9]), "either facts"),
    "batch": ("rome", lambda h: h["log"][0].update(batch=0), "expected `int` >= 1"),
    "reader": ("rome", lambda h: h["log"][0].update(reader={"lazy": "x"}), "invalid enum value"),
    "editor": ("rome", lambda h: h["log"][0].update(editor={}), "expected `str`, got `object`"),
    "settings": ("rome", lambda h: h["log"][0].update(settings=[1]), "expected `object`, got `arr"),
    "null": ("rome", lambda h: h["log"][0].update(settings=None), "expected `object`, got `null`"),
    "deep": ("rome", lambda h: h["log"][0].update(settings={"x": deep(200)}), "nested too deeply"),
    "deepest": ("rome", lambda h: h.update(base=deep(900)), "expected `str`, got `array`"),
    "surrogate": ("rome", lambda h: h["log"][0]["facts"][0].update(target_new="a\ud800"),
                  "is damaged"),
    "huge": ("rome", lambda h: h["log"][0].update(settings={"x": 10**300}), "is damaged"),
    "unknown": ("rome", lambda h: h.update(run="x"), "unknown field `run`"),
    "checksum": ("rome", lambda h: h.update(sha256="0" * 64, zzz=1), "is damaged"),
    "borrowed": ("memit_keep", lambda h: h["memory"]["memit"]["dict"].update(
        x={"tensor": "w/model.layers.1.mlp.down_proj/0/a"}), "no tensor of its own"),
    "memory": ("memit_keep", lambda h: h["memory"].update(memit={"value": 1}), "is no mapping"),
    "unnamed": ("grace", lambda h: h.update(memory={}), "nothing in it names the tensor"),
}  # fmt: skip


def deep(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("name", HOSTILE)
def test_a_promise_that_the_file_does_not_keep_is_one_sentence(name, tmp_path):
    source, change, said = HOSTILE[name]
    with pytest.raises(lib.PatchError) as error:
        lib.Patch.load(crafted(source, change, tmp_path / "p.safetensors"))
    text = str(error.value)
    assert said in text and text.startswith("p.safetensors is ") and len(text) < 500, text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"entries": [["cat", "A {} is", 3]]}, "expected `str`, got `int`"),
        ({"entries": [["cat", "A dog is", "xy"]]}, "does not occur in the prompt"),
        ({"entries": 3}, "expected `array`, got `int`"),
        ({"tau_free": "x"}, "expected `float`, got `str`"),
        ({"tau_free": None}, "expected `float`, got `null`"),
        ({"tau_rel": 0.3}, "notes with tau_rel 0.3, here it is 0.2"),
    ],
)
def test_hostile_notes_are_one_sentence(change, said, tmp_path):
    path = lib.EDITORS["retrieval"](tiny.model("llama")).edit([FACT]).save(tmp_path / "p")
    data = path.read_bytes()
    header = mutations.header_of(data, "patch")
    header["rewrites"][0]["header"].update(change)
    path.write_bytes(mutations.with_header(Random(0), data, "patch", header))
    with pytest.raises(lib.PatchError, match=said):
        lib.Patch.load(path)


@pytest.mark.parametrize("where", ["model.layers.9.mlp.down_proj", "lm_head", "model", "",
                                   "model.embed_tokens", "model.layers.1", "model.norm",
                                   "model.layers.1.mlp.up_proj"])  # fmt: skip
@pytest.mark.parametrize("name", ["grace", "wise", "memoir", "lemoe", "ft"])
def test_a_patch_of_modules_that_are_not_there_or_not_so_is_one_sentence(name, where, tmp_path):
    lm = tiny.model("llama")
    patch = lib.Patch.load(FILES / f"patch-{name}.safetensors")
    weights, routes = ([*part.values()][:1] for part in (patch.weights, patch.routes))
    moved = lib.Patch({where: weights[0]} if weights else {}, {where: routes[0]} if routes else {})
    with pytest.raises(lib.PatchError, match="this patch"), lm.patched(moved):
        pass


def test_a_patch_without_a_checksum_is_read_and_old_libraries_read_one_with_it(tmp_path):
    old = FILES / "patch-rome.safetensors"
    path = lib.Patch.load(old).save(tmp_path / "p.safetensors")
    before, after = (json.loads(mutations.parts(p.read_bytes())[0]["__metadata__"]["patch"])
                     for p in (old, path))  # fmt: skip
    digest = after.pop("sha256")
    assert after == before, "an older library finds all that it asks for, and the same format"
    assert (
        len(digest) == 64
        and mutations.parts(old.read_bytes())[1] == mutations.parts(path.read_bytes())[1]
    ), "the same tensors, bit for bit"


def test_what_no_file_can_hold_is_not_written(tmp_path):
    path = tmp_path / "p.safetensors"
    for settings in ({"x": {1, 2}}, {"x": "\ud800"}, {"x": float("nan")}, {"x": 1 << 70}):
        with pytest.raises(lib.PatchError, match="this patch cannot be saved"):
            lib.Patch(log=(lib.Edit("rome", settings, (FACT,)),)).save(path)
    assert list(tmp_path.iterdir()) == []
    endless = lib.Patch(log=(lib.Edit("rome", {"clamp": float("inf")}, (FACT,)),))
    assert lib.Patch.load(endless.save(path)).log == endless.log


def test_a_source_is_not_quoted(tmp_path):
    """A patch may name any file of this machine; its error must not show what stands there."""
    secret = tmp_path / "secret"
    secret.write_text("root:x:0:0 hunter2\n")
    path = crafted("rome", lambda h: h["log"][0].update(facts=[], source=str(secret), rows=[0, 2]),
                   tmp_path / "p")  # fmt: skip
    patch = lib.Patch.load(path)
    for text in ("root:x:0:0 hunter2\n", '{"hunter2": 1}\n', '[{"prompt": "hunter2"}]', "\xff\n"):
        secret.write_text(text)
        with pytest.raises(lib.FactError, match="no data file that the reader knows") as error:
            patch.facts  # noqa: B018
        assert "hunter2" not in str(error.value) and "x:0" not in str(error.value)
    secret.unlink()
    with pytest.raises(lib.FactError, match="there is no file"):
        patch.facts  # noqa: B018


BOUNDED = """
import resource, sys
import lib
from demo_app.session import uploads
from demo_app.session.worker import Trouble
path, room = sys.argv[1], int(sys.argv[2])
def size():
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) * 1024 for line in lines if "VmSize" in line)
resource.setrlimit(resource.RLIMIT_AS, (size() + room,) * 2)
try:
    uploads.read_patch(path, "p")
except Trouble as error:
    print("refused:", error)
else:
    print("read")
"""


def bounded(path: Path, room: int) -> str:
    """What the page says to an uploaded patch in a process that may take `room` bytes more."""
    done = subprocess.run([sys.executable, "-c", BOUNDED, str(path), str(room)], cwd=ROOT,
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS") or sys.platform != "linux", reason="Linux")
def test_an_upload_that_promises_much_takes_no_memory(tmp_path):
    """The worst upload of the report: 91 kB that promised 10⁹ experts and took 21 GB."""
    path = crafted("lemoe", lambda h: route(h).update(experts=10**9), tmp_path / "p")
    assert "promises 1000000000 experts and holds" in bounded(path, 200_000_000)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux")
def test_large_uploads_take_a_small_multiple_of_their_bytes(tmp_path):
    path = tmp_path / "p.safetensors"
    # 8 MB of header: nested lists are the objects that take most room for their text
    data = (FILES / "patch-rome.safetensors").read_bytes()
    header = mutations.header_of(data, "patch")
    for junk in ([[]] * 2_600_000, [{}] * 1_900_000, list(range(10)) * 350_000):
        header["log"][0]["settings"] = {"x": junk}
        text = json.dumps(header, separators=(",", ":"))[:]
        table, tensors = mutations.parts(data)
        path.write_bytes(mutations.joined({**table, "__metadata__": {"patch": text}}, tensors))
        assert path.stat().st_size < 8_500_000
        assert bounded(path, 700_000_000)
    # side memories whose bits are all zero: τ takes 32 bytes for each of theirs
    side = 5600, 5600
    bits, none = torch.zeros(side[0] * side[1] // 8, dtype=torch.uint8), torch.zeros(0)
    name = "model.layers.1.mlp.down_proj"
    head = {"module": name, "shape": side, "eps": [1.0], "facts": [1], "act_ratio": 1.0}
    head |= {"pool": "mean", "activation": None, "bos": None}
    told = {"format": 1, "base": "", "log": [], "weights": {}, "rewrites": [], "memory": {}}
    told["routes"] = {name: {"kind": "wise", "header": head}}
    parts = {f"r/{name}/0/values": none, f"r/{name}/0/bits": bits}
    tensor_file.write(path, "patch", told, parts, dict)
    assert bounded(path, 700_000_000)
