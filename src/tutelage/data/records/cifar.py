"""The binary format of CIFAR-10 and CIFAR-100."""

from typing import ClassVar

import numpy as np

from ...errors import ConfigError, DataError, unknown
from ..elements import Element, IntArray, Signature, split_rows
from ..reader import Reader
from .fixed_length import FixedLengthReader
from .mapped import Files

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_LABELS = {"fine": 100, "coarse": 20}


class CifarBinaryReader(Reader):
    """Images and labels of CIFAR-10's or CIFAR-100's own files (``data_batch_1.bin``, ..., ``train.bin``).

    A record is the label (CIFAR-10), or the coarse and the fine label (CIFAR-100), one byte each, and 3 x 32 x 32 bytes
    of pixels: red, green, blue, each row by row. Elements are (x, y), x uint8 (3, 32, 32) in 0..255, y int64 ().

    Args:
        files: the paths, in order.
        classes: 10 or 100: which of the two formats.
        label: of CIFAR-100, ``"fine"`` (0..99) or ``"coarse"`` (0..19).

    Raises:
        ConfigError: if ``classes`` or ``label`` is not one of these.
        DataError: if a file is missing or empty, or does not hold whole records.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and the data set's page.
    """

    kind: ClassVar[str] = "cifar_binary"

    def __init__(self, files: Files, classes: int = 10, label: str = "fine") -> None:
        if classes not in (10, 100):
            raise ConfigError(f"CIFAR has 10 or 100 classes, not {classes}.")
        if label not in _LABELS:
            raise ConfigError(unknown("label of CIFAR-100", label, _LABELS))
        self.num_classes = 10 if classes == 10 else _LABELS[label]
        self._skip = 1 if classes == 10 else 2
        self._label = 1 if classes == 100 and label == "fine" else 0
        self._records = FixedLengthReader(files, self._skip + _PIXELS)

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: IntArray) -> list[Element]:
        """Return (image, label) pairs.

        Raises:
            DataError: if a label is outside 0..K-1.
        """
        return split_rows(self.gather(index), len(index))

    def gather(self, index: IntArray) -> Element:
        """Return images, uint8 (n, 3, 32, 32), and labels, int64 (n,).

        Raises:
            DataError: if a label is outside 0..K-1.
        """
        y = self._records.columns(index, slice(self._label, self._label + 1))[:, 0].astype(np.int64)
        for k in np.flatnonzero(y >= self.num_classes)[:1]:
            raise DataError(f"{self._records.where(int(index[k]))}: label {y[k]}; K is {self.num_classes}.")
        return self._records.columns(index, slice(self._skip, None)).reshape(-1, *_SHAPE), y

    def fingerprint(self) -> str:
        """Return that of the records, and of which label is read."""
        return f"{self._records.fingerprint()}-{self._label}"

    def signature(self) -> Signature:
        """Return dtype and shape of image and label."""
        return f"uint8 {_SHAPE}", "int64 ()"

    def close(self) -> None:
        """Close the files."""
        self._records.close()
