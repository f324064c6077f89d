"""TFRecord files with random access: records of bytes or of tf.train.Example, each guarded by two checksums.

A record is a u64 length, the u32 masked CRC-32C of these 8 bytes, the data, and the u32 masked CRC-32C of the data, all
little-endian. There is no trailer: a file that ends behind a whole record is a valid, shorter file.
"""

import array
import mmap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...errors import DataError
from ..elements import Element, IntArray, Signature
from ..reader import Reader
from .atomic import AtomicWriter
from .crc import check, crc32c, mask, masks
from .example import Feature, checked_features, encode_example, example_signature, parse_example
from .mapped import Files, MappedFiles, SpanIndex
from .sizes import human

HEAD_BYTES = 12
TAIL_BYTES = 4
GZIP = b"\x1f\x8b"


class TFRecordReader(Reader):
    """Records of one or more TFRecord files by position.

    Opening reads all lengths once and checks their CRCs; the CRC of the data is checked whenever a record is read.
    Takes 16 bytes of memory a record.

    Args:
        files: the paths, not compressed; for gzipped files there is :func:`iter_tfrecord`.
        features: what to parse of each record as a tf.train.Example; None: elements are the raw ``bytes``.

    Raises:
        DataError: if a file is missing, empty or compressed, or a length is damaged or the file is cut off.
    """

    kind: ClassVar[str] = "tfrecord"

    def __init__(self, files: Files, features: Mapping[str, Feature] | None = None) -> None:
        self._files = MappedFiles(files)
        self._features = None if features is None else checked_features(features)
        self._index = SpanIndex.of(map(_index, self._files.paths, self._files.maps))

    def __len__(self) -> int:
        return len(self._index)

    def read(self, index: IntArray) -> list[Element]:
        """Return records as ``bytes``, or as dicts of their features.

        Raises:
            DataError: if the CRC of a record is wrong, or it is no Example with these features.
        """
        records = self._checked(index)
        if self._features is None:
            return records
        elements = []
        for position, record in zip(index.tolist(), records):
            try:
                elements.append(parse_example(record, self._features))
            except DataError as error:
                raise DataError(f"{self._where(position)}: {error}") from None
        return elements

    def _checked(self, index: IntArray) -> list[Any]:
        maps = self._files.maps
        records, crcs, tails = [], [], []
        for file, start, stop in zip(*(part.tolist() for part in self._index.spans(index))):
            data = maps[file]
            record = data[start:stop]
            records.append(record)
            crcs.append(crc32c(record))  # at once, while the record is in the cache of the processor
            tails.append(data[stop : stop + TAIL_BYTES])
        stored = np.frombuffer(b"".join(tails), dtype="<u4")
        computed = masks(np.array(crcs, dtype=np.uint32))
        for k in np.flatnonzero(stored != computed)[:1]:
            check("data", int(stored[k]), int(computed[k]), partial(self._where, int(index[k])))
        return records

    def _where(self, position: int) -> str:
        file, start, _ = (int(part[0]) for part in self._index.spans(np.array([position])))
        return record_name(self._files.paths[file], position - int(self._index.first[file]), start - HEAD_BYTES)

    def fingerprint(self) -> str:
        """Return a SHA-256 of features, sizes and bytes; above 1 GB of 4,096 even records (``"sampled-..."``)."""
        return self._files.fingerprint(f"{self.kind} {self._features}", len(self), self._index.spans)

    def signature(self) -> Signature | None:
        """Return ``"bytes"``, or dtype and shape of each feature; None if a feature varies in length."""
        return "bytes" if self._features is None else example_signature(self._features)

    def close(self) -> None:
        """Close the files."""
        self._files.close()


class TFRecordWriter(AtomicWriter):
    """Writes a TFRecord file beside ``path``, and moves it there on a clean close.

    ``with TFRecordWriter(path) as out: out.write(b"...")``; on an error inside the block nothing is left behind.

    Args:
        path: the file.

    Raises:
        DataError: if the file cannot be written, or the writer is closed.
    """

    def write(self, record: bytes) -> None:
        """Append a record of any bytes."""
        if not isinstance(record, bytes | bytearray | memoryview):
            raise DataError(f"{self.path}: a record is bytes, not {type(record).__name__}; encode it first.")
        length = len(record).to_bytes(8, "little")
        self._append(length, _masked(length), record, _masked(record))

    def write_example(self, values: Mapping[str, Any]) -> None:
        """Append a tf.train.Example; see :func:`encode_example`."""
        self.write(encode_example(values))


def check_head(where: Callable[[], str], head: bytes) -> int:
    """Return the length that a head claims.

    Raises:
        DataError: if the head is cut or its CRC is wrong.
    """
    if len(head) < HEAD_BYTES:
        raise DataError(f"{where()}: header cut off, {len(head)} of {HEAD_BYTES} bytes remain.")
    check("length", int.from_bytes(head[8:], "little"), mask(crc32c(head[:8])), where)
    return int.from_bytes(head[:8], "little")


def too_long(where: str, length: int, rest: int) -> DataError:
    """Return the error for a length that exceeds the ``rest`` of the file, which leaves out the CRC of the data."""
    return DataError(f"{where}: claims {human(length)}, {human(max(rest, 0))} remain.")


def record_name(path: Path, number: int, at: int) -> str:
    """Return how messages call a record: its number in the file from 0, and the byte at which its head starts."""
    return f"{path}: record {number} at byte {at}"


def _index(path: Path, data: mmap.mmap) -> tuple[IntArray, IntArray]:
    """Return first byte and end of the data of each record.

    The length is compared with the rest of the file before its CRC; as lengths recur, a head once checked is known.
    """
    known: set[bytes] = set()
    starts, stops = array.array("q"), array.array("q")
    at, end = 0, len(data)
    while at < end:
        head = data[at : at + HEAD_BYTES]
        length = int.from_bytes(head[:8], "little")
        at += HEAD_BYTES
        if length > end - at - TAIL_BYTES or head not in known:
            _check_unknown(path, len(starts), at, head, end)
            known.add(head)
        starts.append(at)
        at += length
        stops.append(at)
        at += TAIL_BYTES
    return np.frombuffer(starts, dtype=np.int64), np.frombuffer(stops, dtype=np.int64)


def _check_unknown(path: Path, number: int, at: int, head: bytes, end: int) -> None:
    where, rest = partial(record_name, path, number, at - HEAD_BYTES), end - at - TAIL_BYTES
    length = int.from_bytes(head[:8], "little")
    if number == 0 and head[:2] == GZIP and head[8:] != _masked(head[:8]):
        raise DataError(f"{path}: a gzipped file has no random access; use iter_tfrecord.")
    if len(head) == HEAD_BYTES and length > rest:
        raise too_long(where(), length, rest)
    check_head(where, head)


def _masked(data: bytes) -> bytes:
    return mask(crc32c(data)).to_bytes(4, "little")
