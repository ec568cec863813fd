"""The check of each exercise of the notebooks names every mistake, and can be solved.

The answers, right and wrong, stand beside the other tests of their notebooks in tables {words of
the message: answer}.
"""

from __future__ import annotations

from functools import partial

import pytest

from notebooks.support import checks_09_learning_to_edit as checks_09
from notebooks.support import checks_12_wise as checks_12
from notebooks.support import checks_14_lifelong as checks_14
from notebooks.support import checks_15_judging as checks_15
from notebooks.support import checks_16_at_scale as checks_16
from notebooks.support import checks_common

from . import test_notebook_checks_09_10 as in_09_10
from . import test_notebook_checks_11_12 as in_11_12
from . import test_notebook_checks_14_16 as in_14_16
from . import test_notebook_sources as in_all

PARROT = in_14_16.Parrot(in_14_16.BEFORE, in_14_16.AFTER)
EXERCISES = [
    (checks_09.by_ridge, in_09_10.RIDGE),
    (checks_12.forward, in_11_12.FORWARD),
    (checks_12.by_hand, in_11_12.BY_HAND),
    (checks_12.conflict, in_11_12.CONFLICT),
    (checks_14.killer, in_14_16.KILLER),
    (checks_14.matrix, in_14_16.MATRIX),
    (checks_15.cases_needed, in_14_16.CASES),
    (partial(checks_15.own_test, PARROT, in_14_16.FACT), in_14_16.TESTS),
    (checks_16.merged, in_14_16.MERGED),
    (checks_common.robust, in_all.ROBUST),
    (checks_common.twin, in_all.TWIN),
]


@pytest.mark.parametrize(
    ("check", "answer", "word"),
    [(check, answer, word) for check, table in EXERCISES for word, answer in table.items()],
)
def test_the_check_names_the_mistake(check, answer, word):
    message = check(answer)
    assert word.casefold() in message.casefold(), message
    assert message.startswith("solved") == word.startswith("solved"), message
