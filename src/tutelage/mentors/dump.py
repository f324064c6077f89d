"""Dump: losses of examples with trusted labels at moments of a training; what a mentor is learned from."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import curricula
from ..data.columns import write_columns
from ..data.records.atomic import AtomicWriter
from ..errors import ConfigError, DataError, ShapeError
from .rows import Rows

COLUMNS = ("id", "percent", "given", "trusted", "loss")
_ALIASES = {"noisy": "given", "clean": "trusted"}
_KNOWN = "the known epochs are the percents of training 0..99: write floor(100 * step / steps)"


@dataclass(frozen=True, eq=False)
class Dump:
    """A table with the key (id, percent): one example can have several rows.

    Tensors are brought to the CPU, as int64 and float32.

    Attributes:
        id: of the example, shape (N,).
        percent: e in 0..99 of the moment, shape (N,).
        given: the label trained with, shape (N,).
        trusted: the label known to be right, shape (N,); -1 (or NaN): not known.
        loss: l >= 0, shape (N,).
        threshold: the moving percentile of the losses at that moment, shape (N,); None: not recorded.
        source: a name, for messages.

    Raises:
        ShapeError: if the tensors are not all of one shape (N,).
        DataError: naming the row, for a loss that is not finite and >= 0, a threshold that is not finite, a percent
            outside 0..99, an id, percent or label that is no whole number, or a key that comes twice; and without
            rows.
    """

    id: Tensor
    percent: Tensor
    given: Tensor
    trusted: Tensor
    loss: Tensor
    threshold: Tensor | None = None
    source: str = "dump"

    def __post_init__(self) -> None:
        for name, value in self._columns().items():
            if value.shape != self.id.shape or value.ndim != 1:
                given, needed = tuple(value.shape), f"(N,) as id, {tuple(self.id.shape)}"
                raise ShapeError(f"Dump.{name} has shape {given}, but needs {needed}.")
            value = value.detach().cpu()
            value = value.float() if name in ("loss", "threshold") else self._whole(name, value)
            object.__setattr__(self, name, value)
        if not len(self):
            raise DataError(f"{self.source} has no rows.")
        self._forbid("loss", ~self.loss.isfinite() | (self.loss < 0), "a loss is finite and at least 0")
        self._forbid("percent", (self.percent < 0) | (self.percent > 99), _KNOWN)
        if self.threshold is not None:
            self._forbid("threshold", ~self.threshold.isfinite(), "it must be finite")
        self._forbid_twins()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Dump":
        """Read a table.

        Three forms: Parquet (``.parquet``); CSV, with the names of the columns in the first line; and the published
        text form, lines of ``id percent noisy clean loss`` divided by spaces, without names. Columns are named as
        the attributes, or ``noisy`` and ``clean``; others are left out.

        Raises:
            DataError: if the file cannot be read, lacks a column, or holds what a dump must not.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path} does not exist; a dump is a table with the columns {', '.join(COLUMNS)}.")
        try:
            columns = _parquet(path) if path.suffix == ".parquet" else _text_or_csv(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
        for name in COLUMNS:
            if name not in columns:
                raise DataError(f'{path} has no column "{name}"; needed are {", ".join(COLUMNS)}.')
        needed = {name: columns[name] for name in COLUMNS}
        return cls(**needed, threshold=columns.get("threshold"), source=str(path))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write Parquet (``.parquet``), CSV (``.csv``), or else the published text form; whole or not at all.

        Raises:
            ConfigError: for the text form, which holds no thresholds, if there are thresholds.
            DataError: if the file cannot be written.
        """
        path = Path(path)
        if path.suffix in (".parquet", ".csv"):
            write_columns({name: column.numpy() for name, column in self._columns().items()}, path)
            return
        if self.threshold is not None:
            raise ConfigError(f"{path}: the text form of a dump holds no thresholds; write .csv or .parquet.")
        lines = zip(*(getattr(self, name).tolist() for name in COLUMNS))
        content = "".join(f"{i} {e} {y} {t} {loss:.9g}\n" for i, e, y, t, loss in lines).encode()
        AtomicWriter(path, content).close()

    def __len__(self) -> int:
        return len(self.id)

    def rows(self, percentile: float | None = None, *, pooled: bool = False) -> Rows:
        """Return the rows with trusted labels: (l, d = l - threshold, e) -> 1[given == trusted], grouped by id.

        Args:
            percentile: p in (0, 1): the threshold of a row is the p-quantile of all losses of its percent. None:
                the recorded threshold.
            pooled: take that quantile over the whole dump, as the published code does: another feature than the
                mentor later sees.

        Raises:
            ConfigError: if there is neither a recorded threshold nor a percentile, or for one outside (0, 1).
            DataError: if no label is trusted.
        """
        known = self.trusted >= 0
        if not known.any():
            raise DataError(
                f"{self.source}: no clean labels; a mentor is learned from rows whose right label is known."
            )
        if percentile is None and self.threshold is None:
            raise ConfigError(f"{self.source} has no column threshold; pass percentile, such as the one used later.")
        threshold = self.threshold if percentile is None else self._percentiles(percentile, pooled)
        assert threshold is not None
        target = (self.given == self.trusted).float()
        every = Rows(self.loss, self.loss - threshold, self.percent, target, self.id)
        return every.take(known.nonzero().squeeze(1))

    def fingerprint(self) -> str:
        """Return a SHA-256 in hex of all columns."""
        digest = hashlib.sha256()
        for name, column in self._columns().items():
            digest.update(f"{name} {len(column)}\n".encode() + column.numpy().tobytes())
        return digest.hexdigest()

    def _columns(self) -> dict[str, Tensor]:
        columns = {name: getattr(self, name) for name in COLUMNS}
        return columns if self.threshold is None else columns | {"threshold": self.threshold}

    def _whole(self, name: str, values: Tensor) -> Tensor:
        if not values.is_floating_point():
            return values.long()
        if name == "trusted":
            values = torch.where(values.isnan(), -1.0, values)
        self._forbid(name, values != values.floor(), "it must be a whole number", values)
        return values.long()

    def _forbid(self, name: str, wrong: Tensor, law: str, values: Tensor | None = None) -> None:
        if wrong.any():
            row = int(wrong.nonzero()[0])
            value = (getattr(self, name) if values is None else values)[row].item()
            raise DataError(f"{self.source} row {row}: {name} is {value:g}; {law}.")

    def _forbid_twins(self) -> None:
        ids, percents = self.id.numpy(), self.percent.numpy()
        order = np.lexsort((percents, ids))
        ids, percents = ids[order], percents[order]
        twins = np.flatnonzero((ids[1:] == ids[:-1]) & (percents[1:] == percents[:-1]))
        if len(twins):
            raise DataError(
                f"{self.source}: id {ids[twins[0]]} comes twice at percent {percents[twins[0]]}; "
                "an example has one row a percent."
            )

    def _percentiles(self, percentile: float, pooled: bool) -> Tensor:
        """Return the quantile that belongs to each row, shape (N,)."""
        if not 0 < percentile < 1:
            raise ConfigError(f"percentile is {percentile}; it must lie between 0 and 1, such as 0.5.")
        if pooled:
            return curricula.percentile(self.loss, percentile).expand(len(self))
        thresholds = torch.empty_like(self.loss)
        for e in np.unique(self.percent.numpy()):
            mine = self.percent == e
            thresholds[mine] = curricula.percentile(self.loss[mine], percentile)
        return thresholds


def _text_or_csv(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        first = file.readline()
    if b"," in first:
        return _csv(path)
    if not first.strip():
        raise DataError(f"{path}: the first line is empty.")
    try:
        table = np.loadtxt(path, dtype=np.float64, comments=None, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: not in the form `id percent noisy clean loss` ({_first_line(error)}).") from None
    if table.shape[1] != len(COLUMNS):
        raise DataError(f"{path}: {table.shape[1]} numbers a line; the text form has id percent noisy clean loss.")
    return {name: torch.from_numpy(table[:, i]) for i, name in enumerate(COLUMNS)}


def _csv(path: Path) -> dict[str, Tensor]:
    import pyarrow
    import pyarrow.csv

    try:
        return _tensors(path, pyarrow.csv.read_csv(path))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a readable CSV file ({_first_line(error)}).") from None


def _parquet(path: Path) -> dict[str, Tensor]:
    import pyarrow
    import pyarrow.parquet

    try:
        return _tensors(path, pyarrow.parquet.read_table(path))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file ({_first_line(error)}).") from None


def _tensors(path: Path, table: Any) -> dict[str, Tensor]:
    """Return the columns that a dump has; what is missing in a row is NaN."""
    columns = {}
    for given in table.column_names:
        name = _ALIASES.get(given, given)
        if name not in (*COLUMNS, "threshold"):
            continue
        column = table.column(given)
        empty = column.null_count == len(column)
        values: npt.NDArray[Any] = np.full(len(column), np.nan) if empty else column.to_numpy()
        if values.dtype.kind not in "iuf":
            raise DataError(f'{path}: column "{given}" is {column.type}; it must hold numbers.')
        columns[name] = torch.tensor(values.astype(np.float64 if values.dtype.kind == "f" else np.int64))
    return columns


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
