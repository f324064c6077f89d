"""CRC-32C (Castagnoli), and its masked form that stands in TFRecord files."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from google_crc32c import value

from ...errors import DataError

_MASK = 0xA282EAD8

crc32c: Callable[[bytes], int] = value
"""The CRC-32C of bytes; of ``b"123456789"`` it is 0xE3069283."""


def mask(crc: int) -> int:
    """Return ``rotr32(crc, 15) + 0xa282ead8 mod 2^32``.

    TFRecord stores this instead of the CRC, so that the CRC of a file that holds CRCs stays useful.
    """
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def masks(crc: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return :func:`mask` of each CRC, any shape."""
    rotated: npt.NDArray[np.uint32] = (crc >> np.uint32(15)) | (crc << np.uint32(17))
    return rotated + np.uint32(_MASK)


def check(what: str, stored: int, computed: int, where: Callable[[], str]) -> None:
    """Raise DataError if two masked CRCs differ; ``where`` names the place."""
    if stored != computed:
        raise DataError(f"{where()}: {what} CRC stored 0x{stored:08x}, computed 0x{computed:08x}; damaged file.")
