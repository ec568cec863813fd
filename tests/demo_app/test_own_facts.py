"""A typed fact is judged by the relation that it means, else by its own prompt, or not at all."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import lib
from demo_app.html import opening
from demo_app.session import kinds
from demo_app.session.own_facts import OwnFacts
from demo_app.session.studio import Studio
from demo_app.session.views import Answer, Subject
from demo_app.session.visitors import Session
from demo_app.stored import examples
from lib.data.facts import Probe
from lib.data.relations import relations

from ..support import read_kinds

KINDS = ("located in the city of", "capital of", "currency of")
COLOSSEUM = ("The Colosseum", "{} stands in the city of", "Berlin")


@pytest.fixture(scope="module")
def studio(default_lm):
    """Of the classroom's relations a few: to read the wordings of all takes seven seconds."""
    few = {name: relations()[name] for name in KINDS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.evaluation.own_facts.relations", lambda: few)
        made = Studio(default_lm)
        yield made
        made.close()


@pytest.mark.slow
def test_a_typed_fact_gets_rewordings_and_neighbors_of_its_relation(studio):
    session = Session()
    asked = studio.choices.subject(*COLOSSEUM)
    assert asked.typed and not asked.case.paraphrases
    view = studio.look(session, asked).outcome()
    found = view.subject
    assert found.case.relation == "located in the city of"
    groups = [row.group for row in view.rows]
    assert groups.count("reworded") == 3 and groups.count("neighbor") == 6
    assert all("Colosseum" in row.prompt for row in view.rows if row.group == "reworded")
    assert "In which city is the Colosseum?" in [row.prompt for row in view.rows], "in a chat"
    assert "facts that nobody edits" in opening.rows(view)


@pytest.mark.slow
def test_where_nothing_fits_the_page_says_so(studio):
    flurble = ("Flurble", "{} snorks the grumpf of", "blib")
    view = studio.look(Session(), studio.choices.subject(*flurble)).outcome()
    assert not view.subject.case.neighborhood
    assert "neighbor" not in [row.group for row in view.rows]
    assert "chat" not in [row.group for row in view.rows], "it is no question"
    assert "Not tested: the model isn't sure of any other subject" in opening.rows(view)


@pytest.fixture
def own(monkeypatch):
    """OwnFacts over a model that is sure of what is given for each prompt."""

    def make(rows: dict[str, str], sure: float, *known: str) -> OwnFacts:
        food = {"E": "hay", "F": "ants", "G": "fish", "D thing": "x"}
        eats = {f"{name} eats": Probe(f"{name} eats", answer) for name, answer in food.items()}
        monkeypatch.setattr(kinds, "named", lambda: {"letter": ("A", "B", "C", "D thing")})
        monkeypatch.setattr(kinds, "kind_of", lambda lm, subject: "letter")
        monkeypatch.setattr(
            kinds, "facts", lambda kind: [eats[text] for text in known if text in eats]
        )
        lm = SimpleNamespace(
            patched=lambda patch, only: nullcontext(),
            next_token=lambda texts: torch.eye(len(texts), 9).mul(sure).clamp(min=1e-9).log(),
        )
        asker = SimpleNamespace(
            base=lambda job, asks, *_: [Answer(rows[text], torch.zeros(1)) for text, _ in asks],
            chances=lambda pairs, said: [sure for _ in pairs],
        )
        return OwnFacts(lm, asker)

    return make


@pytest.mark.parametrize(
    ("answers", "sure", "target", "expected"),
    [
        (["red", "the green", "blue."], 0.9, "black", ["red", "the green", "blue"]),
        (["red", "green", "blue"], 0.05, "black", []),  # not sure of them
        (["red", "green", "black and white"], 0.9, "black", []),  # the new answer is no neighbor
        (["red", "in 1901", "Rome"], 0.9, "Oslo", []),  # a color is no city
    ],
)
def test_other_names_of_the_kind_are_neighbors_where_the_answer_is_firm(
    own, answers, sure, target, expected
):
    relation = relations()["located in the city of"]
    rows = {f"{name} is": text for name, text in zip("ABC", answers, strict=True)}
    fact = lib.Fact("D thing", "{} is", target)
    found = own(rows, sure)._neighbors(None, fact, relation)
    assert [probe.target for probe in found] == expected


def test_a_prompt_of_ones_own_about_another_subject_is_a_neighbor(own):
    rows = {"E is": "red too.", "E eats": "hay", "D thing is": "blue", "F is": "black"}
    fact = lib.Fact("D thing", "{} is", "black")
    subject = Subject(lib.Case(fact), own=tuple(rows))
    asked = own(rows, 0.9)._asked_as_well(None, subject)
    assert asked == [Probe("E is", "red")], "F was black already"
    case = lib.Case(fact, neighborhood=tuple(asked))
    groups = {prompt: group for group, prompt, _ in Subject(case, own=("E is", "E eats")).prompts}
    assert (groups["E is"], groups["E eats"]) == ("neighbor", "own")


def test_a_rewording_stays_where_the_unedited_model_answers_it_in_the_sense_of_the_fact(own):
    fact = lib.Fact("D thing", "{} is", "black")
    texts = {"D thing is": "red.", "one": "red, too", "two": "a thing", "three": "blue"}
    ask = texts.keys() - {fact.text}
    asked = sorted(ask)
    assert own(texts, 0.9)._in_its_sense(None, fact, asked, set()) == ("one",)
    assert own(texts, 0.9)._in_its_sense(None, fact, asked, {"blue"}) == ("one", "three")
    assert own(texts, 0.05)._in_its_sense(None, fact, asked, {"blue"}) == ()


def test_a_name_of_the_list_is_of_its_kind_and_any_other_of_the_nearest(monkeypatch, tmp_path):
    lm = SimpleNamespace(fingerprint="none")
    assert kinds.kind_of(lm, "the danube") == "river", "no model is asked"
    assert kinds.kind_of(lm, "Flurble") is None and not kinds.file_of(lm).exists()
    place = {name: float(i) for i, names in enumerate(("abcdefgh", "ijklmnop")) for name in names}
    X = torch.tensor([[at, i % 2] for i, at in enumerate(place.values())])
    save_file(read_kinds.learned(X, X[:, 0].long(), 2), tmp_path / "kinds")
    monkeypatch.setattr(kinds, "named", lambda: {"near": (), "far": ()})
    monkeypatch.setattr(kinds, "listed", dict)
    monkeypatch.setattr(kinds, "file_of", lambda lm: tmp_path / "kinds")
    for at, kind in (1.2, "far"), (-0.2, "near"), (0.55, None):
        monkeypatch.setattr(kinds, "states", lambda *_, at=at: torch.tensor([[at, 0.5]]))
        assert kinds.kind_of(lm, "x") == kind, at


def test_the_stored_discriminant_is_of_the_model_and_the_list():
    found = examples.read(examples.file_of("SmolLM2-135M-Instruct"))
    held = load_file(kinds.file_of(found))
    assert held["W"].shape == (576, len(kinds.named())) and held["W"].dtype == torch.float16
    assert held["b"].shape == (len(kinds.named()),) and kinds.file_of(found).stat().st_size < 60_000
