"""The ratchet: no room of the project grows without a reason, and no part of it grows at all."""

from __future__ import annotations

import subprocess
import tomllib

import pytest

from . import sizes

TEXT = sizes.LIMITS.read_text(encoding="utf-8")
NUMBERS = '# head\n\n"lib" = [10, 20]\n"lib/data" = [4, 9]  # readers of a new format\n'


def test_no_room_is_larger_than_its_number():
    assert sizes.too_large(sizes.sizes(sizes.ROOT), tomllib.loads(TEXT)) == []


def test_a_raised_number_has_its_reason_beside_it():
    """Against the commit before, where the checkout has one."""
    name = sizes.LIMITS.relative_to(sizes.ROOT).as_posix()
    command = ["git", "show", f"HEAD^:{name}"]
    shown = subprocess.run(command, cwd=sizes.ROOT, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip("no earlier commit with these numbers")
    assert sizes.unexplained(shown.stdout, TEXT) == []


def test_every_line_is_a_number_or_a_comment_of_the_head():
    written = TEXT.splitlines()
    assert all(sizes.LINE.match(line) or line.startswith("#") or not line for line in written)


def test_what_counts_as_a_statement():
    text = '"""A file."""\nimport math\n\n\ndef f(x):\n    """One."""\n    return math.pi * x\n'
    assert sizes.measured(text) == (2, 7)


@pytest.mark.parametrize(
    ("size", "found"),
    [
        ((10, 20), []),
        ((9, 3), []),
        ((11, 20), ["lib has [11, 20], and sizes.toml allows [10, 20]"]),
        ((10, 21), ["lib has [10, 21], and sizes.toml allows [10, 20]"]),
    ],
)
def test_a_room_that_grew_is_found(size, found):
    assert sizes.too_large({"lib": sizes.Size(*size)}, {"lib": [10, 20]}) == found


def test_a_room_without_a_number_is_found():
    (found,) = sizes.too_large({"lib/attic": sizes.Size(3, 4)}, {})
    assert found == "lib/attic has no number in sizes.toml; it has [3, 4]"


def test_raising_needs_a_new_comment():
    silent = NUMBERS.replace("[10, 20]", "[10, 21]")
    assert sizes.unexplained(NUMBERS, silent) == ["lib"]
    assert sizes.unexplained(NUMBERS, silent.replace("21]", "21]  # why")) == []
    assert sizes.unexplained(NUMBERS, NUMBERS.replace("[4, 9]", "[5, 9]")) == ["lib/data"]
    assert sizes.unexplained(NUMBERS, NUMBERS.replace("[4, 9]", "[3, 9]")) == []


def test_lowering_takes_smaller_numbers_only():
    now = {"lib": sizes.Size(8, 25), "lib/data": sizes.Size(4, 9), "lib/new": sizes.Size(1, 2)}
    assert sizes.lowered(NUMBERS, now).splitlines() == [
        "# head",
        "",
        '"lib" = [8, 20]',
        '"lib/data" = [4, 9]  # readers of a new format',
        '"lib/new" = [1, 2]',
    ]
