"""The script for a graphics card, at tiny scale on the CPU: its parts, limits, file and floor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import lib

from ..benchmarks import tables_scale
from ..benchmarks.gpu import scale, supervise, worker
from ..benchmarks.gpu.measure import Clock, Device, Products

# stands where the worker stands, and does to each part what the test says
STUB = """
import json, os, sys, time
order, parent = json.loads(sys.stdin.readline()), os.getppid()
def send(**message):
    os.write(order["pipe"], (json.dumps(message) + "\\n").encode())
send(device={"name": "stub"})
for part in order["parts"]:
    send(part=part, state="begun")
    send(part=part, row={"began": part})
    while part == "a":
        time.sleep(0.1)
        if os.getppid() != parent: os._exit(0)
    if part == "e": os._exit(7)
    if part == "b": os.kill(os.getpid(), 9)
    send(part=part, state="done", seconds=0.1)
"""


@pytest.fixture
def stubbed(monkeypatch):
    monkeypatch.setattr(supervise, "WORKER", [sys.executable, "-S", "-c", STUB])
    monkeypatch.setattr(supervise, "LIMITS", dict.fromkeys(supervise.LIMITS, 0.2))
    monkeypatch.setattr(supervise, "GRACE", 0.2)


def read(path: Path) -> dict:
    return json.loads(path.read_text())["parts"]


def test_a_part_that_hangs_or_dies_costs_no_other_part(stubbed, tmp_path):
    out = tmp_path / "gpu.json"
    supervise.run(out, "cpu", "tiny", "abcde", [], 60)
    states = {name: part["state"] for name, part in read(out).items()}
    assert states == {
        "a": "killed: its part was over its time", "e": "failed: its process ended with 7",
        "b": "failed: its process ended with -9", "c": "done", "d": "done",
    }  # fmt: skip
    assert all(part["rows"] == [{"began": name}] for name, part in read(out).items())


def test_the_whole_run_has_a_limit_and_keeps_what_it_has(stubbed, tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "GRACE", 100.0)
    start, out = time.monotonic(), tmp_path / "gpu.json"
    supervise.run(out, "cpu", "tiny", "ca", [], 1.0)
    assert time.monotonic() - start < 10
    found = read(out)
    assert found["a"]["state"] == "killed: the run was over its time"
    assert found["a"]["rows"] and found["c"]["state"] == "not begun"


def test_a_worker_that_says_nothing_is_not_started_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "WORKER", [sys.executable, "-S", "-c", "pass"])
    out = tmp_path / "gpu.json"
    supervise.run(out, "cpu", "tiny", "abc", [], 60)
    assert {part["state"] for part in read(out).values()} == {"failed: its process ended with 0"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("", [], 60), "the parts are a, e, b"),
        (("ax", [], 60), "not 'ax'"),
        (("a", ["nobody"], 60), "no editor 'nobody'"),
        (("a", [], float("nan")), "more than nan seconds"),
    ],
)
def test_wrong_orders_are_one_sentence_and_write_nothing(tmp_path, given, said):
    with pytest.raises(ValueError, match=said):
        supervise.run(tmp_path / "gpu.json", "cpu", "tiny", *given)
    assert not list(tmp_path.iterdir())


def test_killed_in_the_middle_the_file_is_whole(tmp_path):
    out = tmp_path / "gpu.json"
    program = (
        "import sys; from pathlib import Path; from tests.benchmarks.gpu import supervise\n"
        f"supervise.WORKER = [sys.executable, '-S', '-c', {STUB!r}]\n"
        f"supervise.run(Path({str(out)!r}), 'cpu', 'tiny', 'a', [], 60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], cwd=supervise.ROOT)
    while not (out.exists() and read(out)["a"]["rows"]):
        assert child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert read(out)["a"] == {**read(out)["a"], "state": "begun", "rows": [{"began": "a"}]}


def test_every_part_runs_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    order = {"device": "cpu", "scale": "tiny", "editors": ["memit", "ultraedit"]}
    limits = dict.fromkeys("aebcdfg", 60.0)
    messages = worker.collected({**order, "parts": limits})
    ended = {m["part"]: m["state"] for m in messages if m.get("state", "begun") != "begun"}
    assert ended == dict.fromkeys(limits, "done")
    rows: dict[str, list] = {name: [] for name in limits}
    for message in messages:
        if "row" in message:
            rows[message["part"]].append(message["row"])
    values = [row for row in rows["a"] if "type" in row]
    assert len(values) == 4 and all(row["undone"] and row["on_cpu"] for row in values)
    assert all(row["difference"] == 0 for row in values if row["type"] == "float32")
    assert all(0 < row["difference"] < 0.3 for row in values if row["type"] == "bfloat16")
    assert [row["difference"] for row in rows["a"] if "stream" in row] == [0.0]
    assert all(row["floor"] > 0 and row["multiply_adds"] > 0 for row in rows["b"] if "facts" in row)
    timed = [(row["editor"], row["facts"]) for row in rows["b"] if "facts" in row]
    assert timed == [("memit", 1), ("ultraedit", 1), ("memit", 6), ("ultraedit", 6)]
    assert sorted(scale.every()) == sorted(lib.EDITORS)
    assert [row["turn"] for row in rows["c"]] == [20, 10]
    for row in rows["c"]:
        whole = row["features"] + row["moments"] + row["solves"] + row["else"]
        assert row["edits"] == 40 and abs(whole - row["seconds"]) < 1e-9
        assert row["extrapolated"]["1000000"] == pytest.approx(row["seconds"] * 25_000)
    assert [row["facts"] for row in rows["d"]] == [6]
    assert [row["what"] for row in rows["e"][1:]] == ["C", "null space", "C"] + 2 * ["null space"]
    pages_are_drawn_from_the_file(messages, tmp_path, monkeypatch)


def pages_are_drawn_from_the_file(messages, folder, monkeypatch):
    """RESULTS shows these messages, and refuses those of a run at tiny scale."""
    path = folder / "gpu.json"
    monkeypatch.setattr(tables_scale, "GPU", path)
    names = ("gpu_parts", "gpu_values", "gpu_speed", "gpu_long")
    for size in ("tiny", "full"):
        kept = supervise.Kept(path, size, "aebcdfg")
        for message in messages:
            if "seconds" in message.get("row", {}):
                message = {**message, "row": {**message["row"], "peak": 2e9}}
            kept.take(dict(message))
        if size == "tiny":
            with pytest.raises(ValueError, match="tiny scale"):
                tables_scale.gpu_parts()
    parts, values, speed, long = (getattr(tables_scale, name)() for name in names)
    assert "| placement and values | done |" in parts and "torch 2" in parts
    assert values.count("\n") == 4 and "`memit` | random | 0e+00 |" in values
    assert "| `ultraedit`, 1 | cpu | 0." in speed and "| `memit`, 6 |" in speed
    assert "40 edits in turns of 20" in long and "null space, layer number 3" in long
    assert "a million, extrapolated" in long and "`memit`, 6 facts" in long


def test_a_part_stops_at_its_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    order = {"device": "cpu", "scale": "tiny", "editors": ["ultraedit"], "parts": {"e": -1.0}}
    *rows, last = worker.collected(order)
    assert last["state"] == "stopped at its limit"
    assert [m["row"]["what"] for m in rows if "what" in m.get("row", {})] == ["C"]
    assert Clock(10).part(0.5).limit == 5 and Clock(-1).part(0.5).left() <= 0


def test_products_are_counted_forward_and_backward():
    device = Device("cpu")
    device.rates, device.bandwidth = {torch.float32: 10.0}, 1e9
    x, w = torch.randn(3, 4), torch.randn(5, 4, requires_grad=True)
    with Products(device) as found:
        (x @ w.T).sum().backward()
    assert found.count == 2 * 3 * 4 * 5  # forward, and the gradient of w
    assert found.seconds == pytest.approx(found.count / 10)
    device.rates, device.bandwidth = {torch.float32: 1e9}, 4.0
    with Products(device) as found, torch.no_grad():
        torch.nn.functional.scaled_dot_product_attention(*torch.randn(3, 1, 2, 6, 8).unbind())
    assert found.count == 2 * 2 * 6 * 6 * 8  # scores, and their mixture of values


@pytest.mark.parametrize("brief", [False, True])
def test_every_editor_takes_its_settings_at_full_scale(brief):
    """On a model of the right depth and name, whose matrices are small."""
    narrow = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
              "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300}  # fmt: skip
    shape = {**scale.SHAPES["8B"], **narrow}
    lm = scale.random_llama(shape, "cpu", torch.float32, scale.LLAMA)
    full = scale.SCALES["full"]
    for name, editor in lib.EDITORS.items():
        made = editor(lm, **scale.settings(full, name, brief))
        if name == "ultraedit":
            assert made.config.up == tuple(range(18, 25))  # the published preset for Llama 3 8B
        if name == "memit":
            assert made.config.layers == full.layers and made.config.v_lr == 0.1
            assert made.config.tokens == (4096 if brief else None)


def test_facts_are_different_and_of_one_length():
    some = scale.facts(200, first=50)
    assert len({fact.text for fact in some}) == 200 and len({len(fact.text) for fact in some}) == 1
