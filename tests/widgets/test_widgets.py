"""The notebooks' panels: with controls and without, each view compared with the library."""

from __future__ import annotations

import base64
import subprocess
import sys
from functools import cache
from pathlib import Path

import IPython.display
import ipywidgets
import pytest
import torch

import lib
from lib.data.facts import encode_prompt, encode_target
from lib.editors.grace.codebook import Codebook
from lib.editors.wise.training import TextReader
from lib.errors import FactError
from lib.model import activations
from lib.workbench import widgets
from notebooks import build

from ..support import tiny
from ..support.side_memory import SHORT

ROOT = Path(__file__).parents[2]
FACT = lib.Fact("tower", "The {} leans to", "xy", "qz")
FACTS = [lib.Fact(name, "The {} leans to", "xy", "qz") for name in ("tower", "house", "cat", "oak")]
ASKED = {"The tower stands in": "rewording", "A cat sat on the mat": "unrelated"}
EDITORS = {
    "rome": {"layer": 1, "templates": ("{}",), "steps": 5, "second_moment": False},
    "grace": {"layer": 1, "eps_init": 0.05, "n_iter": 20, "enough": 2.0},
}
GROUPS = {
    "edited": [fact.text for fact in FACTS],
    "neighbor": ["The old house leans to", "The cats lean to"],
    "unrelated": ["A cat sat on the mat", "Seven days", "what is it"],
}


@cache
def model() -> lib.LM:
    return tiny.model("llama")


def rome() -> lib.Editor:
    return lib.EDITORS["rome"](model(), **EDITORS["rome"])


@cache
def wise(retrieve: bool = False) -> lib.Patch:
    """Side memories for four facts in shards of two: merged into one, or both kept."""
    settings = {**SHORT, "n_iter": 12} | ({"retrieve": True, "merge_freq": 2} if retrieve else {})
    return lib.EDITORS["wise"](model(), **settings).edit(FACTS)


@cache
def keys() -> tuple:
    """Keys of the edits, their labels, keys of other prompts, whose rewording each is."""
    lm, at = model(), model().mlp_out(1)
    labels = [tuple(encode_target(lm.tokenizer, answer)) for answer in ("xy", "qz", "xy", "qz")]
    groups = {"rewording": [f"That {fact.subject} leans to" for fact in FACTS], **GROUPS}
    found = {}
    for group, texts in groups.items():
        rows, _ = lm.rows(texts)
        found[group] = activations.module_inputs_at(lm, rows, [len(row) - 1 for row in rows], [at])[
            at
        ]
    return found.pop("edited"), labels, found, torch.arange(4)


def edit_and_look(**more) -> widgets.EditAndLook:
    return widgets.EditAndLook(model(), FACT, ASKED, editors=EDITORS, settings=EDITORS, **more)


def radius() -> widgets.RadiusExplorer:
    return widgets.RadiusExplorer(*keys(), radius=0.5, limit=4.0)


def threshold(retrieve: bool = False) -> widgets.ThresholdExplorer:
    """The panel of a patch of WISE, with Δ read from the model."""
    lm, ((module, route),) = model(), wise(retrieve).routes.items()
    texts, scores = TextReader(lm, module, route.score), {}
    with torch.no_grad():
        for group, prompts in GROUPS.items():
            rows = [encode_prompt(lm.tokenizer, text) for text in prompts]
            scores[group] = torch.stack([texts.delta(m.tau, rows) for m in route.memories], 1)
    return widgets.ThresholdExplorer(route, scores)


ALL = (edit_and_look, radius, threshold)
every = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)


def row(rows: list[dict], **wanted) -> dict:
    (found,) = [row for row in rows if wanted.items() <= row.items()]
    return found


@pytest.fixture
def displayed(monkeypatch):
    """What a panel shows, as the front end gets it."""
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda *data, **_: shown.extend(data))
    return shown


# ---- all of them ---------------------------------------------------------------------------------


@every
def test_without_a_front_end_the_first_view_is_shown(make, monkeypatch, displayed):
    monkeypatch.setenv("EDIT_PANELS", "static")
    panel = make()
    panel._ipython_display_()
    figure, words = displayed
    assert base64.b64decode(figure["image/png"]).startswith(b"\x89PNG")
    assert figure["text/plain"] == panel.view.text and " at 0x" not in figure["text/plain"]
    assert panel.rows and all(
        f"<th>{column}</th>" in words["text/html"] for column in panel.rows[0]
    )


@every
def test_every_value_has_a_labeled_control_that_redraws(make, displayed):
    panel = make()
    box = panel.box()
    controls = box.children[: len(panel.values)]
    assert [control.description != "" for control in controls] == [True] * len(panel.values)
    assert [control.value for control in controls] == list(panel.values.values())
    assert make is not edit_and_look or not displayed, "an edit waits for its button"
    displayed.clear()
    control = controls[-1]
    values = getattr(control, "options", None) or (0.25, 0.75)
    values = [v[1] if isinstance(v, tuple) else v for v in values]
    control.value = next(v for v in values[::-1] if v != control.value)
    assert bool(displayed) == (make is not edit_and_look), "an edit waits for its button"
    if make is edit_and_look:
        box.children[-2].click()
    name = list(panel.values)[-1]
    assert displayed[-2]["text/plain"] == panel.look(**{**panel.values, name: control.value}).text


@pytest.mark.parametrize("error", [None, FactError("no")])
def test_nothing_is_edited_before_the_press_and_the_button_says_that_it_works(
    error, displayed, monkeypatch
):
    panel, seen = edit_and_look(), []
    box = panel.box()
    *texts, _, button, out = box.children

    def look(**values):
        seen.append((button.disabled, button.description, values))
        if error is not None:
            raise error
        return panel.view

    monkeypatch.setattr(panel, "look", look)
    monkeypatch.setattr(out, "clear_output", lambda wait: displayed.clear())
    for text in texts:
        text.value = f"{text.value} again"
    assert not seen and not displayed and not panel._made
    for turn in range(2):  # after an error, too, the next press works
        button.click()
        assert seen[turn][:2] == (True, "Edit: working …")
        assert (button.disabled, button.description) == (False, "Edit")
    assert seen[0][2]["subject"] == "tower again"
    assert error is None or displayed == [{"text/plain": "no"}]


def test_a_kernel_with_a_front_end_gets_controls(monkeypatch, displayed):
    shell = type("Shell", (), {"kernel": object()})()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.delenv("EDIT_PANELS", raising=False)
    assert widgets.live()
    radius()._ipython_display_()
    assert any(isinstance(one, ipywidgets.interactive) for one in displayed)
    monkeypatch.setenv("EDIT_PANELS", "static")
    assert not widgets.live()
    assert build.environment("tiny")["EDIT_PANELS"] == "static"


@pytest.mark.slow
def test_the_library_needs_no_ipywidgets_and_neither_do_static_panels():
    code = (
        "import sys; sys.modules['ipywidgets'] = None\n"
        "import lib\n"
        "from lib.workbench import widgets\n"
        "import torch\n"
        "panel = widgets.RadiusExplorer(torch.eye(2), [(1,), (2,)], {'far': torch.zeros(1, 2)})\n"
        "assert panel.view.figure and not widgets.live() and '2 entries' in panel.view.text\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- one by one ----------------------------------------------------------------------------------


def test_edit_and_look_says_what_the_model_says(monkeypatch):
    lm, panel = model(), edit_and_look(editor="grace")
    prompts = [FACT.text, *ASKED]
    assert [line["before"] for line in panel.rows] == [
        " ".join(a.split()) for a in lm.answer(prompts, 6)
    ]
    first = encode_target(lm.tokenizer, "xy")[0]
    base = lm.next_token(FACT.text).exp()[first]
    with lm.patched(lib.EDITORS["grace"](lm, **EDITORS["grace"]).edit([FACT])):
        assert [line["after"] for line in panel.rows] == [
            " ".join(a.split()) for a in lm.answer(prompts, 6)
        ]
        edited = lm.next_token(FACT.text).exp()[first]
    assert edited > 2 * base
    assert f"{base:.3f} before the edit and {edited:.3f} after it" in panel.view.text
    changed = {line["group"]: line["before"] != line["after"] for line in panel.rows[1:]}
    counts = ", ".join(f"{group} {int(one)} of 1" for group, one in changed.items())
    assert panel.view.text.endswith(f"Other answers that changed: {counts}.")
    bars = panel.view.figure.axes[0].containers
    assert any(abs(bar.get_width() - edited) < 1e-6 for bar in bars[1])
    assert set(panel.patch.routes) == {lm.mlp_out(1)}
    assert [line["group"] for line in panel.rows] == ["the edit", "rewording", "unrelated"]
    monkeypatch.setattr(lib.LM, "answer", lambda *_: pytest.fail("an edit once made is kept"))
    assert panel.look(**panel.values).rows == panel.rows


def test_edit_and_look_explains_what_cannot_be_edited():
    panel = edit_and_look()
    with pytest.raises(ValueError, match="Subject 'tower' does not occur in the prompt 'It leans"):
        panel.look(**{**panel.values, "prompt": "It leans to"})
    empty = widgets.EditAndLook(model(), lib.Fact(None, "It leans to", "xy"), settings=EDITORS)
    with pytest.raises(ValueError, match="rome writes at the subject's last token"):
        _ = empty.view


@pytest.mark.parametrize("radius_", [0.5, 4.0])
def test_radius_counts_what_the_codebook_answers(radius_):
    edits, labels, others, owner = keys()
    view = radius().look(radius=radius_)
    book = Codebook.empty(edits.shape[1], 1)
    book.write(edits, labels, torch.zeros(4, 1), range(4), eps_init=radius_)
    for group, queries in {"edit": edits, **others}.items():
        entries = book.lookup(queries).entry
        assert row(view.rows, group=group)["answered"] == (entries >= 0).sum()
        if group in ("edit", "rewording"):
            mine = [e >= 0 and book.labels[e] == y for e, y in zip(entries, labels, strict=True)]
            assert row(view.rows, group=group)["with its own answer"] == sum(mine)
    assert f"{len(book)} entries with a median radius of {book.eps.median():.2f}" in view.text


def test_radius_counts_a_rewording_as_right_with_its_own_answer_alone():
    line = {"rewording": torch.tensor([[9.0], [9.5], [1.0], [5.0]])}
    keys_, labels = torch.tensor([[0.0], [10.0]]), [(1,), (2,)]
    panel = widgets.RadiusExplorer(keys_, labels, line, torch.tensor([1, 1, 1, 0]), radius=2.0)
    found = row(panel.rows, group="rewording")
    assert (found["answered"], found["with its own answer"], found["prompts"]) == (3, 2, 4)


@pytest.mark.parametrize("retrieve", [False, True])
@pytest.mark.parametrize("ratio", [0.5, 1.6])  # at 1 the last bit would decide
def test_threshold_counts_what_the_route_takes(retrieve, ratio):
    lm, patch = model(), wise(retrieve)
    panel, ((module, route),) = threshold(retrieve), patch.routes.items()
    assert len(route.memories) == 1 + retrieve
    assert panel.values == {"act_ratio": route.act_ratio}
    view = panel.look(act_ratio=ratio)
    moved = type(route)(route.memories, ratio, route.score, module)
    with lm.patched(lib.Patch(routes={module: moved})):
        for group, texts in GROUPS.items():
            _, notes = lm.answer(texts, 1, explain=True)
            routed = sum(note["score"] >= note["threshold"] for (note,) in notes)
            line = row(view.rows, group=group)
            assert line["routed"] == routed and f"{group} {routed} of {len(texts)}" in view.text
    shown = view.text.split("Δ = ")[1].split(" on.")[0]
    assert shown == ", ".join(f"{ratio * memory.eps:.3g}" for memory in route.memories)


def test_threshold_takes_numbers_that_are_there_and_refuses_others():
    ((_, route),) = wise().routes.items()
    eps = route.memories[0].eps
    panel = widgets.ThresholdExplorer(route, {"near": [eps, 2 * eps], "far": [0.1 * eps]}, 1.5)
    assert [line["routed"] for line in panel.rows] == [1, 0]
    rows = panel.look(act_ratio=0.05).rows
    assert [line["routed"] for line in rows] == [2, 1]
    assert row(rows, group="far")["median Δ/ε"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="scores of 3 memories, but there are 1"):
        widgets.ThresholdExplorer(route, {"x": torch.ones(2, 3)})
