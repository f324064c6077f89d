"""What a raw row becomes before a network sees it, as the file of a distilled set says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..data.scaling import Normalise
from ..errors import ConfigError, ShapeError
from .whitening import Whitening

Numbers: TypeAlias = float | Sequence[float] | Tensor
"""One number, or one a channel."""

_NEAR = 0.005
"""Means and deviations may be rounded by so much of a deviation."""
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a raw row becomes before a network sees it: ``(x / scale - mean) / std``, then whitened if there is a way.

    Attributes:
        shape: of a row.
        scale: raw values are in [0, scale]; 255 of bytes.
        mean: float32, broadcasts against a row: a scalar, or (C, 1, 1).
        std: the same, > 0.
        whitening: fitted to normalised rows; None: there is none.

    Raises:
        ConfigError: if a std is not above 0.
    """

    shape: tuple[int, ...]
    scale: float
    mean: Tensor
    std: Tensor
    whitening: Whitening | None = None

    def __post_init__(self) -> None:
        _ = self._normalise

    @classmethod
    def of(cls, facts: Mapping[str, Any], whitening: Whitening | None) -> "Inputs":
        """Return what :meth:`plain` told."""
        told, scaling = facts["input"], facts["normalisation"]
        mean, std = (torch.tensor(scaling[name], dtype=torch.float32) for name in ("mean", "std"))
        return cls(tuple(told["shape"]), float(told["range"][1]), mean, std, whitening)

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

    def check(self, mean: Numbers, std: Numbers) -> None:
        """Make sure that rows were normalised as the set was, up to numbers that are rounded.

        Args:
            mean: one number, or one a channel, of rows divided by their scale.
            std: likewise.

        Raises:
            ConfigError: naming both sides.
        """
        for given, needed in ((mean, self.mean), (std, self.std)):
            here = torch.as_tensor(given, dtype=torch.float32).flatten().cpu()
            there, unit = needed.flatten().cpu(), self.std.flatten().cpu()
            fits = len(here) in (1, len(there)) or len(there) == 1
            if not fits or bool(((here - there).abs() > _NEAR * unit).any()):
                raise ConfigError(
                    f"the rows are normalised with mean {_numbers(mean)} and std {_numbers(std)}, but the set was made "
                    f"with {self.told}: use these, as a set works with them alone."
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


def _numbers(values: Numbers) -> str:
    found = torch.as_tensor(values, dtype=torch.float32).flatten().tolist()
    more = f" ... ({len(found)} numbers)" if len(found) > _NAMED else ""
    return ", ".join(f"{value:.4g}" for value in found[:_NAMED]) + more
