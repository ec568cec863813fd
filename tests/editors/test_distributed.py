"""Two processes on one turn have the bits of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lib
from lib import distributed
from lib.__main__ import main
from lib.editors.shared import warmup_moments
from lib.errors import EditError
from lib.keys_values import answer_gradients
from lib.patch.patch import EMPTY
from lib.workbench.cli import options

from ..support import tiny
from ..support.networks import CASES, SMALL

ROOT = Path(__file__).parents[2]
WORDS = ["xyz", "qz", "xy", "abcde", "q", "ab", "xyzxyz"]
FACTS = [lib.Fact(None, "The tower" + " of" * i, w) for i, w in enumerate(WORDS)]
MANY = [lib.Fact(None, f"Number {i} is called", f"x{i}y") for i in range(20)]
SETTINGS = {"down": (1, 2), "gate": (2,), "step": 0.05, "group": 2}
TURNS = {  # name -> turns of facts, settings; the keys are 48 and 32 wide
    "two turns": ([FACTS[:5], FACTS[5:]], {"warmup": "none"}),  # 3 groups of 2, 2 and 1 facts
    "a worker with none": ([FACTS[:2]], {"warmup": "none"}),
    "warm": ([FACTS[:5]], {"warmup": "statistics", "repeat": 2}),
    "whitened": ([MANY], {"warmup": "none", "whiten": "gradient"}),
    "more columns than keys are wide": ([MANY, FACTS[:3]], {"warmup": "none"}),
}


def turns(lm, name):
    facts, settings = TURNS[name]
    editor, patch = lib.EDITORS["ultraedit"](lm, **SETTINGS, **settings), EMPTY
    for some in facts:
        patch = editor.edit(some, after=patch)
    return patch


@pytest.fixture(autouse=True, scope="module")
def small():
    """A pass of few facts, so that two workers have something to do, and a short warm-up.

    One thread, as each worker has: the last bits of a product depend on the number of threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answer_gradients, "TOKENS", 30)
        patched.setattr(warmup_moments, "TEXTS", 12)
        yield
    torch.set_num_threads(threads)


def everything(folder: Path) -> dict:
    """What one process has after all turns; run by each of the two, and by the test itself."""
    lm, found = tiny.model("llama"), {}
    for name in TURNS:
        patch = turns(lm, name)
        kept = patch.memory["ultraedit"]["moments"]
        found[name] = {
            "weights": {module: lm.weight(module, patch) for module in patch.weights},
            "moments": {f"{k}/{side}/{x}": torch.as_tensor(v) for k, both in kept.items()
                        for side, state in both.items() for x, v in state.items()},
        }  # fmt: skip
    patch = lib.EDITORS["malmen"](lm, **SMALL, network=str(folder / "net")).edit(FACTS[:5])
    found["malmen"] = {"weights": {m: lm.weight(m, patch) for m in patch.weights}, "moments": {}}
    return found


def worker(folder: Path) -> None:
    """What each of the two processes does, in the folder that the fixture has made."""
    torch.set_num_threads(1)
    answer_gradients.TOKENS, warmup_moments.TEXTS = 30, 12
    with distributed.started():
        me = distributed.rank()
        assert distributed.world() == 2
        torch.save(everything(folder), folder / f"{me}.pt")
        (folder / f"{me}.json").write_text(json.dumps(broken(me)))
        options.load = lambda *_: tiny.model("llama")
        assert main(json.loads((folder / "command.json").read_text())) == 0
    assert distributed.world() == 1


def broken(me: int) -> list[str]:
    """What this process hears when the first, the second, and one of another kind goes wrong."""
    real, errors, lm = answer_gradients._pass, [], tiny.model("llama")
    for sick in range(2):

        def lossy(*given, sick=sick):
            found, loss = real(*given)
            return found, loss * float("nan") if me == sick else loss

        answer_gradients._pass = lossy
        try:
            lib.EDITORS["ultraedit"](lm, **SETTINGS, warmup="none").edit(FACTS)
        except EditError as error:
            errors.append(str(error))
    answer_gradients._pass = real
    try:
        with distributed.together(EditError):
            if me:
                raise OSError("no card")
    except (EditError, OSError) as error:
        errors.append(f"{type(error).__name__} {error}")
    return errors


def rows(folder: Path) -> Path:
    words = ("cat", "bat", "rat", "hen", "dog", "cow")
    found = [
        {
            "prompt": f"I saw a {w}",
            "subject": w,
            "target_new": f"{w}y",
            "paraphrases": [f"A {w}"],
            "neighborhood": [{"prompt": "A dog", "target": "qz"}],
            "locality": ["A dog"],
        }
        for w in words
    ]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, found)))
    return folder / "d.jsonl"


def streamed(lm, folder: Path, name: str):
    editor = lib.EDITORS["ultraedit"](lm, warmup="none", step=0.05, group=1)
    cases = lib.read_cases(rows(folder))
    return lib.stream(lm, editor, cases, 3, (6,), journal=folder / name)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(what one process has, what each of two has, the folder, what the two have printed)."""
    folder = tmp_path_factory.mktemp("two")
    lm = tiny.model("llama")
    lib.EDITORS["malmen"](lm, **SMALL).fit(CASES, checkpoint=folder / "net", steps=1)
    next(iter(streamed(lm, folder, "run")))  # one process begins, two go on
    command = ["stream", "--data", str(rows(folder)), "--metrics", "all", "--events", "all",
               "--batch", "3", "--eval-at", "6",
               "--editor", "ultraedit", "--set", "warmup=none", "--set", "step=0.05",
               "--set", "group=1", "--journal", str(folder / "run"),
               "--json", str(folder / "out.json")]  # fmt: skip
    (folder / "command.json").write_text(json.dumps(command))
    (folder / "main.py").write_text(
        "import sys; from pathlib import Path; from tests.editors.test_distributed import worker\n"
        "worker(Path(__file__).parent)\n"
    )
    (folder / "t").mkdir()
    more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "t")}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", str(folder / "main.py")],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, **more}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    two = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    return everything(folder), two, folder, done.stdout


def pairs(found, name):
    """(where, of one process, of the two)."""
    one, two, *_ = found
    assert [each[name]["weights"].keys() for each in two] == [one[name]["weights"].keys()] * 2
    for kind, tensors in one[name].items():
        for key, tensor in tensors.items():
            yield f"{name} {kind} {key}", tensor, *(each[name][kind][key] for each in two)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TURNS, "malmen"])
def test_two_processes_have_the_bits_of_one(found, name):
    for where, one, first, second in pairs(found, name):
        assert torch.equal(first, one) and torch.equal(second, one), where


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_both(found):
    one, two = (json.loads((found[2] / f"{rank}.json").read_text()) for rank in range(2))
    assert one[:2] == two[:2] and len(one) == 3
    assert "from group 0 on is not finite" in one[0] and "from group 2 on" in one[1]
    assert (one[2], two[2]) == ("EditError no card", "OSError no card")


def test_blocks_are_whole_groups():
    lengths = [9, 9, 8, 5, 5, 5, 4, 4, 3, 3, 3]
    blocks = answer_gradients._blocks(lengths, 2, limit=20)
    assert blocks == [range(0, 2), range(2, 4), range(4, 8), range(8, 11)]
    assert answer_gradients._blocks(lengths, 100, limit=20) == [range(0, 11)]
    assert answer_gradients._blocks([50], 1, limit=20) == [range(0, 1)]


@pytest.mark.parametrize("n", [0, 1, 5, 6])
def test_shares_are_runs_that_together_are_the_whole(monkeypatch, n):
    monkeypatch.setattr(distributed, "world", lambda: 3)
    runs = []
    for of in range(3):
        monkeypatch.setattr(distributed, "rank", lambda of=of: of)
        runs.append(distributed.share(range(n)))
    assert [i for run in runs for i in run] == list(range(n))
    assert max(map(len, runs)) - min(map(len, runs)) <= 1


def test_alone_everything_is_the_identity():
    x = torch.randn(3, 4)
    assert distributed.world() == 1 and distributed.rank() == 0
    assert distributed.share([1, 2]) == [1, 2]
    assert distributed.joined(x) is x and distributed.of_first(x) is x
    with pytest.raises(OSError, match="as it is"), distributed.together(ValueError):
        raise OSError("as it is")


@pytest.mark.slow
def test_the_command_goes_on_where_one_process_was(found):
    """One journal, one table, one result."""
    *_, folder, printed = found
    assert printed.count("ultraedit on tiny-llama, 6 edits") == 1
    lm = tiny.model("llama")
    one = streamed(lm, folder, "other").finish().patch
    two = lib.Patch.load(folder / "run" / "patch.safetensors")
    for name in one.weights:
        assert torch.equal(lm.weight(name, two), lm.weight(name, one)), name
    assert len((folder / "run" / "rows.jsonl").read_text().splitlines()) == 2
    assert json.loads((folder / "out.json").read_text())["scores"].keys() == {"6"}
    assert not list((folder / "t").glob("run-*"))  # the second one's copy is gone
