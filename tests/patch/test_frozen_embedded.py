"""The embedded model answers, edits and is measured as at the freeze; see `test_frozen`."""

from __future__ import annotations

from typing import Any

import pytest

import lib

from ..support.usual import sample
from .test_frozen import (
    FILES,
    RETIRED,
    as_when_they_were_made,  # noqa: F401
    differences,
    limit,
    own_cache,  # noqa: F401
    plain,
)
from .test_frozen_runs import dossier, evaluated, same, same_scores, stored


@pytest.fixture(scope="module")
def embedded(own_cache):  # noqa: F811
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("XDG_CACHE_HOME")  # where the model lies
        lm = lib.load(dtype="float32", sink=None)
    return plain(lm)


EMBEDDED: dict[str, Any] = stored("embedded.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDED["patches"])
def test_patches_of_the_embedded_model(name, embedded):
    patch = lib.Patch.load(FILES / f"embedded-{name}.safetensors")
    assert embedded.identity == EMBEDDED["identity"] == patch.base
    assert embedded.answer(EMBEDDED["asked"], max_new_tokens=12) == EMBEDDED["base"]
    with embedded.patched(patch):
        found = embedded.answer(EMBEDDED["asked"], max_new_tokens=12)
    assert found == EMBEDDED["patches"][name]["answers"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sample(EMBEDDED["patches"], 1))
def test_edits_of_the_embedded_model(name, embedded):
    old = lib.Patch.load(FILES / f"embedded-{name}.safetensors")
    line = old.log[-1]
    retired = RETIRED.get(line.editor, {})
    settings = {key: value for key, value in line.settings.items() if key not in retired}
    new = lib.EDITORS[line.editor](embedded, **settings).edit(line.facts)
    assert not differences(new, old, limit(EMBEDDED["patches"][name]["rounding"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", sample(["rome", "grace"], 1))
def test_dossiers_of_the_embedded_model(name, embedded):
    patch = lib.Patch.load(FILES / f"embedded-{name}.safetensors")
    found = dossier(embedded, patch.facts[0].subject, patch)
    same(found, stored("embedded-dossier.json")[name], 1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sample(["memit", "grace", "retrieval"], 1))
def test_evaluation_on_the_embedded_model(name, embedded):
    scores = evaluated(embedded, f"embedded-{name}", 1)
    same_scores(scores, stored(f"scores-embedded-{name}.json.gz"))
