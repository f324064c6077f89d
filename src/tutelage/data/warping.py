"""Warps of images in training: turned and shifted by a draw from a few values, for every row by itself."""

import functools
import math
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ..errors import ConfigError
from ..randomness import integer_tensor
from .transforms import Epoch, Stage, Transform, draws, sides


@dataclass(frozen=True)
class RandomWarp(Transform):
    """Turn about the centre, then shift down and right; bilinear, 0 from outside; all combinations equally likely.

    The warp of a row is that of :class:`tutelage.data.views.Warp`. Parameters: int64, shape (N,), positions in
    :attr:`combinations`.

    Args:
        shifts: pixels, of which each axis draws one.
        degrees: of which one is drawn, counter-clockwise.
        name: of the random stream.

    Raises:
        ConfigError: if there is nothing to draw from, or a value is not finite.
        ShapeError: from ``apply``, if x holds no images.
    """

    stage: ClassVar[Stage] = Stage.DISTORT
    shifts: tuple[float, ...] = (-0.7, 0.0, 0.7)
    degrees: tuple[float, ...] = (-12.0, 0.0, 12.0)
    name: str = "warp"

    def __post_init__(self) -> None:
        for what, values in (("shifts", self.shifts), ("degrees", self.degrees)):
            if not values or not all(math.isfinite(v) for v in values):
                raise ConfigError(f"warp: {what} are {list(values)}; at least one finite number is needed.")

    @property
    def combinations(self) -> tuple[tuple[float, float, float], ...]:
        """Degrees, pixels down and pixels right of each warp that may be drawn."""
        return tuple(product(self.degrees, self.shifts, self.shifts))

    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> Tensor:
        """Return which warp each row gets, int64, shape (N,)."""
        return integer_tensor(draws(seed, self.name, epoch, index, 1)[0], len(self.degrees) * len(self.shifts) ** 2)

    def apply(self, x: Tensor, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the warped images, same shape and type as a float x."""
        grids = _grids(self.combinations, *sides("warp", x), x.dtype, x.device)
        return grid_sample(x, grids[params], align_corners=False)


@functools.lru_cache(maxsize=8)
def _grids(
    warps: tuple[tuple[float, float, float], ...], height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Where each pixel of each warp comes from, in the units of grid_sample, (warps, H, W, 2)."""
    degrees, dy, dx = torch.tensor(warps, dtype=torch.float64).unbind(1)
    cos, sin = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    # a pixel is 2 / width across and 2 / height down
    across = torch.stack([cos, -sin * height / width, 2 * (sin * dy - cos * dx) / width], dim=-1)
    down = torch.stack([sin * width / height, cos, -2 * (sin * dx + cos * dy) / height], dim=-1)
    theta = torch.stack([across, down], dim=1)
    return affine_grid(theta, [len(warps), 1, height, width], align_corners=False).to(device, dtype)
