"""Edit what a language model knows, measure what else moved, undo it exactly.

import lib
lm = lib.load()
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
patch = lib.EDITORS["rome"](lm).edit([fact])
with lm.patched(patch):
    lm.answer("The Eiffel Tower is located in the city of")
"""

import os

# Before torch is imported: on a busy machine spinning threads made an edit 30 times slower (126 s
# against 4.2 s with two threads on two cores that others used too).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from .config import Config
from .editor import Editor, add_low_rank
from .editors import EDITORS
from .errors import (
    EditError,
    EditWarning,
    ExportError,
    FactError,
    FamilyError,
    FeatureError,
    FetchError,
    JournalError,
    NetworkError,
    OwnerError,
    PatchError,
    ScanError,
    StatsError,
    TargetError,
)
from .export import Exported, export_model, export_peft
from .facts import Case, Fact, Probe
from .families import ARCHS
from .features import read as read_gradients
from .lm import LM, load
from .memory import gram, interference
from .metrics import baseline, evaluate
from .moments import Moments as RunningMoments
from .patch import EMPTY, Edit, LowRank, Patch
from .perplexity import perplexity
from .readers import classroom, read_cases
from .route import Rewrite, Route
from .scan import Scan, scan
from .scores import Scores, compare
from .sequences import Sequences
from .singly import singly
from .stats import second_moment
from .stream import stream
from .superposition import superposition
from .target import search as search_target
from .trainable import Trainable

__version__ = "0.1"
