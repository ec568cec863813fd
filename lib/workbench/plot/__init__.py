"""Figures in the course's style: one function per figure, which returns it as a Figure.

The colors are here at once. What draws is imported when it is first asked for, since matplotlib
takes half a second to import and a page that opens draws nothing yet.
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

_PLACES = {  # {what draws: where it is defined}
    **dict.fromkeys(("histogram", "token_bars"), "charts"),
    **dict.fromkeys(("layer_curve", "lines", "loss_curve", "rank_over_layers"), "curves"),
    **dict.fromkeys(("scatter", "scope_map"), "points"),
    "style": "style",
}


def __getattr__(name: str) -> Any:
    """What draws, imported with its first use; `style` is the module itself."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__} has no attribute '{name}'")
    module = import_module(f".{_PLACES[name]}", __name__)
    return module if name == "style" else getattr(module, name)


def __dir__() -> list[str]:
    """The names of the figures too that nobody has drawn yet."""
    return sorted({*globals(), *_PLACES})
