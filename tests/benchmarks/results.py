"""Write RESULTS.md: everything that the JSON files of this folder say, on one readable page.

python -m tests.benchmarks.results
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE / "RESULTS.md"
EVENTS = {
    "probability": "probability",
    "teacher_forced": "teacher-forced",
    "generation": "generation",
    "generation_exact": "generation, exact",
    "kl_nats": "KL, nats",
}
HEAD = """# What was measured

Written by `python -m tests.benchmarks.results` from the JSON files of this folder; the command that
made a file stands in the docstring of the Python file of the same name. All on the embedded model
(SmolLM2-135M-Instruct, float32), one thread of an AMD EPYC.

**No GPU was available for any of these numbers**, and no model above 135M was measured: what larger
models need is counted in [notebook 16](../../notebooks/16_at_scale.ipynb), not measured, and the
notebook's last cell measures on a GPU where there is one.

The machine was shared with other work. Ratios of one run hold; seconds are a guide. Shares are in %
with their 95 % interval over cases.
"""


def read(name: str) -> dict[str, Any]:
    """One of the JSON files."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table: the first column left, the others right."""
    lines = [[str(cell) for cell in row] for row in rows]
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines)) + "\n"


def share(row: dict[str, Any] | None) -> str:
    """ "80 [78, 82]", or a dash where nothing was measured."""
    if row is None or row.get("mean") is None:
        return "–"
    if row["event"] == "kl_nats":
        return f"{row['mean']:.3f}"
    low, high = row.get("low"), row.get("high")
    between = "" if low is None or high is None else f" [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{100 * row['mean']:.0f}{between}"


def pick(rows: Iterable[dict[str, Any]], metric: str, event: str) -> dict[str, Any] | None:
    """The row of a metric and event."""
    return next((r for r in rows if (r["metric"], r["event"]) == (metric, event)), None)


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash."""
    return "–" if value is None else f"{value:,.{digits}f}"


def speed() -> str:
    """Seconds against floors."""
    rome, spread, ultra = read("rome_speed"), read("spread_speed"), read("ultraedit_speed")
    rows = [
        (f"rome, {n} contexts", number(r["seconds"]), f"{r['over_floor']:.2f} ×",
         f"{r['whole_plain_over_replay']:.1f} ×", f"{r['authors_over_ours_per_rate']:.1f} ×")
        for n, r in rome.items() if isinstance(r, dict)
    ]  # fmt: skip
    for name, r in spread.items():
        if isinstance(r, dict) and "over_floor" in r:
            ratio = r.get("authors_over_ours_per_rate")
            rows.append((f"{name}, {r['facts']} facts, bare prompt", number(r["seconds"]),
                         f"{r['over_floor']:.2f} ×", "–",
                         "–" if ratio is None else f"{ratio:.1f} ×"))  # fmt: skip
    edits = ultra["edits"]
    rows.append((f"ultraedit, {edits['facts']} facts in a turn (CPU)", number(edits["cpu"], 3),
                 f"{edits['over_floor']:.2f} ×", "–",
                 f"{edits['authors_over_ours_per_rate']:.1f} ×"))  # fmt: skip
    head = ("editor", "seconds per edit", "against the floor", "whole model / replay",
            "authors' code / ours")  # fmt: skip
    wide, asked = ultra["wide"], ultra["evaluation"]
    packed = {name: r for name, r in read("packed_speed").items() if isinstance(r, dict)}
    more = table(
        ("products with packed weights against plain ones", "forward", "backward"),
        ((name, f"{r['forward']:.2f} ×", f"{r['backward']:.2f} ×") for name, r in packed.items()),
    )
    return f"""## Seconds per edit

`rome_speed`, `spread_speed`, `ultraedit_speed`. The floor is the multiply-adds that cannot be
avoided, at the rate of a plain matrix product in the same run; packed products go below it. The
authors' code is compared at equal matrix rates.

{table(head, rows)}
Values of 32 facts searched at once: {spread["batched_1"]["speedup"]:.2f} × faster than one by one
with the bare prompt, {spread["batched_5"]["speedup"]:.2f} × with five contexts. UltraEdit's
regression of one 7B-shaped matrix: {wide["cpu"]:.1f} s in the smaller form,
{wide["primal"]:.0f} s in the larger. One evaluated prompt: {asked["cpu"]:.3f} s, against
{asked["as_released"]:.3f} s as the released code asks.

`packed_speed`: frozen layers on a CPU.

{more}"""


def memory_speed() -> str:
    """Cost of the editors beside the weights, where it was measured."""
    path = HERE / "memory_speed.json"
    if not path.is_file():
        return ""
    found = {k: v for k, v in read("memory_speed").items() if isinstance(v, dict)}
    ratios = "over_floor", "authors_over_ours_per_rate"
    rows = [
        (name, number(r["cpu"], 3), *("–" if r.get(k) is None else f"{r[k]:.2f} ×" for k in ratios))
        for name, r in found.items()
        if "cpu" in r
    ]
    slower = [
        (name.split(",")[0], *(f"{100 * r[k]:.1f} %" for k in ("outside", "inside")))
        for name, r in found.items()
        if "inside" in r
    ]
    head = "editor", "CPU s per edit", "against the floor", "authors' code / ours"
    more = table(("generation is slower by", "outside its scope", "inside"), slower)
    return f"`memory_speed`: editors that leave the weights alone.\n\n{table(head, rows)}" + (
        f"\n{more}" if slower else ""
    )


def streams() -> str:
    """Ten thousand edits; a hundred beside the weights."""
    parts, found = ["## Long streams\n"], read("long_stream")
    for name, run in found.items():
        rows = []
        for point in run["points"]:
            groups = [g for g in ("all", "first thousand", "first", "last thousand", "last")
                      if g in point]  # fmt: skip
            for group in groups:
                scores = point[group]
                cells = [share(pick(scores, m, e)) for m in ("efficacy", "generalization")
                         for e in ("teacher_forced", "generation")]  # fmt: skip
                kept = share(pick(scores, "specificity", "probability"))
                rows.append((f"{point['edits']:,}, {group}", *cells, kept,
                             number(point["perplexity"], 1), f"{point['update']:.2f}",
                             number(point["cpu_per_edit"], 3)))  # fmt: skip
        head = ("edits, asked", "held, teacher-forced", "held, generation",
                "reworded, teacher-forced", "reworded, generation", "neighbors, probability",
                "perplexity", "‖ΔW‖/‖W‖", "CPU s per edit")  # fmt: skip
        title = f"{name}: {run['edits']:,} edits in turns of {run['batch']}"
        parts.append(f"### {title}\n\n{table(head, rows)}")
    head = ("edits", "held, teacher-forced", "held, generation", "reworded, teacher-forced",
            "reworded, generation", "unrelated, teacher-forced")  # fmt: skip
    for name, run in read("memory_stream").items():
        rows = [("0 (base model)", *_memory(run["base"]))]
        rows += [(point["edits"], *_memory(point["scores"])) for point in run["points"]]
        title = f"{name}: {run['data']}, turns of {run['batch']}"
        parts.append(f"### {title}\n\n{table(head, rows)}")
    return "\n".join(parts)


def _memory(scores: Sequence[dict[str, Any]]) -> list[str]:
    held = "retention" if pick(scores, "retention", "teacher_forced") else "efficacy"
    cells = [share(pick(scores, m, e)) for m in (held, "generalization")
             for e in ("teacher_forced", "generation")]  # fmt: skip
    return [*cells, share(pick(scores, "locality", "teacher_forced"))]


def quality() -> str:
    """Single edits and batches."""
    parts = ["## Single edits and batches\n"]
    for run in read("quality").values():
        events = [e for e in EVENTS if any(r["event"] == e for r in run["summary"])]
        metrics = list(dict.fromkeys(r["metric"] for r in run["summary"] if r["event"]))
        rows = [
            (m.replace("_", " "), *(share(pick(run["summary"], m, e)) for e in events))
            for m in metrics
        ]
        seconds = run["seconds_median"]
        took = "" if seconds is None else f" ({seconds:.2g} s per edit, median)"
        names = [EVENTS[e] for e in events]
        parts.append(f"### {run['title']}{took}\n\n{table(('metric', *names), rows)}")
    return "\n".join(parts)


def trained() -> str:
    """Trained editors against fine-tuning on rows never trained on."""
    parts = ["## Trained editors against fine-tuning\n"]
    for title, run in read("trained").items():
        name, other, rows = title.split(",")[0], run["against"], []
        for row in run["rows"]:
            whole = row["event"] == "kl_nats"
            say = (lambda v: f"{v:.2f}") if whole else (lambda v: f"{100 * v:.0f}")
            values = [say(row[key]) for key in ("base", other, name)]
            gap = f"{say(row['difference'])} [{say(row['low'])}, {say(row['high'])}]"
            rows.append((f"{row['metric']}, {EVENTS[row['event']]}", *values, gap))
        head = ("metric", "base model", other, name, "difference")
        parts.append(f"### {title}\n\n{table(head, rows)}")
    return "\n".join(parts)


def ablations() -> str:
    """ROME's keys, LEMoE's parts."""
    parts = ["## Parts taken away\n"]
    for name, keys in read("rome_keys").items():
        rows = [(key, *(f"{v:.4f}" if m == "kl_nats" else f"{100 * v:.0f}" for m, v in r.items()))
                for key, r in keys.items()]  # fmt: skip
        head = ("key", *(m.replace("kl_nats", "KL, nats") for m in next(iter(keys.values()))))
        parts.append(f"### ROME's keys: {name}\n\n{table(head, rows)}")
    run, rows = read("lemoe_ablation"), []
    for name, r in run["variants"].items():
        cells = [f"{100 * r[m]['teacher_forced']:.0f}" for m in
                 ("retention", "generalization", "locality")]  # fmt: skip
        rows.append((name, *cells, number(r["cpu_seconds_per_edit"])))
    head = ("variant", "held", "reworded", "unrelated", "CPU s per edit")
    title = f"### LEMoE, {len(run['cases'])} facts in batches of {run['batch']}, teacher-forced"
    return "\n".join([*parts, f"{title}\n\n{table(head, rows)}"])


def page() -> str:
    """The whole page."""
    parts = (HEAD, speed(), memory_speed(), ablations(), streams(), trained(), quality())
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(page()) / 1000:.0f} kB\n")
