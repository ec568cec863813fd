"""Edit what a language model knows, measure what else changes, undo it exactly.

lm = lib.load()
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
patch = lib.EDITORS["rome"](lm).edit([fact])
with lm.patched(patch):
    lm.answer("The Eiffel Tower is located in the city of")
"""

import importlib
import os

# Before importing torch: on a busy machine, spinning threads made an edit 30 times slower (126 s
# against 4.2 s, using two threads on two cores shared with other programs).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from .data.facts import Case, Fact, Probe
from .data.readers import classroom, read_cases
from .editors import EDITORS
from .editors.shared.base import Editor, add_low_rank
from .editors.shared.config import Config
from .errors import Error
from .evaluation.evaluate import baseline, evaluate
from .evaluation.known_facts import known
from .evaluation.own_facts import case_for
from .evaluation.perplexity import perplexity
from .evaluation.scores import Scores, compare
from .evaluation.single_edits import singly
from .evaluation.superposition import superposition
from .keys_values.second_moment import second_moment
from .lifelong.stream import stream
from .model.lm import LM, load
from .patch.patch import EMPTY, Edit, LowRank, Patch
from .patch.patch_file import VERSION as __version__
from .patch.undo import without


def __getattr__(name: str) -> object:
    """Import the workbench when it is first used."""
    if name == "workbench":
        return importlib.import_module(".workbench", __name__)
    raise AttributeError(f"{__name__} has no {name}")
