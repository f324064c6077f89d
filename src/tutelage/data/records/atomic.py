"""Files that appear whole or not at all."""

import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import DataError


class AtomicWriter:
    """A binary file that is written beside its place and moved there by :meth:`close`.

    As a context manager it closes at the end of the block; on an error inside, nothing is left behind and a
    file that stood there before stays as it was.

    Args:
        path: the place.
        header: what the file begins with.
        footer: what :meth:`close` writes last.

    Raises:
        DataError: if the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], header: bytes = b"", footer: bytes = b"") -> None:
        self.path = Path(path)
        self._footer = footer
        self._part = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.part")
        try:
            self._file = self._part.open("xb")
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror}).") from None
        self._append(header)

    def _append(self, *parts: bytes) -> None:
        if self._file.closed:
            raise DataError(f"{self.path}: the writer is closed.")
        try:
            self._file.writelines(parts)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror}).") from None

    def close(self) -> None:
        """Bring the file to its place. A second call does nothing."""
        if self._file.closed:
            return
        try:
            with self._file:
                self._file.write(self._footer)
                self._file.flush()
                os.fsync(self._file.fileno())
            os.replace(self._part, self.path)
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise DataError(f"{self.path}: cannot be written ({error.strerror}).") from None

    def discard(self) -> None:
        """Remove what was written. After :meth:`close` it does nothing."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()
