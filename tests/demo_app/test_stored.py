"""Finished examples: their files are whole and in step with what they were made from."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

import lib
from demo_app.html import figures, trace
from demo_app.lifelong import picture, stress_test
from demo_app.session.choices import Choices
from demo_app.session.views import tally
from demo_app.stored import __main__ as command
from demo_app.stored import examples, stills
from lib.editors.shared import config

pytestmark = pytest.mark.usefixtures("more_strong_settings")

FILES = sorted(examples.FOLDER.glob("*.json"))
PRESETS = config._presets  # before the random models get theirs
DEFAULT = examples.file_of("SmolLM2-135M-Instruct")


# ---- the files


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_whole_and_says_what_it_is(path, tmp_path):
    found = examples.read(path)
    assert examples.read(examples.write(found, tmp_path)) == found
    assert path.stat().st_size < 400_000
    told, untold = (figures.interference(one, "ROME") for one in found.forecast)
    assert "<h2>0 of 1 changed answers ranked high" in untold and "<h2>0 of" not in told
    if found.layers is not None:
        view = found.layers.view
        rows = view.columns[view.chosen].rows
        kept, asked = tally(rows, "neighbor")
        assert not tally(rows, "edit")[0] or kept < asked, "it failed, or it moved others"
        told = figures.layers(found.layers)
        assert len(view.columns) == 5 and found.layers.turn.found in told
        assert "data-keep" not in told, "there is no patch to take"
    if found.traced is not None:
        assert found.traced.findings.first.name in trace.shown(found.traced.findings)
    if found.dossier is not None:
        assert found.dossier.entity == found.fact.subject and len(found.dossier.lines) >= 3
        assert found.dossier.edits[0].facts == (found.fact,)
        assert any(line.changed for line in found.dossier.lines)
    if found.race is None:
        return
    test = found.race
    assert len(test.cases) == test.measured == command.EDITS
    assert not any("ended early" in note for note in picture.notes(test))
    every = {*stress_test.BASELINES, *command.RACE}
    assert every - {"mend"} <= {line.editor for line in test.lines} <= every
    assert min(line.points[-1].retention for line in test.lines) < 0.95, "a line falls"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_stored_answer_has_a_still_picture(path):
    found = examples.read(path)
    stored = {
        "dossier": found.dossier, "interference": found.forecast, "lifelong": found.race,
        "layers": found.layers, "trace": found.traced, "lasts": found.lasts,
    }  # fmt: skip
    drawn = stills.stills(found)
    assert drawn.keys() <= {key for key, part in stored.items() if part}
    assert path != DEFAULT or drawn.keys() == stored.keys()
    page = stills.cards([(key, f"{key} & <co>?") for key in stored], found)
    buttons = ElementTree.fromstring(page).findall("button")
    assert [one.get("data-question") for one in buttons] == list(stored)
    for one in buttons:
        pictures = one.findall(".//svg")
        assert len(pictures) == (one.get("data-question") in drawn)
        for circle in one.findall(".//circle"):
            assert 0 <= float(circle.get("cx")) <= 150
        assert all(picture.get("aria-label") for picture in pictures)
    assert "<svg" not in stills.cards([("dossier", "?")], None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_in_step_with_the_facts(path):
    found = examples.read(path)
    known = {case.id: case for case in lib.classroom(found.model)}
    assert found.facts == examples.digest(known.values()), f"python -m demo_app.stored: {path.name}"
    assert found.fact == known[0].fact
    assert found.race is None or all(known[case.id].fact == case.fact for case in found.race.cases)


def test_the_file_of_the_default_model_is_in_step_with_its_presets(default_lm, monkeypatch):
    monkeypatch.setattr(config, "_presets", PRESETS)
    found = examples.of(default_lm)
    today = command.settings(default_lm)
    assert found is not None
    assert {name: found.settings.get(name) for name in today} == today
    examples_here = map(Choices(default_lm).example, Choices(default_lm).examples)
    every = [examples.key(case.fact) for case in examples_here]
    assert set(found.opening) == {*every}, "each example has its answers"
    for one in found.opening.values():
        assert [column.editor for column in one.columns] == ["rome", "ft_m", "grace"]
        assert one.text and len(one.written) == 1 + len(one.columns)


def test_other_weights_of_the_same_name_have_no_examples(tmp_path):
    found = examples.read(DEFAULT)

    def model(name: str, weights: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, identity=f"{name} {weights}")

    lm = model(found.model, found.fingerprint)
    assert examples.of(lm) == found
    assert examples.of(model(found.model, "0" * 16)) is None
    for name in "somebody/new", "..\\new", "new":
        assert examples.of(model(name, found.fingerprint)) is None
    assert examples.of(lm, tmp_path) is None


@pytest.mark.parametrize("text", ["", '{"model": 3}'])
def test_a_file_that_is_no_example_is_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^x\.json does not contain valid examples: ") as error:
        examples.read(path)
    assert "\n" not in str(error.value)


# ---- what the lab makes of them


@pytest.fixture
def card(studio):
    """Makes a question's card over a random model, with or without the default one's examples."""
    gr = pytest.importorskip("gradio")
    from demo_app.tabs.lab import Card
    from demo_app.tabs.questions import questions

    def make(key: str, found: examples.Examples | None):
        with gr.Blocks():
            (question,) = [one for one in questions(studio, found) if one.key == key]
            return Card(studio, found, question)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("key", ["interference", "trace"])
def test_each_question_opens_with_its_stored_answer(card, key):
    made = card(key, examples.read(DEFAULT))
    assert made.question.title.endswith("?") and made.answers[0].value == ""
    page = made.opened(False)
    assert "Stored example" in page[made.caption] and "tiny-llama" in page[made.caption]
    assert page[made.answers[0]] and page[made.begun] is True
    if key == "trace":  # a game whose end is told in the last part, which is folded
        assert "Eiffel" not in page[made.caption]
        assert all(page[part].startswith("<details") for part in made.answers[1:])
    assert made.opened(False)[made.answers[0]] is page[made.answers[0]], "drawn once"
    assert made.opened(True) == {made.begun: True}, "nothing is sent twice"
    none = card(key, None)
    assert "No answer is stored for tiny-llama." in none.opened(False)[none.caption]
