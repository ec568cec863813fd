"""What the model still can do along a long stream: its edits again, without its other questions.

    python -m tests.benchmarks.stream_abilities "stableedit" --data counterfact.json --work FOLDER

NAME is a run that `long_stream` stored; its editor, settings and rows are taken from there, and the
size of the update at each point is stored beside that of the first run, so that one sees whether it
is the same stream. At each point `lib.evaluation.abilities` asks what the unedited model could. The
patch is kept in the folder after each turn: a run that was stopped, or ended by `--minutes`, goes
on there. Results by NAME in stream_abilities.json, item by item.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import lib
from lib.atomic_files import whole_file
from lib.evaluation.abilities import Abilities, abilities
from tests.benchmarks import command
from tests.benchmarks.long_stream import OUT as STREAMS
from tests.benchmarks.long_stream import update

OUT = Path(__file__).with_suffix(".json")


def bits(found: Abilities) -> dict[str, str]:
    """{kind: one 0 or 1 per item that the unedited model has right}."""
    return {
        str(kind): "".join("01"[right] for right in rows["right"])
        for kind, rows in found.rows.groupby("kind", sort=False)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the patch so far")
    parser.add_argument("--points", default="1000,5000,10000")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    stored = json.loads(STREAMS.read_text(encoding="utf-8"))
    if given.name not in stored:
        raise ValueError(f"there is no run '{given.name}'; there are {', '.join(stored)}")
    run, until = stored[given.name], time.monotonic() + 60 * given.minutes
    first, last = run["rows"]
    cases = list(lib.read_cases(given.data, limit=last + 1, target=run["target"]))[first:]
    points = [point for point in map(int, given.points.split(",")) if point <= len(cases)]
    warnings.simplefilter("ignore", lib.EditWarning)
    lm = lib.load(dtype="float32")
    if lm.identity != run["model"]:
        raise ValueError(f"the run was made on {run['model']}, this model is {lm.identity}")
    editor = lib.EDITORS[run["editor"]](lm, **tuples(run["settings"]))
    given.work.mkdir(parents=True, exist_ok=True)
    file = given.work / f"{given.name.replace(' ', '_').replace(',', '')}.safetensors"
    patch = lib.Patch.load(file) if file.exists() else lib.EMPTY
    done = sum(map(len, patch.log))
    known = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    result = known.setdefault(given.name, {"date": time.strftime("%Y-%m-%d"), "points": {}})
    before = None
    while done < points[-1] and time.monotonic() < until:
        facts = [case.fact for case in cases[done : done + run["batch"]]]
        patch = editor.edit(facts, after=patch)
        done += len(facts)
        patch.save(file)
        if done in points:
            before = found = abilities(lm, patch, base=before)
            earlier = [p["update"] for p in run["points"] if p["edits"] == done]
            page = found.page["edited"] - found.page["base"]
            result["points"][str(done)] = {
                "right": bits(found), "asked": found.asked,
                "page": [round(float(more), 5) for more in page],
                "update": round(update(lm, patch), 4),
                "update of the first run": round(earlier[0], 4) if earlier else None,
            }  # fmt: skip
            with whole_file(given.out) as part:
                part.write_text(json.dumps(known) + "\n", encoding="utf-8")
            print(done, found.json(), result["points"][str(done)]["update"], earlier, flush=True)
    print(f"{given.name}: {done} of {points[-1]} edits")


def tuples(settings: dict) -> dict:
    """Settings as an editor takes them: JSON's lists are tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


if __name__ == "__main__":
    command(main)
