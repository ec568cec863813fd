"""What the notebooks' sources import: models, holes, tables, figures, stored runs, experiments.

runs_NN_topic.py holds the experiments of notebook NN_topic that are too long for its page. Nothing
here imports a source or the builder. An interrupt of a cell is one sentence from the first import on.
"""

import sys
from typing import Any

from IPython import get_ipython


def interrupted(*_: Any, **__: Any) -> None:
    """What a page shows in place of a traceback through the library and torch."""
    print("Interrupted: this cell did not finish. Run it again to start over.", file=sys.stderr)


if (page := get_ipython()) is not None:
    page.set_custom_exc((KeyboardInterrupt,), interrupted)
