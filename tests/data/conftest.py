"""A file of data, written where a test asks for it."""

from ..support.data_files import write  # noqa: F401
