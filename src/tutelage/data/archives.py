"""Arrays in an .npz file."""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .sources import Array, DataSet, Source, from_arrays

_DAMAGED = (
    OSError,
    EOFError,
    MemoryError,  # a damaged shape
    RuntimeError,  # what zipfile raises for a damaged flag
    ValueError,
    tokenize.TokenError,  # what numpy lets through for a damaged header
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path, *, num_classes: int | None = None) -> DataSet:
    """Read ``x`` and ``y``, and ``x_test`` and ``y_test`` if they are there.

    Images are (N, C, H, W). Nothing is unpickled.

    Args:
        path: the file.
        num_classes: K; not needed if the file has ``classes``, the class names.

    Raises:
        ConfigError: if the number of classes is not known.
        DataError: if the file is damaged, an array is missing, holds Python objects or is not usable.
    """
    try:
        arrays = np.load(path, allow_pickle=False)
    except _DAMAGED:
        raise DataError(f"{path}: not a readable .npz file.") from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: a single array; an .npz file with x and y is needed.")
    with arrays:
        names = [str(n) for n in _array(path, arrays, "classes")] if "classes" in arrays else None

        def source(suffix: str) -> Source:
            x, y = _array(path, arrays, f"x{suffix}"), _array(path, arrays, f"y{suffix}")
            return from_arrays(x, y, num_classes=num_classes, classes=names, name=f"{path}{suffix}")

        return DataSet(source(""), source("_test") if "x_test" in arrays else None)


def _array(path: Path, arrays: Any, key: str) -> Array:
    if key not in arrays:
        raise DataError(f'{path}: no "{key}" among {", ".join(arrays)}.')
    try:
        array: Array = arrays[key]
    except _DAMAGED as error:
        objects = isinstance(error, ValueError) and "allow_pickle" in str(error)
        raise DataError(f'{path}: "{key}" {"holds Python objects" if objects else "is damaged"}.') from None
    return array
