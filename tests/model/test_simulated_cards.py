"""The library on one and on two graphics cards, which are simulated (`tests/support/simulated.py`).

No operation mixes devices, patches end on the CPU, and results are those of the plain CPU. What a
simulation cannot say, speed and the last bits of a card's own kernels, is not tested anywhere.
"""

from __future__ import annotations

import pytest

import lib

from ..benchmarks.gpu import worker
from ..support import simulated_checks as checks
from ..support.usual import sample

# ROME searches from a block of the first card up, over the boundary. The anchors of "paper" are not
# fitted on the CPU first, which takes a dozen seconds here.
DAILY = {
    "rome": {"layer": 0},
    "ultraedit": {},
    "wise": {},
    "lemoe": {"routing": "paper", "steps": 5},
    "retrieval": {},
}
BELOW = {"layer": 0}  # the layer that is edited is on the first card, and so is the one above it
BETWEEN = {"layer": 1}  # the one above it is on the second


@pytest.fixture(scope="module")
def cards():
    """A process with cards; where this torch cannot simulate them, the tests skip and say why."""
    process = checks.Cards()
    reason = process(checks.installed)
    if reason:
        process.close()
        pytest.skip(reason)
    yield process
    process.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", sample(DAILY, 2))
def test_an_editor_on_two_cards(cards, name):
    cards(checks.editor_keeps_its_promises, name, 2, "llama", DAILY[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps"), sample([("rome", "steps"), ("grace", "n_iter"), ("ft", "epochs")], 2)
)
def test_a_step_waits_for_the_card_once(cards, name, steps):
    assert cards(checks.waits_per_step, name, steps) == 1


@pytest.mark.slow
def test_the_script_for_a_card_runs_on_a_simulated_one(cards):
    order = {"device": "sim:0", "scale": "tiny", "editors": ["rome"]}
    messages = cards(worker.collected, {**order, "parts": dict.fromkeys("abf", 600.0)})
    ended = [message["state"] for message in messages if message.get("state", "begun") != "begun"]
    assert ended == ["done"] * 3
    rows = [message["row"] for message in messages if "row" in message]
    (whole,) = (row for row in rows if row.get("type") == "float32" and "difference" in row)
    assert whole["difference"] < 1e-5 and whole["undone"] and whole["on_cpu"]
    assert {"cards": ["sim:0", "sim:1"]} in rows
    assert not [row for row in rows if "error" in row]


@pytest.mark.slow
@pytest.mark.parametrize("name", sample(sorted(lib.EDITORS.keys() - DAILY.keys()), 1))
def test_other_editors_on_two_cards(cards, name):
    cards(checks.editor_keeps_its_promises, name, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    sample(
        [
            *(("pmet", {"layers": (0,)}), ("grace", BELOW), ("ft", BELOW), ("lemoe", BELOW)),
            *(("wise", BETWEEN), ("wise", {**BETWEEN, "activation": "hidden"})),
            ("memoir", BETWEEN),
        ],
        1,
    ),
)
def test_layers_at_the_boundary(cards, name, more):
    cards(checks.editor_keeps_its_promises, name, 2, "llama", more)


@pytest.mark.slow
@pytest.mark.parametrize("name", sample(["memit", "grace"], 1))
def test_transposed_weights_and_a_tied_head_on_one_card(cards, name):
    cards(checks.editor_keeps_its_promises, name, 1, "gpt2")


@pytest.mark.slow
def test_what_is_read_from_a_model(cards):
    cards(checks.same_numbers, 2)


@pytest.mark.slow
def test_streams_and_scans(cards):
    cards(checks.stream_and_search, 2)
