"""The tables of long texts, made from the rows of long_texts.json."""

from __future__ import annotations

from collections.abc import Sequence

from lib.evaluation.intervals import DIFFERENCE, SHARE, interval

from .tables import Row, made, percent, read, table

# the words of a reported line -> its name in the benchmark
REPORTED = {
    "*unedited model*": "base",
    "*the same, in the chat template*": "base, chat",
    "`ft`": "ft",
    "`lora`": "lora, 2e-3",
    "`wise`": "wise",
    "`grace`": "grace",
    "`memit`, one value": "memit, one value",
    "`memit`, `chunk=20`": "memit, chunks of 20",
    "`retrieval`": "retrieval",
    "`retrieval`, in the chat template": "retrieval, chat",
}
COLUMNS = {
    "ROUGE-L": "long_answer rouge_l",
    "token F1": "long_answer token_f1",
    "first words": "long_answer prefix",
    "reworded, ROUGE-L": "long_reworded rouge_l",
    "parts, recall": "long_part rouge_l_recall",
    "unrelated": "locality teacher_forced",
    "KL, nats": "locality kl_nats",
}


def rows_of(name: str, how: str) -> dict[str, Row]:
    """The stored rows of a line, {row of the data: its values}; nothing where it was not run."""
    return read("long_texts").get(f"{name} ({how})", {}).get("rows", {})


def cell(values: Sequence[float], key: str) -> str:
    """The mean over rows with its 95 % interval."""
    if not values:
        return "–"
    mean = sum(values) / len(values)
    if key.endswith("kl_nats"):
        return f"{mean:.3f}"
    low, high = interval(values, SHARE)
    return f"{percent(mean)} [{percent(low)}, {percent(high)}]"


def lines(how: str, names: dict[str, str], columns: dict[str, str]) -> str:
    """One row for each line that was run, with the number of its paragraphs and its CPU time."""
    found = []
    for words, name in names.items():
        rows = list(rows_of(name, how).values())
        if not rows:
            continue
        seconds = [row["cpu_seconds"] for row in rows if row["cpu_seconds"] is not None]
        took = f"{sum(seconds) / len(seconds):.1f}" if seconds else "–"
        cells = [cell([row[key] for row in rows if key in row], key) for key in columns.values()]
        found.append((words, len(rows), *cells, took))
    if not found:
        return "Not run yet.\n"
    return table(("", "n", *columns, "CPU s per edit"), found)


@made("long-texts")
def singly() -> str:
    """Paragraphs as single edits."""
    return lines("singly", REPORTED, COLUMNS)


@made("long-texts-against-ft")
def against() -> str:
    """Paired differences of single edits to fine-tuning, over the paragraphs that both have."""
    other, found = rows_of("ft", "singly"), []
    keys = [key for key in COLUMNS.values() if not key.endswith("kl_nats")]
    for words, name in REPORTED.items():
        mine = rows_of(name, "singly")
        same = [row for row in mine if row in other]
        if name in ("ft", "base", "base, chat") or not same:
            continue
        cells = []
        for key in keys:
            gaps = [
                mine[row][key] - other[row][key]
                for row in same
                if key in mine[row].keys() & other[row].keys()
            ]
            if not gaps:
                cells.append("–")
                continue
            low, high = interval(gaps, DIFFERENCE)
            mean = sum(gaps) / len(gaps)
            between = f"[{100 * low:+.0f}, {100 * high:+.0f}]"
            cells.append(f"{100 * mean:+.0f} {between}".replace("-", "−"))
        found.append((words, len(same), *cells))
    heads = [head for head, key in COLUMNS.items() if key in keys]
    return table(("minus `ft`", "n", *heads), found)


@made("long-texts-batch")
def batch() -> str:
    """Ten paragraphs in one edit."""
    return lines("batch", REPORTED, COLUMNS)


@made("long-texts-tried")
def tried() -> str:
    """What the settings were chosen from, on rows that are not reported."""
    columns = {
        "teacher-forced": "efficacy teacher_forced",
        "unrelated": "locality teacher_forced",
        "KL, nats": "locality kl_nats",
    }
    parts = []
    for how, words in (("quick", ""), ("quick, whole", ", whole paragraph")):
        end = f" ({how})"
        runs = [key.removesuffix(end) for key in read("long_texts") if key.endswith(end)]
        parts.append(lines(how, {f"`{name}`{words}": name for name in runs}, columns))
    head, rest = parts[0], parts[1].split("\n", 2)[2]
    return head + rest
