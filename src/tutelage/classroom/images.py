"""Images as the browser gets them: decoded, and encoded anew without anything that the file said about itself."""

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from ..data.records.atomic import AtomicWriter
from ..errors import DataError

MOST_PIXELS = 40_000_000
KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""What is read; told by the content, not by the name. Of a moving image the first frame is taken."""
_LOSSY = ("JPEG", "WEBP")
_MOST_BYTES = 200_000_000
_OF_DECODERS = (SyntaxError, ValueError, EOFError, TypeError, IndexError, OverflowError, struct.error)
"""What decoders raise for damaged files."""
_SUFFIXES = {".png": "image/png", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class Encoded:
    """An image for the browser.

    Attributes:
        content: the bytes.
        media_type: of HTTP.
    """

    content: bytes
    media_type: str


def inside(root: Path, path: str) -> Path:
    """Return the file of a path below a folder.

    Raises:
        DataError: if it leads out of the folder, also by a link.
    """
    if "\0" not in path and (file := (root / path).resolve()).is_relative_to(root.resolve()):
        return file
    raise DataError(f"path {path!r} leads out of {root}; images must lie below it.")


def encode(file: Path) -> Encoded:
    """Decode an image and encode it anew: the pixels alone, upright, JPEG for what was lossy and opaque, else PNG.

    Raises:
        DataError: if it is missing, of another kind, damaged or larger than 40 megapixels.
    """
    from PIL import Image, ImageOps

    try:
        if file.stat().st_size > _MOST_BYTES:
            raise DataError(f"{file}: larger than {_MOST_BYTES:,} bytes; make it smaller.")
        with Image.open(BytesIO(file.read_bytes()), formats=KINDS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:  # known before anything is decoded
                raise DataError(f"{file}: {width} x {height} pixels; at most {MOST_PIXELS:,} are allowed.")
            lossy = image.format in _LOSSY
            upright = ImageOps.exif_transpose(image)
            clear = upright.has_transparency_data
            plain = upright.convert("RGBA" if clear else "RGB")
    except OSError as error:
        reason = error.strerror or "not an image that can be read"
        raise DataError(f"{file}: {reason}; needed: {', '.join(KINDS)}.") from None
    except (*_OF_DECODERS, Image.DecompressionBombError):
        raise DataError(f"{file}: damaged, or too large to be decoded.") from None
    fresh = Image.frombytes(plain.mode, plain.size, plain.tobytes())
    out = BytesIO()
    if lossy and not clear:
        fresh.save(out, "JPEG", quality=95)
        return Encoded(out.getvalue(), "image/jpeg")
    fresh.save(out, "PNG")
    return Encoded(out.getvalue(), "image/png")


@dataclass(frozen=True)
class Images:
    """Encoded images, kept in a folder, so that each is encoded once; where nothing can be written, each time.

    Attributes:
        cache: the folder; is made if it is not there.
    """

    cache: Path
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False, compare=False)

    def available(self, name: str, file: Path) -> bool:
        """Whether an image can be shown; arguments as for :meth:`encoded`."""
        return any((self.cache / f"{name}{suffix}").is_file() for suffix in _SUFFIXES) or (
            self.encoded(name, file) is not None
        )

    def encoded(self, name: str, file: Path) -> Encoded | None:
        """Return an image, or None if it can neither be found in the cache nor read.

        Args:
            name: of the image in the cache, which changes with its content.
            file: the original.
        """
        for suffix, media_type in _SUFFIXES.items():
            kept = self.cache / f"{name}{suffix}"
            if kept.is_file():
                return Encoded(kept.read_bytes(), media_type)
        try:
            fresh = encode(file)
        except DataError:
            return None
        suffix = next(suffix for suffix, media_type in _SUFFIXES.items() if media_type == fresh.media_type)
        with suppress(OSError, DataError):  # on a full disk it is encoded anew each time
            self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            AtomicWriter(self.cache / f"{name}{suffix}", fresh.content).close()
        return fresh

    def size(self, name: str, file: Path) -> tuple[int, int] | None:
        """Return (width, height) in pixels, or None if the image cannot be shown."""
        from PIL import Image

        if not self.available(name, file):
            return None
        if name not in self._sizes:
            found = self.encoded(name, file)
            if found is None:
                return None
            with Image.open(BytesIO(found.content)) as image:
                self._sizes[name] = image.size
        return self._sizes[name]
