"""Bringing rows to mean 0 and variance 1: by statistics of the training rows, or each image by its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ConfigError, DataError
from .sources import Array, IntArray, Source
from .transforms import Epoch, Stage, Transform

Statistics: TypeAlias = Literal["channel", "pixel", "scalar"]
FloatArray: TypeAlias = npt.NDArray[np.float64]

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Normalise(Transform):
    """``(x - mean) / std`` with x already divided by its scale.

    Attributes:
        mean: float32, broadcasts against one row: (C, 1, 1), (C, H, W) or a scalar.
        std: the same, > 0.

    Raises:
        ConfigError: if a std is not above 0.
    """

    stage: ClassVar[Stage] = Stage.SCALE
    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        if not bool((self.std > 0).all()):
            raise ConfigError("normalise: every std must be above 0.")

    @classmethod
    def channels(cls, mean: tuple[float, ...], std: tuple[float, ...]) -> "Normalise":
        """Make one from published numbers per channel, such as ``Normalise.channels(*CIFAR10)``."""
        return cls(torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None])

    @classmethod
    def fit(cls, source: Source, index: IntArray, kind: Statistics = "channel") -> "Normalise":
        """Take mean and standard deviation (over N, not N - 1) of ``x / scale`` from the rows ``index`` only.

        Args:
            source: where the rows are.
            index: the training rows, int64; no other row is read.
            kind: ``"channel"``: per entry of the first axis of a row (channel of an image, column of a
                table); ``"pixel"``: a mean per pixel and one standard deviation over everything;
                ``"scalar"``: one of each. Where x does not vary, the deviation is taken as 1.

        Raises:
            ConfigError: if ``kind`` is not known.
            DataError: if ``index`` is empty.
        """
        if kind not in ("channel", "pixel", "scalar"):
            raise ConfigError(f'normalise: kind is "{kind}"; it must be channel, pixel or scalar.')
        if len(index) == 0:
            raise DataError("normalise: no row to fit to; index is empty.")
        mean, variance = _moments(source.x, index, kind)
        if kind == "pixel":
            variance = _moments(source.x, index, "scalar")[1]
        std = np.sqrt(variance) / source.scale
        std = np.where(std > 0, std, 1.0)
        return cls(_float(mean / source.scale), _float(std))

    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> Tensor:
        """Return an empty tensor: there is nothing to draw."""
        return index.new_empty(0)

    def apply(self, x: Tensor, params: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Return ``(x - mean) / std``, like the float tensor x; ``params`` may be left out."""
        return torch.sub(x, self.mean.to(x), out=out).div_(self.std.to(x))

    def to(self, device: torch.device) -> "Normalise":
        """Return the same normalisation with its numbers on a device."""
        return Normalise(self.mean.to(device), self.std.to(device))


@dataclass(frozen=True)
class Standardise(Transform):
    """``(x - m) / max(sd, 1 / sqrt(CHW))`` with m and sd of each image by itself, over all its values."""

    stage: ClassVar[Stage] = Stage.SCALE

    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> Tensor:
        """Return an empty tensor: there is nothing to draw."""
        return index.new_empty(0)

    def apply(self, x: Tensor, params: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Return the standardised images, same shape and type as the float x; ``params`` may be left out."""
        rows = x.flatten(1)
        centred = rows - rows.mean(dim=1, keepdim=True)
        sd = centred.square().mean(dim=1, keepdim=True).sqrt()
        return (centred / sd.clamp_min(rows.shape[1] ** -0.5)).view_as(x)


def _moments(x: Array, index: IntArray, kind: Statistics) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance in units of x, float64, over the axes that ``kind`` does not keep."""
    trailing = x.ndim - 2
    axes = {"pixel": (0,), "scalar": tuple(range(x.ndim)), "channel": (0, *range(2, x.ndim))}[kind]
    mean = _mean(x, index, axes, lambda part: part)
    shape = (-1, *[1] * trailing) if kind == "channel" and trailing > 0 else mean.shape
    mean = mean.reshape(shape)
    variance = _mean(x, index, axes, lambda part: np.square(part - mean)).reshape(shape)
    rounding = len(index) * np.finfo(np.float64).eps * mean
    return mean, np.where(variance > np.square(rounding), variance, 0.0)


def _mean(x: Array, index: IntArray, axes: tuple[int, ...], f: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Return the mean of ``f(rows)`` over ``axes``, in parts: a float64 copy of the set is eight times as
    large.
    """
    total: FloatArray = np.zeros(())
    for start in range(0, len(index), _ROWS_AT_ONCE):
        total = total + f(x[index[start : start + _ROWS_AT_ONCE]].astype(np.float64)).sum(axis=axes)
    mean: FloatArray = total * (total.size / (len(index) * x[0].size))
    return mean


def _float(values: FloatArray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
