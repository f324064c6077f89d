"""What a raw row becomes before a network sees it, as the file of a distilled set says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..data.scaling import Normalise
from ..errors import ConfigError, ShapeError
from .header import Header
from .whitening import Whitening

Numbers: TypeAlias = float | Sequence[float] | Tensor
"""One number, or one a channel, or one a pixel."""
Scaling: TypeAlias = tuple[Numbers, Numbers] | tuple[Numbers, Numbers, Whitening | None]
"""Mean and standard deviation that rows were normalised with, and how they were whitened then, if they were."""

_NEAR = 0.005
"""Means and deviations may be rounded by so much of a deviation."""
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a raw row becomes before a network sees it: ``(x / scale - mean) / std``, then whitened if there is a way.

    Attributes:
        shape: of a row.
        scale: raw values are in [0, scale], above 0; 255 of bytes.
        mean: float32, broadcasts against a row: a scalar, or (C, 1, 1).
        std: the same, > 0.
        whitening: fitted to normalised rows; None: there is none.

    Raises:
        ConfigError: if the scale or a std is not above 0, or any number is not finite.
        ShapeError: for numbers that do not fit a row.
    """

    shape: tuple[int, ...]
    scale: float
    mean: Tensor
    std: Tensor
    whitening: Whitening | None = None

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise ShapeError(f"inputs: rows of shape {self.shape} hold nothing.")
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"inputs: raw values are in [0, {self.scale:g}]; the end must be above 0.")
        _ = self._normalise  # refuses a std that is not above 0
        for name, value in (("mean", self.mean), ("std", self.std)):
            if not bool(value.isfinite().all()):
                raise ConfigError(f"inputs: a {name} is not finite.")
            if not _broadcasts(tuple(value.shape), self.shape):
                raise ShapeError(f"inputs: a {name} of shape {tuple(value.shape)} does not fit rows of {self.shape}.")
        if self.whitening is not None:
            _check_whitening(self.whitening, math.prod(self.shape))

    @classmethod
    def of(cls, facts: Header, whitening: Whitening | None) -> "Inputs":
        """Return what :meth:`plain` told."""
        told, scaling = facts.part("input"), facts.part("normalisation")
        ends = told.numbers("range")
        if len(ends) != 2 or ends[0] != 0:
            raise ConfigError(f"inputs: the range of raw values must be from 0 to a number, but is {list(ends)}.")
        mean, std = (torch.tensor(scaling.block(name), dtype=torch.float32) for name in ("mean", "std"))
        return cls(told.wholes("shape"), ends[1], mean, std, whitening)

    @property
    def _normalise(self) -> Normalise:
        return Normalise(self.mean, self.std)

    def seen(self, raw: Tensor, scale: float | None = None) -> Tensor:
        """Return raw rows (N, ...) as networks see them, float32.

        Args:
            raw: of any type, on the CPU or elsewhere.
            scale: their own, of rows in other units; None: that of the file.

        Raises:
            ShapeError: for rows of another shape.
        """
        if tuple(raw.shape[1:]) != self.shape:
            raise ShapeError(
                f"rows have shape {tuple(raw.shape[1:])}, but the set was made for {self.shape}: resize them, or use "
                "the data that it was made from."
            )
        x = self._normalise.apply(raw.to(torch.float32) / (scale or self.scale))
        return x if self.whitening is None else self.whitening(x)

    def check(self, mean: Numbers, std: Numbers, whitening: Whitening | None = None) -> None:
        """Make sure that rows were normalised as the set was, up to numbers that are rounded.

        Args:
            mean: one number, or one a channel, or one a pixel, of rows divided by their scale.
            std: likewise.
            whitening: of the normalised rows; None: there was none.

        Raises:
            ConfigError: naming both sides.
        """
        if not (_near(mean, self.mean, self.std, self.shape) and _near(std, self.std, self.std, self.shape)):
            raise ConfigError(
                f"the rows are normalised with mean {_numbers(mean)} and std {_numbers(std)}, but the set was made "
                f"with {self.told}: use these, as a set works with them alone."
            )
        if not _same_whitening(whitening, self.whitening):
            given = "not whitened" if whitening is None else "whitened in their own way"
            needed = "was not whitened" if self.whitening is None else "was whitened, in its own way"
            raise ConfigError(
                f"the rows are {given}, but the set {needed}: make them by inputs.seen, as a set works with such alone."
            )

    @property
    def told(self) -> str:
        """The normalisation, in words."""
        whitened = "" if self.whitening is None else ", whitened"
        return f"mean {_numbers(self.mean)} and std {_numbers(self.std)}{whitened}"

    def plain(self) -> dict[str, Any]:
        """Return what of it is JSON: ``input`` and ``normalisation``."""
        return {
            "input": {"shape": list(self.shape), "range": [0.0, float(self.scale)]},
            "normalisation": {
                "mean": self.mean.tolist(),
                "std": self.std.tolist(),
                "zca": self.whitening is not None,
            },
        }


def _near(given: Numbers, needed: Tensor, unit: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether numbers are those that are needed, up to some of a unit; NaN is not."""
    here = _on_rows(given, shape)
    return here is not None and bool(((here - needed.cpu()).abs() <= _NEAR * unit.cpu()).all())


def _on_rows(values: Numbers, shape: tuple[int, ...]) -> Tensor | None:
    """One number, one a channel or one a pixel, as they broadcast against a row; None for another count."""
    found = torch.as_tensor(values, dtype=torch.float32).cpu()
    if found.numel() in (1, shape[0]):
        return found.reshape(-1, *[1] * (len(shape) - 1))
    return found.reshape(shape) if found.numel() == math.prod(shape) else None


def _broadcasts(part: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return len(part) <= len(whole) and all(a in (1, b) for a, b in zip(reversed(part), reversed(whole)))


def _same_whitening(a: Whitening | None, b: Whitening | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.matrix.shape != b.matrix.shape:
        return False
    apart, unit = (a.matrix - b.matrix.to(a.matrix)).abs(), b.matrix.abs().max().to(a.matrix)
    means = (a.mean - b.mean.to(a.mean)).abs()
    return bool((apart <= _NEAR * unit).all() and (means <= _NEAR).all())


def _check_whitening(whitening: Whitening, size: int) -> None:
    mean, matrix = whitening.mean, whitening.matrix
    if tuple(mean.shape) != (size,) or tuple(matrix.shape) != (size, size):
        raise ShapeError(
            f"whitening: a mean of shape {tuple(mean.shape)} and a matrix of {tuple(matrix.shape)}, but a row has "
            f"{size} numbers."
        )
    if not all(t.is_floating_point() and bool(t.isfinite().all()) for t in (mean, matrix)):
        raise ConfigError("whitening: its mean and matrix must be finite real numbers.")


def _numbers(values: Numbers) -> str:
    found = torch.as_tensor(values, dtype=torch.float32).flatten().tolist()
    more = f" ... ({len(found)} numbers)" if len(found) > _NAMED else ""
    return ", ".join(f"{value:.4g}" for value in found[:_NAMED]) + more
