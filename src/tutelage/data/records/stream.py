"""TFRecord files read from front to back, plain or gzipped."""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO

from ...errors import DataError
from ..elements import Element
from .crc import check, crc32c, mask
from .example import Feature, checked_features, parse_example
from .mapped import Files, as_paths, cannot_read
from .tfrecord import GZIP, HEAD_BYTES, TAIL_BYTES, check_head, record_name, too_long

_PIECE_BYTES = 1 << 20


def iter_tfrecord(files: Files, features: Mapping[str, Feature] | None = None) -> Iterator[Element]:
    """Yield the records of one or more files in order; the stream form of :class:`TFRecordReader`.

    Memory is taken as data arrive, whatever length a record claims.

    Args:
        files: the paths; which ones are gzipped is seen from their first bytes.
        features: what to parse of each record as a tf.train.Example; None: the raw ``bytes``.

    Raises:
        DataError: if a file is missing, empty, damaged or cut off, or a record is no Example with these features.
    """
    features = None if features is None else checked_features(features)
    for path in as_paths(files):
        for number, at, record in _records(path):
            if features is None:
                yield record
                continue
            try:
                element = parse_example(record, features)
            except DataError as error:
                raise DataError(f"{record_name(path, number, at)}: {error}") from None
            yield element


def _records(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, first byte (of the unpacked file) and data of each record."""
    number = at = 0
    with _open(path) as file:
        while head := _take(path, file, HEAD_BYTES):
            where = partial(record_name, path, number, at)
            length = check_head(where, head)
            body = _take(path, file, length + TAIL_BYTES)
            if len(body) < length + TAIL_BYTES:
                raise too_long(where(), length, len(body) - TAIL_BYTES)
            record = body[:length]
            check("data", int.from_bytes(body[length:], "little"), mask(crc32c(record)), where)
            yield number, at, record
            number += 1
            at += HEAD_BYTES + len(body)


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    try:
        file = path.open("rb")
        head = file.peek(HEAD_BYTES)[:HEAD_BYTES]
        if head[:2] == GZIP and head[8:] != mask(crc32c(head[:8])).to_bytes(4, "little"):
            file.close()
            return gzip.open(path)
    except OSError as error:
        raise cannot_read(path, error) from None
    return file


def _take(path: Path, file: IO[bytes] | gzip.GzipFile, size: int) -> bytes:
    """Return the next ``size`` bytes, or all that remain."""
    try:
        data = file.read(min(size, _PIECE_BYTES))
        if len(data) == size or not data:  # most records
            return data
        pieces = [data]
        size -= len(data)
        while size > 0 and (piece := file.read(min(size, _PIECE_BYTES))):
            pieces.append(piece)
            size -= len(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut gzip file ({error}).") from None
    except OSError as error:
        raise cannot_read(path, error) from None
    return b"".join(pieces)
