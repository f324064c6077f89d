"""Files of records that all have the same number of bytes."""

import os
from typing import ClassVar

import numpy as np

from ...errors import ConfigError, DataError
from ..elements import Array, Element, IntArray, Signature, split_rows
from ..reader import Reader
from .atomic import AtomicWriter
from .mapped import Files, MappedFiles, Spans, first_positions, place


class FixedLengthReader(Reader):
    """Records of ``record_bytes`` bytes each, between a header and a footer that every file has.

    Elements are uint8 arrays of shape (record_bytes,).

    Args:
        files: the paths.
        record_bytes: size of a record.
        header_bytes: how much to leave out at the start of each file.
        footer_bytes: how much to leave out at its end.

    Raises:
        ConfigError: if a number of bytes is not possible.
        DataError: if a file is missing or empty, or does not hold one or more whole records.
    """

    kind: ClassVar[str] = "fixed_length"

    def __init__(self, files: Files, record_bytes: int, header_bytes: int = 0, footer_bytes: int = 0) -> None:
        for name, value, least in (
            ("record", record_bytes, 1),
            ("header", header_bytes, 0),
            ("footer", footer_bytes, 0),
        ):
            if value < least:
                raise ConfigError(f"{name}_bytes is {value}; it must be at least {least}.")
        self.record_bytes = record_bytes
        self._header, self._footer = header_bytes, footer_bytes
        self._files = MappedFiles(files)
        self._first = first_positions(self._count(k) for k in range(len(self._files.paths)))

    def _count(self, file: int) -> int:
        path, body = self._files.paths[file], self._files.sizes[file] - self._header - self._footer
        if body <= 0:
            raise DataError(f"{path}: {self._files.sizes[file]} bytes leave no record beside header and footer.")
        if body % self.record_bytes:
            raise DataError(f"{path}: body of {body} bytes is not a multiple of record_bytes={self.record_bytes}.")
        return body // self.record_bytes

    def __len__(self) -> int:
        return int(self._first[-1])

    def read(self, index: IntArray) -> list[Element]:
        """Return the records at ``index``."""
        return split_rows(self.gather(index), len(index))

    def gather(self, index: IntArray) -> Array:
        """Return the records at ``index``, uint8, (n, record_bytes): one index into each file."""
        return self.columns(index, slice(None))

    def columns(self, index: IntArray, part: slice) -> Array:
        """Return a part of each record at ``index``, uint8, (n, width)."""
        file, row = place(self._first, index)
        files = np.unique(file)
        if len(files) == 1:
            return self._rows(int(files[0]))[:, part][row]
        out = np.empty((len(index), len(range(self.record_bytes)[part])), dtype=np.uint8)
        for k in files:
            chosen = file == k
            out[chosen] = self._rows(int(k))[:, part][row[chosen]]
        return out

    def _rows(self, file: int) -> Array:
        """Return the records of a file without reading them; a view that outlives the call keeps the file open."""
        count = int(self._first[file + 1] - self._first[file])
        flat = np.frombuffer(self._files.maps[file], np.uint8, count * self.record_bytes, self._header)
        return flat.reshape(count, self.record_bytes)

    def where(self, position: int) -> str:
        """Return how messages call a record: its file, and its number there from 0."""
        file, row = (int(part[0]) for part in place(self._first, np.array([position])))
        return f"{self._files.paths[file]}: record {row}"

    def fingerprint(self) -> str:
        """Return a SHA-256 of settings, sizes and bytes; above 1 GB of 4,096 even records (``"sampled-..."``)."""
        settings = f"{self.kind} {self.record_bytes} {self._header} {self._footer}"
        return self._files.fingerprint(settings, len(self), self._spans)

    def _spans(self, index: IntArray) -> Spans:
        file, row = place(self._first, index)
        start = self._header + row * self.record_bytes
        return file, start, start + self.record_bytes

    def signature(self) -> Signature:
        """Return dtype and shape of a record."""
        return f"uint8 ({self.record_bytes},)"

    def close(self) -> None:
        """Close the files."""
        self._files.close()


class FixedLengthWriter(AtomicWriter):
    """Writes records of one size beside ``path``, and moves the file there on a clean close.

    Args:
        path: the file.
        record_bytes: size of a record.
        header: what stands before the first record.
        footer: what stands behind the last.

    Raises:
        ConfigError: if ``record_bytes`` is not positive.
        DataError: if the file cannot be written, or the writer is closed.
    """

    def __init__(
        self, path: str | os.PathLike[str], record_bytes: int, header: bytes = b"", footer: bytes = b""
    ) -> None:
        if record_bytes < 1:
            raise ConfigError(f"record_bytes is {record_bytes}; it must be at least 1.")
        super().__init__(path, header, footer)
        self.record_bytes = record_bytes

    def write(self, record: bytes | Array) -> None:
        """Append a record, ``bytes`` or a uint8 array.

        Raises:
            DataError: if it is of another size.
        """
        if isinstance(record, np.ndarray) and record.dtype != np.uint8:
            raise DataError(f"{self.path}: a record of {record.dtype}, needs bytes or uint8.")
        content = bytes(record)
        if len(content) != self.record_bytes:
            raise DataError(f"{self.path}: a record of {len(content)} bytes, needs record_bytes={self.record_bytes}.")
        self._append(content)
