"""What simulated image sets share: the cue of every class is known, and every image is drawn from a counter."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ConfigError
from ..randomness import hashed, permutation, real_tensor, stream
from .checks import whole_number
from .sources import ByteArray, DataSet, IntArray, Source

_TEST_SHARE = 0.2
_MOST_IMAGES, _MOST_PIXELS = 100_000, 1024
"""Of a class; of a side. Sets are drawn in memory."""


@dataclass(frozen=True, eq=False)
class CuedImages:
    """Images whose classes are told apart by a drawn cue, with the place of the cue, and the same images without it.

    Attributes:
        name: of the set.
        seed: that it was drawn from.
        x: images, uint8, shape (N, C, H, W), sorted by class.
        y: labels, int64, shape (N,).
        masks: bool, shape (N, H, W): the pixels that change when the cue is erased.
        erased: the images without the cue, as ``x``; equal to it outside the masks.
        classes: names in label order.
    """

    name: str
    seed: int
    x: ByteArray
    y: IntArray
    masks: npt.NDArray[np.bool_]
    erased: ByteArray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)

    def parts(self) -> tuple[IntArray, IntArray]:
        """Return the rows of the training and of the test part, in an order of the seed: a fifth, rounded up, is test.

        Not stratified, as the published splits of the data sets that these imitate.
        """
        order = permutation(stream(self.seed, f"{self.name}/split"), len(self))
        test = -int(-len(self) * _TEST_SHARE // 1)
        return order[test:], order[:test]

    def data(self) -> DataSet:
        """Return the training and the test part as sources, their rows in the order of :meth:`parts`."""
        train, test = (
            Source(f"{self.name}-{part}", np.ascontiguousarray(self.x[rows]), self.y[rows], self.classes)
            for part, rows in zip(("train", "test"), self.parts())
        )
        return DataSet(train, test)


def check_simulation(name: str, per_class: int, size: int, least: int) -> None:
    """Make sure that a set can be drawn.

    Raises:
        ConfigError: if there are fewer than 2 images a class or more than 100,000, or a side is below the least or
            above 1,024.
    """
    for what, value, low, most in (("per_class", per_class, 2, _MOST_IMAGES), ("size", size, least, _MOST_PIXELS)):
        if whole_number(name, value, low, what) > most:
            raise ConfigError(f"{name}: {what} is {value}; it must be at most {most}, more does not fit in memory.")


def joined(
    name: str, seed: int, classes: tuple[str, ...], pairs: list[tuple[Tensor, Tensor]], per_class: int
) -> CuedImages:
    """Return the set of drawn parts.

    Args:
        name: of the set.
        seed: that it was drawn from.
        classes: names in label order.
        pairs: (images, the same without the cue), float, shape (n, C, H, W), working range [0, 1], sorted by class.
        per_class: images of each class.
    """
    x, erased = (np.concatenate([_bytes(pair[k]) for pair in pairs]) for k in (0, 1))
    masks = (x != erased).any(axis=1)
    return CuedImages(name, seed, x, np.repeat(np.arange(len(classes)), per_class), masks, erased, classes)


class Draws:
    """Numbers drawn for images that are known by their position in their class, each under a name of its own.

    Args:
        seed: of the set.
        name: of the set and the class.
        index: positions, int64, shape (n,).
    """

    def __init__(self, seed: int, name: str, index: Tensor) -> None:
        self._seed, self._name, self._index = seed, name, index

    def uniform(self, name: str, low: float, high: float, *shape: int) -> Tensor:
        """Return numbers in [low, high), float32, shape (n, \\*shape)."""
        return (low + (high - low) * self._real(name, shape)).float()

    def normal(self, name: str, sd: float, *shape: int) -> Tensor:
        """Return numbers of a normal distribution around 0, float32, shape (n, \\*shape)."""
        inside = self._real(name, shape) * 2 - 1 + 2**-24  # never -1, nor 1
        return (sd * 2**0.5 * torch.erfinv(inside)).float()

    def whole(self, name: str, low: int, high: int, *shape: int) -> Tensor:
        """Return whole numbers in [low, high], int64, shape (n, \\*shape)."""
        return low + (self._real(name, shape) * (high - low + 1)).long()

    def _real(self, name: str, shape: tuple[int, ...]) -> Tensor:
        count = int(np.prod(shape, dtype=np.int64))
        rows = hashed(stream(self._seed, f"{self._name}/{name}"), self._index.numpy())
        columns = hashed(rows[:, None], np.arange(count)[None])
        return real_tensor(torch.from_numpy(columns.view(np.int64))).view(len(self._index), *shape)


def _bytes(images: Tensor) -> ByteArray:
    out: ByteArray = (images.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
    return out
