"""The notebooks' panels without a front end: driven by their traits, compared with the library."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import ipywidgets
import pytest
import torch
from traitlets import TraitError

import lib
from lib import memory, widgets
from lib.data.facts import encode_target
from lib.editors.grace.codebook import Codebook
from lib.interpret.causal_trace import trace
from lib.interpret.logit_lens import lens
from lib.model import activations
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


@cache
def run() -> lib.lifelong.run.Run:
    case = [
        lib.Case(
            fact,
            paraphrases=(f"That {fact.subject} leans to",),
            neighborhood=(lib.Probe("The house leans to", "abc"),),
            locality=("Seven days",),
            id=fact.subject,
        )
        for fact in FACTS
    ]
    metrics = ("generalization", "specificity", "locality")
    settings = {"metrics": metrics, "events": ("generation", "probability")}
    editor = lib.EDITORS["grace"](model(), **EDITORS["grace"])
    return lib.stream(model(), editor, case, 1, [0, 1, 2, 4], settings).finish()


@cache
def traced():
    with model().patched(lib.EMPTY):
        return trace(model(), FACT, samples=3, noise=2.0, deviation=0.3, window=2)


def ranks(patch: lib.Patch = lib.EMPTY):
    return lens(model(), FACT.text, ["xy", "qz"], patch)


def edit_and_look(**more) -> widgets.EditAndLook:
    return widgets.EditAndLook(model(), FACT, ASKED, editors=EDITORS, settings=EDITORS, **more)


def interference() -> widgets.InterferenceExplorer:
    return widgets.InterferenceExplorer(model(), FACTS, editor=rome())


def layers() -> widgets.LayerSlider:
    return widgets.LayerSlider(traced(), ranks(), ranks(rome().edit([FACT])), layer=2)


def radius() -> widgets.RadiusExplorer:
    prompts = {"rewording": [f"That {fact.subject} leans to" for fact in FACTS]}
    return widgets.RadiusExplorer(*keys(), radius=0.5, limit=4.0, prompts=prompts)


def threshold() -> widgets.ThresholdExplorer:
    return widgets.ThresholdExplorer.read(model(), wise(), GROUPS)


def player() -> widgets.CurvePlayer:
    return widgets.CurvePlayer({"GRACE": run()})


ALL = (edit_and_look, interference, layers, radius, threshold, player)
every = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
BAD = {  # what a control cannot mean -> a word of the sentence
    edit_and_look: ("editor", "romeo", "rome, grace"),
    interference: ("edited", 9, "0, 1, 2, 3"),
    layers: ("layer", 40, "0, 1, 2, 3"),
    radius: ("radius", -1.0, "between 0 and 4"),
    threshold: ("act_ratio", math.nan, "between 0 and 2"),
    player: ("edits", 3, "1, 2, 4"),
}


def row(panel: widgets.Panel, **wanted) -> dict:
    (found,) = [row for row in panel.rows if wanted.items() <= row.items()]
    return found


# ---- all of them ---------------------------------------------------------------------------------


@every
def test_the_static_figure_and_its_numbers_need_no_front_end(make, monkeypatch):
    monkeypatch.setenv("EDIT_PANELS", "static")
    panel = make()
    bundle = panel._repr_mimebundle_()
    assert panel.static()._repr_png_().startswith(b"\x89PNG")
    assert set(bundle) == {"image/png", "text/plain"} and " at 0x" not in bundle["text/plain"]
    assert panel.rows and not panel.message
    for line in panel.rows:
        for value in line.values():
            shown = widgets.panel.plain(value)
            assert shown in panel.text
    assert "<table>" in panel.html and panel.view.text in bundle["text/plain"]


@every
def test_every_control_is_labeled_and_drives_its_trait(make):
    panel = make()
    before = panel.static()
    box = panel.output
    assert isinstance(box, ipywidgets.VBox) and box is panel.output
    assert list(panel._controls) == list(panel.LABELS)
    for name, control in panel._controls.items():
        assert control.description == panel.LABELS[name] != ""
        assert control.value == getattr(panel, name)
    picture = panel._picture.value
    assert "<img" in picture and 'alt="' in picture and panel._words.value == panel.html
    name, control = list(panel._controls.items())[-1]
    values = getattr(control, "options", None) or (0.25, 0.75)
    values = [v[1] if isinstance(v, tuple) else v for v in values]
    control.value = next(v for v in values[::-1] if v != control.value)
    assert getattr(panel, name) == control.value
    if make is edit_and_look:
        assert panel.static() is before  # an edit waits for its button
        (button,) = box.children[0].children[len(panel.LABELS) :]
        assert button.description == "Edit"
        button.click()
    assert panel.static() is not before and panel._picture.value != picture


@every
def test_bad_input_is_one_sentence_and_changes_nothing(make):
    panel = make()
    before, (name, value, word) = panel.static(), BAD[make]
    held = getattr(panel, name)
    with pytest.raises((ValueError, TraitError), match=word) as error:
        setattr(panel, name, value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
    assert getattr(panel, name) == held and panel.static() is before


@every
def test_a_value_that_comes_back_is_drawn_without_the_model(make, monkeypatch):
    panel = make()
    text, name = panel.text, list(panel.LABELS)[0 if make is interference else -1]
    first = getattr(panel, name)
    control = panel.controls()[name][1]
    options = [o[1] if isinstance(o, tuple) else o for o in control.get("options", (0.3, 0.7))]
    other = next(o for o in options if o not in (first, getattr(panel, "watched", None)))

    def turn(value):
        setattr(panel, name, value)
        if make is edit_and_look:
            panel.edit()
        return panel.text

    assert turn(other) != text

    def refuse(*_, **__):
        raise AssertionError("the model was run again")

    for asking in ("answer", "next_token", "run", "score", "keys", "output"):
        monkeypatch.setattr(lib.LM, asking, refuse)
    monkeypatch.setattr(Codebook, "write", refuse)
    assert turn(first) == text


def test_a_kernel_with_a_front_end_gets_both(monkeypatch):
    import IPython

    shell = type("Shell", (), {"kernel": object()})()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.delenv("EDIT_PANELS", raising=False)
    assert widgets.live()
    panel = player()
    bundle = panel._repr_mimebundle_()
    assert bundle[widgets.panel.VIEW]["model_id"] == panel.output.model_id
    assert "image/png" in bundle and bundle["text/plain"] == panel.text
    monkeypatch.setenv("EDIT_PANELS", "static")
    assert not widgets.live()
    assert build.environment("tiny")["EDIT_PANELS"] == "static"


def test_display_leaves_a_figure_and_a_table(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setenv("EDIT_PANELS", "static")
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: shown.append(data))
    player()._ipython_display_()
    assert ["image/png" in shown[0], "text/html" in shown[1], len(shown)] == [True, True, 2]


def test_the_library_needs_no_ipywidgets_and_neither_do_static_panels():
    code = (
        "import sys; sys.modules['ipywidgets'] = None\n"
        "import lib; assert 'traitlets' not in sys.modules\n"
        "from lib import widgets\n"
        "panel = widgets.CurvePlayer(widgets.Played([1, 2], {'held': [100, 50]}))\n"
        "assert panel.static() and not widgets.live() and '50.0' in panel.text\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- one by one ----------------------------------------------------------------------------------


def test_edit_and_look_says_what_the_model_says():
    lm, panel = model(), edit_and_look(editor="grace")
    patch = panel.edit()
    prompts = [FACT.text, *ASKED]
    assert [line["before"] for line in panel.rows] == lm.answer(prompts, 6)
    first = encode_target(lm.tokenizer, "xy")[0]
    base = lm.next_token(FACT.text).exp()[first]
    with lm.patched(lib.EDITORS["grace"](lm, **EDITORS["grace"]).edit([FACT])):
        assert [line["after"] for line in panel.rows] == lm.answer(prompts, 6)
        edited = lm.next_token(FACT.text).exp()[first]
    assert edited > 2 * base
    assert f"{base:.3f} before the edit and {edited:.3f} after it" in panel.text
    bars = panel.static().axes[0].containers
    assert any(abs(bar.get_width() - edited) < 1e-6 for bar in bars[1])
    assert set(patch.routes) == {lm.mlp_out(1)} and panel.patch is patch
    assert [line["group"] for line in panel.rows] == ["the edit", "rewording", "unrelated"]


def test_edit_and_look_waits_and_explains():
    panel = edit_and_look()
    first, held = panel.edit(), panel.static()
    panel.new_answer = "qz"
    assert panel.static() is held and "'xy'" in panel.text
    assert panel.edit() is not first and "'qz'" in panel.text
    panel.prompt = "It leans to"
    patch, held = panel.patch, panel.static()
    assert panel.edit() is patch and panel.static() is held
    assert panel.message == "subject 'tower' does not occur in the prompt 'It leans to'"
    panel.prompt = FACT.prompt
    panel.edit()
    assert panel.message == ""
    empty = widgets.EditAndLook(model(), lib.Fact(None, "It leans to", "xy"), settings=EDITORS)
    with pytest.raises(ValueError, match="rome writes at the subject's last token"):
        empty.static()
    assert empty.edit() is lib.EMPTY and "no subject" in empty.message


def test_edit_and_look_turns_a_warning_into_a_note():
    panel = edit_and_look(editor="grace", after=edit_and_look(editor="grace").edit())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panel.edit()
    assert "Note: the model already answers" in panel.text


def test_interference_is_what_memory_predicts_and_the_model_shows():
    lm, panel = model(), interference()
    panel.edited, panel.watched = 2, 3
    K = lm.keys(FACTS, 1).double()
    rho = lib.interference(K)
    line = row(panel, fact="oak")
    assert line["ρ(i, j)"] == pytest.approx(rho[2, 3].item(), abs=1e-9)
    assert f"ρ(i, j) = {rho[2, 3]:.3f} and ρ(j, i) = {rho[3, 2]:.3f}" in panel.text
    angle = math.degrees(math.acos(torch.cosine_similarity(K[:, 2], K[:, 3], dim=0)))
    assert f"{angle:.0f}° apart" in panel.text
    update, _ = rome().update(FACTS[2])
    moved = memory.change(update, K.float()).norm(dim=0)
    assert line["predicted (%)"] == pytest.approx(100 * (moved[3] / moved[2]).item(), rel=1e-4)
    for other in panel.rows:  # one key is written: the share is |ρ|
        assert other["predicted (%)"] == pytest.approx(100 * abs(other["ρ(i, j)"]), rel=1e-3)
        assert other["measured (%)"] == pytest.approx(other["predicted (%)"], rel=1e-3)
    before = lm.score(FACTS[3].text, "qz").sum()
    with lm.patched(rome().edit([FACTS[2]])):
        change = (lm.score(FACTS[3].text, "qz").sum() - before).item()
    assert line["change of log p (nats)"] == pytest.approx(change, abs=1e-5)
    assert abs(change) > 1e-3
    plane, right = panel.static().axes
    assert plane.lines[1].get_xdata()[0] == pytest.approx(rho[2, 3].item())
    (point,) = right.collections[0].get_offsets().tolist()
    assert point == pytest.approx([line["predicted (%)"], line["measured (%)"]])


def test_interference_of_a_fact_with_itself_is_refused():
    panel = interference()
    before = panel.static()
    panel.watched = 0
    assert panel.static() is before
    assert panel.message == "choose two different facts: 'tower' hears itself whole"
    panel.watched = 2
    assert panel.static() is not before and panel.message == ""
    for facts, word in ((FACTS[:1], "at least two"), ([lib.Fact(None, "x", "y")] * 2, "has none")):
        with pytest.raises(ValueError, match=word):
            widgets.InterferenceExplorer(model(), facts, editor=rome())
    with pytest.raises(ValueError, match="grace does not say beforehand"):
        widgets.InterferenceExplorer(model(), FACTS, editor=lib.EDITORS["grace"](model()))


def test_layers_show_the_trace_and_the_lens():
    panel, found = layers(), traced()
    panel.layer, panel.shown = 1, "MLPs"
    for i, line in enumerate(panel.rows):
        for kind, name in {"hidden": "states", "mlp": "MLPs", "attention": "attention"}.items():
            effect = found.indirect(kind)[i, 1].item()
            assert line[name] == pytest.approx(effect)
            assert f"{effect:.3f}" in panel.text
    assert f"total effect of {found.total_effect:.3f}" in panel.text
    assert f"effect is {found.indirect('mlp')[:, 1].max():.3f}" in panel.text
    (frame,) = panel.static().axes[0].patches
    assert frame.get_x() == 0.5 and frame.get_width() == 1
    panel.shown = "ranks"
    table, before = ranks(), ranks(rome().edit([FACT]))
    for answer in ("xy", "qz"):
        line = row(panel, answer=answer)
        for name, some in (("rank", table), ("rank before", before)):
            of_it = some[(some["layer"] == 1) & (some["answer"] == answer)]
            assert line[name] == of_it["rank"].item()
        assert f"'{answer}' has rank {line['rank']:,}" in panel.text


def test_layers_need_something_to_show():
    with pytest.raises(ValueError, match="neither a trace nor"):
        widgets.LayerSlider()
    only = widgets.LayerSlider(ranks=ranks())
    assert only.choices == ["ranks"] and only.layers == [0, 1, 2, 3] and only.static()
    part = trace(model(), FACT, layers=[1, 3], tokens=[5], kinds=["mlp"], samples=2, noise=2.0)
    some = widgets.LayerSlider(part, layer=3)
    assert some.layers == [1, 3] and "–" in some.text and "nan" not in some.text
    with pytest.raises(ValueError, match="one of 1, 3, not 2"):
        some.layer = 2
    with pytest.raises(ValueError, match="of one prompt"):
        widgets.LayerSlider(ranks=lens(model(), ["a tower", "a cat"], ["xy"]))


@pytest.mark.parametrize("radius_", [0.0, 0.5, 2.0, 4.0])
def test_radius_counts_what_the_codebook_answers(radius_):
    edits, labels, others, owner = keys()
    panel = radius()
    panel.radius = radius_
    book = Codebook.empty(edits.shape[1], 1)
    book.write(edits, labels, torch.zeros(4, 1), range(4), eps_init=radius_)
    for group, queries in {"edit": edits, **others}.items():
        entries = book.lookup(queries).entry
        assert row(panel, group=group)["answered"] == (entries >= 0).sum()
        if group in ("edit", "rewording"):
            mine = [e >= 0 and book.labels[e] == y for e, y in zip(entries, labels, strict=True)]
            assert row(panel, group=group)["with its own answer"] == sum(mine)
    assert f"{len(book)} entries with a median radius of {book.eps.median():.2f}" in panel.text
    panel.rule = "one radius"
    distance = torch.cdist(others["rewording"], edits).min(1).values
    answered = distance <= radius_
    assert row(panel, group="rewording")["answered"] == answered.sum()
    named = [f"That {fact.subject} leans to" in panel.text for fact in FACTS]
    assert [i for i, here in enumerate(named) if here] == answered.nonzero()[:2, 0].tolist()


def test_radius_counts_a_rewording_as_right_with_its_own_answer_alone():
    line = {"rewording": torch.tensor([[9.0], [9.5], [1.0], [5.0]])}
    keys_, labels = torch.tensor([[0.0], [10.0]]), [(1,), (2,)]
    panel = widgets.RadiusExplorer(keys_, labels, line, torch.tensor([1, 1, 1, 0]), radius=2.0)
    found = row(panel, group="rewording")
    assert (found["answered"], found["with its own answer"], found["prompts"]) == (3, 2, 4)


def test_radius_changes_who_is_answered_and_refuses_what_does_not_fit():
    panel, seen = radius(), set()
    for at in (0.0, 1.0, 2.0, 4.0):
        panel.radius = at
        seen.add(tuple(line["answered"] for line in panel.rows))
    assert len(seen) > 1
    edits, labels, others, _ = keys()
    for bad in (
        (edits, labels[:2], others), (edits, labels, {}), (edits, labels, {"x": edits[:, :3]}),
    ):  # fmt: skip
        with pytest.raises(ValueError) as error:
            widgets.RadiusExplorer(*bad)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("retrieve", [False, True])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.9, 1.6])  # at 1 the last bit would decide
def test_threshold_counts_what_the_route_takes(retrieve, ratio):
    lm, patch = model(), wise(retrieve)
    panel = widgets.ThresholdExplorer.read(lm, patch, GROUPS)
    ((module, route),) = patch.routes.items()
    assert len(route.memories) == 1 + retrieve and panel.act_ratio == route.act_ratio
    panel.act_ratio = ratio
    moved = type(route)(route.memories, ratio, route.score, module)
    with lm.patched(lib.Patch(routes={module: moved})):
        for group, texts in GROUPS.items():
            _, notes = lm.answer(texts, 1, explain=True)
            routed = sum(note["score"] >= note["threshold"] for (note,) in notes)
            line = row(panel, group=group)
            assert line["routed"] == routed and f"{group} {routed} of {len(texts)}" in panel.text
    shown = panel.text.split("Δ = ")[1].split(" on.")[0]
    assert shown.removesuffix(" (one per memory)") == ", ".join(
        f"{ratio * memory.eps:.3g}" for memory in route.memories
    )


def test_threshold_takes_numbers_that_are_there_and_refuses_others():
    ((_, route),) = wise().routes.items()
    eps = route.memories[0].eps
    panel = widgets.ThresholdExplorer(route, {"near": [eps, 2 * eps], "far": [0.1 * eps]}, 1.5)
    assert [line["routed"] for line in panel.rows] == [1, 0]
    panel.act_ratio = 0.05
    assert [line["routed"] for line in panel.rows] == [2, 1]
    assert row(panel, group="far")["median Δ/ε"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="scores of 3 memories, and there are 1"):
        widgets.ThresholdExplorer(route, {"x": torch.ones(2, 3)})
    with pytest.raises(ValueError, match="no group"):
        widgets.ThresholdExplorer(route, {})
    with pytest.raises(ValueError, match="0 routes of side memories"):
        widgets.ThresholdExplorer.read(model(), lib.EMPTY, GROUPS)


def test_player_shows_what_was_measured_up_to_there():
    panel = player()
    for point in (1, 2, 4):
        panel.edits = point
        scores = run().scores[point].json()
        names = {"held": "retention", "reworded": "generalization", "neighbors": "specificity",
                 "unrelated": "locality"}  # fmt: skip
        for name, metric in names.items():
            assert f"{name} {100 * scores[metric]['generation']:.1f}" in panel.text
        rows = run().scores[point].rows
        said = rows[(rows["metric"] == "retention") & (rows["event"] == "generation")]
        assert row(panel, prompt=FACT.text)["says"] == said.iloc[0]["text"]
        curve = next(c for c in panel.static().axes[0].lines if c.get_label() == "held")
        drawn = [not math.isnan(y) for y in curve.get_ydata()]
        assert drawn == [at <= point for at in (1, 2, 4)]
    limits = panel.static().axes[0].get_xlim()
    panel.edits = 1
    assert panel.static().axes[0].get_xlim() == limits


def test_player_of_several_runs_and_of_none():
    runs = {n: widgets.Played([1, 2], {"held": [100, y]}) for n, y in (("a", 50), ("b", 25))}
    panel = widgets.CurvePlayer(runs)
    assert "held 50.0" in panel.text
    panel.line = "b"
    assert "held 25.0" in panel.text and "b, 2 edits" in panel.text
    said = [{"Where?": "Rome"}, {"Where?": "Paris"}]
    spoken = widgets.CurvePlayer(widgets.Played([1, 2], {"held": [100, 50]}, said), edits=1)
    assert row(spoken, prompt="Where?")["says"] == "Rome"
    spoken.edits = 2
    assert row(spoken, prompt="Where?")["says"] == "Paris"
    with pytest.raises(ValueError, match="'held' has 1 values for 2 points"):
        widgets.Played([1, 2], {"held": [1]})
    with pytest.raises(ValueError, match="at least one point"):
        widgets.Played([], {"held": []})
    with pytest.raises(ValueError, match="same numbers of edits"):
        widgets.CurvePlayer({**runs, "c": widgets.Played([3], {"held": [1]})})
    fresh = lib.stream(model(), lib.EDITORS["grace"](model()), run().cases)
    with pytest.raises(ValueError, match="measured nothing yet"):
        widgets.CurvePlayer(fresh)
