"""What a console cannot print, a closed pipe and a full disk: nothing that was computed is lost."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lib
from lib.workbench.cli import options
from lib.workbench.cli.main import main
from lib.workbench.cli.training import say
from lib.workbench.console import CLOSED, printable

from ..support import tiny
from ..support.usual import few

ROOT = Path(__file__).parents[2]
QUICK = ["--editor", "ft_m", "--set", "layer=1", "--set", "lr=0.02", "--set", "epochs=3"]


@pytest.fixture
def tiny_model(monkeypatch):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.workbench.cli.options.load", lambda *_: lm)


def console(monkeypatch, encoding="cp1252"):
    """A console of this encoding in the place of standard output; the bytes that arrive there."""
    arrived = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(arrived, encoding=encoding))
    return arrived


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_an_edit_is_saved_and_printed_on_a_console_without_its_letters(
    tiny_model, tmp_path, monkeypatch, encoding
):
    arrived, out = console(monkeypatch, encoding), tmp_path / "a.safetensors"
    words = ["--subject", "東京", "--prompt", "{} is", "--target", "xy", "--relation", "none"]
    assert main(["edit", *words, *QUICK, "--save", str(out)]) == 0
    assert lib.Patch.load(out).facts[0].subject == "東京"
    assert b"?? is\n  before:" in arrived.getvalue() and b"a.safetensors" in arrived.getvalue()


def test_a_patch_file_and_a_refusal_are_shown_there_too(tiny_model, tmp_path, monkeypatch, capsys):
    fact = lib.Fact("東京", "{} ist", "Ω")
    file = lib.Patch(log=(lib.Edit("rome", {}, (fact,)),)).save(tmp_path / "東京.safetensors")
    arrived = console(monkeypatch)
    assert main(["patch", "show", str(file)]) == 0
    assert b"fact 0: ?? ist -> ?" in arrived.getvalue()
    assert main(["patch", "show", str(tmp_path / "京")]) == 2
    assert "no patch file at" in capsys.readouterr().err


class Full:
    """A disk without room for files of one ending."""

    def __init__(self, monkeypatch, ending):
        replace = os.replace

        def refused(source, target):
            if str(target).endswith(ending):
                raise OSError(errno.ENOSPC, "no space left on device")
            replace(source, target)

        monkeypatch.setattr(os, "replace", refused)


def test_a_full_disk_loses_no_result(tiny_model, tmp_path, monkeypatch, capsys):
    Full(monkeypatch, ".json")
    data, out = tmp_path / "d.jsonl", tmp_path / "out.json"
    row = {"prompt": "I saw a cat", "subject": "cat", "target_new": "xy"}
    row |= {"paraphrases": ["Look, a cat"], "locality": ["A dog"]}
    data.write_text(json.dumps(row))
    words = ["stream", "--data", str(data), *QUICK, "--save", str(tmp_path / "p.safetensors")]
    assert main([*words, "--json", str(out)]) == 1
    shown = capsys.readouterr()
    assert "1 edits\n" in shown.out and "efficacy " in shown.out
    assert "no space left on device" in shown.err and len(shown.err.splitlines()) == 1
    assert lib.Patch.load(tmp_path / "p.safetensors").log and not out.exists()


def test_nor_where_the_patch_has_no_room(tiny_model, tmp_path, monkeypatch, capsys):
    Full(monkeypatch, ".safetensors")
    words = ["--subject", "cat", "--prompt", "I saw a {}", "--target", "xy", "--relation", "none"]
    assert main(["edit", *words, *QUICK, "--save", str(tmp_path / "p.safetensors")]) == 1
    shown = capsys.readouterr()
    assert "I saw a cat\n  before:" in shown.out and "no space left on device" in shown.err


def test_the_file_is_written_before_the_result_is_printed(tmp_path, monkeypatch):
    class Deaf(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Deaf())
    with pytest.raises(BrokenPipeError):
        options.report("said", tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    say("a line of progress, which ends no training")


@pytest.mark.parametrize("how", few(["-u", ""], 1))
def test_a_closed_pipe_is_silent(how):
    writer = (
        f"{sys.executable} {how} -m lessons.grader solution 1.5 | true; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", writer], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == "" and done.returncode == CLOSED


@pytest.mark.slow
def test_ctrl_c_is_one_line(ctrl_c):
    script = (
        "import sys, lib.workbench.cli.options as options\n"
        "from lib.workbench.cli.main import main\n"
        "def load(*_):\n    print('here', flush=True)\n    import time; time.sleep(60)\n"
        "options.load = load\n"
        "sys.exit(main(['prepare', '--editors', 'ft']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=-1, stderr=-1, text=True
    ) as child:
        assert child.stdout.readline() == "here\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
        assert child.stderr.read().strip() == "python -m lib prepare: stopped"


def test_a_console_of_somebody_else_stays_as_it_is(monkeypatch):
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", other)
    with printable():
        print("東京")
    assert other.getvalue() == "東京\n"


@pytest.mark.slow
def test_other_commands_print_there_too():
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for words in (("lessons.grader", "solution", "1.5"), ("notebooks.build", "--help")):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, env=env
        )
        assert done.returncode == 0 and done.stdout, done.stderr
