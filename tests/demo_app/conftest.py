"""What the page's tests share: a studio on a random model, and the page in a real browser."""

from __future__ import annotations

import pytest

from demo_app.session.studio import Studio

from ..support import tiny
from ..support.browser import address, browser, visit  # noqa: F401
from . import visits

# random models are moved by large steps only
STRONG = {
    "ft": {"any": {"layer": 2, "lr": 2e-2, "epochs": 60, "target_eos": False}},
}
MORE = {
    **STRONG,
    "rome": {"any": {"layer": 1, "second_moment": False}},
    "grace": {"any": {"layer": 2}},
    "ft_m": {"any": {"layer": 2}},
}


@pytest.fixture(scope="module")
def studio():
    """A studio on a tiny random model, one for the tests of a file."""
    made = Studio(tiny.model("llama"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(request, tmp_path_factory):
    """A served page and its studio, one for the tests of a file, with the file's PRESETS."""
    pytest.importorskip("gradio")
    presets = getattr(request.module, "PRESETS", visits.QUICK)
    with visits.opened(tmp_path_factory.mktemp("gradio"), presets) as page:
        yield page


def presets(found):
    """A fixture in which random models have these presets."""

    def patched():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lib.editors.shared.config._presets", lambda: found)
            yield

    return pytest.fixture(scope="module")(patched)


strong_settings = presets(STRONG)
more_strong_settings = presets(MORE)
