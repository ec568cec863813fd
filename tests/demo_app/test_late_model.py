"""The page opens before its model is loaded, and nobody can tell but by the time it takes."""

from __future__ import annotations

import json
import threading

import pytest

import lib
from demo_app.html import next_word
from demo_app.session import late_model, suspects
from demo_app.session.late_model import CHANGED, Late
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session

from ..support import tiny

pytestmark = pytest.mark.usefixtures("strong_settings")

TOWER = ("The Eiffel Tower", "{} is located in the city of")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A random model in a folder, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lm = tiny.model("llama")
    lm.model.save_pretrained(tmp_path / "tiny")
    lm.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def studios():
    """Makes studios that are closed when the test ends."""
    made = []

    def make(lm: lib.LM) -> Studio:
        made.append(Studio(lm, keep=True))
        return made[-1]

    yield make
    for studio in made:
        studio.close()


def first(folder, studios) -> lib.LM:
    """What a first start leaves: the model is written down, the first answers are kept."""
    assert late_model.find(str(folder)) is None
    lm = lib.load(str(folder))
    late_model.note(str(folder), lm)
    studio = studios(lm)
    studio.look(Session(), studio.choices.ready_subject()).outcome()
    return lm


def test_what_the_page_opens_with_needs_no_weights(folder, studios, monkeypatch):
    lm = first(folder, studios)
    late = Late(str(folder), late_model.find(str(folder)))
    studio = studios(late)
    view = studio.look(Session(), studio.choices.ready_subject()).outcome()
    assert next_word.panel(late, view) and suspects.whole_model(late) == suspects.whole_model(lm)
    for editor in studio.choices.editors():
        assert studio.choices.settings(editor) == studios(lm).choices.settings(editor)
    assert type(late) is Late and "model" not in vars(late), "nothing was loaded so far"
    same = ("name", "fingerprint", "n_layers", "context", "vocabulary", "dtype", "device")
    assert [getattr(late, one) for one in same] == [getattr(lm, one) for one in same]

    session = Session()
    studio.edit(session, studio.choices.subject(*TOWER, "xy"), "ft").outcome()
    assert type(late) is lib.LM and late.answer(TOWER[0], 3) == lm.answer(TOWER[0], 3)
    assert [getattr(late, one) for one in same] == [getattr(lm, one) for one in same]
    with late.patched(session.patch):
        assert late.is_patched
    assert studio.revisions.undo(session).outcome().undone and studio.revisions.sound()
    assert len(studio.revisions.bytes) == late.n_layers


def test_the_tokenizer_is_the_one_that_the_model_gets(folder):
    lm = lib.load(str(folder))
    path = folder / "tokenizer_config.json"
    said = json.loads(path.read_text())
    for name in (late_model.GENERAL, "PreTrainedTokenizerFast", None):
        path.write_text(json.dumps({**said, "tokenizer_class": name}))
        found = late_model._tokenizer(folder)
        assert type(found) is type(lm.tokenizer) and found.eos_token_id == lm.tokenizer.eos_token_id
        assert found("The Eiffel Tower xy") == lm.tokenizer("The Eiffel Tower xy")
    for broken in ("", "{"):
        path.write_text(broken)
        try:
            late_model._tokenizer(folder)
        except ValueError as error:
            assert "\n" not in str(error)


def test_all_who_need_it_wait_for_one_load(folder, studios, monkeypatch):
    first(folder, studios)
    late, loads, load = Late(str(folder), late_model.find(str(folder))), [], lib.load
    gate = threading.Event()

    def slow(name):
        loads.append(name)
        gate.wait(10)
        return load(name)

    monkeypatch.setattr(lib, "load", slow)
    found = []
    waiting = [threading.Thread(target=lambda: found.append(late.blocks)) for _ in range(4)]
    for one in waiting:
        one.start()
    gate.set()
    for one in waiting:
        one.join(10)
    assert loads == [str(folder)] and len(found) == 4 and len({id(one) for one in found}) == 1
    with pytest.raises(AttributeError):
        _ = late.no_such_thing


def test_a_model_that_changed_or_cannot_be_read_is_one_sentence(folder, studios, monkeypatch):
    first(folder, studios)
    known = late_model.find(str(folder))
    other = tiny.model("llama", seed=1)
    late = Late(str(folder), known)
    with monkeypatch.context() as patch:
        patch.setattr(lib, "load", lambda name: other)
        with pytest.raises(ValueError, match="not those of its last start"):
            late.arrive()
    assert late_model.find(str(folder)) is None and "last start" in CHANGED

    late_model.note(str(folder), lib.load(str(folder)))
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert late_model.find(str(folder)) is None, "other files have a name of their own"
    with pytest.raises(ValueError, match="holds no model that could be loaded"):
        Late(str(folder), known).arrive()
    with pytest.raises(ValueError, match="holds no model that could be loaded"):
        Late(str(folder.parent), known)


def test_what_is_written_down_is_read_with_care(folder, studios):
    lm = first(folder, studios)
    path = late_model._path(str(folder))
    whole = json.loads(path.read_text())
    for broken in (
        b"", b"[]", b"\xff", json.dumps({**whole, "layers": 0}).encode(),
        json.dumps({**whole, "fingerprint": "../../etc"}).encode(),
        json.dumps({**whole, "more": 1}).encode(),
        json.dumps({**whole, "vocabulary": 1e300}).encode(),
    ):  # fmt: skip
        path.write_bytes(broken)
        assert late_model.find(str(folder)) is None and not path.exists(), broken
        late_model.note(str(folder), lm)
        assert late_model.find(str(folder)) == late_model.known(lm)
    for nothing in ("no/such/folder", "owner/name", str(path)):
        assert late_model.find(nothing) is None
        late_model.note(nothing, lm)
    late_model.forget(str(folder))
    late_model.forget(str(folder))
    assert late_model.find(str(folder)) is None
