"""Image folders: one folder a class, with or without train/ and test/ above them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from .cache import decoded
from .images import Size, decode
from .sources import DataSet, Source

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def read_image_folder(folder: Path, *, resize: Size | None = None, cache: bool = True) -> DataSet:
    """Read the images below a folder.

    A class is a sub-folder, classes and files are sorted by name. If there is a sub-folder ``train``, the
    classes lie in it, and ``test`` beside it is the test source. Hidden folders and other files are passed
    over.

    Args:
        folder: the top folder.
        resize: (height, width) to bring images to; None: they must be of one size.
        cache: keep the decoded images on disk.

    Raises:
        DataError: if there is no class, a class is empty or not in ``train``, or an image is not usable.
    """
    train, test = folder / "train", folder / "test"
    if not train.is_dir():
        return DataSet(_read(folder, _classes(folder), resize, cache))
    names = _classes(train)
    source = _read(train, names, resize, cache)
    if not test.is_dir():
        return DataSet(source)
    unseen = sorted(set(_classes(test)) - set(names))
    if unseen:
        raise DataError(f'{test}: class "{unseen[0]}" is not in {train}.')
    return DataSet(source, _read(test, names, resize, cache))


def _classes(folder: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not names:
        raise DataError(f"{folder}: no class folders; put the images of each class into a folder of its name.")
    return tuple(names)


def _read(folder: Path, classes: Sequence[str], resize: Size | None, cache: bool) -> Source:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _images(folder / name)
        if not found:
            raise DataError(f'{folder}: class "{name}" is empty.')
        files += found
        labels += [label] * len(found)
    x = decoded(files, f"folder {resize}", len(files), lambda: decode(((str(f), f) for f in files), resize), use=cache)
    return Source(str(folder), x, np.asarray(labels, dtype=np.int64), tuple(classes))


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.is_file())
