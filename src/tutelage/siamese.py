"""Siamese augmentation: one random change of images, the same for synthetic and real ones, differentiable in them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from .errors import ConfigError, ShapeError, unknown
from .randomness import counter, hashed_tensor, real_tensor

Op: TypeAlias = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
OPS: tuple[Op, ...] = get_args(Op)
WITHOUT_FLIP: tuple[Op, ...] = tuple(op for op in OPS if op != "flip")
"""For digits, whose mirror images are none."""

_SHIFT, _HOLE, _ZOOM, _TURN = 0.125, 0.5, 1.2, math.radians(15.0)


@dataclass(frozen=True)
class Siamese:
    """Changes all images of a batch alike, by one operation drawn from a few.

    With u uniform in [0, 1), anew for every number, and 0 from outside the image:

    - ``color``: ``x + (u - 1/2)``; then the distance from the mean over channels times ``2 u``; then the distance from
      the mean over the image times ``1/2 + u``;
    - ``crop``: a shift along each side by whole pixels, of up to 1/8 of it, rounded: 4 of 28;
    - ``cutout``: 0 in a rectangle of half the sides, rounded, about any pixel; of an even length about any edge of one;
    - ``flip``: left and right, with probability 1/2;
    - ``scale``: height and width divided by factors from 1/1.2 to 1.2, one each;
    - ``rotate``: by up to 15 degrees either way.

    Attributes:
        ops: of which one is drawn a batch.

    Source: Zhao and Bilen, "Dataset condensation with differentiable siamese augmentation", ICML 2021, section 3.2.
    Its code draws from a seed taken from the clock.

    Raises:
        ConfigError: for an unknown operation, or none.
    """

    ops: tuple[Op, ...] = OPS

    def __post_init__(self) -> None:
        for op in self.ops:
            if op not in OPS:
                raise ConfigError(unknown("operation of siamese augmentation", op, OPS))
        if not self.ops:
            raise ConfigError(f"siamese augmentation needs at least one operation of {', '.join(OPS)}.")

    def __call__(self, x: Tensor, key: int) -> Tensor:
        """Return the images changed alike; batches of any size get the same change from the same key.

        Args:
            x: images (N, C, H, W), normalised.
            key: any integer; the result is a function of it and x alone.

        Raises:
            ShapeError: if x holds no images.
        """
        return self._changed(x, key, 1)

    def each(self, x: Tensor, key: int) -> Tensor:
        """Return the images, changed by one operation with numbers of each row's own: for training on them.

        Args:
            x: images (N, C, H, W), normalised.
            key: any integer.

        Raises:
            ShapeError: if x holds no images.
        """
        return self._changed(x, key, len(x))

    def _changed(self, x: Tensor, key: int, draws: int) -> Tensor:
        if x.ndim != 4:
            raise ShapeError(
                f"siamese augmentation: inputs have shape {tuple(x.shape)}, but it needs images (N, C, H, W); "
                "turn it off for other inputs."
            )
        op = self.ops[(counter(key, 0) >> 32) * len(self.ops) >> 32]
        u = real_tensor(hashed_tensor(counter(key, 1), torch.arange(3 * draws, device=x.device))).view(3, draws)
        return _CHANGES[op](x, u)


def _color(x: Tensor, u: Tensor) -> Tensor:
    brightness, saturation, contrast = u.to(x.dtype).view(3, -1, 1, 1, 1)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = torch.lerp(grey, x, 2.0 * saturation)
    level = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(level, x, 0.5 + contrast)


def _crop(x: Tensor, u: Tensor) -> Tensor:
    height, width = x.shape[2:]
    down, right = int(height * _SHIFT + 0.5), int(width * _SHIFT + 0.5)
    rows = (u[0] * (2 * down + 1)).long().unsqueeze(1) + torch.arange(height, device=x.device)
    columns = (u[1] * (2 * right + 1)).long().unsqueeze(1) + torch.arange(width, device=x.device)
    padded = pad(x, (right, right, down, down)).permute(0, 2, 3, 1)
    places = torch.arange(len(x), device=x.device).view(-1, 1, 1)
    cut = padded[places, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    return cut.contiguous()  # channels last would follow through the network, where vmap does not know them


def _cutout(x: Tensor, u: Tensor) -> Tensor:
    inside = [_hole(u[axis], x.shape[2 + axis]) for axis in (0, 1)]
    hole = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
    return x.masked_fill(hole.unsqueeze(1), 0.0)


def _hole(u: Tensor, side: int) -> Tensor:
    """Which rows (or columns) the rectangle covers, bool (draws, side)."""
    size = int(side * _HOLE + 0.5)
    places = side + 1 - size % 2
    first = (u * places).long().unsqueeze(1) - size // 2
    line = torch.arange(side, device=u.device)
    return (line >= first) & (line < first + size)


def _flip(x: Tensor, u: Tensor) -> Tensor:
    return torch.where((u[0] < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)


def _scale(x: Tensor, u: Tensor) -> Tensor:
    across, down = 1.0 / _ZOOM + u[:2] * (_ZOOM - 1.0 / _ZOOM)
    zero = torch.zeros_like(across)
    return _warped(x, [across, zero, zero, down])


def _rotate(x: Tensor, u: Tensor) -> Tensor:
    angle, shape = (2.0 * u[0] - 1.0) * _TURN, x.shape[2] / x.shape[3]
    return _warped(x, [angle.cos(), -angle.sin() * shape, angle.sin() / shape, angle.cos()])


def _warped(x: Tensor, matrix: list[Tensor]) -> Tensor:
    """Bilinear, about the centre; the matrix row by row, in units of half the sides."""
    a, b, c, d = matrix
    zero = torch.zeros_like(a)
    theta = torch.stack([a, b, zero, c, d, zero], dim=1).view(-1, 2, 3).to(x.dtype)
    grid = affine_grid(theta, [len(theta), 1, *x.shape[2:]], align_corners=False)
    return grid_sample(x, grid.expand(len(x), -1, -1, -1), align_corners=False)


_CHANGES: Mapping[Op, Callable[[Tensor, Tensor], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
