"""Rows that come from tables: parquet files, and the rows of `datasets` or pandas.

Neither pyarrow nor `datasets` is a dependency of the library. A table has every column in every
row, so what a row lacks is a null, and its lists may be arrays.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from ..errors import FactError

MAGIC = b"PAR1"  # the first bytes of a parquet file


def is_parquet(path: Path) -> bool:
    """Whether a file begins as parquet files do; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):  # the reader of JSON says what is wrong with it
        return False


def parquet_rows(path: Path) -> Generator[dict, None, None]:
    """The rows of a parquet file, some hundred at a time where pyarrow is there.

    Raises FactError where nothing can read the file.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        yield from _by_pandas(path)
        return
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(256):
                yield from map(plain_row, batch.to_pylist())
    except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise _unreadable(path, error) from None


def _by_pandas(path: Path) -> Generator[dict, None, None]:
    """The rows by pandas, which needs an engine of its own, as fastparquet."""
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise FactError(
            f"{path} is a parquet file, and neither pyarrow nor fastparquet is installed to read "
            "it: install one of them, or write the rows as JSONL"
        ) from None
    except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise _unreadable(path, error) from None
    yield from map(plain_row, table.to_dict("records"))


def _unreadable(path: Path, error: Exception) -> FactError:
    """The error for a parquet file that is damaged."""
    said = " ".join(str(error).split())
    return FactError(f"{path} cannot be read as parquet: {said[:200]}")


def plain_row(value: Any) -> Any:
    """A value of a table as JSON would hold it: lists for arrays, dictionaries, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain_row(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_row(inner) for inner in value]
    if hasattr(value, "tolist"):  # an array or a number of numpy
        return plain_row(value.tolist())
    return None if isinstance(value, float) and value != value else value
