"""The wire format of protocol buffers: tagged fields, varints. Source: protobuf.dev, "Encoding"."""

from collections.abc import Iterator

import numpy as np

from ...errors import DataError
from ..elements import Array, IntArray

VARINT, I64, LEN, I32 = 0, 1, 2, 5
"""Wire types: integers of 1 to 10 bytes, 8 bytes, a length and as many bytes, 4 bytes."""

_VARINT_BYTES = 10
_SHIFTS = np.arange(_VARINT_BYTES, dtype=np.uint64) * np.uint64(7)


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the unsigned integer that starts at byte ``at``, and the byte after it.

    Raises:
        DataError: if it does not end before ``end``, or after 10 bytes.
    """
    if at < end and data[at] < 0x80:  # most are
        return data[at], at + 1
    value = shift = 0
    for place in range(at, min(end, at + _VARINT_BYTES)):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise DataError(f"damaged at byte {at}: a number does not end.")


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, first byte, end) of each field of the message in bytes ``at`` to ``end``.

    The bytes of a varint are the varint, those of a LEN field what follows the length.

    Raises:
        DataError: if this is no message.
    """
    while at < end:
        tag, start = data[at], at + 1
        if tag >= 0x80:
            tag, start = read_varint(data, at, end)
        wire = tag & 7
        if wire == LEN:
            size, start = read_varint(data, start, end)
        elif wire == VARINT:
            size = read_varint(data, start, end)[1] - start
        elif wire in (I32, I64):
            size = 4 if wire == I32 else 8
        else:
            raise DataError(f"damaged at byte {at}: wire type {wire} is not in use.")
        if tag < 8:
            raise DataError(f"damaged at byte {at}: field number 0.")
        if start + size > end:
            raise DataError(f"damaged at byte {at}: a field claims {size} bytes, {end - start} remain.")
        yield tag >> 3, wire, start, start + size
        at = start + size


def varints(data: bytes) -> IntArray:
    """Return the integers of a row of varints as int64, two's complement.

    Raises:
        DataError: if the last one does not end, or one is longer than 10 bytes.
    """
    octets = np.frombuffer(data, dtype=np.uint8)
    if data.isascii():  # each is one byte
        return octets.astype(np.int64)
    last = np.flatnonzero(octets < 0x80)
    first = np.concatenate([[0], last + 1])
    size = np.diff(first)
    if first[-1] != len(octets) or size.max() > _VARINT_BYTES:
        raise DataError("damaged: a number does not end.")
    place = np.arange(len(octets)) - np.repeat(first[:-1], size)
    parts = (octets & np.uint8(0x7F)).astype(np.uint64) << _SHIFTS[place]
    return np.bitwise_or.reduceat(parts, first[:-1]).view(np.int64)


def encode_varints(values: IntArray) -> bytes:
    """Return integers, (n,), as a row of varints; negative ones take 10 bytes."""
    rest = values.astype(np.int64).view(np.uint64)[:, None] >> _SHIFTS
    size = np.maximum((rest != 0).sum(axis=1, keepdims=True), 1)
    place = np.arange(_VARINT_BYTES)
    octets: Array = (rest & np.uint64(0x7F)).astype(np.uint8) | np.where(place < size - 1, 0x80, 0).astype(np.uint8)
    kept: bytes = octets[place < size].tobytes()
    return kept


def encode_varint(value: int) -> bytes:
    """Return one number, 0 or more, as a varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_field(number: int, payload: bytes) -> bytes:
    """Return a LEN field."""
    return encode_varint(number << 3 | LEN) + encode_varint(len(payload)) + payload
