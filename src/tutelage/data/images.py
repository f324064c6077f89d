"""Decoding images to one uint8 array."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..errors import DataError
from .sources import Array, ByteArray

Size: TypeAlias = tuple[int, int]
"""(height, width)."""

_DEEP = "IF"  # Pillow's modes of 16 and 32 bits begin so
_GREY_MODES = ("1", "L", "LA")


def decode(images: Iterable[tuple[str, bytes | Path]], resize: Size | None = None) -> ByteArray:
    """Decode PNG, JPEG and whatever else Pillow reads.

    Args:
        images: (name for messages, encoded bytes or the file) of each image.
        resize: (height, width) to bring all images to, bilinear; None: they must be of one size.

    Returns:
        uint8, shape (N, C, H, W), contiguous: C is 1 if all images are grey, else 3 (a grey image then has
        three equal channels); transparency is dropped.

    Raises:
        DataError: if an image cannot be decoded or has more than 8 bits a channel, or sizes differ without ``resize``.
    """
    names, pixels = [], []
    for name, content in images:
        names.append(name)
        pixels.append(_pixels(name, content, resize))
        if pixels[-1].shape[1:] != pixels[0].shape[1:]:
            raise DataError(
                f"{names[0]} {_sides(pixels[0])}, {name} {_sides(pixels[-1])}; pass resize=(H, W) (--resize N)."
            )
    channels = max((image.shape[0] for image in pixels), default=1)
    shape = pixels[0].shape[1:] if pixels else (0, 0)
    out: ByteArray = np.empty((len(pixels), channels, *shape), dtype=np.uint8)
    for row, image in zip(out, pixels):
        row[:] = image
    return out


def _pixels(name: str, content: bytes | Path, resize: Size | None) -> Array:
    """Return one image as (1 or 3, H, W)."""
    from PIL import Image

    try:
        with Image.open(BytesIO(content) if isinstance(content, bytes) else content) as image:
            if image.mode[0] in _DEEP:
                raise DataError(f"{name}: more than 8 bits a channel ({image.mode}); convert it first.")
            mode = "L" if image.mode in _GREY_MODES else "RGB"
            plain = image if image.mode == mode else image.convert(mode)
            if resize is not None and plain.size != (resize[1], resize[0]):
                plain = plain.resize((resize[1], resize[0]), Image.Resampling.BILINEAR)
            array = np.asarray(plain)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        raise DataError(f"{name}: not a readable image.") from None
    return array[None] if mode == "L" else array.transpose(2, 0, 1)


def _sides(image: Array) -> str:
    return f"{image.shape[1]}x{image.shape[2]}"
