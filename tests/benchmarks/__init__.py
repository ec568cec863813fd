"""Speed as ratios of one run, and quality on files given by argument; tables in results/."""

from __future__ import annotations

import sys
from collections.abc import Callable


def command(main: Callable[[], None]) -> None:
    """`main`, with bad input answered by one sentence and exit code 2, as `python -m lib` does."""
    try:
        main()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
