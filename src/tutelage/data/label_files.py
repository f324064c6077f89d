"""Label files of CIFAR-N and CIFAR-10H, which their licences (non-commercial) leave to the user to fetch.

A file joins a source only if its own clean column equals the labels of the source on every row: copies of CIFAR
differ in the order of their rows, and labels joined to the wrong rows look like noise. No pickled object is ever
built: PyTorch files are read with an allow-list of tensors, plain containers and integer arrays, numpy files
without pickle.

CIFAR-N (Wei et al., "Learning with noisy labels revisited: a study using real-world human annotations", ICLR 2022):
``CIFAR-10_human.pt`` and ``CIFAR-100_human.pt`` hold a dict of label arrays in the row order of the Python version
of CIFAR. Their .npy twins are pickles and are refused. CIFAR-10H (Peterson et al., "Human uncertainty makes
classification more robust", ICCV 2019): ``cifar10h-counts.npy`` and ``cifar10h-probs.npy``, (10,000, 10), one row a
test image, without a clean column.
"""

import pickle
import struct
import tokenize
import zipfile
import zlib
from codecs import encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ConfigError, DataError, unknown
from .noise import NoisyLabels, from_labels
from .sources import Array, IntArray, Source, as_labels

FloatArray = npt.NDArray[np.float64]

CLEAN = "clean_label"
COLUMNS: Mapping[str, str] = {
    "aggregate": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worst": "worse_label",
    "noisy": "noisy_label",
}
"""Short names of the columns of CIFAR-10N, and ``"noisy"`` of CIFAR-100N -> their names in the files."""
PUBLISHED_RATES: Mapping[str, float] = {
    "aggregate": 0.0901,
    "random1": 0.1723,
    "random2": 0.1812,
    "random3": 0.1764,
    "worst": 0.4021,
}
"""Share of wrong labels in CIFAR-10N."""
LEAST_AGREEMENT = 0.9
"""Votes join only if they agree with at least this share of the labels: 99.21 % in CIFAR-10H, 10 % in a wrong order."""

_DAMAGED = (
    OSError,
    EOFError,
    MemoryError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    pickle.UnpicklingError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_ARRAY = np.zeros(0).__reduce__()[0]  # numpy's maker of arrays; its module has two names
_SAFE: list[Any] = [(_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
_SAFE += [np.ndarray, np.dtype, encode, *{type(np.dtype(code)) for code in "bBhHiIlLqQ"}]


@dataclass(frozen=True, eq=False)
class Votes:
    """What a crowd says about each row.

    Attributes:
        probabilities: shares of the votes, float64, shape (N, K), rows sum to 1: soft labels, or the table of
            :func:`tutelage.data.noise.probabilities` to draw labels from.
        majority: the class with most votes (ties: the lowest) as noisy labels.
        agreement: share of rows whose majority is the label.
        mean_probability: mean share of votes for the label.
    """

    probabilities: FloatArray
    majority: NoisyLabels
    agreement: float
    mean_probability: float


def join_labels(path: str | Path, source: Source, column: str) -> NoisyLabels:
    """Return one column of a label file as the noisy labels of a source.

    Args:
        path: ``CIFAR-10_human.pt``, or an .npz or structured .npy file with the same columns.
        source: its labels must be the clean column of the file.
        column: a key of ``COLUMNS``, or the name of a column in the file.

    Raises:
        ConfigError: if there is no such column.
        DataError: if the file is not readable or belongs to other rows; the first bad row is named.
    """
    columns = _checked(Path(path), source)
    name = COLUMNS.get(column, column)
    if name not in columns:
        raise ConfigError(f"{path}: {unknown('label column', column, _short_names(columns))}")
    return _noisy(Path(path), source, columns[name], name)


def noise_rates(path: str | Path, source: Source) -> dict[str, float]:
    """Return the share of wrong labels of each known column of a label file, by short name.

    Raises:
        DataError: as :func:`join_labels`.
    """
    columns = _checked(Path(path), source)
    known = {short: name for short, name in COLUMNS.items() if name in columns}
    return {short: _noisy(Path(path), source, columns[name], name).realised for short, name in known.items()}


def join_votes(path: str | Path, source: Source, clean: IntArray | None = None) -> Votes:
    """Return the votes of a crowd for the rows of a source.

    Args:
        path: ``cifar10h-counts.npy`` or ``cifar10h-probs.npy``: numbers >= 0, shape (N, K).
        source: its rows, in the order of the file.
        clean: the labels of the file's rows, if you have them: they must equal those of the source. Without
            them the majority must be the label on 90 % of the rows, which a wrong order does not reach.

    Raises:
        DataError: if the file is not readable, has another shape, or belongs to other rows.
    """
    path = Path(path)
    table = _read(path)
    if not isinstance(table, np.ndarray) or table.dtype.kind not in "iuf":
        raise DataError(f"{path}: one array of numbers is needed, of shape {(len(source), source.num_classes)}.")
    if table.shape != (len(source), source.num_classes):
        raise DataError(f"{path}: shape {table.shape}, needs {(len(source), source.num_classes)} for {source.name}.")
    counts = table.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(counts) & (counts >= 0)).all(axis=1) | ~(counts.sum(axis=1) > 0))
    if bad.size:
        raise DataError(f"{path}: row {bad[0]} is {table[bad[0]].tolist()}; it needs numbers >= 0, not all 0.")
    if clean is not None:
        _check_clean(path, as_labels(f"{path}: clean", np.asarray(clean)), source)
    majority = counts.argmax(axis=1)
    _check_agreement(path, majority, source)
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    labels = from_labels(source.y, majority, num_classes=source.num_classes, convention=path.name)
    mean = float(probabilities[np.arange(len(source)), source.y].mean())
    return Votes(probabilities, labels, 1 - labels.realised, mean)


def _checked(path: Path, source: Source) -> dict[str, Any]:
    """Return the columns of a label file whose clean column is that of the source."""
    columns = _columns(path, _read(path))
    if CLEAN not in columns:
        raise DataError(f'{path}: no column "{CLEAN}" among {", ".join(columns)}; rows cannot be checked.')
    _check_clean(path, _labels(path, columns[CLEAN], CLEAN), source)
    return columns


def _noisy(path: Path, source: Source, column: Any, name: str) -> NoisyLabels:
    labels = _labels(path, column, name)
    return from_labels(source.y, labels, num_classes=source.num_classes, convention=f"{path.name}: {name}")


def _labels(path: Path, column: Any, name: str) -> IntArray:
    try:
        labels = column.detach().numpy() if isinstance(column, Tensor) else np.asarray(column)
    except (TypeError, ValueError):  # a ragged list, a type that numpy has not
        raise DataError(f"{path}: {name} holds no labels.") from None
    return as_labels(f"{path}: {name}", labels)


def _short_names(columns: Mapping[str, Any]) -> list[str]:
    short = {name: key for key, name in COLUMNS.items()}
    return [short.get(name, name) for name in columns if name != CLEAN]


def _check_clean(path: Path, clean: IntArray, source: Source) -> None:
    if clean.shape != source.y.shape:
        raise DataError(f"{path}: {len(clean):,} rows, but {source.name} has {len(source):,}.")
    wrong = np.flatnonzero(clean != source.y)
    if wrong.size:
        raise DataError(
            f"{path}: clean label {clean[wrong[0]]} at row {wrong[0]}, but {source.name} has {source.y[wrong[0]]} "
            f"({wrong.size:,} of {len(clean):,} rows differ); the file is for rows in another order."
        )


def _check_agreement(path: Path, majority: IntArray, source: Source) -> None:
    wrong = np.flatnonzero(majority != source.y)
    agreement = 1 - wrong.size / len(source)
    if agreement < LEAST_AGREEMENT:
        raise DataError(
            f"{path}: most votes are for the label on {agreement:.1%} of the rows only; the first other row is "
            f"{wrong[0]}, votes for {majority[wrong[0]]}, label {source.y[wrong[0]]}; the file is for rows in "
            "another order."
        )


def _columns(path: Path, content: Any) -> dict[str, Any]:
    if isinstance(content, np.ndarray) and content.dtype.names:
        return {name: content[name] for name in content.dtype.names}
    if isinstance(content, dict) and content and all(isinstance(name, str) for name in content):
        return content
    raise DataError(f"{path}: a dict of label columns is needed, or an .npz or structured .npy file.")


def _read(path: Path) -> Any:
    """Return what a .pt, .npy or .npz file holds, building nothing but containers, tensors and plain arrays."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; label files are not distributed with this package.")
    try:
        if path.suffix not in (".npy", ".npz"):
            with torch.serialization.safe_globals(_SAFE):
                return torch.load(path, map_location="cpu", weights_only=True)
        content: Array | np.lib.npyio.NpzFile = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return {name: content[name] for name in content}
    except pickle.UnpicklingError:
        raise DataError(f"{path}: not a PyTorch file of tensors and integer arrays; nothing else is read.") from None
    except _DAMAGED as error:
        if "allow_pickle" in str(error):
            raise DataError(f"{path}: holds Python objects, which are not read; use the .pt file.") from None
        raise DataError(f"{path}: not a readable label file.") from None
