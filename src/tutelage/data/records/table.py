"""CSV files as readers."""

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ...errors import ConfigError, DataError
from ..elements import Array, Element, IntArray, Signature, map_leaves, signature, split_rows
from ..parquet import pick_column
from ..reader import Reader
from .mapped import Files, as_paths
from .sheets import Sheet, labels, numbers, read_sheet


class CsvReader(Reader):
    """Rows of one or more CSV files with a header, held in memory.

    Elements are (x, y) if there is a label, x float32 (columns,), y int64 (); else dicts of columns, float32 () or
    ``str``. Blank lines are passed over; fields may be quoted with ``"``.

    Args:
        files: the paths, in order, with equal headers.
        label: name of the label column: integers, which are kept, or texts, which are sorted and numbered.
        columns: what to read besides the label, in this order; None: all.
        text: which of them hold text; only without a label.
        delimiter: what stands between fields.
        check: refuse NaN and infinity.

    Attributes:
        columns: names of the columns of x, or of the dicts.
        classes: the texts that labels stand for, in label order; None if labels are integers, or there are none.

    Raises:
        ConfigError: if text columns are asked for beside a label.
        DataError: if a file is missing, empty, not UTF-8 or no table, a column is missing, or a field is no number.
    """

    kind: ClassVar[str] = "csv"

    def __init__(
        self,
        files: Files,
        label: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        text: Sequence[str] = (),
        delimiter: str = ",",
        check: bool = True,
    ) -> None:
        if label is not None and text:
            raise ConfigError("CsvReader: x holds numbers only; leave out text= or label=.")
        sheets = [read_sheet(path, delimiter) for path in as_paths(files)]
        self.columns = _columns(sheets, label, columns, text)
        self.classes: tuple[str, ...] | None = None
        self._digest = hashlib.sha256(
            f"{[sheet.digest for sheet in sheets]}{label}{self.columns}{text}".encode()
        ).hexdigest()
        self._rows: Element
        if label is None:
            self._rows = {c: _texts(sheets, c) if c in text else numbers(sheets, c, check) for c in self.columns}
        else:
            y, self.classes = labels(sheets, label)
            self._rows = np.stack([numbers(sheets, c, check) for c in self.columns], axis=1), y
        self._length = sum(len(sheet.rows) for sheet in sheets)

    def __len__(self) -> int:
        return self._length

    def read(self, index: IntArray) -> list[Element]:
        """Return the rows at ``index``."""
        return split_rows(self.gather(index), len(index))

    def gather(self, index: IntArray) -> Element:
        """Return the rows at ``index``, stacked."""
        return map_leaves(lambda leaf: leaf[index], self._rows)

    def fingerprint(self) -> str:
        """Return a SHA-256 of the files, and of what is read of them."""
        return self._digest

    def signature(self) -> Signature:
        """Return dtype and shape of x and y, or of the columns."""
        return signature(split_rows(self._rows, 1)[0])


def _columns(
    sheets: Sequence[Sheet], label: str | None, columns: Sequence[str] | None, text: Sequence[str]
) -> tuple[str, ...]:
    """Return the columns besides the label, all known to be there."""
    header = sheets[0].header
    for sheet in sheets[1:]:
        if sheet.header != header:
            raise DataError(
                f"{sheet.path}: columns {', '.join(sheet.header)}; {sheets[0].path} has {', '.join(header)}."
            )
    where = str(sheets[0].path)
    if label is not None:
        pick_column(where, "label", label, (), header)
    chosen = tuple(name for name in header if name != label) if columns is None else tuple(columns)
    for name in chosen:
        if name not in header:
            raise DataError(f'{where}: no column "{name}" among {", ".join(header)}.')
    for name in text:
        if name not in chosen:
            raise DataError(
                f'{where}: no column "{name}" among {", ".join(chosen)}; text= names columns that are read.'
            )
    if not chosen:
        raise DataError(f"{where}: no column besides the label.")
    return chosen


def _texts(sheets: Sequence[Sheet], column: str) -> Array:
    fields = [field for sheet in sheets for field in sheet.column(column)]
    out = np.empty(len(fields), dtype=object)
    out[:] = fields
    return out
