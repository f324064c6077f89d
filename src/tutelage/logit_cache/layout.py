"""Where things stand in a file of logits.

::

    "tutelage logits"       16 bytes
    length, CRC-32          of the header, uint32 each
    header                  JSON: what the logits depend on, how many there are, in which form
    ids, measure            of the rows, and how inputs are told from others; zlib-packed
    columns                 logits, and what is kept of inputs: each begins at a multiple of 64
    filled                  a bit for each row and view that is there
    "unfinished", or "complete" and the CRC-32 of all before it, 16 bytes

Numbers are little-endian. The ids of the rows ascend and are stored as differences: the place of a row in every column
is the place of its id.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data.elements import IntArray
from ..errors import CheckpointError
from .fingerprint import FORMAT
from .measures import Measure, unpacked
from .storage import Storage

Bytes: TypeAlias = npt.NDArray[np.uint8]

MAGIC = b"tutelage logits\n"
UNFINISHED = b"unfinished".ljust(16)

_PREFIX = struct.Struct("<16sII")
_FOOTER = struct.Struct("<12sI")
_COMPLETE = b"complete".ljust(12)
_ALIGNED = 64
_AT_ONCE = 1 << 24


@dataclass(frozen=True, eq=False)
class Layout:
    """What a file holds.

    Attributes:
        facts: the fingerprint.
        index: ids of the N rows, int64, ascending.
        views: V, of each row.
        classes: C.
        storage: the form of the logits.
        measure: what is kept of the inputs.
    """

    facts: Mapping[str, str]
    index: IntArray
    views: int
    classes: int
    storage: Storage
    measure: Measure

    @property
    def entries(self) -> int:
        """N V: row n in view v is entry ``n V + v``."""
        return len(self.index) * self.views

    @cached_property
    def packed_index(self) -> bytes:
        """The ids as they are stored."""
        return zlib.compress(np.diff(self.index, prepend=-1).astype("<i8").tobytes())

    @cached_property
    def packed_measure(self) -> bytes:
        """The measure as it is stored."""
        return self.measure.packed

    @cached_property
    def header(self) -> bytes:
        """What the file begins with."""
        storage = self.storage
        text = json.dumps(
            {
                "format": FORMAT,
                "facts": dict(self.facts),
                "rows": len(self.index),
                "views": self.views,
                "classes": self.classes,
                "ids": len(self.packed_index),
                "measure": len(self.packed_measure),
                "storage": [storage.precision, storage.top, list(storage.temperatures)],
            },
            sort_keys=True,
        ).encode()
        return _PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text

    @cached_property
    def columns(self) -> dict[str, tuple[int, torch.dtype, tuple[int, int]]]:
        """Name -> (first byte, type, shape (entries, numbers)) of each column."""
        found: dict[str, tuple[int, torch.dtype, tuple[int, int]]] = {}
        at = _up(self._measure_at + len(self.packed_measure))
        for name, (kind, width) in {**self.storage.columns(self.classes), **self.measure.columns}.items():
            found[name] = (at, kind, (self.entries, width))
            at = _up(at + self.entries * width * kind.itemsize)
        return found

    @property
    def _ids_at(self) -> int:
        return _up(len(self.header))

    @property
    def _measure_at(self) -> int:
        return _up(self._ids_at + len(self.packed_index))

    @cached_property
    def filled(self) -> slice:
        """Where the bits stand that say which entries are there."""
        at, kind, (entries, width) = list(self.columns.values())[-1]
        start = _up(at + entries * width * kind.itemsize)
        return slice(start, start + (self.entries + 7) // 8)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return int(self.filled.stop) + _FOOTER.size

    def beginning(self) -> bytes:
        """Return the bytes up to the first column."""
        ids = self.header.ljust(self._ids_at, b"\0") + self.packed_index
        whole = ids.ljust(self._measure_at, b"\0") + self.packed_measure
        return whole.ljust(_up(len(whole)), b"\0")

    def column(self, content: Bytes, name: str) -> Tensor:
        """Return a column of the content of a file, (entries, numbers), without a copy."""
        at, kind, shape = self.columns[name]
        count = shape[0] * shape[1] * kind.itemsize
        return torch.from_numpy(content[at : at + count]).view(kind).view(shape)

    @classmethod
    def of(cls, path: Path, content: Bytes) -> "Layout":
        """Return the layout of a file from its content.

        Raises:
            CheckpointError: if it is something else, cut, damaged, or of another version.
        """
        if len(content) < _PREFIX.size or content[: len(MAGIC)].tobytes() != MAGIC:
            raise CheckpointError(f"{path} holds no logits of a teacher; give another path.")
        _, length, stored = _PREFIX.unpack(content[: _PREFIX.size].tobytes())
        text = content[_PREFIX.size : _PREFIX.size + length].tobytes()
        if len(text) < length:
            raise CheckpointError(f"{path} is cut: its header has {len(text):,} of {length:,} bytes; remove it.")
        if zlib.crc32(text) != stored:
            raise CheckpointError(f"{path} is damaged: the checksum of its header differs; remove it.")
        header: dict[str, Any] = json.loads(text)
        if header["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has logit format {header['format']}, but this version reads {FORMAT}; remove it."
            )
        precision, top, temperatures = header["storage"]
        at = _up(_PREFIX.size + length)
        packed = content[at : at + header["ids"]].tobytes()
        at = _up(at + header["ids"])
        try:
            index = np.frombuffer(zlib.decompress(packed), dtype="<i8").astype(np.int64).cumsum() - 1
            measure = unpacked(content[at : at + header["measure"]].tobytes())
        except zlib.error as error:
            raise CheckpointError(f"{path} is cut or damaged: {error}; remove it.") from None
        storage = Storage(precision, top, tuple(temperatures))
        layout = cls(header["facts"], index, header["views"], header["classes"], storage, measure)
        if len(content) != layout.size:
            raise CheckpointError(
                f"{path} is cut or damaged: it has {len(content):,} bytes, needs {layout.size:,}; remove it."
            )
        return layout

    def check_complete(self, path: Path, content: Bytes) -> None:
        """Read a file as a whole.

        Raises:
            CheckpointError: if it is not complete, or a byte has changed.
        """
        word, stored = _FOOTER.unpack(content[-_FOOTER.size :].tobytes())
        if word != _COMPLETE:
            raise CheckpointError(f"{path} is not complete; remove it.")
        if checksum(content) != stored:
            raise CheckpointError(f"{path} is damaged: its checksum differs; remove it.")


def footer(content: Bytes) -> bytes:
    """Return what a complete file ends with."""
    return _FOOTER.pack(_COMPLETE, checksum(content))


def checksum(content: Bytes) -> int:
    """Return the CRC-32 of all but the footer."""
    crc = 0
    for start in range(0, len(content) - _FOOTER.size, _AT_ONCE):
        crc = zlib.crc32(content[start : min(start + _AT_ONCE, len(content) - _FOOTER.size)].data, crc)
    return crc


def _up(at: int) -> int:
    return -(-at // _ALIGNED) * _ALIGNED
