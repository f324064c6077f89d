"""Images: what is read, and what is left out of what the browser gets."""

import struct
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tutelage.classroom.images import Images, encode, inside
from tutelage.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)


def pixels(encoded):
    with Image.open(BytesIO(encoded.content)) as image:
        return np.asarray(image)


def test_pixels_stay_and_what_the_file_says_goes(tmp_path):
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", "the class is circle")
    exif = Image.Exif()
    exif[0x010E] = "circle 17"
    for name, more in (("a.png", {"pnginfo": told}), ("b.png", {"exif": exif}), ("c.bmp", {}), ("d.gif", {})):
        image = Image.fromarray(PIXELS)
        image.save(tmp_path / name, **more)
        found = encode(tmp_path / name)
        assert found.media_type == "image/png"
        assert b"circle" not in found.content
        with Image.open(BytesIO(found.content)) as fresh:
            assert fresh.info == {}
        if name != "d.gif":
            np.testing.assert_array_equal(pixels(found), PIXELS)


def test_a_photograph_is_turned_upright_and_stays_a_jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010E] = "circle"
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif, comment=b"circle", quality=95)
    found = encode(tmp_path / "a.jpg")
    assert found.media_type == "image/jpeg"
    assert b"circle" not in found.content
    assert b"Exif" not in found.content
    assert pixels(found).shape == (14, 10, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_other_modes(tmp_path, mode):
    image = Image.fromarray(PIXELS)
    grey = Image.fromarray(PIXELS[..., 0].astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    grey.save(tmp_path / "a.png")
    found = encode(tmp_path / "a.png")
    assert pixels(found).shape == (10, 14, 4 if mode.endswith("A") else 3)


def test_the_kind_is_told_by_the_content(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.txt")
    np.testing.assert_array_equal(pixels(encode(tmp_path / "a.txt")), PIXELS)


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "page.png").write_text("<svg onload='alert(1)'/>")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    Image.fromarray(PIXELS).save(tmp_path / "other.tiff")
    Image.fromarray(PIXELS).save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:200])
    for name in ("page.png", "cut.png", "other.tiff", "half.png", "none.png", "."):
        with pytest.raises(DataError, match=r"needed: PNG|damaged"):
            encode(tmp_path / name)


def png_of(width, height):
    """A PNG that says how large it is, and holds nothing of that."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_a_damaged_file_is_refused_or_shown_but_never_a_defect(tmp_path, kind):
    """Bytes are changed, left out and put in at random."""
    whole, rng = BytesIO(), np.random.default_rng(1)
    mode = "CMYK" if kind == "JPEG" else "RGBA" if kind == "WEBP" else "RGB"
    Image.fromarray(PIXELS).convert(mode).save(whole, kind)
    for _ in range(150):
        content = bytearray(whole.getvalue())
        for _ in range(rng.integers(1, 9)):
            at, length = int(rng.integers(len(content))), int(rng.integers(3))
            content[at : at + length] = rng.bytes(int(rng.integers(3)))
        (tmp_path / "x").write_bytes(content)
        with suppress(DataError):
            encode(tmp_path / "x")


def test_what_decoders_raise_is_a_damaged_file(tmp_path, monkeypatch):
    def damaged(*args, **kwargs):
        raise struct.error

    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "open", damaged)
    with pytest.raises(DataError, match="damaged, or too large"):
        encode(tmp_path / "x.png")


@pytest.mark.parametrize(("width", "height"), [(8000, 5001), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_of_more_than_forty_megapixels_is_refused_before_it_is_decoded(tmp_path, width, height):
    (tmp_path / "bomb.png").write_bytes(png_of(width, height))
    with pytest.raises(DataError, match=r"at most 40,000,000|damaged, or too large"):
        encode(tmp_path / "bomb.png")


def test_a_path_stays_below_its_folder(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "a").write_text("x")
    assert inside(root, "a") == (root / "a").resolve()
    for path in ("../secret", "link", "/etc/passwd", "a/../../secret", "a\0"):
        with pytest.raises(DataError, match="leads out of"):
            inside(root, path)


def test_an_image_is_encoded_once_and_found_again(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    images = Images(tmp_path / "private" / "images")
    assert images.available("one", tmp_path / "a.png")
    first = images.encoded("one", tmp_path / "a.png")
    assert images.size("one", tmp_path / "a.png") == (14, 10)
    (tmp_path / "a.png").unlink()
    assert images.encoded("one", tmp_path / "a.png") == first
    assert images.encoded("two", tmp_path / "a.png") is None
    assert images.size("two", tmp_path / "a.png") is None
    assert not images.available("two", tmp_path / "a.png")
    assert [file.name for file in images.cache.iterdir()] == ["one.png"]
