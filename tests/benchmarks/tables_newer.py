"""The tables of CrispEdit and HoReN, from the rows that are stored."""

from __future__ import annotations

from lib.evaluation.intervals import DIFFERENCE, interval
from notebooks.support import flat_06, horen_11

from .tables import made, number, percents, read, table, times

NEWER = ("crispedit", "horen")


@made("sweeps-newer")
def sweeps_newer() -> str:
    """The trials from which the presets of the newer editors were chosen; the chosen ones first."""
    lines = []
    for name in NEWER:
        sweep = read("sweeps")[name]
        scored = ("efficacy", "generalization", "specificity", "harmonic")
        rest = [row for row in sweep["rows"] if row != sweep["best"]]
        for row in (sweep["best"], *sorted(rest, key=lambda row: -row["harmonic"])):
            apart = {*scored, "kl_nats", "seconds", "error"}
            words = ", ".join(f"{key} {value}" for key, value in row.items() if key not in apart)
            words = f"**{words}**" if row == sweep["best"] else words
            lines.append((f"`{name}`", words, *(number(row.get(key)) for key in scored)))
    head = ("editor", "settings", "efficacy", "generalization", "specificity", "harmonic mean")
    return table(head, lines, left=2)


@made("newer-speed")
def newer_speed() -> str:
    """Cost of a single edit of the newer editors."""
    rows = [
        (name, r["facts"], number(r["cpu"]), times(r.get("over_floor")))
        for name, r in read("newer_speed").items()
        if isinstance(r, dict)
    ]
    return table(("editor", "facts", "CPU s per edit", "against the floor"), rows)


@made("flat-directions")
def flat_directions() -> str:
    """CrispEdit's claim: arms at one efficacy."""
    rows, _ = flat_06.read()
    lines = flat_06.table(rows)
    return table(tuple(lines[0]), [tuple(line.values()) for line in lines])


@made("flat-directions-paired")
def flat_directions_paired() -> str:
    """CrispEdit against each of the other arms, over the same cases and windows of text."""
    rows, _ = flat_06.read()
    own = "inputs and outputs"
    whats = {"text": "KL on text", "neighbors": "neighbors", "rewordings": "rewordings"}
    lines = [
        (f"less {arm}", *(flat_06.paired(rows, own, arm, what) for what in whats))
        for arm in flat_06.written(rows, but=own)
    ]
    return table((own, *whats.values()), lines)


@made("flat-outputs-paired")
def flat_outputs_paired() -> str:
    """Closed forms with weighed outputs against the same with all outputs alike."""
    rows, _ = flat_06.read()
    whats = {"text": "KL on text", "neighbors": "neighbors", "rewordings": "rewordings"}
    whats["held"] = "written"
    lines = [
        (f"`{name.lower()}`", *(flat_06.paired(rows, weighed, name, what) for what in whats))
        for name in ("AlphaEdit", "MEMIT")
        if (weighed := f"{name}, outputs weighed") in flat_06.written(rows, but="")
    ]
    return table(("outputs weighed, less all alike", *whats.values()), lines)


@made("flat-sequence")
def flat_sequence() -> str:
    """CrispEdit in calls of eight facts: its sequential forms, and the first as it was at each."""
    forms = read("flat_sequence")["forms"]
    plain = forms["each call anew"]
    lines = []
    for name, row in forms.items():
        first = ", ".join(f"{100 * sum(call) / len(call):.0f}" for call in row["first"])
        less = [a - b for a, b in zip(row["neighbors"], plain["neighbors"], strict=True)]
        low, high = interval(less, DIFFERENCE)
        lines.append(
            (
                name,
                f"{100 * row['moved'][-1]:.0f} %",
                first,
                *(percents(row[what]) for what in ("held", "rewordings", "neighbors")),
                "–"
                if row is plain
                else f"{100 * sum(less) / len(less):+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]",
                f"{1000 * sum(row['text']) / len(row['text']):.1f}",
                number(row["cpu_seconds"], 0),
            )
        )
    head = (
        "form",
        "a matrix has moved by at most",
        "facts of the first call said after each call, %",
        "all held at the end, %",
        "rewordings, %",
        "neighbors, %",
        "neighbors less those of each call anew, points",
        "KL on text, millinats",
        "CPU s",
    )
    return table(head, lines)


@made("horen-roc")
def horen_roc() -> str:
    """Five ways to look up an entry, without a crowd and with the largest."""
    rows = horen_11.read()["rows"]
    lines = []
    for crowd in (0, max(row["crowd"] for row in rows)):
        for line in horen_11.table(rows, crowd):
            lines.append((f"{crowd:,}", *line.values()))
    return table(("further keys", *horen_11.table(rows)[0]), lines, left=2)


@made("horen-crowding")
def horen_crowding() -> str:
    """The crowding rule beside what was measured."""
    lines = horen_11.crowding(horen_11.read()["rows"])
    return table(tuple(lines[0]), [tuple(line.values()) for line in lines])


@made("contrasts")
def contrasts() -> str:
    """Steering by its strength beside parts of a ROME edit, and retrieval by its demonstrations."""
    cases = list(read("contrasts")["cases"].values())
    metrics = ("efficacy", "generalization", "specificity", "locality")
    rows = []
    for arm in cases[0]:
        cells = []
        for metric in metrics:
            found = [case[arm][metric]["generation"] for case in cases if metric in case[arm]]
            cells.append(percents(found))
        rows.append((arm, *cells))
    head = (f"n = {len(cases)}, %", *metrics)
    return table(head, rows)
