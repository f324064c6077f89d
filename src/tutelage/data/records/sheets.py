"""CSV files as rows of text with their line numbers, and their columns as numbers or class ids."""

import csv
import hashlib
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import ConfigError, DataError
from ..elements import IntArray
from ..parquet import text_labels
from .mapped import cannot_read

_SHOWN = 40
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")


@dataclass(frozen=True, eq=False)
class Sheet:
    """A CSV file as text.

    Attributes:
        path: of the file.
        digest: SHA-256 of the file, in hex.
        header: the names of the columns.
        rows: the fields of each row, as many as there are columns.
        lines: the line on which each row begins, from 1.
    """

    path: Path
    digest: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """Return the fields of a column."""
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    def error(self, row: int, column: str, what: str) -> DataError:
        """Return the error for a field, on one line, whatever the field holds."""
        field = " ".join(self.rows[row][self.header.index(column)].split())
        shown = field if len(field) <= _SHOWN else f"{field[:_SHOWN]}..."
        return DataError(f'{self.path} line {self.lines[row]}, column "{column}": "{shown}" {what}')


def read_sheet(path: Path, delimiter: str) -> Sheet:
    """Read a CSV file; blank lines are passed over.

    Raises:
        DataError: if it is not readable, not UTF-8 or no table.
        ConfigError: if the delimiter is not one character.
    """
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ConfigError(f"CsvReader: delimiter is {delimiter!r}; it must be one character.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from None
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} line {line}: not UTF-8.") from None
    rows, lines = _rows(path, content, delimiter)
    if not rows:
        raise DataError(f"{path}: no header.")
    header = rows[0]
    for name in header:
        if header.count(name) > 1:
            raise DataError(f'{path}: two columns are called "{name}".')
    for row, line in zip(rows, lines):
        if len(row) != len(header):
            raise DataError(f"{path} line {line}: fields {len(row)}, columns {len(header)}.")
    if len(rows) == 1:
        raise DataError(f"{path}: no rows below the header.")
    return Sheet(path, hashlib.sha256(data).hexdigest(), header, rows[1:], lines[1:])


def _rows(path: Path, content: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path} line {line}: no CSV ({error}).") from None
    return rows, lines


def numbers(sheets: Sequence[Sheet], column: str, check: bool) -> npt.NDArray[np.float32]:
    """Return a column of all sheets as float32, (N,).

    Args:
        sheets: at least one.
        column: its name.
        check: refuse NaN and infinity.

    Raises:
        DataError: if a field is no number, or not finite.
    """
    parts = []
    for sheet in sheets:
        fields = sheet.column(column)
        try:
            values = _floats(fields)
        except ValueError:
            row = next(i for i, field in enumerate(fields) if not _is_float(field))
            raise sheet.error(row, column, "is no number.") from None
        bad = np.flatnonzero(~np.isfinite(values)) if check else ()
        for row in bad[:1]:
            raise sheet.error(row, column, "is not finite; pass check=False to keep such values.")
        parts.append(values)
    return np.concatenate(parts)


def labels(sheets: Sequence[Sheet], column: str) -> tuple[IntArray, tuple[str, ...] | None]:
    """Return a column of all sheets as int64, (N,), and the classes that the ids stand for if the fields are text.

    Raises:
        DataError: if a field is empty or too large, a number is no integer, or numbers and texts are mixed.
    """
    fields = [sheet.column(column) for sheet in sheets]
    numeric = _NUMBER.fullmatch(fields[0][0]) is not None
    for sheet, part in zip(sheets, fields):
        for row, field in enumerate(part):
            if not field.strip():
                raise sheet.error(row, column, "is no label.")
            if (_NUMBER.fullmatch(field) is not None) != numeric:
                raise sheet.error(row, column, f"is {'no' if numeric else 'a'} number, unlike labels above.")
            if numeric and not _INTEGER.fullmatch(field):
                raise sheet.error(row, column, "is no class; labels are texts or integers below 10^18.")
    values = list(itertools.chain.from_iterable(fields))
    if not numeric:
        return text_labels(str(sheets[0].path), values)
    return np.array(list(map(int, values)), dtype=np.int64), None


def _floats(fields: list[str]) -> npt.NDArray[np.float32]:
    if "_" in "".join(fields):  # float() takes "1_000"
        raise ValueError
    with np.errstate(over="ignore"):
        return np.fromiter(map(float, fields), np.float64, len(fields)).astype(np.float32)


def _is_float(field: str) -> bool:
    try:
        _floats([field])
    except ValueError:
        return False
    return True
