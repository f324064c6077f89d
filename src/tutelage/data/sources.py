"""Source: labelled rows in memory, each known by its position, and the ways to make one from arrays."""

import hashlib
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..errors import ConfigError, DataError

Array: TypeAlias = npt.NDArray[Any]
IntArray: TypeAlias = npt.NDArray[np.int64]
ByteArray: TypeAlias = npt.NDArray[np.uint8]

_FULL_HASH_BYTES = 1 << 30
_HASHED_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Source:
    """A labelled data set in memory. The position of a row is its index: its identity in every batch.

    Attributes:
        name: for messages and reports.
        x: rows, shape (N, ...), uint8 or float32, contiguous; images are (N, C, H, W).
        y: labels, int64, shape (N,), in 0..K-1.
        classes: the K class names in label order.
        maximum: what x is divided by before a network sees it; None: 255 for uint8, 1 for float32.
        check: look for NaN and infinity in a float x (one pass over it).

    Raises:
        DataError: if x and y differ in length, there is no row, a label is outside 0..K-1, or x is not finite
            or of another dtype.
    """

    name: str
    x: Array
    y: IntArray
    classes: tuple[str, ...]
    maximum: float | None = None
    check: InitVar[bool] = True

    def __post_init__(self, check: bool) -> None:
        _check_lengths(self.name, self.x, self.y)
        if self.x.dtype not in (np.uint8, np.float32):
            raise DataError(f"{self.name}: x is {self.x.dtype}, needs uint8 or float32; use from_arrays.")
        if not self.x.flags.c_contiguous:
            raise DataError(f"{self.name}: x is not contiguous; use from_arrays.")
        if self.y.dtype != np.int64 or self.y.ndim != 1:
            raise DataError(f"{self.name}: y is {self.y.dtype} of shape {self.y.shape}, needs int64 of shape (N,).")
        check_labels(self.name, self.y, self.num_classes)
        if check:
            _check_finite(self.name, self.x)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def num_classes(self) -> int:
        """The number of classes K, whatever labels occur."""
        return len(self.classes)

    @property
    def scale(self) -> float:
        """The divisor that brings x to its working range: ``x / scale``, in [0, 1] for images."""
        if self.maximum is not None:
            return self.maximum
        return 255.0 if self.x.dtype == np.uint8 else 1.0

    @property
    def colour(self) -> bool:
        """Whether rows are colour images of at least 32 pixels a side, to which what is published for such applies."""
        shape = self.x.shape[1:]
        return len(shape) == 3 and shape[0] == 3 and min(shape[1:]) >= 32

    def fingerprint(self) -> str:
        """Return the SHA-256, in hex, of dtype, shape and bytes of x and y.

        Above 1 GB only 4,096 evenly spaced rows are read, and the result starts with ``"sampled-"``.
        """
        sampled = self.x.nbytes > _FULL_HASH_BYTES
        rows = np.linspace(0, len(self) - 1, _HASHED_ROWS).astype(np.int64) if sampled else slice(None)
        digest = hashlib.sha256()
        for array in (self.x, self.y):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array[rows]).data)
        return ("sampled-" if sampled else "") + digest.hexdigest()


@dataclass(frozen=True, eq=False)
class DataSet:
    """A training source, and the test source that came with it, if any.

    Raises:
        DataError: if the two differ in row shape, dtype, scale or classes.
    """

    train: Source
    test: Source | None = None

    def __post_init__(self) -> None:
        if self.test is None:
            return
        for what, train, test in (
            ("rows of shape", self.train.x.shape[1:], self.test.x.shape[1:]),
            ("values of type", self.train.x.dtype, self.test.x.dtype),
            ("scale", self.train.scale, self.test.scale),
            ("classes", self.train.classes, self.test.classes),
        ):
            if train != test:
                raise DataError(f"{self.train.name} has {what} {train}, but {self.test.name} {test}.")


class MapDataset(Protocol):
    """What :func:`from_dataset` needs: a length and (x, y) pairs by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def from_arrays(
    x: Array | Tensor,
    y: Array | Tensor,
    *,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    maximum: float | None = None,
    check: bool = True,
) -> Source:
    """Make a source of arrays or tensors; contiguous uint8 or float32 rows on the CPU are not copied.

    Args:
        x: rows, shape (N, ...); other number types are converted to float32.
        y: labels, any integer type, shape (N,), in 0..K-1.
        num_classes: K; it is never guessed from the largest label, which need not occur.
        classes: the K class names; ``"0"``, ``"1"``, ... if only ``num_classes`` is given.
        name: for messages and reports.
        maximum: what x is divided by; None: 255 for uint8, 1 otherwise.
        check: look for NaN and infinity.

    Raises:
        ConfigError: if neither ``num_classes`` nor ``classes`` is given, or they disagree.
        DataError: if the arrays are not usable.
    """
    rows, labels = _numpy(x), _numpy(y)
    _check_lengths(name, rows, labels)
    names = class_names(name, num_classes, classes)
    return Source(name, _as_rows(name, rows), as_labels(name, labels), names, maximum, check)


def from_dataset(
    dataset: MapDataset,
    num_classes: int,
    *,
    classes: Sequence[str] | None = None,
    name: str = "dataset",
    maximum: float | None = None,
) -> Source:
    """Copy a map-style torch data set of (x, y) pairs to memory, once.

    Args:
        dataset: has ``len`` and gives (x, y) by position, or lists of them through ``__getitems__``; x is a
            tensor or array as a network takes it, or an image (H, W) or (H, W, C), which becomes (C, H, W).
        num_classes: K.
        classes: the K class names.
        name: for messages and reports.
        maximum: what x is divided by; None: 255 for uint8, 1 otherwise.

    Raises:
        DataError: if the data set is empty, an item is no pair, or rows differ in shape.
    """
    items = _items(dataset)
    for i, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(f"{name}: item {i} is a {type(item).__name__}, needs a pair (x, y).")
    if not items:
        raise DataError(f"{name}: source is empty.")
    rows = [_row(x) for x, _ in items]
    for i, row in enumerate(rows):
        if row.shape != rows[0].shape:
            raise DataError(f"{name}: element {i} has shape {row.shape}, element 0 {rows[0].shape}; use resize.")
    labels = np.asarray([int(y) for _, y in items], dtype=np.int64)
    return from_arrays(np.stack(rows), labels, num_classes=num_classes, classes=classes, name=name, maximum=maximum)


def class_names(name: str, num_classes: int | None, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the class names, made up from the number of classes if there are none.

    Raises:
        ConfigError: if both are missing or disagree.
    """
    if classes is None:
        if num_classes is None:
            raise ConfigError(f"{name}: the number of classes is not known; pass num_classes=K (--classes K).")
        if num_classes < 1:
            raise ConfigError(f"{name}: num_classes is {num_classes}; it must be at least 1.")
        return tuple(str(k) for k in range(num_classes))
    if num_classes is not None and num_classes != len(classes):
        raise ConfigError(f"{name}: num_classes is {num_classes}, but there are {len(classes)} class names.")
    return tuple(classes)


def as_labels(name: str, labels: Array) -> IntArray:
    """Return integer labels of any width as int64, shape (N,).

    Raises:
        DataError: if they are no integers or not one a row.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{name}: y is {labels.dtype} of shape {labels.shape}, needs integers of shape (N,).")
    return labels.astype(np.int64, copy=False)


def check_labels(name: str, y: IntArray, num_classes: int) -> None:
    """Raise DataError at the first label outside 0..K-1."""
    wrong = np.flatnonzero((y < 0) | (y >= num_classes))
    if wrong.size:
        raise DataError(f"{name}: label {y[wrong[0]]} at index {wrong[0]}; K is {num_classes}.")


def _check_lengths(name: str, x: Array, y: Array) -> None:
    for what, array in (("x", x), ("y", y)):
        if array.ndim == 0:
            raise DataError(f"{name}: {what} is a scalar; it needs a leading axis of rows.")
    if len(x) != len(y):
        raise DataError(f"{name}: x has {len(x)} rows, y has {len(y)}; leading sizes must agree.")
    if x.size == 0:
        raise DataError(f"{name}: source is empty.")


def _check_finite(name: str, x: Array) -> None:
    if x.dtype == np.uint8:
        return
    for start in range(0, len(x), _HASHED_ROWS):  # in parts: the mask of a large set is large too
        finite = np.isfinite(x[start : start + _HASHED_ROWS])
        if not finite.all():
            row = start + int(np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))[0])
            raise DataError(f"{name}: x[{row}] is not finite.")


def _as_rows(name: str, x: Array) -> Array:
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name}: x is {x.dtype}, needs numbers.")
    return np.ascontiguousarray(x, dtype=np.uint8 if x.dtype == np.uint8 else np.float32)


def _numpy(array: Array | Tensor) -> Array:
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def _items(dataset: MapDataset) -> list[Any]:
    many = getattr(dataset, "__getitems__", None)
    if many is not None:
        return list(many(list(range(len(dataset)))))
    return [dataset[i] for i in range(len(dataset))]


def _row(x: Any) -> Array:
    if isinstance(x, Tensor | np.ndarray):
        return _numpy(x)
    if isinstance(x, int | float | list | tuple):
        return np.asarray(x, dtype=np.float32)
    image = np.asarray(x)  # a PIL image, without importing PIL
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
