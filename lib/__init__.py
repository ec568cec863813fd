"""Edit what a language model knows, measure what else moved, undo it exactly.

import lib
lm = lib.load()
fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
patch = lib.EDITORS["rome"](lm).edit([fact])
with lm.patched(patch):
    lm.answer("The Eiffel Tower is located in the city of")
"""

import inspect
import os

# Before torch is imported: on a busy machine spinning threads made an edit 30 times slower (126 s
# against 4.2 s with two threads on two cores that others used too).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from . import arguments
from .data.facts import Case, Fact, Probe
from .data.readers import classroom, read_cases
from .data.relations import Relation, relations
from .editors import EDITORS
from .editors.hypernetwork.trainable import Trainable
from .editors.shared.base import Editor, add_low_rank
from .editors.shared.config import Config
from .errors import (
    ArgumentError,
    ArgumentTypeError,
    DataWarning,
    EditError,
    EditWarning,
    Error,
    ExportError,
    FactError,
    FamilyError,
    FetchError,
    ForensicsError,
    JournalError,
    NetworkError,
    OwnerError,
    PatchError,
    ProbeError,
    SlowWarning,
    WriteError,
)
from .evaluation.abilities import abilities
from .evaluation.benchmarks import benchmarks
from .evaluation.depth import depth
from .evaluation.evaluate import baseline, evaluate
from .evaluation.known_facts import known
from .evaluation.own_facts import case_for, matches
from .evaluation.perplexity import perplexity
from .evaluation.scores import Scores, compare
from .evaluation.single_edits import singly
from .evaluation.survival import EditedAgain, Rounded, Survival, Trained, survive
from .evaluation.truth_probe import truth_probe
from .export.export import Exported, export_model, export_peft
from .export.gguf_files import export_gguf, export_gguf_lora
from .forensics.difference import Difference, difference, subjects
from .forensics.investigation import Investigation, investigate
from .interpret.entity_dossier import Dossier, dossier, dossier_lines
from .interpret.superposition import superposition
from .keys_values.answer_gradients import read as read_gradients
from .keys_values.running_moments import RunningMoments
from .keys_values.second_moment import second_moment
from .keys_values.target_value import search as search_target
from .lifelong.stream import stream
from .memory import gram, interference
from .model.architectures import ARCHS
from .model.lm import LM, load
from .model.sequences import Sequences
from .patch.merging import diff, merge
from .patch.patch import EMPTY, Edit, LowRank, Patch, scaled
from .patch.route import Rewrite, Route
from .patch.undo import Without, without
from .preset_search.scan import Scan, scan
from .preset_search.tune import Tuned, tune

__version__ = "0.1"

# a wrong type is one sentence in every public function; calls inside the library are not checked
_functions = {name: one for name, one in globals().items() if inspect.isfunction(one)}
_plain = {name: one for name, one in _functions.items() if not hasattr(one, "__wrapped__")}
globals().update({name: arguments.checked(one) for name, one in _plain.items()})
