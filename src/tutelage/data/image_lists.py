"""Published lists of labelled images: lines ``./datasets/.../CLASS/FILE label index``, without the images.

A file is known by its class folder and its name, so that the images may lie anywhere. The label is the rank of the
folder in the alphabetical order of classes, or of the class that was told instead; the index is not used.

Source: the lists of Wang, Nagrecha and Vasconcelos, "Gradient-based algorithms for machine teaching", CVPR 2021.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import ConfigError, DataError
from .cache import decoded
from .folders import SUFFIXES
from .images import Size, decode
from .items import Item, check_disjoint, file_items
from .records.atomic import AtomicWriter
from .sources import Source


@dataclass(frozen=True)
class ListedImage:
    """One line of a list.

    Attributes:
        path: as it is written, with ``/``; may hold spaces.
        label: rank of its class in alphabetical order.
        index: a number that is not used.
    """

    path: str
    label: int
    index: int

    @property
    def name(self) -> str:
        """The name of the file."""
        return PurePosixPath(self.path).name

    @property
    def folder(self) -> str:
        """The folder of its class."""
        return PurePosixPath(self.path).parent.name


@dataclass(frozen=True)
class ImageList:
    """Images by name, with their labels.

    Attributes:
        name: of the list's file, for messages.
        images: in order.
        lines: of each image in the file, from 1.
        classes: in label order.
    """

    name: str
    images: tuple[ListedImage, ...]
    lines: tuple[int, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(
        cls, name: str, images: Sequence[ListedImage], classes: Sequence[str] | None = None, *, told: bool = False
    ) -> "ImageList":
        """Make a list, with a line an image.

        Args:
            name: of the list.
            images: in order.
            classes: in label order; None: the class folders that occur, which must be all.
            told: labels are what was told, not always the folder, as after a run with label noise; needs ``classes``.

        Raises:
            ConfigError, DataError: as :func:`read_image_list`.
        """
        return cls._checked(name, tuple(images), tuple(range(1, len(images) + 1)), classes, told)

    @classmethod
    def _checked(
        cls,
        name: str,
        images: tuple[ListedImage, ...],
        lines: tuple[int, ...],
        classes: Sequence[str] | None,
        told: bool,
    ) -> "ImageList":
        if told and classes is None:
            raise ConfigError(f"{name}: told labels do not show which classes there are; give classes as well.")
        if not images:
            raise DataError(f"{name}: lists no image.")
        known = tuple(sorted({image.folder for image in images}) if classes is None else classes)
        plain = [plain_name(c) for c in known]
        if len(set(plain)) < len(plain):
            raise DataError(f"{name}: two of the classes {', '.join(known)} are the same but for spaces and case.")
        for image, line in zip(images, lines):
            if not 0 <= image.label < len(known):
                every = "" if classes is not None else "; if the list does not show all classes, name them"
                raise DataError(
                    f"{name} line {line}: label {image.label} is outside the {len(known)} classes {', '.join(known)}"
                    f"{every}."
                )
            if not told and plain[image.label] != plain_name(image.folder):
                raise DataError(
                    f"{name} line {line}: label {image.label} is {known[image.label]}, but the image lies in "
                    f"{image.folder or 'no folder'}; labels are ranks in the order {', '.join(known)}. If it was told "
                    "so, as in the list of a run with label noise, give told=True and the classes."
                )
        return cls(name, images, lines, known)


@dataclass(frozen=True, eq=False)
class ImagePool:
    """Images in memory, and where each is from.

    Attributes:
        source: rows and labels.
        paths: the file of each row.
        items: the identity of each row.
    """

    source: Source
    paths: tuple[Path, ...]
    items: tuple[Item, ...]


def plain_name(name: str) -> str:
    """Return a class name for comparison: "Red Admiral", "RedAdmiral" and "red_admiral" are one class."""
    return "".join(name.split()).replace("_", "").casefold()


def read_image_list(
    path: str | os.PathLike[str], classes: Sequence[str] | None = None, *, told: bool = False
) -> ImageList:
    """Read a list; blank lines are passed over.

    Args:
        path: of the list's file.
        classes: in alphabetical order; None: the class folders that the list shows, which must be all of them.
        told: labels are what was told, not always the folder, as after a run with label noise; needs ``classes``.

    Raises:
        ConfigError: if ``told`` is given without ``classes``.
        DataError: if it cannot be read or lists no image, a line is malformed, or a label is not that of the folder
            and ``told`` is not given.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a list of images: it is no text in UTF-8.") from None
    numbered = [(i, line) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]
    images = tuple(_image(path, i, line) for i, line in numbered)
    return ImageList._checked(str(path), images, tuple(i for i, _ in numbered), classes, told)


def write_image_list(images: Sequence[ListedImage], path: str | os.PathLike[str]) -> None:
    """Write a list that :func:`read_image_list` reads back as it was; it appears whole or not at all.

    Raises:
        DataError: if it cannot be written, or a path cannot stand on one line.
    """
    for image in images:
        if not image.path or _folded(image.path) != image.path:
            raise DataError(f"{path}: the path {image.path!r} cannot stand in a list; rename the file.")
    text = "".join(f"{image.path} {image.label} {image.index}\n" for image in images)
    AtomicWriter(path, text.encode()).close()


def image_paths(listed: ImageList, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the file of each image of a list.

    Args:
        listed: the list.
        folder: has a folder a class, or such a folder ``images``; class names are compared by :func:`plain_name`.

    Raises:
        DataError: if there is no such folder, it has two folders for a class, or an image is missing: names the list,
            the line and the path.
    """
    top = Path(folder) / "images" if (Path(folder) / "images").is_dir() else Path(folder)
    rooms: dict[str, Path] = {}
    for room in class_folders(top):
        if plain_name(room.name) in rooms:
            raise DataError(f"{top}: {rooms[plain_name(room.name)].name} and {room.name} name the same class.")
        rooms[plain_name(room.name)] = room
    found = []
    for image, line in zip(listed.images, listed.lines):
        file = rooms.get(plain_name(image.folder), top / image.folder) / image.name
        if not file.is_file():
            raise DataError(f"{listed.name} line {line}: {image.path} is missing; looked for {file}.")
        found.append(file)
    return tuple(found)


def class_folders(top: Path) -> list[Path]:
    """Return the class folders of a folder by name, hidden ones aside.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        return sorted(entry for entry in top.iterdir() if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise DataError(
            f"{top}: cannot be read ({error.strerror}); needed is a folder with a folder a class."
        ) from None


def folder_images(folder: str | os.PathLike[str], prefix: str | None = None) -> ImageList:
    """Return all images of a folder as a list, by class and name.

    Args:
        folder: has a folder a class, or such a folder ``images``.
        prefix: what the paths begin with, before ``/CLASS/FILE``; None: the folder of the classes.

    Raises:
        DataError: if it cannot be read, has no class folder, or a class has no image.
    """
    top = Path(folder) / "images" if (Path(folder) / "images").is_dir() else Path(folder)
    before = top.as_posix() if prefix is None else prefix.rstrip("/")
    rooms, images = class_folders(top), []
    if not rooms:
        raise DataError(f"{top}: no class folders; put the images of each class into a folder of its name.")
    for label, room in enumerate(rooms):
        names = _image_names(room)
        if not names:
            raise DataError(f'{top}: class "{room.name}" is empty.')
        images += [ListedImage(f"{before}/{room.name}/{name}", label, 0) for name in names]
    return ImageList.of(Path(folder).resolve().name, images, [room.name for room in rooms])


def _image_names(room: Path) -> list[str]:
    try:
        return sorted(file.name for file in room.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    except OSError as error:
        raise DataError(f"{room}: cannot be read ({error.strerror}).") from None


def load_listed(
    listed: ImageList, folder: str | os.PathLike[str], *, resize: Size | None = None, cache: bool = True
) -> ImagePool:
    """Load the images of a list, in its order.

    Args:
        listed: the list.
        folder: where the images are, see :func:`image_paths`.
        resize: (height, width) to bring images to; None: they must be of one size.
        cache: keep the decoded images on disk.

    Raises:
        DataError: if an image is missing, or cannot be decoded; names it.
    """
    paths = image_paths(listed, folder)
    items = file_items(paths, folder)
    x = decoded(paths, f"list {resize}", len(paths), lambda: decode(((str(p), p) for p in paths), resize), use=cache)
    y = np.asarray([image.label for image in listed.images], dtype=np.int64)
    return ImagePool(Source(Path(listed.name).stem, x, y, listed.classes), paths, items)


def load_listed_pair(
    train: ImageList,
    test: ImageList,
    folder: str | os.PathLike[str],
    *,
    resize: Size | None = None,
    cache: bool = True,
) -> tuple[ImagePool, ImagePool]:
    """Load the images of two lists that must share none.

    Args:
        train: one list.
        test: the other, of the same classes.
        folder: where the images of both are.
        resize: see :func:`load_listed`.
        cache: see :func:`load_listed`.

    Raises:
        DataError: as :func:`load_listed`; if classes differ; if an image is in both, whatever its name.
    """
    if [plain_name(c) for c in train.classes] != [plain_name(c) for c in test.classes]:
        raise DataError(
            f"{train.name} has the classes {', '.join(train.classes)}, but {test.name} {', '.join(test.classes)}."
        )
    first, second = (load_listed(listed, folder, resize=resize, cache=cache) for listed in (train, test))
    check_disjoint("train", first.items, "test", second.items)
    return first, second


def _image(path: Path, number: int, line: str) -> ListedImage:
    parts = line.strip().rsplit(maxsplit=2)
    if len(parts) < 3 or not all(part.isascii() and part.isdecimal() for part in parts[1:]):
        shown = line.strip() if len(line) <= 80 else f"{line.strip()[:80]}..."
        raise DataError(f'{path} line {number}: "{shown}" is not of the form "path label index".')
    return ListedImage(parts[0], int(parts[1]), int(parts[2]))


def _folded(path: str) -> str:
    """A path as it comes back from a line."""
    return path.strip().splitlines()[0] if path.strip() else ""
