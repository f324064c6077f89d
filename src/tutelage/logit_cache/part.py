"""A file of logits that is being filled."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..data.elements import IntArray
from ..errors import CheckpointError
from .file import mapped
from .fingerprint import check_same
from .layout import UNFINISHED, Layout, footer
from .locks import locked
from .measures import row_hashes

_ZEROS = 1 << 20
_PUTS_A_FLUSH = 16
_SUM = 8
_CHECKED_AT_ONCE = 1 << 14


class Part:
    """A file that is being filled, beside its place, by one process at a time; a later one goes on with it.

    A context manager: it holds the lock, and keeps on leaving what is there. Beside the part lies a sum of each row;
    a row that has another one when the part is gone on with, because of a damaged disk, counts as not there.

    Args:
        path: the place of the complete file; its folder is made.
        layout: of the file; that of a part that is there is gone on with.
        wait: for another process that fills it, rather than raise.

    Raises:
        CheckpointError: if another process fills it, it cannot be written, or what is there is for another
            fingerprint, cut or damaged.

    Attributes:
        complete: whether somebody else was faster; then there is nothing to do.
    """

    def __init__(self, path: Path, layout: Layout, *, wait: bool = False) -> None:
        self.path, self.layout, self._wait = path, layout, wait
        self._part, self._sums_of = (path.with_name(f"{path.name}.{end}") for end in ("part", "part.sums"))
        self._waiting = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(locked(self.path, wait=self._wait))
            self.complete = self.path.is_file()
            if not self.complete:
                self._begin()
            self._lock = stack.pop_all()
        return self

    def _begin(self) -> None:
        if not self._part.is_file():
            _create(self._sums_of, b"", self.layout.entries * _SUM, b"")
            end = self.layout.size - len(UNFINISHED)
            _create(self._part, self.layout.beginning(), end, UNFINISHED)
        self._content = mapped(self._part, "r+")
        found = Layout.of(self._part, self._content)
        check_same(str(self._part), found.facts, self.layout.facts)
        self.layout = found
        names = (*found.storage.columns(found.classes), *found.measure.columns)
        self._columns = {name: found.column(self._content, name) for name in names}
        bits = np.unpackbits(self._content[found.filled], bitorder="little")
        self._there = bits[: found.entries].view(np.bool_).reshape(-1, found.views)
        self._check_sums()

    def _check_sums(self) -> None:
        """Forget rows that are not what was put."""
        entries = self.layout.entries
        if not self._sums_of.is_file() or self._sums_of.stat().st_size != entries * _SUM:
            _create(self._sums_of, b"", entries * _SUM, b"")
            self._there[:] = False
        self._sums_content = mapped(self._sums_of, "r+")
        self._sums: IntArray = self._sums_content.view(np.int64)
        there = self._there.reshape(-1)
        for start in range(0, entries, _CHECKED_AT_ONCE):
            some = slice(start, min(start + _CHECKED_AT_ONCE, entries))
            if there[some].any():
                there[some] &= _sums({name: column[some] for name, column in self._columns.items()}) == self._sums[some]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self.keep()

    def has(self, rows: slice, view: int) -> bool:
        """Return whether some rows are there in a view."""
        return bool(self._there[rows, view].all())

    def put(self, rows: slice, view: int, columns: Mapping[str, Tensor]) -> None:
        """Store all columns of some rows, (n, numbers) each, in a view."""
        at = slice(rows.start * self.layout.views + view, rows.stop * self.layout.views, self.layout.views)
        rowwise = {name: columns[name].view(rows.stop - rows.start, -1) for name in self._columns}
        for name, values in rowwise.items():
            self._columns[name][at] = values
        self._sums[at] = _sums(rowwise)
        self._there[rows, view] = True
        self._waiting += 1
        if self._waiting >= _PUTS_A_FLUSH:
            self.keep()

    def keep(self) -> None:
        """Bring what was put to the disk, then the bits that say so."""
        if self._waiting:
            self._content.flush()
            self._sums_content.flush()
            self._content[self.layout.filled] = np.packbits(self._there.reshape(-1), bitorder="little")
            self._content.flush()
            self._waiting = 0

    def finish(self) -> None:
        """Bring the file to its place.

        Raises:
            CheckpointError: if rows are missing, or it cannot be written.
        """
        self.keep()
        if not self._there.all():
            missing = int(self.layout.index[np.flatnonzero(~self._there.all(1))[0]])
            raise CheckpointError(f"{self._part} is not complete: example {missing} is missing.")
        end = np.frombuffer(footer(self._content), dtype=np.uint8)
        self._content[-len(end) :] = end
        self._content.flush()
        try:
            os.replace(self._part, self.path)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be written: {error.strerror}; give another path.") from error
        self._sums_of.unlink(missing_ok=True)


def _sums(columns: Mapping[str, Tensor]) -> IntArray:
    """A sum of each row, (n,), over columns (n, numbers)."""
    content = torch.cat([column.contiguous().view(torch.uint8) for column in columns.values()], 1)
    return row_hashes(content).numpy()


def _create(path: Path, beginning: bytes, zeros_to: int, end: bytes) -> None:
    """Write a file in full, with zeros up to a place, so that no later write meets a full disk, then rename it."""
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(beginning)
            while (left := zeros_to - file.tell()) > 0:
                file.write(bytes(min(left, _ZEROS)))
            file.write(end)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CheckpointError(f"{path} cannot be written: {error.strerror}; give another path.") from error
