"""Every error and warning of the library.

Each message is one sentence that says to a person what is wrong and, where possible, what to do.
"""

from __future__ import annotations


class FactError(ValueError):
    """A fact, a template or a data file is not valid; row and key are named where there are any."""


class DataWarning(UserWarning):
    """A data file was read, but not all of it: rows were left out, or keys that no case takes."""


class FamilyError(ValueError):
    """The model's architecture is unknown, or the way it was loaded leaves no plain matrices."""


class OwnerError(RuntimeError):
    """Another owner holds the model, and waiting did not help or cannot."""


class FetchError(RuntimeError):
    """The default model could not be downloaded; the message says what to do instead."""


class PatchError(ValueError):
    """A patch does not fit the model or another patch, or a file holds no patch."""


class StatsError(ValueError):
    """The text for the second moments of keys is too short, or there is none."""


class TargetError(ValueError):
    """The search for a target value reached numbers that are not finite; nothing was changed."""


class FeatureError(ValueError):
    """The loss whose gradient is read is not finite; nothing was changed."""


class EditError(ValueError):
    """An edit cannot be made; nothing was changed."""


class EditWarning(UserWarning):
    """An edit was made, but probably not the one that was meant."""


class NetworkError(ValueError):
    """An editor's trained network is missing, damaged, or belongs to another model."""


class ScanError(ValueError):
    """A scan cannot be made, or its journal belongs to another scan."""


class StreamError(ValueError):
    """A stream cannot be run, or a batch could not be edited; the run stays at the batch before."""


class JournalError(ValueError):
    """A journal is in use, belongs to another run, or is damaged."""


class ExportError(ValueError):
    """A patch cannot be written in this format, or the folder is taken; nothing was written."""
