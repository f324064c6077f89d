"""Crop, flip and cutout of images (N, C, H, W), drawn per index and epoch."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..errors import ConfigError, ShapeError
from ..randomness import hashed_tensor, integer_tensor, real_tensor, stream
from .transforms import Epoch, Stage, Transform, draws, sides

Padding: TypeAlias = Literal["zero", "reflect"]


@dataclass(frozen=True)
class Crop(Transform):
    """Pad every side and cut the old size out: ``x'[c, r, q] = pad(x)[c, r + dy, q + dx]``.

    ``dy, dx`` are uniform in 0..2 padding. Parameters: int64, shape (2, N), rows dy and dx.

    Args:
        padding: pixels added at each side, at least 1.
        mode: ``"zero"`` or ``"reflect"`` (without repeating the border).
        name: of the random stream.

    Raises:
        ConfigError: if an argument is not valid.
        ShapeError: from ``apply``, if x holds no images or reflection needs larger ones.
    """

    stage: ClassVar[Stage] = Stage.CROP
    padding: int = 4
    mode: Padding = "zero"
    name: str = "crop"

    def __post_init__(self) -> None:
        if self.padding < 1:
            raise ConfigError(f"crop: padding is {self.padding}; it must be at least 1.")
        if self.mode not in ("zero", "reflect"):
            raise ConfigError(f'crop: mode is "{self.mode}"; it must be zero or reflect.')

    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> Tensor:
        """Return dy and dx, int64, shape (2, N)."""
        return integer_tensor(draws(seed, self.name, epoch, index, 2), 2 * self.padding + 1)

    def apply(self, x: Tensor, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the crops, same shape and type as x."""
        places = torch.arange(len(x), device=x.device)
        return self.cut(self.windows(self.pad(x)), places, params)

    def pad(self, x: Tensor) -> Tensor:
        """Return x with ``padding`` more pixels at each side, (N, C, H + 2 padding, W + 2 padding)."""
        height, width = sides("crop", x)
        p = self.padding
        if self.mode == "zero":
            return pad(x, (p, p, p, p))
        if min(height, width) <= p:
            raise ShapeError(f"crop: reflect padding {p} needs sides above {p}; got {min(height, width)}.")
        for axis, size in ((2, height), (3, width)):  # by index, because torch reflects no uint8
            source = (torch.arange(-p, size + p, device=x.device)).abs()
            x = x.index_select(axis, size - 1 - (size - 1 - source).abs())
        return x

    def windows(self, padded: Tensor) -> Tensor:
        """Return the view (N, C, 2 padding + 1, 2 padding + 1, H, W) of all crops of padded images."""
        height, width = sides("crop", padded)
        return padded.unfold(2, height - 2 * self.padding, 1).unfold(3, width - 2 * self.padding, 1)

    @staticmethod
    def cut(windows: Tensor, places: Tensor, params: Tensor) -> Tensor:
        """Return the crops ``params`` of the rows ``places`` of :meth:`windows`, shape (N, C, H, W)."""
        return windows[places, :, params[0], params[1]]


@dataclass(frozen=True)
class Flip(Transform):
    """Mirror left and right with probability ``prob``. Parameters: bool, shape (N,), whether to flip.

    Raises:
        ConfigError: if ``prob`` is outside [0, 1].
    """

    stage: ClassVar[Stage] = Stage.FLIP
    prob: float = 0.5
    name: str = "flip"

    def __post_init__(self) -> None:
        if not 0 <= self.prob <= 1:
            raise ConfigError(f"flip: prob is {self.prob}; it must lie in [0, 1].")

    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> Tensor:
        """Return which rows to flip, bool, shape (N,)."""
        return real_tensor(draws(seed, self.name, epoch, index, 1)[0]) < self.prob

    def apply(self, x: Tensor, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Return x with the marked rows mirrored along the last axis."""
        return _flipped(x, params)


@dataclass(frozen=True)
class AlternatingFlip(Transform):
    """Mirror iff ``(h(stream, index) & 1) + epoch`` is odd: two consecutive epochs show both sides of every
    image.

    Parameters: bool, shape (N,). Source: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024,
        section 3.6.
    """

    stage: ClassVar[Stage] = Stage.FLIP
    name: str = "alternating_flip"

    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> Tensor:
        """Return which rows to flip, bool, shape (N,)."""
        first_side = hashed_tensor(stream(seed, self.name), index) & 1
        return (first_side + epoch) % 2 == 1

    def apply(self, x: Tensor, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Return x with the marked rows mirrored along the last axis."""
        return _flipped(x, params)


@dataclass(frozen=True)
class Cutout(Transform):
    """Set a square to 0, the mean colour after normalising.

    The centre is uniform over the image, ``cy = int(v_0, H)``, and the square covers the rows
    ``cy - size // 2 <= r < cy - size // 2 + size``, columns alike, clipped at the border. With ``inside`` the
    corner is uniform in 0..H - size instead, so that the square is always whole. Parameters: the two hashes,
    int64, (2, N).

    Raises:
        ConfigError: if ``size`` is below 1.
        ShapeError: from ``apply``, if x holds no images or ``inside`` needs larger ones.

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """

    stage: ClassVar[Stage] = Stage.ERASE
    size: int = 16
    inside: bool = False
    name: str = "cutout"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"cutout: size is {self.size}; it must be at least 1.")

    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> Tensor:
        """Return the hashes of row and column, int64, shape (2, N)."""
        return draws(seed, self.name, epoch, index, 2)

    def apply(self, x: Tensor, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Return x with the squares set to 0."""
        height, width = sides("cutout", x)
        rows, columns = self._kept(params[0], height).to(x.dtype), self._kept(params[1], width).to(x.dtype)
        return torch.mul(x, torch.maximum(rows[:, None, :, None], columns[:, None, None, :]), out=out)

    def _kept(self, v: Tensor, side: int) -> Tensor:
        """Mark the rows (or columns) that the square does not reach, bool, shape (N, side)."""
        if self.inside:
            if self.size > side:
                raise ShapeError(f"cutout: size {self.size} does not fit inside sides of {side}.")
            first = integer_tensor(v, side - self.size + 1)
        else:
            first = integer_tensor(v, side) - self.size // 2
        line = torch.arange(side, device=v.device)
        return (line < first[:, None]) | (line >= first[:, None] + self.size)


def _flipped(x: Tensor, flip: Tensor) -> Tensor:
    both = torch.cat([x, x.flip(-1)])  # and choose rows: on the CPU 5 times as fast as torch.where on bytes
    return both.index_select(0, torch.arange(len(x), device=x.device) + len(x) * flip)
