"""A link to one edit and its picture: what is shown, and what a wrong link is told."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageFont
from starlette.applications import Starlette
from starlette.testclient import TestClient

import lib
from demo_app.api import endpoints
from demo_app.app import SHARED, routes
from demo_app.html import shared_picture
from demo_app.session import sharing
from demo_app.session.verdicts import judged
from demo_app.session.views import Column, Row, View
from demo_app.session.worker import Trouble

from .visits import TOWER

ROWS = tuple(
    judged(Row(group, text, before, 0.1, after, 0.9), "Samsung", first)
    for first in [Row("edit", "The iPhone was developed by", "Apple", 0.1, "Samsung", 0.9)]
    for group, text, before, after in [
        ("edit", "The iPhone was developed by", "Apple", "Samsung"),
        ("reworded", "The maker of the iPhone is", "Apple", "Samsung"),
        ("neighbor", "The iPod was developed by", "Apple", "Apple"),
        ("neighbor", "The iPad was developed by", "Apple", "Samsung"),
    ]
)


def pixels(data: bytes) -> set[tuple[int, ...]]:
    image = Image.open(io.BytesIO(data))
    assert image.size == (1200, 630) and image.format == "PNG"
    return {color for _, color in image.getcolors(1 << 24)}


def test_the_picture_has_the_red_row_and_the_score():
    red, blue = (
        tuple(bytes.fromhex(one[1:])) for one in (shared_picture.RED, shared_picture.GUESS)
    )
    found = pixels(shared_picture.drawn(ROWS, "Samsung", "ROME · SmolLM2-135M", (5, 6)))
    assert red in found and blue in found
    kept = pixels(shared_picture.drawn(ROWS[:3], "Samsung", "ROME", None))
    assert red not in kept, "nothing moved"


@pytest.mark.parametrize("text", ["", "W" * 600, "a " * 300, "\x00\u202e", "日本"])
def test_any_text_has_a_picture(text):
    pixels(shared_picture.drawn([Row("edit", text, text, None)], text, text[:40], None))


def test_wide_answers_are_cut():
    pixels(drawn(ROWS[0], replace(ROWS[3], before="M" * 60, after="W" * 60)))


@pytest.fixture
def installed(monkeypatch):
    """Sets the fonts of this machine."""

    def only(*paths: str) -> None:
        monkeypatch.setattr(shared_picture, "_installed", lambda bold: paths)
        shared_picture._other.cache_clear()

    yield only
    shared_picture._other.cache_clear()


def drawn(*rows: Row) -> bytes:
    return shared_picture.drawn(rows, "Samsung", "ROME", None)


def test_no_font_of_boxes_fills_in():
    for path in shared_picture._installed(False):
        assert not ImageFont.truetype(path, 20).getname()[0].startswith("Last Resort"), path


def test_a_line_with_letters_that_no_font_has_is_left_out(installed):
    installed()
    for field in {"prompt": "日本の首都は"}, {"before": "東京", "after": "北京"}:
        assert drawn(*ROWS[:3], replace(ROWS[3], **field)) == drawn(*ROWS[:3])
    blank = drawn(replace(ROWS[0], prompt="日本"), *ROWS[1:])
    assert blank == drawn(replace(ROWS[0], prompt="東京"), *ROWS[1:]) != drawn(*ROWS)
    hidden = replace(ROWS[3], prompt=f"\u202e{ROWS[3].prompt}\x00")
    assert drawn(ROWS[0], hidden) == drawn(ROWS[0], ROWS[3]), "no control characters"


def test_another_font_of_the_machine_fills_in(installed):
    folder = Path(shared_picture._own(False)).parent
    installed(str(folder / "missing.ttf"), str(folder / "STIXGeneral.ttf"))
    one, other = (replace(ROWS[0], prompt=f"The letter {letter} is") for letter in "\u1d81日")
    assert drawn(one) != drawn(other)


@pytest.fixture
def client(studio):
    def stored(subject):
        if subject.case.fact.subject != TOWER[0] or subject.case.fact.target_new != "Rome":
            return None
        return View(subject, (), columns=(Column("ft", "FT", ROWS),), stored=True)

    app = Starlette(routes=routes(studio, SimpleNamespace(view=stored)))
    return TestClient(app)


def test_a_score_becomes_a_question():
    said = [sharing.invitation(score) for score in ((5, 6), (6, 6), None)]
    assert said[0] == "I saw 5 of 6 coming. Would you?"
    assert said[1:] == [
        "I saw all 6 coming. Would you?",
        "What else would you expect to move?",
    ]


def test_a_link_opens_from_the_store(client, studio):
    for query in ({"example": "the-eiffel-tower"}, {"subject": TOWER[0], "prompt": TOWER[1]}):
        found = client.get(SHARED, params={**query, "target": "Rome", "editor": "ft", "saw": "2-3"})
        assert found.status_code == 200 and found.headers["content-type"] == "image/png"
        assert tuple(bytes.fromhex(shared_picture.RED[1:])) in pixels(found.content)
    other = client.get(SHARED, params={"example": "the-eiffel-tower", "editors": "grace,ft"})
    assert tuple(bytes.fromhex(shared_picture.RED[1:])) not in pixels(other.content)
    found = sharing.shared(
        studio.choices, studio.first_edits, lambda subject: None,
        {"example": "the-eiffel-tower", "saw": "5-6"},
    )  # fmt: skip
    link, picture = sharing.addresses(studio.choices, found)
    assert link == "?example=the-eiffel-tower&editors=rome&saw=5-6"
    assert picture == "share.png?example=the-eiffel-tower&editor=rome&saw=5-6"
    assert client.get(f"/{picture}").status_code == 200


WRONG = [
    {},
    {"example": "../../etc/passwd"},
    {"example": "x" * 100_000},
    {"subject": "a" * 100_000, "prompt": "{} is", "target": "b"},
    {"subject": "a", "prompt": "{} {} {0.__class__}", "target": "b"},
    {"subject": "a", "prompt": "{} is", "target": "b" * 100_000},
    {"example": "the-eiffel-tower", "editor": "../rome"},
    {"example": "the-eiffel-tower", "editor": "\x00" * 99},
    *({"example": "the-eiffel-tower", "saw": one} for one in (
        "1000000000", "1000000000-1000000000", "7-6", "-1-6", "0-0", "٣-٦", "5-6-7", "nan-inf",
    )),
]  # fmt: skip


@pytest.mark.parametrize("query", WRONG, ids=range(len(WRONG)))
def test_a_wrong_link_is_told_one_sentence(studio, query):
    with pytest.raises(Trouble) as error:
        sharing.shared(studio.choices, studio.first_edits, lambda subject: None, query)
    said = str(error.value)
    assert said.endswith(".") and "\n" not in said and len(said) < 200


def test_a_wrong_link_over_http_is_refused(client):
    found = client.get(SHARED, params={"example": "%2e%2e%2f<script>"})
    assert found.status_code == 400 and found.headers["content-type"].startswith("text/plain")
    assert client.get("/share.png/../preview.png/../../x").status_code == 404
    assert client.post(SHARED).status_code == 405


def test_the_endpoints_give_typed_rows_with_verdicts(studio):
    gr = pytest.importorskip("gradio")
    with gr.Blocks() as demo:
        endpoints(studio)
    named = demo.get_api_info()["named_endpoints"]
    for name in "/edit", "/share":
        fields = named[name]["returns"][0]["type"]["properties"]
        assert fields["verdict"] == {"type": "string"}
        row = fields["rows"]["items"]["properties"]
        assert {"prompt", "before", "after", "good", "verdict"} <= row.keys()


def test_a_fact_that_was_edited_here_has_its_rows(studio):
    subject = studio.choices.subject("Zog", "{} is", "b")
    made = SimpleNamespace(
        made={("ft", subject.case.fact, ()): SimpleNamespace(look=(subject, ROWS))}
    )
    query = {"subject": "Zog", "prompt": "{} is", "target": "b", "editor": "ft"}
    assert sharing.shared(studio.choices, made, lambda subject: None, query).rows == ROWS
    assert lib.Fact("Zog", "{} is", "b") == subject.case.fact
