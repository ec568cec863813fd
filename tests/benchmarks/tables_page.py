"""The tables about the page: what a visitor waits for, before and after it was made faster."""

from __future__ import annotations

from statistics import mean, median

from lib.evaluation.intervals import DIFFERENCE

from .tables import Row, made, number, percents, read, table, times


def pages() -> Row:
    """The stored rows of `page_speed`."""
    return read("page_speed")


@made("page-start")
def page_start() -> str:
    """From the command to the address, and to the first answers."""
    old, new = (pages()["start"][name] for name in ("before", "now"))
    words = {
        "seconds": "seconds from the command to its address",
        "cpu": "CPU seconds until then",
        "table_seconds": "seconds until the first table with answers is served",
        "answer_seconds": "seconds until the model has answered a question",
        "answer_cpu": "CPU seconds until then",
    }
    rows = [
        (said, number(old[key], 1), number(new[key], 1), times(old[key] / new[key], 1))
        for key, said in words.items()
        if key in old and key in new
    ]
    return table((f"median of {new['starts']} starts", "before", "now", "before / now"), rows)


@made("page-edits")
def page_edits() -> str:
    """A press of Edit and a call of /edit, editor by editor."""
    edits = pages()["edits"]
    head = (
        "editor",
        "press to first answer, s",
        "end of the edit to the headline, s: before",
        "now",
        "calls",
        "`/edit`, mean s: before",
        "now",
        "before / now",
        "of one call",
        "of that the editor",
    )
    rows = []
    for i, press in enumerate(edits["now"]["presses"]):
        before, editor = edits["before"]["presses"][i], press["editor"]
        # both trees were called with the same facts in the same order
        both = [
            pair
            for pair in zip(edits["before"]["calls"], edits["now"]["calls"], strict=True)
            if pair[1]["editor"] == editor
        ]
        ratios = [old["seconds"] / new["seconds"] for old, new in both]
        old, new = (mean(pair[side]["seconds"] for pair in both) for side in (0, 1))
        rows.append(
            (
                f"`{editor}`",
                number(press["first"]),
                number(before["behind_the_edit"], 1),
                number(press["behind_the_edit"], 1),
                len(both),
                number(old, 1),
                number(new, 1),
                times(old / new, 1),
                f"{min(ratios):.1f} to {max(ratios):.1f}",
                number(mean(pair[1]["of_that_editing"] for pair in both), 1),
            )
        )
    return table(head, rows)


@made("page-visitors")
def page_visitors() -> str:
    """Twenty visitors at the same moment."""
    found = pages().get("visitors")
    if found is None:
        return "Not measured yet.\n"
    count, waited = found["visitors"], found["waited"]
    rows = [
        ("one visitor alone, seconds", number(found["alone"]["seconds"], 1)),
        (f"median wait of {count}, seconds", number(waited["median"], 1)),
        ("longest wait, seconds", number(waited["longest"], 1)),
        (f"one alone, times {count}", number(found["alone_times_queue"], 1)),
        ("edits that were written", f"{found['written']} of {count}"),
        ("visitors who have the own edit and nobody else's", f"{found['apart']} of {count}"),
    ]
    head = f"{count} visitors call `/edit` at once, each a fact of the own, by `{found['editor']}`"
    return table((head, ""), rows)


@made("page-dossier")
def page_dossier() -> str:
    """Everything about one subject, without an edit and with one, on one thread and on two."""
    found = pages().get("dossier")
    if found is None:
        return "Not measured yet.\n"
    parts = {
        "first": "the first rows",
        "rows": "all 31 rows",
        "inside": "keys, neighbors, features",
        "done": "the trace, and the end",
    }
    rows = []
    for threads, one in sorted(found.items()):
        for state, said in (("plain", "none"), ("edited", f"`{one['editor']}`")):
            times = one[state]
            cells = (f"{number(times[p], 1)} ({number(times[p + '_cpu'], 1)})" for p in parts)
            rows.append((threads, said, *cells))
    head = ("threads", "edit of the subject live", *(f"{one}, s (CPU s)" for one in parts.values()))
    return table(head, rows)


@made("rome-enough")
def rome_enough() -> str:
    """ROME's search ended earlier: each metric under both settings, and the paired difference."""
    cases = list(read("rome_enough")["cases"].values())
    early, late = "0.4", "0.05"
    rows = []
    for metric, event in (
        ("efficacy", "generation"),
        ("efficacy", "teacher_forced"),
        ("generalization", "generation"),
        ("specificity", "generation"),
        ("locality", "generation"),
    ):
        pairs = [
            (case[late]["values"][metric][event], case[early]["values"][metric][event])
            for case in cases
            if metric in case[late]["values"]
        ]
        old, new = ([pair[side] for pair in pairs] for side in (0, 1))
        apart = percents([b - a for a, b in pairs], DIFFERENCE)
        name = f"{metric.replace('_', ' ')}, {event.replace('_', '-')}"
        rows.append((name, len(pairs), percents(old), percents(new), apart))
    spent = {arm: [case[arm]["cpu"] for case in cases] for arm in (late, early)}
    ratio = median(a / b for a, b in zip(spent[late], spent[early], strict=True))
    rows.append(
        (
            "CPU seconds of an edit, median",
            len(cases),
            number(median(spent[late]), 1),
            number(median(spent[early]), 1),
            f"{ratio:.1f} times less",
        )
    )
    head = ("", "n", f"`enough={late}`, %", f"`enough={early}`, %", "difference, points")
    return table(head, rows)
