"""The page about one's own method: its snippets run in their order, and a kill loses nothing."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lib
from lib.workbench.cli.main import main

from ..support import tiny

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "notebooks" / "reference" / "own_method.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
KILLED = """
import os, sys
import lib
from tests.support import tiny
sys.path.insert(0, "")
from my_method import Push

class Dying(Push):
    def write(self, facts, after):
        if len(after.facts) == 2:
            os.kill(os.getpid(), 9)
        return super().write(facts, after)

lm = tiny.model("llama")
with_ = {"metrics": (), "events": ("generation",)}
lib.stream(lm, Dying(lm), lib.classroom()[:4], 1, (4,), with_, journal="run").finish()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the page's file, where a tiny model is loaded in place of any other."""
    lm, before = tiny.model("llama", max_position_embeddings=1024), dict(lib.EDITORS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(lib, "load", lambda *_: lm)
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)
    monkeypatch.delitem(sys.modules, "my_method", raising=False)
    Path("my_method.py").write_text(BLOCKS[0][1])
    yield lm
    lib.EDITORS.clear()
    lib.EDITORS.update(before)


def test_every_snippet_runs_in_its_order(here, capsys):
    assert [kind for kind, _ in BLOCKS] == ["python", "python", "python", "bash"]
    said, names = [], {}
    for _, text in BLOCKS[1:3]:
        exec(compile(text, "own_method.md", "exec"), names)
        said.append(capsys.readouterr().out)
    assert said[0].startswith("2 {") and "efficacy" in said[0] and names["run"].edits == 6
    assert names["run"].patch.log[0].editor == "push"
    assert "difference" in said[1] and "…" not in said[1]
    for command in BLOCKS[3][1].splitlines():
        words = shlex.split(command)
        if "ft_m" in words:  # its preset is for a model of thirty layers
            words += ["--set", "layer=1", "--set", "epochs=1"]
        assert main(words[3:]) == 0
    found = [json.loads(Path(name).read_text()) for name in ("push.json", "ft_m.json")]
    assert [one["editor"] for one in found] == ["push", "ft_m"]
    assert all(list(one["scores"]) == ["0", "6"] for one in found)
    assert "push on tiny-llama, 6 edits" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stream_of_an_own_editor_goes_on_after_a_kill(here):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment)
    assert done.returncode == -signal.SIGKILL
    lm = tiny.model("llama")
    from my_method import Push

    asked = {"metrics": (), "events": ("generation",)}
    cases = lib.classroom()[:4]
    left = lib.stream(lm, Push(lm), cases, 1, (4,), asked, journal="run")
    assert left.edits == 2
    plain = lib.stream(lm, Push(lm), cases, 1, (4,), asked).finish()
    assert left.finish().json()["scores"] == plain.json()["scores"]
    assert left.patch.log == plain.patch.log
