"""On the embedded model: the verdicts of the gallery."""

from __future__ import annotations

import pytest

import lib
from demo_app.session import gallery
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session

from ..support.usual import sample

HELD = gallery.gallery()


@pytest.mark.slow
@pytest.mark.parametrize("shown", sample(HELD.exhibits, 1), ids=lambda one: one.key)
def test_every_link_comes_to_its_stated_verdict(embedded, shown):
    session = Session()
    for start in gallery.plan(embedded, shown):
        view = start(session).outcome()
    assert gallery.measured(view, shown.said) == shown.said


@pytest.fixture(scope="module")
def embedded():
    made = Studio(lib.load())
    assert made.lm.fingerprint == HELD.fingerprint, "measured on other weights: measure again"
    yield made
    made.close()
