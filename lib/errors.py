"""Every error and warning of the library; the message of each is one sentence for a person."""

from __future__ import annotations


class FactError(ValueError):
    """A fact, a template or a data file is not as it should be; the message is one sentence."""


class FamilyError(ValueError):
    """The model is of no known family, or cannot be edited as it was loaded."""


class OwnerError(RuntimeError):
    """The model is held by somebody else, and waiting did not or cannot help."""


class FetchError(RuntimeError):
    """The default model could not be brought here; the message says what to do instead."""


class PatchError(ValueError):
    """A patch that does not fit the model, another patch, or is no patch at all."""


class StatsError(ValueError):
    """The text is too short, or no text at all."""


class TargetError(ValueError):
    """The optimization left the finite numbers; nothing was changed."""


class FeatureError(ValueError):
    """A loss that is not finite, named by its group; nothing was changed."""


class EditError(ValueError):
    """An edit that cannot be made; nothing was changed."""


class EditWarning(UserWarning):
    """An edit that was made, but probably not as meant."""


class NetworkError(ValueError):
    """A network that is not there, is damaged, or belongs to another model."""


class ScanError(ValueError):
    """A scan that cannot be made, or a journal that belongs to another one."""


class StreamError(ValueError):
    """A stream that cannot be run, or a batch that could not be edited; the run is as it was."""


class JournalError(ValueError):
    """A journal that is in use, belongs to another run, or is damaged."""


class ExportError(ValueError):
    """A patch that cannot be written so, or a folder that is taken; nothing was written."""
