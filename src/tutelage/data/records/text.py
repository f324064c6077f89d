"""Text files whose elements are lines."""

from typing import ClassVar

import numpy as np

from ...errors import DataError
from ..elements import Array, Element, IntArray
from ..reader import Reader
from .mapped import Files, MappedFiles, SpanIndex

_PIECE_BYTES = 1 << 24
_NEWLINE, _RETURN = 10, 13


class TextLineReader(Reader):
    r"""Lines of one or more UTF-8 files as ``str``, without their ``\n`` or ``\r\n``.

    Nothing else is stripped: empty lines, blanks, a lone ``\r`` and a byte order mark stay. The last line needs no
    ``\n``. Opening reads the files once to find the lines; takes 16 bytes of memory a line.

    Args:
        files: the paths, in order.

    Raises:
        DataError: if a file is missing or empty.
    """

    kind: ClassVar[str] = "text"

    def __init__(self, files: Files) -> None:
        self._files = MappedFiles(files)
        self._index = SpanIndex.of(_lines(np.frombuffer(data, dtype=np.uint8)) for data in self._files.maps)

    def __len__(self) -> int:
        return len(self._index)

    def read(self, index: IntArray) -> list[Element]:
        """Return the lines at ``index``.

        Raises:
            DataError: if one is not UTF-8.
        """
        lines: list[Element] = []
        for position, line in zip(index.tolist(), self._files.bytes_at(self._index.spans(index))):
            try:
                lines.append(line.decode())
            except UnicodeDecodeError:
                raise DataError(f"{self._where(position)}: not UTF-8.") from None
        return lines

    def _where(self, position: int) -> str:
        file = int(self._index.spans(np.array([position]))[0][0])
        return f"{self._files.paths[file]} line {position - int(self._index.first[file]) + 1}"

    def fingerprint(self) -> str:
        """Return a SHA-256 of sizes and bytes; above 1 GB of 4,096 even lines (``"sampled-..."``)."""
        return self._files.fingerprint(self.kind, len(self), self._index.spans)

    def signature(self) -> str:
        """Return ``"str"``."""
        return "str"

    def close(self) -> None:
        """Close the files."""
        self._files.close()


def _lines(octets: Array) -> tuple[IntArray, IntArray]:
    """Return first byte and end of each line."""
    pieces = range(0, len(octets), _PIECE_BYTES)  # in parts: the mask of a large file is large too
    found = [np.flatnonzero(octets[at : at + _PIECE_BYTES] == _NEWLINE) + at for at in pieces]
    newline = np.concatenate(found).astype(np.int64, copy=False)
    start = np.concatenate([np.zeros(1, dtype=np.int64), newline + 1])
    returned = octets[np.maximum(newline - 1, 0)] == _RETURN  # at newline 0 the byte looked at is the newline itself
    stop = np.concatenate([newline - returned, [len(octets)]])
    if start[-1] == len(octets):
        return start[:-1], stop[:-1]
    return start, stop
