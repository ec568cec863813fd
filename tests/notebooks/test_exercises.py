"""The check of each exercise of the notebooks names every mistake, and can be solved.

The answers, right and wrong, stand beside the other tests of their notebooks in tables {words of
the message: answer}.
"""

from __future__ import annotations

import pytest

from notebooks.support import checks_16_at_scale as checks_16

from . import test_notebook_checks_14_16 as in_14_16

EXERCISES = [
    (checks_16.merged, in_14_16.MERGED),
]


@pytest.mark.parametrize(
    ("check", "answer", "word"),
    [(check, answer, word) for check, table in EXERCISES for word, answer in table.items()],
)
def test_the_check_names_the_mistake(check, answer, word):
    message = check(answer)
    assert word.casefold() in message.casefold(), message
    assert message.startswith("solved") == word.startswith("solved"), message
