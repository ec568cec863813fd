"""Figures in the course's style: one function per figure, which returns it as a Figure.

The colors are here at once. What draws is imported when it is first asked for, since matplotlib
takes half a second to import and a page that opens draws nothing yet.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .palette import BASE, COLORS, CYCLE, EDITED, NEIGHBOR, QUIET, UNRELATED

if TYPE_CHECKING:
    from .charts import histogram, token_bars
    from .curves import layer_curve, lines, loss_curve, rank_over_layers
    from .points import scatter, scope_map

__all__ = [
    "BASE",
    "COLORS",
    "CYCLE",
    "EDITED",
    "NEIGHBOR",
    "QUIET",
    "UNRELATED",
    "histogram",
    "layer_curve",
    "lines",
    "loss_curve",
    "rank_over_layers",
    "scatter",
    "scope_map",
    "token_bars",
]

_PLACES = {  # where what draws is defined
    "charts": ("histogram", "token_bars"),
    "curves": ("layer_curve", "lines", "loss_curve", "rank_over_layers"),
    "points": ("scatter", "scope_map"),
    "style": ("style",),
}


def __getattr__(name: str) -> Any:
    """What draws, imported with its first use; `style` is the module itself."""
    for place, names in _PLACES.items():
        if name in names:
            module = import_module(f".{place}", __name__)
            found = globals()[name] = module if name == place else getattr(module, name)
            return found
    raise AttributeError(f"module {__name__} has no attribute '{name}'")


def __dir__() -> list[str]:
    """The names of the figures too that nobody has drawn yet."""
    return sorted({*globals(), *__all__})
