"""The long runs of notebook 04: ROME without one of its parts, and fifty edits in a row."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

import lib
from lib.evaluation.intervals import DIFFERENCE, interval

GROUPS = "generalization", "specificity", "same_subject", "locality"


def without(
    editor: lib.Editor, parts: Mapping[str, Mapping], cases: Sequence[lib.Case], templates: Sequence
) -> Iterator[dict]:
    """Write each case's fact alone on the base model, once per part; one row per case and part.

    A part is a change of settings. A row has shares of prompts that answer as wanted, by
    generation, and two divergences from the base model in nats: at unrelated prompts, and after
    the words "{subject} is a".
    """
    lm, odd = editor.lm, [case for case in lib.classroom() if case.id % 2]
    asked = {"events": ["generation"], "metrics": GROUPS, "pool": odd}
    for case in cases:
        text = f"{case.fact.subject} is a"
        base, before = lib.baseline(lm, case, **asked), lm.next_token(text)
        for part, changes in parts.items():
            settings = {"templates": templates} | dict(changes)
            settings["templates"] = tuple(settings["templates"])
            patch = type(editor)(lm, **settings).edit([case.fact])
            found = lib.evaluate(lm, case, patch, base=base, **asked).json()
            with lm.patched(patch):
                after = lm.next_token(text)
            yield {
                "case": case.id,
                "part": part,
                "edit": found["efficacy"]["generation"],
                "rewordings": found["generalization"]["generation"],
                "neighbors": found["specificity"]["generation"],
                "same subject": found["same_subject"]["generation"],
                "KL unrelated": found["locality"]["kl_nats"],
                "KL “… is a”": (before.exp() * (before - after)).sum().item(),
            }


def means(rows: Sequence[Mapping], parts: Collection[str]) -> list[dict]:
    """Return one line per part: mean shares in % and divergences in nats, where there are any."""
    lines = []
    for part in parts:
        own, line = [row for row in rows if row["part"] == part], {"ROME": part}
        for column in list(own[0])[2:]:
            known = [row[column] for row in own if row[column] is not None]
            scale = 1.0 if column.startswith("KL") else 100.0
            line[column] = scale * sum(known) / len(known)
        lines.append(line)
    return lines


def in_a_row(
    editor: lib.Editor, cases: Sequence[lib.Case], points: Sequence[int], edits: int
) -> Iterator[dict]:
    """One row per edit, and at the points what all facts so far still give, by generation."""
    metrics = ["generalization", "specificity", "locality", "perplexity"]
    settings = {"events": ["generation"], "metrics": metrics}
    run = lib.stream(editor.lm, editor, cases, eval_at=points, evaluate_with=settings)
    for row in itertools.islice(run, edits):
        seen = {"edits": row["edits"], "written": row["efficacy"]["generation"]}
        if found := row.get("scores"):
            for metric in ("retention", "generalization", "specificity"):
                seen[metric] = found[metric]["generation"]
            seen |= {"kl": found["locality"]["kl_nats"], "perplexity": found["perplexity"]}
        yield seen


def difference(rows: Sequence[Mapping], part: str, column: str) -> tuple[float, float, float]:
    """Mean over cases of this part's column less that of the first part, and its 95 % interval."""
    known = {(row["case"], row["part"]): row[column] for row in rows if row[column] is not None}
    first = rows[0]["part"]
    found = [x - known[case, first] for (case, p), x in known.items() if p == part]
    return sum(found) / len(found), *interval(
        found, None if column.startswith("KL") else DIFFERENCE
    )
