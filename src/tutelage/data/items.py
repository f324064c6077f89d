"""The identity of an item: its name and what it holds, which stay when a pool is filtered, sorted or copied.

The position of a row says which example it is only within one pool. Whoever keeps a choice of items, or compares two
pools, keeps an :class:`Item`.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torch import Tensor

from ..errors import DataError
from ..fingerprints import of_tensor

_SHOWN = 12


@dataclass(frozen=True, order=True)
class Item:
    """One item of a pool.

    Attributes:
        path: of the file, with ``/``, relative to the root of its pool; of a row of a tensor ``pool/DIGITS`` with the
            first twelve digits of its hash.
        sha256: of its content, 64 lower-case hexadecimal digits: of the bytes of a file; of a tensor of its type,
            shape and bytes.
    """

    path: str
    sha256: str

    @property
    def name(self) -> str:
        """The name of the file, without folders."""
        return PurePosixPath(self.path).name

    @property
    def id(self) -> str:
        """File name and content: equal wherever the same file lies."""
        return f"{self.name}:{self.sha256}"


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the bytes of a file, 64 hexadecimal digits.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None


def file_items(files: Iterable[str | os.PathLike[str]], root: str | os.PathLike[str]) -> tuple[Item, ...]:
    """Return the items of files, in their order.

    Args:
        files: below ``root``.
        root: what their paths shall be relative to.

    Raises:
        DataError: if a file cannot be read, or does not lie below ``root``.
    """
    return tuple(Item(_relative(Path(file), Path(root)), file_hash(file)) for file in files)


def tensor_items(pool: str, rows: Tensor) -> tuple[Item, ...]:
    """Return the items of a tensor's rows; the same values of the same type give the same item on every device.

    Args:
        pool: its name.
        rows: (N, ...).
    """
    hashes = [of_tensor(row) for row in rows]
    return tuple(Item(f"{pool}/{digest[:_SHOWN]}", digest) for digest in hashes)


def distinct(items: Sequence[Item]) -> list[int]:
    """Return the positions, ascending, of the first item of each content."""
    first: dict[str, int] = {}
    for position, item in enumerate(items):
        first.setdefault(item.sha256, position)
    return list(first.values())


def duplicates(first: Sequence[Item], second: Sequence[Item]) -> list[tuple[int, int]]:
    """Return the positions (in ``first``, in ``second``) of items of the same content, in the order of ``second``."""
    places = {first[position].sha256: position for position in distinct(first)}
    return [(places[item.sha256], j) for j, item in enumerate(second) if item.sha256 in places]


def check_disjoint(what: str, first: Sequence[Item], other: str, second: Sequence[Item]) -> None:
    """Make sure that two sets share no content, whatever their files are called.

    Args:
        what: the first set is, such as ``"train"``, for the message.
        first: its items.
        other: the second set is.
        second: its items.

    Raises:
        DataError: if they do; names the first such pair.
    """
    shared = duplicates(first, second)
    if shared:
        i, j = shared[0]
        more = f" ({len(shared):,} such pairs)" if len(shared) > 1 else ""
        raise DataError(
            f"{what} item {first[i].path} and {other} item {second[j].path} are the same: SHA-256 "
            f"{first[i].sha256[:_SHOWN]}{more}; remove one of them."
        )


def _relative(file: Path, root: Path) -> str:
    try:
        return file.relative_to(root).as_posix()
    except ValueError:
        raise DataError(f"{file}: does not lie below {root}; items are named by their path below it.") from None
