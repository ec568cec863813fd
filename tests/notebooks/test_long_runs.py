"""Every module of long runs gives runs whose first job makes rows, on a tiny model."""

from __future__ import annotations

import importlib
import json
import os
from itertools import islice
from pathlib import Path

import pytest

import lib
from notebooks.support import models, stored_runs
from notebooks.support import runs_04_rome as runs_04
from notebooks.support.dealt import dealt

from ..support.usual import sample

FOLDER = Path(stored_runs.__file__).parent
MODULES = [
    path.stem for path in sorted(FOLDER.glob("runs_*.py")) if "def runs(" in path.read_text()
]


def test_dealt_streams_are_full_and_share_no_fact():
    streams = dealt(5, 20)
    ids = {case.id for stream in streams for case in stream}
    assert [len(stream) for stream in streams] == [20] * 5
    assert len(ids) == 100 and all(number % 2 for number in ids)
    with pytest.raises(ValueError, match="not 6 × 20"):
        dealt(6, 20)


@pytest.fixture(scope="module")
def lm():
    return models.load("tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", sample(MODULES, 4))
def test_a_stored_run_has_the_settings_that_its_module_gives_now(name):
    module = importlib.import_module(f"notebooks.support.{name}")
    if hasattr(module, "counterfact") and "EDIT_DATA" not in os.environ:
        pytest.skip("it edits a file that is not shipped")
    for run in module.runs(models.load("small", sink="own")):
        for path in FOLDER.parent.joinpath("data").rglob(f"{run.name}.json"):
            found = stored_runs.read(path)["settings"]
            assert stored_runs.settings_hash(run.settings) == stored_runs.settings_hash(found), path


@pytest.mark.slow
@pytest.mark.parametrize("name", sample(MODULES, 2))
def test_every_long_run_has_jobs_that_make_rows_and_settings_that_name_reading_and_configs(
    name, lm, monkeypatch, tmp_path
):
    module = importlib.import_module(f"notebooks.support.{name}")
    monkeypatch.setattr(models, "load", lambda *_, **__: lm)
    monkeypatch.setenv("EDIT_DATA", "no file is read")
    cases = lib.classroom()[1::2]
    few = {name: facts[:2] for name, facts in runs_04.draws().items()}
    monkeypatch.setattr(runs_04, "draws", lambda edits=2: few)
    if hasattr(module, "counterfact"):
        monkeypatch.setattr(
            module, "counterfact", lambda count: (cases * (count // 90 + 1))[:count]
        )
    if name == "runs_03_where":  # the tiny model knows none of its facts
        monkeypatch.setattr(module, "cases", lambda lm: cases[:4])
    monkeypatch.setattr(module, "FACTS", 1, raising=False)  # of two, where later ones follow
    runs = module.runs(lm)
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        assert run.name[:2] == name[5:7] and {"reading", "editors"} <= run.settings.keys()
        try:
            rows = list(islice(next(iter(run.jobs.values()))(), 2))
        except lib.errors.EditError as error:  # nobody has trained a network for the tiny model
            assert "no trained network" in str(error) and "network" in "".join(run.settings)
            continue
        assert rows and json.dumps(stored_runs._plain(rows))
