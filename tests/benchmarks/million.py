"""A million edits in one stream: what one edit costs early and late, memory, disk, and kills.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.million [--edits 1000000] [--out FILE] [--folder F]

The facts are made up, one short line each, in a JSONL file that is read lazily. The model is a
random llama of one block, width 16, and the editor is UltraEdit with its one output projection, in
turns of 500. So nearly all of the time is the library's own, and what is asked is whether any part
of it grows with the number of edits. A model of this size cannot hold a million facts, and no
score is reported.

The stream is made twice, each time in processes of its own: once as a whole, and once killed with
SIGKILL at random moments and gone on with. Both have a journal. Afterwards they are compared: the
patch, the measurements at all points and all rows, whose seconds alone may differ.

turns   CPU milliseconds per edit of all that belongs to it (reading the rows, the edit, asking for
        its facts, writing the journal), median over ten turns from a point on, with the least and
        the largest of them, from the run that was not killed
calm    the least CPU milliseconds per edit among the turns of each 50,000 edits: on a machine that
        other programs share, the turn that they disturbed least
memory  anonymous memory of the process (RssAnon), which is what it holds itself; files that are
        mapped (RssFile) can be dropped by the system and are given beside it
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
import warnings
from functools import lru_cache
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch

import lib
from lib.atomic_files import whole_file
from lib.data.readers import read_cases
from lib.lifelong.journal_format import unsealed
from lib.lifelong.stream import stream

from ..support import tiny
from . import command

OUT = Path(__file__).with_suffix(".json")
POINTS = (1_000, 10_000, 100_000, 1_000_000)
TURNS = 10  # turns over which a median is taken
SPAN = 50_000  # edits among which the cheapest turn is looked for
MODEL = {
    "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 24, "head_dim": 8,
    "num_attention_heads": 2, "num_key_value_heads": 1,
}  # fmt: skip
SETTINGS = {"down": (0,), "step": 0.05}


class Words:
    """A tokenizer that remembers its last few hundred texts, among them all answers.

    Without it two thirds of the time of this tiny model would be spent on the same two answers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._read = lru_cache(256)(lambda text, special: tuple(self._ids(text, special)))

    def _ids(self, text: str, special: bool) -> list[int]:
        return self._tokenizer(text, add_special_tokens=special)["input_ids"]

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": list(self._read(text, add_special_tokens))}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def model() -> lib.LM:
    """The random model, the same in every process."""
    made = tiny.model("llama", **MODEL)
    return lib.LM(made.model, Words(made.tokenizer), name="random llama, one block of width 16")


def facts(path: Path, edits: int) -> None:
    """A file of so many made-up facts, each with a subject of its own and one of two answers."""
    draw = random.Random(0)
    with whole_file(path) as part, part.open("w") as file:
        for subject in islice(product(ascii_lowercase, repeat=5), edits):
            name = "".join(subject)
            row = {"subject": name, "prompt": f"{name} is", "ans": draw.choice(["xy", "qz"])}
            row |= {"rephrase_prompt": f"So {name} is", "loc": "It is", "loc_ans": "ab"}
            file.write(json.dumps(row) + "\n")


def memory() -> tuple[int, int]:
    """Resident bytes of this process now: anonymous, and of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return 1024 * int(found["RssAnon"]), 1024 * int(found["RssFile"])


def run(data: Path, journal: Path, turn: int, points: tuple[int, ...], log: Path) -> None:
    """The stream to its end, from wherever its journal stands; a line of the log for each turn."""
    lm, start = model(), time.process_time()
    cases = read_cases(data, lazy=True)
    indexed = time.process_time()
    editor = lib.EDITORS["ultraedit"](lm, **SETTINGS)
    asked = {"events": ("teacher_forced",), "metrics": ()}
    made = stream(
        lm, editor, cases, turn, points, asked, progress=False, journal=journal, sample=100
    )
    opened = time.process_time()
    with log.open("a") as file:
        file.write(json.dumps({"index": indexed - start, "open": opened - indexed}) + "\n")
        cpu, wall = time.process_time(), time.perf_counter()
        for row in made:
            now = time.process_time(), time.perf_counter()
            spent = {"edits": row["edits"], "cpu": now[0] - cpu, "wall": now[1] - wall}
            cpu, wall = now
            file.write(json.dumps({**spent, "memory": memory()}) + "\n")
            file.flush()


def forked(*given: Any) -> int:
    """`run` in a fork, which has imported everything already; the number of the process."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        run(*given)
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def saved(journal: Path) -> int:
    """The number of edits that the journal's state counts."""
    path = journal / "state.json"
    return json.loads(path.read_bytes())["edits"] if path.exists() else 0


def killed(given: tuple, edits: int, count: int, draw: random.Random) -> list[dict[str, int]]:
    """The run, killed so often at random places of the stream; where, and what was lost."""
    journal, log = given[1], given[-1]
    places = sorted(draw.sample(range(edits // 20, edits - edits // 20), count))
    found = []
    for place in places:
        child = forked(*given)
        while saved(journal) < place:
            if os.waitpid(child, os.WNOHANG)[0]:
                raise ValueError(
                    f"the run ended by itself before {place} edits, so none was killed"
                )
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.3))  # anywhere in a turn
        os.kill(child, signal.SIGKILL)
        how = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if how != -signal.SIGKILL:
            raise ValueError(f"the run ended by itself with {how}, so none was killed")
        found.append({"saved": saved(journal), "seen": json.loads(_last(log)).get("edits", 0)})
    finish(given)
    return found


def _last(log: Path) -> str:
    """The last whole line of a log."""
    return log.read_text().rpartition("\n")[0].splitlines()[-1]


def finish(given: tuple) -> None:
    """The run in a fork, to its end."""
    how = os.waitstatus_to_exitcode(os.waitpid(forked(*given), 0)[1])
    if how:
        raise ValueError(f"the run ended with {how}")


def content(journal: Path) -> dict[str, str]:
    """The hash of all that a journal holds, but for measured seconds."""
    state = json.loads((journal / "state.json").read_bytes())
    rows = hashlib.sha256()
    with (journal / "rows.jsonl").open("rb") as lines:
        for line in lines:
            whole, _ = unsealed(line.removesuffix(b"\n"))
            del whole["row"]["seconds"]
            rows.update(json.dumps(whole).encode())
    return {**state["sums"], "rows.jsonl": rows.hexdigest()}


def turns(log: Path, points: tuple[int, ...], turn: int) -> list[dict[str, Any]]:
    """At each point the cost of an edit and the memory, over ten turns from there on.

    At the end of the stream it is the last ten turns.
    """
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    rows = [line for line in lines if "edits" in line]
    found = []
    for point in points:
        first = min(point // turn, max(0, len(rows) - TURNS))
        # a turn at whose end everything is measured has the cost of that, too
        some = [row for row in rows[first : first + TURNS] if row["edits"] not in points]
        cost = [1000 * row["cpu"] / turn for row in some]
        found.append({
            "edits": point, "turns": len(some), "cpu_ms": statistics.median(cost),
            "least": min(cost), "most": max(cost),
            "anonymous": max(row["memory"][0] for row in some),
            "mapped": max(row["memory"][1] for row in some),
        })  # fmt: skip
    return found


def calm(log: Path, turn: int, points: tuple[int, ...], span: int = SPAN) -> list[dict[str, Any]]:
    """The least cost of an edit within each span of the stream, in milliseconds."""
    least: dict[int, float] = {}
    for line in log.read_text().splitlines():
        row = json.loads(line)
        if "edits" in row and row["edits"] not in points:
            end = -(-row["edits"] // span) * span
            cost = 1000 * row["cpu"] / turn
            least[end] = min(cost, least.get(end, cost))
    return [{"edits": end, "least": cost} for end, cost in sorted(least.items())]


def size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def whole(folder: Path, given: tuple, edits: int) -> dict[str, Any]:
    """The numbers of the run that is not killed."""
    data, journal, turn, points, log = given
    finish(given)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lm = model()
    return {
        "date": time.strftime("%Y-%m-%d"), "threads": torch.get_num_threads(),
        "model": lm.name, "weights": sum(p.numel() for p in lm.model.parameters()),
        "editor": "ultraedit", "settings": SETTINGS, "edits": edits, "turn": turn,
        "points": turns(log, points, turn), "calm": calm(log, turn, points),
        "opened": lines[0],
        # a run that went on after an interruption has opened the journal several times
        "cpu_seconds": sum(line["cpu"] for line in lines if "edits" in line),
        "bytes": {"journal": size(journal), "facts": data.stat().st_size},
    }  # fmt: skip


def measured(
    folder: Path, edits: int, turn: int, kills: int, out: Path, seed: int = 0
) -> dict[str, Any]:
    """Both runs in a folder, which keeps them; what is known is written after each."""
    points = (*(point for point in POINTS if point < edits), edits)
    data = folder / "facts.jsonl"
    if not data.exists():
        facts(data, edits)
    one, other = (
        (data, folder / n, turn, points, folder / f"{n}.log") for n in ("whole", "killed")
    )
    result = whole(folder, one, edits)
    keep(out, edits, result)
    result["kills"] = killed(other, edits, kills, random.Random(seed))
    result["same"] = content(one[1]) == content(other[1])
    keep(out, edits, result)
    return result


def keep(out: Path, edits: int, result: dict[str, Any]) -> None:
    """The result beside those of streams of other lengths."""
    kept = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    kept = dict(sorted({**kept, str(edits): result}.items(), key=lambda item: int(item[0])))
    with whole_file(out) as part:
        part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", type=int, default=1_000_000)
    parser.add_argument("--turn", type=int, default=500, help="facts in one call of the editor")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the runs here, and go on with them")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    if not 1 <= given.turn <= given.edits or any(p % given.turn for p in POINTS if p < given.edits):
        raise ValueError(f"turns of {given.turn} do not end at the points of {given.edits} edits")
    if given.edits < 100 or not 0 <= given.kills <= 20:
        raise ValueError("take at least 100 edits and at most 20 kills")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # forks
    with tempfile.TemporaryDirectory() as work:
        os.environ["XDG_CACHE_HOME"] = work
        folder = given.folder or Path(work) / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        result = measured(folder, given.edits, given.turn, given.kills, given.out)
    print(json.dumps(result), file=sys.stderr)


if __name__ == "__main__":
    command(main)
