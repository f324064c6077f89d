"""Views: fixed transforms of images whose outputs are brought back, for averaging a teacher over them.

Data distillation labels x with the mean of a teacher's outputs over a bank of views. Class scores are compared as
they come; maps and points are brought back to the frame of x first:

    scores = torch.stack([teacher(view.apply(x)).softmax(1) for view in bank]).mean(0)
    maps = [view.invert(teacher(view.apply(x)), x.shape[2:]) for view in bank], averaged where ``view.mask`` holds

Views are pure, fixed, linear in x and differentiable, and their ``repr`` states them in full. Points are (x, y)
pairs in pixels, with the centre of the upper left pixel at (0, 0).

Source: Radosavovic et al., "Data distillation: towards omni-supervised learning", CVPR 2018.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

from ..errors import ConfigError, ShapeError

Size: TypeAlias = tuple[int, int]
"""(height, width) of the images that a view was applied to."""
_Map: TypeAlias = Callable[[Tensor, Size], Tensor]

_LOST = 1e-3


class View(ABC):
    """A fixed transform of images and its inverse for what a network says about them."""

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """Return the view of images (N, C, H, W); its sides may differ from H and W."""

    @abstractmethod
    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return maps over the view in the frame of the images.

        Args:
            maps: shape (N, K, H', W'), as large as the view.
            size: (H, W) of the images.

        Returns:
            shape (N, K, H, W).
        """

    @abstractmethod
    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return points (..., 2) found in the view as (x, y) pixels of the images; size as in :meth:`invert`."""

    def mask(self, size: Size) -> Tensor:
        """Return which pixels of images (H, W) come back whole, bool: nothing of them is left outside the view.

        There ``invert(apply(x)) == x`` for the views that move whole pixels, and about x for the others.
        """
        whole = torch.ones(1, 1, *size)
        return (self.invert(self.apply(whole), size)[0, 0] - 1).abs() < _LOST


@dataclass(frozen=True)
class Identity(View):
    """The images as they are."""

    def apply(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return the maps."""
        return maps

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return the points."""
        return points


@dataclass(frozen=True)
class Mirror(View):
    """Left and right exchanged, or top and bottom with ``vertical``. Exact."""

    vertical: bool = False

    def apply(self, x: Tensor) -> Tensor:
        """Return the mirrored images."""
        return x.flip(-2 if self.vertical else -1)

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return the maps mirrored back."""
        return self.apply(maps)

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return the points mirrored back."""
        x, y = points.unbind(-1)
        return torch.stack([x, size[0] - 1 - y] if self.vertical else [size[1] - 1 - x, y], dim=-1)


@dataclass(frozen=True)
class QuarterTurns(View):
    """Turned counter-clockwise by ``turns`` times 90 degrees; an odd number exchanges the sides. Exact."""

    turns: int = 1

    def apply(self, x: Tensor) -> Tensor:
        """Return the turned images."""
        return x.rot90(self.turns, (-2, -1))

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return the maps turned back."""
        return maps.rot90(-self.turns, (-2, -1))

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return the points turned back."""
        x, y = points.unbind(-1)
        width, height = size[1] - 1, size[0] - 1
        back = ([x, y], [width - y, x], [width - x, height - y], [y, height - x])
        return torch.stack(back[self.turns % 4], dim=-1)


@dataclass(frozen=True)
class Roll(View):
    """Shifted down by ``dy`` and right by ``dx`` whole pixels; what leaves comes in at the other side. Exact."""

    dy: int = 0
    dx: int = 0

    def apply(self, x: Tensor) -> Tensor:
        """Return the shifted images."""
        return x.roll((self.dy, self.dx), (-2, -1))

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return the maps shifted back."""
        return maps.roll((-self.dy, -self.dx), (-2, -1))

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return the points shifted back, around the border."""
        moved = points - points.new_tensor([self.dx, self.dy])
        return moved.remainder(points.new_tensor([size[1], size[0]]))


@dataclass(frozen=True)
class Shift(View):
    """Shifted down by ``dy`` and right by ``dx`` whole pixels; what comes in is 0. Exact on the mask."""

    dy: int = 0
    dx: int = 0

    def apply(self, x: Tensor) -> Tensor:
        """Return the shifted images."""
        return _shifted(x, self.dy, self.dx)

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return the maps shifted back, 0 where the view had nothing."""
        return _shifted(maps, -self.dy, -self.dx)

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return the points shifted back."""
        return points - points.new_tensor([self.dx, self.dy])


@dataclass(frozen=True)
class Warp(View):
    """Turned counter-clockwise about the centre, then shifted down and right; bilinear, 0 from outside.

    The inverse is the opposite warp: approximate, since both interpolate.

    Args:
        degrees: of the turn.
        dy: pixels down, any number.
        dx: pixels right.
    """

    degrees: float = 0.0
    dy: float = 0.0
    dx: float = 0.0

    def apply(self, x: Tensor) -> Tensor:
        """Return the warped images."""
        return _sampled(x, self.invert_points)

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return the maps warped back, 0 where they come from outside the view."""
        return _sampled(maps, self._points)

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return the points warped back."""
        middle = points.new_tensor([size[1] - 1, size[0] - 1]) / 2
        shift = points.new_tensor([self.dx, self.dy])
        return (points - shift - middle) @ self._turn(points).T + middle

    def _points(self, points: Tensor, size: Size) -> Tensor:
        """Return where points of the images are in the view."""
        middle = points.new_tensor([size[1] - 1, size[0] - 1]) / 2
        shift = points.new_tensor([self.dx, self.dy])
        return (points - middle) @ self._turn(points) + middle + shift

    def _turn(self, like: Tensor) -> Tensor:
        angle = math.radians(self.degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        return like.new_tensor([[cos, -sin], [sin, cos]])


@dataclass(frozen=True)
class Rescale(View):
    """Resized by ``factor``, bilinear (with antialiasing when smaller): for networks that take any size. Approximate.

    Sides become ``floor(factor side + 1/2)``, at least 1.

    Raises:
        ConfigError: if ``factor`` is not above 0.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise ConfigError(f"rescale: factor is {self.factor}; it must be above 0.")

    def apply(self, x: Tensor) -> Tensor:
        """Return the resized images."""
        return _resized(x, self._size((x.shape[2], x.shape[3])))

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return the maps resized to ``size``."""
        return _resized(maps, size)

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return the points scaled back."""
        height, width = self._size(size)
        return (points + 0.5) * points.new_tensor([size[1] / width, size[0] / height]) - 0.5

    def _size(self, size: Size) -> Size:
        height, width = (max(1, math.floor(self.factor * side + 0.5)) for side in size)
        return height, width


@dataclass(frozen=True, eq=False)
class LinearWarp(View):
    """Any linear map of the pixels of each channel: ``x' = forward x`` with x flattened to HW values.

    On small images one matrix is the fastest form of any view of fixed size, see :meth:`of`.

    Attributes:
        forward: float, shape (HW, HW).
        backward: how maps are brought back; None: the pseudo-inverse of ``forward``, the least-squares answer.

    Raises:
        ShapeError: if a matrix is not square, the two differ, or images have another number of pixels.
    """

    forward: Tensor
    backward: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.forward.shape)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ShapeError(f"linear warp: forward has shape {shape}; it needs (HW, HW).")
        if self.backward is None:
            object.__setattr__(self, "backward", torch.linalg.pinv(self.forward))
        elif tuple(self.backward.shape) != shape:
            raise ShapeError(f"linear warp: backward has shape {tuple(self.backward.shape)}, forward {shape}.")

    @classmethod
    def of(cls, view: View, size: Size) -> "LinearWarp":
        """Return another view that keeps the size of images (H, W) as two matrices.

        Raises:
            ShapeError: if the view changes the size.
        """
        pixels = size[0] * size[1]
        basis = torch.eye(pixels).view(pixels, 1, *size)
        seen = view.apply(basis)
        if seen.shape != basis.shape:
            raise ShapeError(f"linear warp: {view} turns {size} into {tuple(seen.shape[2:])}; sizes must stay.")
        return cls(seen.view(pixels, pixels).T, view.invert(basis, size).view(pixels, pixels).T)

    def apply(self, x: Tensor) -> Tensor:
        """Return the warped images."""
        return self._times(self.forward, x)

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return ``backward`` times the maps."""
        return self._times(self._back, maps)

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Refuse: a matrix moves values, and knows no positions."""
        raise ConfigError("linear warp: points need a view that knows positions, such as Warp.")

    def __repr__(self) -> str:
        parts = (m.detach().cpu().contiguous().numpy().tobytes() for m in (self.forward, self._back))
        return f"LinearWarp({len(self.forward)}, sha256={hashlib.sha256(b''.join(parts)).hexdigest()[:16]})"

    @property
    def _back(self) -> Tensor:
        assert self.backward is not None
        return self.backward

    def _times(self, matrix: Tensor, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[2] * x.shape[3] != len(matrix):
            raise ShapeError(f"linear warp: x has shape {tuple(x.shape)}, the matrix {len(matrix)} pixels.")
        return (x.flatten(2) @ matrix.to(x).T).view_as(x)


DIGITS_BANK: tuple[View, ...] = (
    Identity(),
    Warp(dx=0.6),
    Warp(dx=-0.6),
    Warp(dy=0.6),
    Warp(dy=-0.6),
    Warp(degrees=12.0),
    Warp(degrees=-12.0),
)
"""Seven views of 8 x 8 digits: identity, +-.6 pixels in x and in y, +-12 degrees."""


def _shifted(x: Tensor, dy: int, dx: int) -> Tensor:
    """Return x shifted by whole pixels: padded at one side, cut at the other."""
    height, width = x.shape[2:]
    dy, dx = max(-height, min(dy, height)), max(-width, min(dx, width))
    return pad(x, (dx, -dx, dy, -dy))


def _sampled(x: Tensor, origin: _Map) -> Tensor:
    """Return images whose pixel p is the value of x at ``origin(p)``, bilinear, 0 outside."""
    height, width = x.shape[2:]
    row, column = torch.arange(height).to(x), torch.arange(width).to(x)
    pixels = torch.stack(torch.meshgrid(column, row, indexing="xy"), dim=-1)
    at = (2 * origin(pixels, (height, width)) + 1) / x.new_tensor([width, height]) - 1
    return grid_sample(x, at.expand(len(x), -1, -1, -1), align_corners=False)


def _resized(x: Tensor, size: Size) -> Tensor:
    return interpolate(x, size, mode="bilinear", antialias=True)
