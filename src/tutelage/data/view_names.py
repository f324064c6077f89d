"""Views by name, for options: ``identity,mirror,x0.6,y-0.6,turn12,zoom1.1,scale0.75,mirror+zoom1.1``.

A name is the view and its number; ``+`` applies one view after the other, first the left one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ..errors import ConfigError, unknown
from .views import DIGITS_BANK, Identity, Mirror, Rescale, Size, View, Warp


@dataclass(frozen=True)
class Zoom(View):
    """Enlarged by ``factor`` about the centre and cut to the same size; bilinear, 0 from outside. Approximate.

    Raises:
        ConfigError: if ``factor`` is not above 0.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < float("inf"):
            raise ConfigError(f"zoom: factor is {self.factor}; it must be above 0.")

    def apply(self, x: Tensor) -> Tensor:
        """Return the enlarged images."""
        return _scaled(x, 1 / self.factor)

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return the maps made smaller again, 0 where the view showed nothing."""
        return _scaled(maps, self.factor)

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return the points brought nearer to the centre."""
        middle = points.new_tensor([size[1] - 1, size[0] - 1]) / 2
        return (points - middle) / self.factor + middle


@dataclass(frozen=True)
class Chained(View):
    """Several views, one after the other; their inverses in the other order.

    Raises:
        ConfigError: if there is none.
    """

    views: tuple[View, ...]

    def __post_init__(self) -> None:
        if not self.views:
            raise ConfigError("chained views: there is none; name at least one.")

    def apply(self, x: Tensor) -> Tensor:
        """Return the view of the view of the images."""
        for view in self.views:
            x = view.apply(x)
        return x

    def invert(self, maps: Tensor, size: Size) -> Tensor:
        """Return the maps brought back, view by view."""
        for view, before in reversed(list(zip(self.views, self._sizes(size)))):
            maps = view.invert(maps, before)
        return maps

    def invert_points(self, points: Tensor, size: Size) -> Tensor:
        """Return the points brought back, view by view."""
        for view, before in reversed(list(zip(self.views, self._sizes(size)))):
            points = view.invert_points(points, before)
        return points

    def _sizes(self, size: Size) -> list[Size]:
        """Sizes of what each view is applied to."""

        def after(before: Size, view: View) -> Size:
            height, width = view.apply(torch.zeros(1, 1, *before)).shape[2:]
            return height, width

        return list(accumulate(self.views[:-1], after, initial=size))


PICTURES_BANK: tuple[View, ...] = (
    Identity(),
    Mirror(),
    Zoom(1.1),
    Chained((Mirror(), Zoom(1.1))),
    Zoom(0.9),
    Chained((Mirror(), Zoom(0.9))),
)
"""Six views of photographs: three sizes, each also mirrored."""
BANKS = {"one": (Identity(),), "digits": DIGITS_BANK, "pictures": PICTURES_BANK}
"""Several views under one name."""

_NUMBERED: dict[str, Callable[[float], View]] = {
    "x": lambda pixels: Warp(dx=pixels),
    "y": lambda pixels: Warp(dy=pixels),
    "turn": lambda degrees: Warp(degrees=degrees),
    "zoom": Zoom,
    "scale": Rescale,
}
_PLAIN: dict[str, View] = {"identity": Identity(), "mirror": Mirror(), "upside-down": Mirror(vertical=True)}
KNOWN = (*BANKS, *_PLAIN, "x0.6", "y-0.6", "turn12", "zoom1.1", "scale0.75")
"""Examples of names: pixels right and down, degrees counter-clockwise, factors of the same and of another size."""


def named_views(names: str) -> tuple[View, ...]:
    """Return the views of a bank, or of names separated by commas.

    Raises:
        ConfigError: for an unknown name, or a view that is named twice.
    """
    given = [name.strip() for name in names.split(",") if name.strip()]
    if len(given) == 1 and given[0] in BANKS:
        return BANKS[given[0]]
    if not given:
        raise ConfigError("no view is named; at least one is needed, such as identity.")
    if twice := next((name for name in given if given.count(name) > 1), None):
        raise ConfigError(f"view {twice} is named twice.")
    return tuple(_chained(name) for name in given)


def view_name(view: View) -> str:
    """Return the name of a view, from which :func:`named_views` makes it again; of others what ``repr`` says."""
    match view:
        case Chained():
            return "+".join(map(view_name, view.views))
        case Identity():
            return "identity"
        case Mirror():
            return "upside-down" if view.vertical else "mirror"
        case Zoom():
            return f"zoom{view.factor:g}"
        case Rescale():
            return f"scale{view.factor:g}"
        case Warp() if len(moves := _moves(view)) == 1:
            return moves[0]
    return repr(view)


def _moves(view: Warp) -> list[str]:
    return [f"{kind}{by:g}" for kind, by in (("turn", view.degrees), ("y", view.dy), ("x", view.dx)) if by]


def _chained(name: str) -> View:
    parts = tuple(_view(part.strip()) for part in name.split("+"))
    return parts[0] if len(parts) == 1 else Chained(parts)


def _view(name: str) -> View:
    if name in _PLAIN:
        return _PLAIN[name]
    match = re.fullmatch(r"([a-z]+)(-?\d*\.?\d+)", name)
    if match is None or match[1] not in _NUMBERED:
        raise ConfigError(unknown("view", name, KNOWN))
    return _NUMBERED[match[1]](float(match[2]))


def _scaled(x: Tensor, step: float) -> Tensor:
    """Return images whose pixel p is the value of x at ``centre + step (p - centre)``, bilinear, 0 outside."""
    theta = torch.tensor([[step, 0.0, 0.0], [0.0, step, 0.0]], dtype=x.dtype, device=x.device)
    grid = affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return grid_sample(x, grid, align_corners=False)
