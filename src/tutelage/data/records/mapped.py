"""What readers of files share: paths, memory maps, spans of bytes, fingerprints."""

import errno
import hashlib
import mmap
import os
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ...errors import DataError
from ..elements import IntArray

Files: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""One path or several, in order."""

Spans: TypeAlias = tuple[IntArray, IntArray, IntArray]
"""For n elements the number of the file, the first byte and the byte after the last, each (n,)."""

_FULL_HASH_BYTES = 1 << 30
_HASHED_ROWS = 4096


def as_paths(files: Files) -> tuple[Path, ...]:
    """Return the paths of existing, non-empty files.

    Raises:
        DataError: if there is no path, or a file is missing, a folder or empty.
    """
    try:
        paths = tuple(map(Path, [files] if isinstance(files, str | os.PathLike) else files))
    except TypeError:
        raise DataError(f"files are {files!r}; needed is a path or a list of paths.") from None
    if not paths:
        raise DataError("no files given.")
    for path in paths:
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(f"{path}: no such file.") from None
        except OSError as error:
            raise cannot_read(path, error) from None
        if stat.S_ISDIR(status.st_mode):
            raise DataError(f"{path}: a folder; a file is needed.")
        if status.st_size == 0:
            raise DataError(f"{path}: file is empty.")
    return paths


def cannot_read(path: Path, error: OSError) -> DataError:
    """Return the error for a file that the system does not let us read."""
    if error.errno == errno.EMFILE:
        return DataError(f"{path}: too many open files; raise the limit (ulimit -n) or use fewer, larger files.")
    return DataError(f"{path}: cannot be read ({error.strerror}).")


class MappedFiles:
    """Files under read-only memory maps. They must not shrink while they are open: the system ends a process that reads
    behind the end. Replacing a file, as the writers of this package do, is safe.

    The maps end with :meth:`close` or with the last reference; pickling keeps the names and opens anew.

    Args:
        files: the paths.

    Raises:
        DataError: if a file is missing, empty, not readable, or, on unpickling, of another size than before.
    """

    def __init__(self, files: Files) -> None:
        self.paths = as_paths(files)
        self._maps: tuple[mmap.mmap, ...] = tuple(map(_map, self.paths))
        self.sizes = tuple(map(len, self._maps))

    @property
    def maps(self) -> tuple[mmap.mmap, ...]:
        """The content of each file.

        Raises:
            DataError: if they are closed.
        """
        if not self._maps:
            raise DataError(f"{self.paths[0]}: the reader is closed.")
        return self._maps

    def bytes_at(self, spans: Spans) -> list[bytes]:
        """Return a copy of the bytes of each span."""
        maps = self.maps
        return [maps[f][a:b] for f, a, b in zip(*(part.tolist() for part in spans))]

    def close(self) -> None:
        """Let go of the maps; nothing can be read afterwards. A read under way in another thread still ends well."""
        self._maps = ()

    def fingerprint(self, settings: str, count: int, spans: Callable[[IntArray], Spans]) -> str:
        """Return the SHA-256, in hex, of settings, sizes and bytes.

        Above 1 GB only 4,096 evenly spaced elements are read, and the result starts with ``"sampled-"``.

        Args:
            settings: what else the elements depend on.
            count: number of elements.
            spans: where the elements at given positions lie.
        """
        digest = hashlib.sha256(f"{settings}\n{self.sizes}\n".encode())
        if sum(self.sizes) <= _FULL_HASH_BYTES:
            for one in self.maps:
                digest.update(one)
            return digest.hexdigest()
        for part in self.bytes_at(spans(np.linspace(0, count - 1, _HASHED_ROWS).astype(np.int64))):
            digest.update(part)
        return f"sampled-{digest.hexdigest()}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": ()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        as_paths(self.paths)
        self._maps = tuple(map(_map, self.paths))
        for path, size, one in zip(self.paths, self.sizes, self._maps):
            if len(one) != size:
                raise DataError(f"{path}: has {len(one):,} bytes, had {size:,} when it was opened; the file changed.")


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            if sys.version_info >= (3, 13) and sys.platform != "win32":  # there a map needs no open file
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, trackfd=False)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise cannot_read(path, error) from None


@dataclass(frozen=True, eq=False)
class SpanIndex:
    """Where the elements of several files lie; positions run on from file to file.

    Attributes:
        first: position of the first element of each file, and at the end the number of all, int64, (files + 1,).
        start: first byte of each element in its file, int64, (N,).
        stop: the byte after its last, int64, (N,).
    """

    first: IntArray
    start: IntArray
    stop: IntArray

    @classmethod
    def of(cls, parts: Iterable[tuple[IntArray, IntArray]]) -> "SpanIndex":
        """Join (start, stop) of each file."""
        starts, stops = zip(*parts)
        return cls(first_positions([len(start) for start in starts]), np.concatenate(starts), np.concatenate(stops))

    def __len__(self) -> int:
        return len(self.start)

    def spans(self, index: IntArray) -> Spans:
        """Return where the elements at the positions ``index`` lie."""
        return place(self.first, index)[0], self.start[index], self.stop[index]


def first_positions(counts: Iterable[int]) -> IntArray:
    """Return the position of the first element of each file, and the number of all, int64, (files + 1,)."""
    return np.cumsum([0, *counts], dtype=np.int64)


def place(first: IntArray, index: IntArray) -> tuple[IntArray, IntArray]:
    """Return file number and place in that file of each position, int64, (n,) each."""
    file = np.searchsorted(first, index, side="right").astype(np.int64, copy=False) - 1
    return file, index - first[file]
