"""Where the presets of the packaged models come from: a search per editor.

    python -m tests.benchmarks.sweep rome          # about 15 minutes on two cores
    python -m tests.benchmarks.sweep rome --model behind       # with the sink token
    python -m tests.benchmarks.sweep rome --model gemma-3-270m --cases 12

It writes tests/benchmarks/sweeps.json, and for another model sweeps-MODEL.json beside it. The first
is of the embedded model without its token. That one has no presets any more, but rows of the other
reading took settings over from it.
Only even-numbered classroom cases that the model knows are used; odd ones are for reporting. A
sweep that was stopped goes on from its journal. `sweep "wise ours"` is of our form of WISE.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import tempfile
import time
from pathlib import Path
from typing import Any

import lib
from lib.workbench.preset_search.tune import Rows, best, plain_json, preset, search
from tests.benchmarks import measured
from tests.benchmarks.rows import classroom

OUT = Path(__file__).with_name("sweeps.json")
GEMMA = "gemma-3-270m"
BEHIND = "behind"  # the embedded model behind its sink token
RATES = (0.1, 0.25, 0.5)
# even cases in one call, as editors of many facts are meant; scored on the first of them
BATCH = {"together": True, "facts": 40}
WINDOW = {"layers": (3, 5, 8), "widths": (1, 3, 5), "around": 0, "together": True, "facts": 24}
GRID: dict[str, dict[str, Any]] = {
    "rome": {"layers": (2, 5, 8, 11, 15, 20), "grid": {"v_lr": RATES}},
    "ft": {
        "layers": (12, 18, 22, 25, 27),
        "grid": {"lr": (1e-3, 2e-3, 5e-3)},
        "around": 0,
        **BATCH,
    },
    # statistics of layers 23 to 27 alone: a backward pass through all layers costs minutes
    "crispedit": {
        "layers": (27,),
        "widths": (3, 5),
        "grid": {"lr": (1e-3, 2e-3), "energy": (0.5, 0.9, 0.99)},
        "around": 0,
        "together": True,
        "facts": 24,
    },
    # layers and shares of a prompt that were left to choose from (24 even cases; git at 2f928b6)
    "horen": {
        "layers": (23, 27),
        "grid": {"share": (0.01, 0.5, 1.0), "tau": (None, 0.8)},
        "around": 0,
        "together": True,
        "facts": 24,
    },
    # each fact alone: the vectors of several would add up to one direction for all prompts
    "steer": {
        "layers": (12, 20),
        "grid": {"multiplier": (1.0, 2.0, 4.0)},
        "around": 0,
        "together": False,
    },
    # fine-tuning beside the weights; each fact alone
    "lora": {
        "layers": (20, 25, 27),
        "widths": (1,),
        "grid": {"lr": (5e-4, 1e-3, 2e-3), "modules": (("down",), ("attn",))},
        "around": 0,
        "together": False,
    },
    "memit": {**WINDOW, "grid": {"strength": (500.0, 1_000.0, 3_000.0)}},
    "pmet": {**WINDOW, "grid": {"strength": (500.0, 1_000.0, 3_000.0)}},
    "emmet": {**WINDOW, "grid": {"strength": (0.0, 1_000.0, 10_000.0)}},
    "alphaedit": {
        **WINDOW,
        "grid": {"quantile": (0.5, 0.7, 0.8, 0.9), "L2": (1.0, 3.0, 10.0, 30.0)},
    },
    # the layers to choose from are all up to the given one; each fact is tried in every one of them
    "wilke": {"layers": (3, 5, 7, 9), "around": 1, "grid": {"v_lr": RATES}, "together": False},
}
# Gemma 3 270M has 18 layers. Its head of 262,144 tokens makes a trial dear, so the grids are small.
SHORT = {"contexts": [[9, 4]]}  # four contexts and the bare prompt, as for the embedded model
# our form of a method whose default is the paper's algorithm; its name is the editor's with "ours"
FORM: dict[str, Any] = {"settings": {"preset": "ours"}, "purpose": "ours"}
# purpose: what is chosen is the preset of that name, and the one without a name stays
GRIDS: dict[str, dict[str, dict[str, Any]]] = {
    # the published key, bound and contexts are where it begins; what was best without the token is
    # tried beside them
    BEHIND: {
        # the papers' algorithms, whose layers are those of our forms
        "wise": {
            "layers": (24,),
            "grid": {"lr": (10.0, 5.0), "n_iter": (15, 25)},
            "around": 0,
            "together": True,
        },
        "lemoe": {"layers": (20,), "grid": {"lr": (3e-3, 1e-3)}, "around": 0, **BATCH},
        "ultraedit": {
            "layers": (20,),
            "widths": (9,),
            "grid": {"step": (0.2, 0.4, 0.8)},
            "around": 0,
            **BATCH,
        },
        # layers that no other editor's preset writes (22, 24, 26) beside that of the preset so far
        "wise ours": {
            "layers": (25, 22, 24, 26),
            "grid": {},
            "around": 0,
            "together": True,
            **FORM,
        },
        "memoir": {
            "layers": (25, 24, 26, 22),
            "grid": {"lr": (3.0, 1.5), "tau": (0.45, 0.35, 0.55)},
            "around": 0,
            "together": True,
        },
        "horen": {
            "layers": (27, 26, 24, 23),
            "grid": {},
            "around": 0,
            "together": True,
            "facts": 24,
        },
        "lemoe ours": {
            "layers": (20, 18, 22),
            "grid": {"lr": (3e-3, 1e-3)},
            "around": 0,
            "together": True,
            **FORM,
            "purpose": "ours.batch",
        },
        "lora": {
            "layers": (25, 24, 27),
            "widths": (1,),
            "grid": {"lr": (5e-4, 2.5e-4, 1e-3)},
            "around": 0,
            "together": False,
        },
        # the layers of the preset so far, and the window moved up and down by three
        "ultraedit ours": {
            "layers": (20, 17, 23),
            "widths": (9,),
            "grid": {"step": (0.2, 0.1, 0.4), "strength": (1_000.0, 300.0, 3_000.0)},
            "around": 0,
            **BATCH,
            **FORM,
            "purpose": "ours.batch",
        },
        "crispedit": {
            "layers": (27,),
            "widths": (5, 3),
            "grid": {"lr": (1e-3, 5e-4, 2e-3), "energy": (0.99, 0.9)},
            "around": 0,
            "together": True,
            "purpose": "batch",
            "facts": 24,
        },
        # each fact alone, as a stream gives them: fifty documents of one fact are few batches
        "sdf": {
            "layers": (23,),
            "grid": {"batch_size": (16, 4), "lr": (1e-3, 2e-3), "epochs": (1, 2)},
            "around": 0,
            "together": False,
        },
        "rome": {
            "layers": (3, 5, 7),
            "grid": {
                "v_lr": (0.25, 0.5),
                "keys": ("mean", "both", "mixed"),
                "clamp": (4.0, 20.0),
                "context_top_k": (5, 0),
            },
            "around": 0,
        },
        "memit": {
            "layers": (4, 5, 7),
            "widths": (1, 3, 5),
            "grid": {
                "strength": (500.0, 1_000.0, 3_000.0, 15_000.0),
                "context_start": ("words", 0),
                "context_top_k": (5, 0),
            },
            "around": 0,
            "together": True,
            "facts": 24,
        },
        "alphaedit": {
            "layers": (4, 5),
            "widths": (5,),
            "grid": {"quantile": (0.5, 0.7, 0.8, 0.9), "L2": (1.0, 3.0, 10.0)},
            "around": 0,
            "together": True,
            "facts": 24,
        },
        "emmet": {
            "layers": (5, 7),
            "widths": (1,),
            "grid": {"strength": (0.0, 1_000.0, 10_000.0)},
            "around": 0,
            "together": True,
            "facts": 24,
        },
        "ft": {"layers": (25, 27), "grid": {"lr": (1e-3, 2e-3, 5e-3)}, "around": 0, **BATCH},
        "ft_m": {
            "layers": (25, 27),
            "grid": {"lr": (2.5e-4, 5e-4, 1e-3, 2e-3)},
            "around": 0,
            "together": False,
        },
        "grace": {
            "layers": (20, 23, 25),
            "grid": {"eps_init": (2.0, 4.0, 8.0)},
            "around": 0,
            "together": True,
        },
    },
    GEMMA: {
        # A norm follows the MLP, whose outputs are about 3 long in the middle layers, and a step of
        # the published rate, 0.5 in each of 640 numbers, is 13.
        "rome": {
            "layers": (3, 5, 7),
            "grid": {"clamp": (1.0, 2.0), "v_lr": (0.05, 0.5)},
            "around": 0,
            "settings": SHORT,
        },
        "memit": {
            "layers": (5, 7),  # about those where ROME was best
            "widths": (1, 3),
            "grid": {"clamp": (0.75, 1.5), "strength": (1_000.0, 15_000.0)},
            "around": 0,
            "together": True,
            "settings": {**SHORT, "v_lr": 0.05},
        },
        "ft": {
            "layers": (9, 12, 14, 16),
            "grid": {"lr": (5e-4, 1e-3, 2e-3)},
            "around": 0,
            "together": True,
            "facts": 24,
        },
        "ft_m": {
            "layers": (12, 14, 16, 17),
            "grid": {"lr": (3e-5, 6e-5, 1.2e-4, 2.5e-4, 5e-4)},
            "around": 0,
            "together": False,
        },
        "grace": {
            "layers": (12, 14, 16),
            "grid": {"eps_init": (1.0, 4.0, 16.0)},
            "around": 0,
            "together": True,
        },
    },
}


def grid_of(model: str | None, name: str) -> dict[str, Any]:
    """What is tried for an editor on a model, by default the embedded one without its token."""
    found = dict(GRID[name] if model is None else GRIDS[model][name])
    return {"settings": {}, "around": 2, **found}


def load(model: str | None) -> lib.LM:
    """The model of a grid."""
    name = None if model == BEHIND else model
    return lib.load(name, dtype="float32", sink=None if model is None else "own")


def even(count: int, model: str | None = None) -> list[lib.Case]:
    return classroom("tuning", model)[:count]


def sweep(
    name: str,
    count: int,
    settings: dict,
    out: Path,
    journal: Path,
    budget: float | None,
    model: str | None = None,
) -> dict:
    """All stages; the rows in the order in which they were tried, and the best one."""
    options, lm = grid_of(model, name), load(model)
    editor = name.partition(" ")[0]
    purpose, many = options.pop("purpose", None), options.pop("facts", 0)
    cases = even(count, lm.name)
    facts = [case.fact for case in even(many, lm.name)] or None
    options["settings"] = {**options["settings"], **settings}
    rows = Rows(journal, lm, (cases, facts, options["settings"]))
    found = search(lm, editor, cases, options, rows, budget or math.inf, facts)
    tried = {"layer", "layers", *options["grid"]}
    config = lib.EDITORS[editor](lm, **options["settings"]).settings_dict()
    result = {
        "command": f"python -m tests.benchmarks.sweep {shlex.quote(name)} --cases {count}"
        + (f" --model {model}" if model else "")
        + "".join(f" --set {key}={json.dumps(value)}" for key, value in settings.items()),
        "model": lm.identity,
        "cases": [case.id for case in cases],
        "settings": {k: v for k, v in plain_json(config).items() if k not in tried},
        "date": time.strftime("%Y-%m-%d"),
        **({"purpose": purpose} if purpose else {}),
        "rows": [recorded(row) for row in found],
        "best": recorded(best(found)),
    }
    write(out, name, result)
    return {**result, "preset": preset(lm, editor, found, count)}


def recorded(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in ("editor", "trial_seconds")}


def write(out: Path, name: str, found: dict) -> None:
    """Put one editor's sweep into the file, whole or not at all."""
    kept = json.loads(out.read_text()) if out.exists() else {}
    part = out.with_suffix(f".{os.getpid()}.tmp")
    part.write_text(json.dumps({**kept, name: found}, indent=1) + "\n", encoding="utf-8")
    part.replace(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("editor")
    parser.add_argument(
        "--model", choices=sorted(GRIDS), help="default: the embedded one, no token"
    )
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--budget", type=float, help="seconds")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--out", type=Path, help="default: sweeps.json, or that of the model")
    parser.add_argument("--journal", type=Path, help="default: in the folder for temporary files")
    given = parser.parse_args()
    prepared = GRIDS[given.model] if given.model else GRID
    if given.editor not in prepared:
        parser.error(f"no grid is prepared for {given.editor}; there are {', '.join(prepared)}")
    which = f"-{given.model}" if given.model else ""
    out = given.out or OUT.with_name(f"sweeps{which}.json")
    settings = {k: json.loads(v) for k, _, v in (pair.partition("=") for pair in given.set)}
    journal = given.journal or Path(tempfile.gettempdir()) / f"sweep{which}-{given.editor}.jsonl"
    found = sweep(given.editor, given.cases, settings, out, journal, given.budget, given.model)
    journal.unlink(missing_ok=True)  # its rows are in the file now
    measured.record(out, vars(given))
    print(json.dumps(found["best"], indent=1), found["preset"], sep="\n")


if __name__ == "__main__":
    main()
