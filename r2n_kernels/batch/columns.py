"""Columns are what a batch is made of: a dict of sequences, a pyarrow.Table or a pandas DataFrame.

A batch comes back as what it was: Arrow has types of its own for the new columns, which do not
depend on the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import ConfigError
from .sources import SOURCES

Columns = dict[str, Any]  # name -> sequence, one value per row
CONTENT = ("bytes", "image", "source")  # what holds images, and does not pass through


class Opened:
    """An opened batch has its columns by name, which of them has the images, and what it was."""

    def __init__(self, batch: Any) -> None:
        """Raise ConfigError where no column has images, TypeError for what is no batch."""
        self.close, self.columns = _opened(batch)
        kind = next((name for name in SOURCES if name in self.columns), None)
        if kind is None:
            raise ConfigError(
                f"a batch needs a column {' or '.join(SOURCES)}; it has "
                f"{', '.join(map(str, self.columns)) or 'none'}"
            )
        self.kind = kind

    def sources(self) -> list[Any]:
        """Return what each row's image is read from, as the column has it."""
        column = self.columns[self.kind]
        return column.to_pylist() if hasattr(column, "to_pylist") else list(column)

    def with_columns(self, found: Columns) -> Any:
        """Return the batch with the columns found, and without those that hold images."""
        kept = {name: column for name, column in self.columns.items() if name not in CONTENT}
        return self.close({**kept, **found})


def _opened(batch: Any) -> tuple[Callable[[Columns], Any], Columns]:
    if isinstance(batch, Mapping):
        return dict, dict(batch)
    module = type(batch).__module__.partition(".")[0]
    if module == "pyarrow" and hasattr(batch, "column_names"):
        return _table, {name: batch.column(name) for name in batch.column_names}
    if module == "pandas" and hasattr(batch, "columns"):
        return _frame, {name: batch[name] for name in batch.columns}
    raise TypeError(
        "a batch must be a dict of columns, a pyarrow.Table or a pandas.DataFrame, got "
        f"{type(batch).__name__}"
    )


def _table(columns: Columns) -> Any:
    import pyarrow as pa

    types = {
        "status": pa.string(),
        "error": pa.string(),
        "top_index": pa.list_(pa.int64()),
        "top_label": pa.list_(pa.string()),
        "top_probability": pa.list_(pa.float32()),
    }
    return pa.table(
        {
            name: _vectors(column) if _is_matrix(column) else _array(column, types.get(name))
            for name, column in columns.items()
        }
    )


def _array(column: Any, type_: Any) -> Any:
    import pyarrow as pa

    return column if isinstance(column, pa.ChunkedArray) else pa.array(column, type_)


def _vectors(rows: np.ndarray) -> Any:
    """Return [N, D] as lists of one length, without a Python object per value."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _frame(columns: Columns) -> Any:
    import pandas as pd

    return pd.DataFrame({name: list(c) if _is_matrix(c) else c for name, c in columns.items()})


def _is_matrix(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.ndim == 2
