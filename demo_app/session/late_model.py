"""A model that is loaded when it is first needed, so that the page can open before.

Half of the time from the command to the address went into reading transformers' model code and the
weights, and what the page opens with needs neither: the answers to the ready example are on the
disk (see kept_answers.py). What else must be known of the model, such as its fingerprint and how
many layers it has, is written down at the first start, and holds for the very same files only. A
`Late` model is then an `LM` like any other: whoever asks for more than is written down waits until
it is there.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta, Struct

import lib
from lib.atomic_files import cached, whole_file
from lib.model import packaged_models
from lib.model.lm import load_tokenizer, one_sentence

log = logging.getLogger(__name__)

GENERAL = "TokenizersBackend"  # what transformers calls the class of most tokenizers
FORM = 1  # of what is written down; another form gets another name
CHANGED = (
    "The model's files are not those of its last start, though they look alike: please start the "
    "page again."
)
Count = Annotated[int, Meta(ge=1, le=10**15)]


class Known(Struct, forbid_unknown_fields=True, frozen=True):
    """What is written down of a model; the fields are those of an `LM`.

    parameters: how many numbers its weights are.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    fingerprint: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    layers: Count
    context: Count | None
    vocabulary: Count
    parameters: Count


class Late(lib.LM):
    """An `LM` of float32 on the CPU whose weights are not read yet; it becomes one when they are.

    asked: the name under which it is loaded.
    written: what is written down of it.
    Raises ValueError where there is no tokenizer.
    """

    def __init__(self, asked: str | None, known: Known) -> None:
        place, _ = packaged_models.place_of(asked)
        self._asked, self.written = asked, known
        self._arrival = threading.RLock()
        self._then: list[Callable[[lib.LM], None]] = []
        self.name, self.fingerprint = known.name, known.fingerprint
        self.tokenizer = _tokenizer(place)
        self._rewrites = ()  # no patch is entered

    @property
    def n_layers(self) -> int:
        """The number of transformer blocks."""
        return self.written.layers

    @property
    def device(self) -> torch.device:
        """Where the weights will be."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The type that the weights will have."""
        return torch.float32

    @property
    def context(self) -> int | None:
        """The length of the longest sequence that the model can read, None without a limit."""
        return self.written.context

    @property
    def vocabulary(self) -> int:
        """How many tokens the head scores."""
        return self.written.vocabulary

    def arrive(self) -> None:
        """Load the model, or wait for the thread that does.

        Raises what `lib.load` raises, and ValueError where the model is another one than was known.
        """
        with self._arrival:
            if type(self) is not Late:
                return
            made = lib.load(self._asked)
            if known(made) != self.written:
                forget(self._asked)
                raise ValueError(CHANGED)
            for call in self._then:
                call(made)
            self._then.clear()
            self.__dict__.update(vars(made))
            self.__class__ = lib.LM  # type: ignore[assignment]

    def awaits(self, call: Callable[[lib.LM], None]) -> bool:
        """Have a function called with the loaded model; False where it was loaded meanwhile."""
        with self._arrival:
            if type(self) is not Late:
                return False
            self._then.append(call)
            return True

    def __getattr__(self, name: str) -> object:
        """What is not written down: it is there when the model is."""
        if name.startswith("__") or "_then" not in self.__dict__:
            raise AttributeError(name)
        self.arrive()
        return getattr(self, name)


def _tokenizer(place: str | Path) -> Any:
    """The tokenizer as `lib.load` gives it; ValueError where there is none.

    To find a tokenizer's class transformers imports the code of all models, which takes longer than
    anything else before the address. The general class, whose name the embedded model's file has,
    is imported without it.
    """
    try:
        said = json.loads((Path(place) / "tokenizer_config.json").read_bytes())
        general = said.get("tokenizer_class") == GENERAL and "auto_map" not in said
    except (OSError, ValueError, AttributeError):
        general = False
    if not general:
        return load_tokenizer(place)
    from transformers import PreTrainedTokenizerFast

    with one_sentence(place):
        return PreTrainedTokenizerFast.from_pretrained(place)


def when_here(lm: lib.LM, call: Callable[[lib.LM], None]) -> None:
    """Call a function with the loaded model before anybody else can use it; now if it is loaded."""
    if not (isinstance(lm, Late) and lm.awaits(call)):
        call(lm)


def parameters(lm: lib.LM) -> int:
    """How many numbers a model's weights are."""
    if isinstance(lm, Late):
        return lm.written.parameters
    return sum(p.numel() for p in lm.model.parameters())


def known(lm: lib.LM) -> Known:
    """What is written down of a loaded model."""
    return Known(
        lm.name, lm.fingerprint, lm.n_layers, lm.context, lm.vocabulary, parameters(lm)
    )  # fmt: skip


def find(asked: str | None) -> Known | None:
    """What is written down of a model; None where nothing is, or its files have changed since.

    Also None with a card: there a model has another type of numbers.
    """
    path = _path(asked)
    if path is None or torch.cuda.is_available():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Known)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.info("%s is not read: %s", path.name, error)
        forget(asked)
        return None


def note(asked: str | None, lm: lib.LM) -> None:
    """Write down what the next start needs of a model, where it can be and is not yet."""
    path = _path(asked)
    if path is None or path.exists() or (lm.dtype, lm.device.type) != (torch.float32, "cpu"):
        return
    try:
        with whole_file(path) as part:
            part.write_bytes(msgspec.json.encode(known(lm)))
    except OSError as error:
        log.info("the model is not written down: %s", error)


def forget(asked: str | None) -> None:
    """Remove what is written down of a model."""
    path = _path(asked)
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _path(asked: str | None) -> Path | None:
    """The file of a model in a folder: its name holds size and time of all files there.

    None for a model that would have to be fetched first, or that is no folder.
    """
    given = packaged_models.DEFAULT if asked is None else None
    given = given or packaged_models.PACKAGED.get(str(asked).lower())
    if asked is not None and Path(asked).is_dir():
        folder = Path(asked)
    elif given is not None and packaged_models.is_here(given):
        folder = given.folder
    else:
        return None
    try:
        files = [
            [str(one.relative_to(folder)), one.stat().st_size, one.stat().st_mtime_ns]
            for one in sorted(folder.rglob("*"))
            if one.is_file()
        ]
    except OSError:
        return None
    versions = [version("transformers"), version("torch")]
    label = [FORM, str(folder.resolve()), files, versions]
    return cached("page-models", json.dumps(label), ".json")
