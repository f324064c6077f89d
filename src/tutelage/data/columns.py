"""Columns of numbers as CSV or Parquet files."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..errors import ConfigError
from .records.atomic import AtomicWriter


def write_columns(columns: Mapping[str, npt.NDArray[Any]], path: str | os.PathLike[str]) -> None:
    """Write columns of one length to a ``.csv`` or ``.parquet`` file, whole or not at all; NaN is an empty cell.

    Raises:
        ConfigError: for another suffix.
        DataError: if the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"{path}: a table is written as .csv or .parquet.")
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.table({name: pyarrow.array(values, from_pandas=True) for name, values in columns.items()})
    buffer = io.BytesIO()
    (pyarrow.csv.write_csv if path.suffix == ".csv" else pyarrow.parquet.write_table)(table, buffer)
    AtomicWriter(path, buffer.getvalue()).close()
