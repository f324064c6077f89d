"""Decoded images on disk: decoded once, then read as one array."""

import hashlib
import os
import tempfile
import tokenize
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from .sources import ByteArray

_FORMAT = "2"


def folder() -> Path:
    """Return the cache folder: TUTELAGE_CACHE, else tutelage in XDG_CACHE_HOME, else in ~/.cache."""
    given = os.environ.get("TUTELAGE_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "tutelage"


def decoded(
    files: Iterable[Path], settings: str, rows: int, decode: Callable[[], ByteArray], *, use: bool
) -> ByteArray:
    """Return ``decode()``, or what it returned for the same files and settings before.

    The name in the cache is a SHA-256 of path, size and modification time of every file and of the settings.
    A damaged entry is made anew; where the folder cannot be written there is no cache.

    Args:
        files: what is decoded.
        settings: whatever else the result depends on.
        rows: number of images, to recognise a damaged entry.
        decode: makes the array, uint8, shape (rows, C, H, W).
        use: False: always decode, and store nothing.
    """
    if not use:
        return decode()
    path = folder() / f"{_key(files, settings)}.npy"
    stored = _read(path)
    if stored is not None and stored.dtype == np.uint8 and stored.ndim == 4 and len(stored) == rows:
        return stored
    images = decode()
    with suppress(OSError):  # no room or no right to write: then there is no cache
        _write(path, images)
    return images


def _key(files: Iterable[Path], settings: str) -> str:
    digest = hashlib.sha256(f"{_FORMAT}\n{settings}\n".encode())
    for file in files:
        status = file.stat()
        digest.update(f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read(path: Path) -> ByteArray | None:
    try:
        array: ByteArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, tokenize.TokenError):
        return None
    return array


def _write(path: Path, images: ByteArray) -> None:
    """Write in full, then rename: a reader or a second writer never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, images)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
