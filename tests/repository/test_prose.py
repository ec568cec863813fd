"""What `python -m tests.repository.prose` counts, and that rewritten pages keep to the limits."""

from __future__ import annotations

import json
import tomllib

from . import prose


def markdown(text: str) -> dict:
    return {"cell_type": "markdown", "source": text, "metadata": {}}


def code(source: str, *outputs: dict, **metadata) -> dict:
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "metadata": metadata}


def test_a_made_up_page():
    text = """
Of 20 facts 3 were lost (5 to 32), as [notebook 05](05.ipynb) says; $x = 7$ and `a[3]` are not text.
No difference is seen. No difference is seen, and the smallest that could have been is 9 points.

| a | b |
| --- | --- |
| 1 | 2 |

<details><summary>Hint</summary>Folded: 99 numbers (of them 3)</details>
"""
    found = prose.measured(
        {
            "cells": [
                markdown(text),
                code("x", {"text": "1 2 3\n"}, {"data": {"image/png": "", "text/plain": "<F 3>"}}),
                code("y", {"data": {"text/html": "<table><td>4</td></table>", "text/plain": "4"}}),
                code("setup", {"text": "5 6 7"}, tags=["setup"]),
                markdown("## References\n\n* A (2020)"),
            ]
        }
    )
    assert found._replace(words=0) == prose.Prose(0, 5, 1, 11, 1, 1, 2, 5, 1)
    assert 35 <= found.words <= 45
    assert prose.above(found) == ["nothing", "pictures"]


def test_each_page_has_its_questions():
    text = (prose.NOTEBOOKS.parent / "lessons/questions.toml").read_text(encoding="utf-8")
    pages = {page["number"]: page["questions"] for page in tomllib.loads(text)["page"]}
    assert {path.name.partition("_")[0] for path in prose.pages()} <= pages.keys()
    assert all(len(asked) == 5 for asked in pages.values())
    assert all(q.endswith("?") and a.endswith(".") for asked in pages.values() for q, a in asked)


def test_each_page_is_read_to_its_end():
    for path in prose.pages():
        found = prose.measured(json.loads(path.read_text(encoding="utf-8")))
        short = path.name.startswith("19_")  # the last page is too short for four pictures
        assert short or not prose.above(found), (path.name, prose.above(found), found)
