"""Figures in the course's style: one function per figure, returning it as a Figure.

The colors are available immediately. Plotting functions are imported when they are first used,
since importing matplotlib takes half a second, and a page that is opening does not plot anything
yet.
"""

from importlib import import_module
from typing import Any

from .palette import (  # noqa: F401
    BASE,
    COLORS,
    CYCLE,
    EDITED,
    NEIGHBOR,
    QUIET,
    UNRELATED,
    editor_color,
)

_PLACES = {  # {plotting function: its module}
    **dict.fromkeys(("histogram", "token_bars"), "charts"),
    **dict.fromkeys(("layer_curve", "lines", "loss_curve", "rank_over_layers"), "curves"),
    **dict.fromkeys(("scatter", "scope_map"), "points"),
    "style": "style",
}


def __getattr__(name: str) -> Any:
    """Return a plotting function, imported at its first use; `style` is the module itself."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__} has no attribute '{name}'")
    module = import_module(f".{_PLACES[name]}", __name__)
    return module if name == "style" else getattr(module, name)


def __dir__() -> list[str]:
    """Return all names, including figures not yet imported."""
    return sorted({*globals(), *_PLACES})
