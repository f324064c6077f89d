"""Right labels of some rows: what an expert looked at again, as a small table."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .parquet import text_labels
from .sources import IntArray, Source


def read_right_labels(path: str | Path, source: Source) -> tuple[IntArray, IntArray]:
    """Read a table of rows whose right label is known.

    Args:
        path: a CSV file with a first line of names, or a Parquet file, with the columns ``index`` (position of the row
            in the source) and ``label`` (number of a class, or its name; its name, if all names are numbers).
        source: whose rows they are.

    Returns:
        index (M,), int64, ascending, and labels (M,), int64.

    Raises:
        DataError: if the file cannot be read, lacks a column, names a row twice or one that is not there, or a label
            is no class of the source.
    """
    path = Path(path)
    index, texts = _columns(path)
    if not len(index):
        raise DataError(f"{path} has no rows.")
    if index.dtype.kind not in "iu":
        raise DataError(f'{path}: column "index" must hold whole numbers, positions in {source.name}.')
    outside = (index < 0) | (index >= len(source))
    if outside.any():
        raise DataError(
            f"{path}: index {index[outside][0]} is outside 0..{len(source) - 1}, the rows of {source.name}."
        )
    values, counts = np.unique(index, return_counts=True)
    if (counts > 1).any():
        raise DataError(f"{path}: index {values[counts > 1][0]} comes twice.")
    labels = _labels(path, texts, source)
    order = np.argsort(index)
    return index[order].astype(np.int64), labels[order]


def _labels(path: Path, texts: list[str], source: Source) -> IntArray:
    if not all(text.isdecimal() for text in texts) or all(name.isdecimal() for name in source.classes):
        return text_labels(str(path), texts, source.classes)[0]
    for text in texts:
        if int(text) >= source.num_classes:
            raise DataError(f"{path}: label {text} is outside 0..{source.num_classes - 1}.")
    return np.asarray([int(text) for text in texts], dtype=np.int64)


def _columns(path: Path) -> tuple[npt.NDArray[Any], list[str]]:
    """Return the column of indices, and the labels as texts."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    as_text = pyarrow.csv.ConvertOptions(column_types={"label": pyarrow.string()})  # true is a name, not a truth value
    try:
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
        else:
            table = pyarrow.csv.read_csv(path, convert_options=as_text)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable CSV or Parquet file ({str(error).splitlines()[0]}).") from None
    names = table.column_names
    for name in ("index", "label"):
        if names.count(name) != 1:
            count = "two columns" if name in names else "no column"
            raise DataError(f'{path}: {count} "{name}" among {", ".join(names)}; needed are index and label.')
        missing = table.column(name).is_null().to_pylist()
        if any(missing):
            raise DataError(f"{path} row {missing.index(True)}: no {name}.")
    index = table.column("index").to_numpy()
    return index, [str(label) for label in table.column("label").to_pylist()]
