"""Addresses: a link makes an edit again, names a place, and may say anything."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from demo_app.session import links
from demo_app.session.visitors import Session

pytestmark = pytest.mark.usefixtures("strong_settings")


def asked(studio, view) -> dict[str, str]:
    return dict(parse_qsl(links.link(studio.choices, view)[1:]))


def test_a_link_reopens_the_example(studio):
    ready = studio.look(Session(), studio.choices.ready_subject()).outcome()
    assert links.link(studio.choices, ready) == "?example=the-iphone"
    found = links.opened(studio.choices, {"example": "the-iphone"})
    assert found.label == studio.choices.ready and found.fact[2] == "Samsung"
    assert found.ignored is None
    view = studio.look(Session(), studio.choices.subject("alpha", "{} is", "x y")).outcome()
    assert asked(studio, view) == {"subject": "alpha", "prompt": "{} is", "target": "x y"}
    own = links.opened(studio.choices, asked(studio, view))
    assert own.label == "" and own.fact == ("alpha", "{} is", "x y") and own.editors == ()
    for query in {}, {"__theme": "dark"}, {"example": " "}:
        assert links.opened(studio.choices, query) == links.Opened()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"example": "<script>alert(1)</script>"}, "fact"),
        ({"example": "the-eiffel-tower", "editors": "ft,<b>"}, "some of the editors"),
        ({"editors": "ft,ft_l,ft_m,grace,retrieval"}, "some of the editors"),
        ({"editors": "ft", "settings": "ft.network = 1"}, "settings"),
        ({"example": "x", "editors": "y", "own": "w" * 700}, "fact, editors, prompts"),
    ],
)
def test_what_a_link_cannot_ask_is_left_out_with_one_sentence(studio, query, said):
    found = links.opened(studio.choices, query)
    assert found.ignored == f"The page cannot use these parts of the link: {said}."
    assert found.own == found.settings == "" and set(found.editors) <= set(studio.choices.editors)
    assert len(found.editors) <= 4 and (found.fact is None) != (
        "the-eiffel-tower" in query.values()
    )


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"place": "surprises"}, ("surprises", "")),
        ({"place": "trace"}, ("lab", "trace")),
        ({"place": "<script>"}, ("", "")),
    ],
)
def test_an_address_leads_to_a_place(query, place):
    assert links.place(query) == place
