"""Working with edits: measuring, looking inside, tracing, exporting, tuning, plotting, commands.

The workbench imports the library, but nothing in the library imports the workbench.
"""

import importlib

from .export.export import Exported, export_model, export_peft
from .forensics.difference import Difference, difference, subjects
from .forensics.investigation import Investigation, investigate
from .instruments.dossier import Dossier, dossier, dossier_lines
from .instruments.survival import EditedAgain, Trained
from .instruments.truth_probe import truth_probe
from .preset_search.tune import Tuned, tune


def __getattr__(name: str) -> object:
    """Import figures and panels when they are first used, because panels need matplotlib."""
    if name in ("plot", "widgets"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"{__name__} has no {name}")
